"""Colours of classes: told apart by all eyes as far as their number allows; void is in the legend."""

import numpy as np
import pytest
import torch
from looking import capture, distances, legend

from cosub.segmentation.losses import IGNORE
from cosub.segmentation.overlays import painted, show_scenes
from cosub.segmentation.palette import palette


@pytest.mark.parametrize(("number", "least"), [(11, 17), (20, 17), (50, 9), (150, 3)])
def test_all_colours_differ_as_far_as_there_is_room(number, least):
    found = distances(palette(number) / 255)
    assert found[~np.eye(number, dtype=bool)].min() > least


def test_neighbours_differ_much_however_many_there_are():
    assert distances(palette(150) / 255).diagonal(1).min() > 7


def test_a_class_keeps_its_colour_and_none_is_black_as_void_is():
    many = palette(150)
    assert (palette(11) == many[:11]).all()
    assert (many.shape, many.dtype) == ((150, 3), np.uint8)
    void = np.zeros((1, 3))
    assert distances(np.vstack([void, many / 255]))[0, 1:].min() > 8
    labels = torch.tensor([[0, 149, IGNORE]], dtype=torch.uint8)
    assert painted(None, labels, many)[0].tolist() == [many[0].tolist(), many[149].tolist(), [0, 0, 0]]


class Scenes:
    """Two scenes of 8 x 8 pixels, the second with a row that has no label."""

    labels = (0, 0)

    def pair(self, index):
        from PIL import Image

        labels = torch.zeros(8, 8, dtype=torch.uint8)
        labels[4:] = 2
        labels[0] = IGNORE if index else 0
        return Image.new("RGB", (8, 8), "red"), labels


class Look:
    """A viewer in whose eyes all pixels are of the second class."""

    def probabilities(self, image):
        return torch.nn.functional.one_hot(torch.ones(8, 8, dtype=torch.long), 3).permute(2, 0, 1)


@pytest.mark.parametrize(("number", "void"), [(1, []), (2, ["void: no label, not scored"])])
@pytest.mark.parametrize("photographs", [True, False])
def test_the_legend_has_what_is_in_the_maps(number, void, photographs, monkeypatch, tmp_path):
    monkeypatch.setattr("cosub.segmentation.overlays.drive_alone", lambda answers, *_: answers)
    figures = capture(monkeypatch)
    show_scenes(None, Scenes(), ("sky", "road", "car", "tree"), Look(), number, tmp_path / "a.png", photographs)
    assert legend(figures[0]) == ["sky", "road", "car", *void]
    titles = ["photograph", "labels", "prediction"][not photographs :]
    assert [axes.get_title() for axes in figures[0].axes[: len(titles)]] == titles
    assert figures[0].get_suptitle() == f"{number} scenes: {', '.join(titles)}"
