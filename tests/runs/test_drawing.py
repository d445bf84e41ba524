"""The style of pictures: a method has one colour, which all eyes tell from others; nothing is hidden or cut off."""

import dataclasses

import numpy as np
import pytest
from looking import EYES, capture, distances, lab, legend, note, rgb
from PIL import Image

from cosub.choices import ArmName
from cosub.paper.studies.arms import ARMS
from cosub.recipes import get
from cosub.recipes.methods import METHODS, Cosub, Supervised
from cosub.runs.drawing import logarithmic, looks, panels, save, shades
from cosub.runs.ways import WAYS, way_of


def test_the_simulation_knows_what_eyes_confuse():
    red, mustard, blue = rgb(["#ff0000"]), rgb(["#5e5e00"]), rgb(["#0000ff"])
    np.testing.assert_allclose(lab(red), [[53.24, 80.09, 67.20]], atol=0.05)  # published
    for name in ("protanopia", "deuteranopia"):
        np.testing.assert_allclose(lab(rgb(["#777777"]), EYES[name]), lab(rgb(["#777777"])), atol=1.0)
        assert np.linalg.norm(lab(red, EYES[name])[0, 1:] - lab(blue, EYES[name])[0, 1:]) > 100
    seen = [lab(colour, EYES["protanopia"]) for colour in (red, mustard)]
    assert np.linalg.norm(seen[0] - seen[1]) < 10 < 50 < np.linalg.norm(lab(red) - lab(mustard))


def test_the_colours_of_methods_are_told_apart_by_all_eyes():
    found = distances(rgb([way.colour for way in WAYS.values()]))
    assert found[~np.eye(len(WAYS), dtype=bool)].min() >= 10


def test_every_method_and_arm_has_a_colour_of_its_own():
    recipe = get("digits")
    assert {way_of(dataclasses.replace(recipe, method=method())) for method in METHODS.values()} == set(METHODS)
    assert {*METHODS} < {*WAYS}
    ways: dict[ArmName, str] = {name: way_of(arm.recipe(recipe)) for name, arm in ARMS.items()}
    assert list(ways.values()) == ["masking", "supervised", "two-copies", "cosub"]
    assert way_of(dataclasses.replace(recipe, method=Cosub(weight=1.0))) == "two-copies"
    assert way_of(dataclasses.replace(recipe, method=Supervised(), rounding="masked")) == "masking"
    assert len({way.title for way in WAYS.values()}) == len({way.colour for way in WAYS.values()}) == len(WAYS)


def test_runs_of_one_method_have_its_colour_and_differ_in_marker_and_line():
    first, other, second = looks(["cosub", "supervised", "cosub"])
    assert first["color"] == second["color"] == WAYS["cosub"].colour != other["color"]
    for part in ("marker", "linestyle"):
        assert len({first[part], other[part], second[part]}) == 3


def test_neighbours_differ_in_shade():
    seen = lab(np.array([style["color"][:3] for style in shades(4)]))
    assert (np.diff(seen[:, 0]) > 10).all()


@pytest.mark.parametrize("number", [1, 9])
def test_the_legend_covers_no_data_and_nothing_is_cut_off(number, monkeypatch, tmp_path):
    figures = capture(monkeypatch)
    figure, axes = panels(
        6, 3, "A title that is as long as a title of two lines is, so that it must be broken", columns=2
    )
    for index in range(number):
        axes[0, 0].plot([0, 1], [index, 1], label=f"a run with a name of some length, {index}")
        axes[0, 1].plot([0, 1], [index, 1], label=f"a run with a name of some length, {index}")
    save(figure, tmp_path / "a.png", "a note that is as long as notes of two lines are, " * 3)
    assert figures == [figure]
    assert len(legend(figure)) == number
    (below,) = (found.get_window_extent() for found in figure.legends)
    assert below.y1 < min(panel.get_tightbbox().y0 for panel in axes.flat)
    title = figure._suptitle.get_window_extent()
    assert title.y0 > max(panel.get_tightbbox().y1 for panel in axes.flat)
    for box in (below, title, *(panel.get_tightbbox() for panel in axes.flat)):
        assert 0 <= box.x0 < box.x1 <= figure.bbox.x1
        assert 0 <= box.y0 < box.y1 <= figure.bbox.y1
    assert axes[0, 0].get_window_extent().height > 130  # however long the legend is


def test_a_picture_has_a_white_ground_and_is_no_larger_than_asked(tmp_path):
    figure, ((axes,),) = panels(6, 3, "title")
    axes.plot([0, 1], [0, 1])
    save(figure, tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as found:
        assert found.size == (600, 300)
        pixels = np.asarray(found.convert("RGBA"))
    assert (pixels[..., 3] == 255).all()
    edges = (pixels[:4], pixels[-4:], pixels[:, :4], pixels[:, -4:])
    assert all((edge == 255).all() for edge in edges)
    assert (legend(figure), note(figure)) == ([], "")


@pytest.mark.parametrize(("values", "expected"), [((0.02, 0.6), "0.1"), ((0.21, 0.23), "0.22"), ((1, 5000), "1000")])
def test_ticks_are_plain_numbers_on_logarithmic_axes_too(values, expected, tmp_path):
    figure, ((axes,),) = panels(6, 3, "title")
    axes.plot([0, 1], values)
    logarithmic(axes, "y")
    save(figure, tmp_path / "a.png")
    ticks = [text.get_text() for text in axes.get_yticklabels(which="both") if text.get_text()]
    assert expected in ticks
    assert not any(letter in tick for tick in ticks for letter in "$e^")


def test_ticks_have_no_offset(tmp_path):
    figure, ((axes,),) = panels(6, 3, "title")
    axes.plot([0, 1], [100_000.001, 100_000.002])
    save(figure, tmp_path / "a.png")
    assert axes.yaxis.get_offset_text().get_text() == ""
