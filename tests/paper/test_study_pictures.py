"""The pictures of studies: error bars are named, methods have their colours, nothing lies on the frame."""

import numpy as np
import pytest
from looking import capture, legend, note

from cosub.paper.studies import picture, study
from cosub.paper.studies.ledger import Ledger
from cosub.paper.studies.report import rows
from cosub.recipes.methods import METHODS
from cosub.runs.ways import WAYS


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """What is drawn of a study of which so many seeds were run."""
    figures = capture(monkeypatch)

    def draw(name, seeds, recipe="digits-few"):
        made = study(name, recipe=recipe)
        lines = {run.key: _line(run) for run in made.runs(seeds)}
        ledger = Ledger(tmp_path / "none.jsonl")
        monkeypatch.setattr(ledger, "find", lambda run: lines.get(run.key))
        found = rows(made, ledger, seeds)
        assert picture.draw(made, found, tmp_path / "a.png")
        return figures[-1], found

    return draw


def _line(run):
    values = {"top1": 0.9 + 0.01 * run.seed, "validation_top1": 0.9, "seconds": 1.0, "commit": "a", "device": "cpu"}
    return {**values, "seed": run.seed, "curve": [[1, 0.9, 0.8], [2, 1.0, 0.9]]}


@pytest.mark.parametrize("name", ["table4", "table5", "images", "figure5"])
def test_bars_are_named_with_their_seeds_and_one_seed_is_said(name, drawn):
    many, _ = drawn(name, 3)
    one, _ = drawn(name, 1)
    assert "3 seeds" in note(many)
    assert "1 seed" in note(one) or "one seed: no interval" in note(one)
    for figure in (many, one):
        assert study(name, recipe="digits-few").title in figure.get_suptitle()
        assert all(axes.get_xlabel() and (axes.get_ylabel() or name == "table4") for axes in figure.axes)


def test_several_numbers_of_seeds_are_said():
    assert picture.intervals([3, 5, 3]) == "bars: 95 % intervals (Student's t) over 3 to 5 seeds"
    assert picture.intervals(iter([1, 3])).endswith("over 1 to 3 seeds; no bar: one seed")


def test_a_row_has_the_colour_of_its_method(drawn):
    figure, found = drawn("table4", 3)
    colours = [container.lines[0].get_color() for container in figure.axes[0].containers]
    kinds = [row.cell.recipe.method.kind for row in found]
    assert set(kinds) == set(METHODS)
    assert colours == [WAYS[kind].colour for kind in kinds]
    low, high = figure.axes[0].get_ylim()
    assert (low, high) == (len(found) - 0.4, -0.6)  # no row lies on the frame


def test_series_along_an_axis_have_the_names_and_colours_of_their_methods(drawn):
    figure, _ = drawn("images", 3)
    assert legend(figure) == ["supervised", "co-training"]
    (axes,) = figure.axes
    colours = [container.lines[0].get_color() for container in axes.containers]
    assert colours == [WAYS["supervised"].colour, WAYS["cosub"].colour]
    points = np.concatenate([container.lines[0].get_xydata() for container in axes.containers])
    places = axes.transLimits.transform(axes.transScale.transform(points))
    assert ((places > 0) & (places < 1)).all()  # all of it is seen
    np.testing.assert_allclose(points[:, 1], 91)
    np.testing.assert_allclose(points[:, 0], [75, 150, 300] * 2, rtol=0.02)
    assert (points[:3, 0] < points[3:, 0]).all()  # beside each other
