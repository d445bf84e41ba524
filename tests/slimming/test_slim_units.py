"""What slimming takes out as one: whole blocks, which leave timm's own model of a smaller depth, or single layers."""

import dataclasses
import json

import pytest
import torch
from tiny import call

import cosub
from cosub.attachment import layers_per_block
from cosub.evaluation.images import Images
from cosub.export.plain import plain_model
from cosub.recipes.inputs import Inputs
from cosub.recipes.recipe import Recipe
from cosub.runs.folder import Trained
from cosub.runs.network import build_network, create, settings_of
from cosub.slimming.making import slim_recipe
from cosub.slimming.scorer import Scorer
from cosub.slimming.strategies import choose
from cosub.slimming.units import single_layers, units_of

# Model, its arguments, blocks, fewest blocks that a depth can leave.
BY_DEPTH = {
    "ViT": ("vit_tiny_patch16_224", {"patch_size": 8, "embed_dim": 24, "depth": 4, "num_heads": 3}, 4, 1),
    "PiT": ("pit_ti_224", {"patch_size": 4, "stride": 4, "base_dims": (8, 8, 8)}, 12, 3),
    "Swin": (
        "swin_tiny_patch4_window7_224",
        {"patch_size": 2, "window_size": 4, "embed_dim": 8, "depths": (2, 4, 2), "num_heads": (2, 2, 2)},
        8,
        3,
    ),
    "ConvNeXt": ("convnext_atto", {"depths": (1, 2, 3, 1), "dims": (8, 8, 12, 16)}, 7, 4),
    "ResNet": ("resnet18", {"channels": (8, 8, 8, 8)}, 8, 4),  # shortcuts that change the shape stay
}
BY_LAYER = {
    "RegNet": ("regnetx_002", {}),
    "EfficientNet": ("tf_efficientnetv2_b0", {"channel_multiplier": 0.2}),
    "a gate after the branch": ("seresnet18", {"channels": (8, 8, 8, 8)}),  # takes no factor
}


def trained(model, arguments):
    recipe = Recipe("test", model, arguments, resolution=32)
    return Trained(recipe, tuple("abcde"), build_network(recipe, 5, copies=1).eval())


def scorer_of(network, number=6):
    generator = torch.Generator().manual_seed(3)
    pixels = torch.randint(0, 256, (number, 3, 32, 32), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, 5, (number,), generator=generator)
    return Scorer(network, Images(pixels, labels, Inputs()), "ce", 4)


@pytest.mark.parametrize("family", BY_DEPTH)
def test_whatever_blocks_are_chosen_a_depth_of_timms_says_it(family, images):
    model, arguments, blocks, least = BY_DEPTH[family]
    before = trained(model, arguments)
    units, per_block = units_of(before, None), layers_per_block(before.network)
    assert (units.kind, len(units), units.least) == ("block", blocks, least)
    depths = range(least, blocks + 1)
    strategies = ("every-other", "ends", "greedy") if family in ("ViT", "Swin") else ("every-other", "ends")
    for strategy in strategies:
        for depth, layers in choose(strategy, scorer_of(before.network), depths, units=units).items():
            assert len(layers) == depth * per_block[0]
            full = create(model, 32, 5, settings_of(before.recipe)).eval()
            full.load_state_dict(before.network.state_dict())
            plain = plain_model(full, layers, 1.25)
            assert not plain.needs_module
            kept = cosub.keep_layers(layers, sum(per_block), len(images), 1.25)
            with torch.no_grad(), cosub.active(before.network, kept):
                torch.testing.assert_close(plain.model(images), before.network(images), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", BY_LAYER)
def test_what_no_depth_expresses_is_counted_in_layers_unless_blocks_are_asked_for(family):
    before = trained(*BY_LAYER[family])
    units, blocks = units_of(before, None), units_of(before, "block")
    total = sum(layers_per_block(before.network))
    assert (units.kind, len(units), units.least) == ("layer", total, 1)
    assert blocks.kind == "block"
    chosen = choose("every-other", scorer_of(before.network), [blocks.least], units=blocks)[blocks.least]
    gone = [layers for number, layers in enumerate(blocks.layers) if not set(layers) & set(chosen)]
    assert len(blocks) - len(gone) == blocks.least < len(blocks)


def test_half_blocks_leave_layers_to_be_counted():
    """A network that was slimmed by blocks is slimmed so again, and one with half a block is not."""
    before = trained(*BY_DEPTH["ViT"][:2])
    for layers, kind in (((0, 1, 4, 5), "block"), ((0, 1, 4), "layer")):
        recipe = slim_recipe(before.recipe, layers, before)
        again = Trained(recipe, before.classes, build_network(recipe, 5, copies=1).eval())
        units = units_of(again, None)
        assert (units.kind, len(units)) == (kind, 2 if kind == "block" else 3)


def test_blocks_spread_evenly_and_from_both_ends():
    before = trained(*BY_DEPTH["ViT"][:2])
    scorer, units = scorer_of(before.network), units_of(before, "block")
    assert choose("every-other", scorer, [2], units=units)[2] == (0, 1, 6, 7)
    assert choose("ends", scorer, [3], units=units)[3] == (0, 1, 2, 3, 6, 7)


def test_greedy_takes_the_block_without_which_the_loss_is_lowest():
    before = trained(*BY_DEPTH["ViT"][:2])
    scorer, units = scorer_of(before.network), units_of(before, None)
    rests = [units.layers_of(tuple(b for b in range(4) if b != block)) for block in range(4)]
    losses = scorer.losses(scorer.everything, rests)
    assert choose("greedy", scorer, [3], units=units)[3] == rests[losses.index(min(losses))]
    worst = losses.index(max(losses))
    assert set(units.layers[worst]) <= set(choose("leave-one-out", scorer, [1], units=units)[1])


def test_units_of_single_layers_are_those_of_before():
    before = trained(*BY_DEPTH["ViT"][:2])
    scorer = scorer_of(before.network)
    for strategy in ("every-other", "ends", "cosine", "leave-one-out", "greedy"):
        assert choose(strategy, scorer, [5, 3]) == choose(strategy, scorer, [5, 3], units=single_layers(8))


def test_blocks_are_counted_unless_layers_are_asked_for(finished, capsys, tmp_path):
    words = ["slim", finished, "--keep", 1, "--strategy", "ends", "--images", 20]
    status, out, err = call(capsys, *words, "--out", tmp_path / "block", "--json")
    assert "unit: block; --keep counts blocks, of which this network has 2 (--unit layer counts its 4" in err
    about = json.loads(out)["slim"]
    assert (status, about["kept_layers"], about["asked"]["unit"], about["units_full"]) == (0, [0, 1], "block", 2)
    assert "1 of 2" in err
    status, out, err = call(capsys, *words, "--unit", "layer", "--out", tmp_path / "layer", "--json")
    assert (json.loads(out)["slim"]["kept_layers"], "unit:" in err) == ([0], False)


def test_a_request_from_before_there_were_blocks_counts_layers(finished, capsys, tmp_path):
    words = ["slim", finished, "--keep", 2, "--strategy", "ends", "--images", 20, "--out", tmp_path / "there"]
    assert call(capsys, *words, "--unit", "layer")[0] == 0
    summary = json.loads((tmp_path / "there" / "summary.json").read_text())
    del summary["slim"]["asked"]["unit"], summary["slim"]["units_full"]
    (tmp_path / "there" / "summary.json").write_text(json.dumps(summary))
    status, _, err = call(capsys, *words)
    assert (status, "was made before by the same command, by layers" in err) == (0, True)
    assert call(capsys, *words, "--unit", "layer")[0] == 0
    assert call(capsys, *words, "--unit", "block")[0] == 2


def test_a_frontier_counts_blocks(finished, capsys, tmp_path):
    words = ["--strategies", "ends", "--images", 20, "--test-images", 30, "--out", tmp_path / "f"]
    status, out, _ = call(capsys, "slim", finished, "--frontier", *words)
    assert status == 0
    assert out.splitlines()[0].split()[:2] == ["blocks", "ms"]
    assert [line.split()[0] for line in out.splitlines()[1:3]] == ["2", "1"]
    assert "2 blocks are the full network" in out


def test_too_few_blocks_name_how_many_may_be_left():
    units = units_of(trained(*BY_DEPTH["ResNet"][:2]), None)
    with pytest.raises(
        cosub.InputError, match="depths: 3: the network has 8 blocks; keep 4 to 8 of them, or count its"
    ):
        units.check("depths", [5, 3])
    dataclasses.replace(units).check("keep", [4])
