"""Pretrained weights, in the forms in which they are published, made from small models. No network."""

import argparse
import dataclasses
import os
import random
import signal
from pathlib import Path

import pytest
import timm
import torch
from conftest import SMALL
from huggingface_hub.errors import EntryNotFoundError
from safetensors.torch import save_file
from timm.layers import resample_abs_pos_embed
from timm.models import get_pretrained_cfg, is_model_pretrained
from timm.models.cait import Cait
from timm.models.vision_transformer import VisionTransformer
from timm.models.xcit import Xcit
from tiny import TINY, before_steps, run, tiny
from torch import Tensor, nn

import cosub
from cosub.cli import main
from cosub.data.sources import open_source
from cosub.errors import InputError, Stopped
from cosub.runs.distributed import World
from cosub.runs.folder import RunFolder
from cosub.runs.progress import Reporter
from cosub.train.trainer import Trainer
from cosub.weights.loading import load_weights

VIT = {"patch_size": 16, "embed_dim": 24, "depth": 2, "num_heads": 3, "num_classes": 5}
SIDE = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "num_heads": 3, "num_classes": 5}


def vit(seed: int, **changes) -> nn.Module:
    """A small DeiT-III, with values in the position embedding that tell places apart."""
    torch.manual_seed(seed)
    model = VisionTransformer(**{"img_size": 224, "init_values": 0.1, "no_embed_class": True, **VIT, **changes})
    return shaken(model)


def shaken(model: nn.Module) -> nn.Module:
    """Every parameter and statistic gets values of its own: what is not loaded shows."""
    for value in model.state_dict().values():
        if value.is_floating_point():
            value.add_(torch.randn_like(value).mul_(0.02).abs_())
    return model.eval()


def official(model: nn.Module) -> dict[str, Tensor]:
    """The names of DeiT-III's files."""
    return {name.replace("ls1.gamma", "gamma_1").replace("ls2.gamma", "gamma_2"): value
            for name, value in model.state_dict().items()}  # fmt: skip


def saved(path: Path, weights: dict, **more) -> Path:
    torch.save({"model": weights, **more}, path)
    return path


def pictures(size: int | tuple[int, int] = 32) -> Tensor:
    shape = (size, size) if isinstance(size, int) else size
    return torch.randn(2, 3, *shape, generator=torch.Generator().manual_seed(3))


def same(a: nn.Module, b: nn.Module, size: int | tuple[int, int] = 32) -> None:
    with torch.no_grad():
        torch.testing.assert_close(a.eval()(pictures(size)), b.eval()(pictures(size)), rtol=1e-6, atol=1e-6)


# --- files


def test_a_deit3_file_gives_its_logits(tmp_path):
    source, target = vit(0), vit(1)
    before = target.head.weight.clone()
    said = load_weights(target, saved(tmp_path / "deit_3.pth", official(source), epoch=3))
    assert said == ["blocks.*.gamma_1 taken as blocks.*.ls1.gamma", "blocks.*.gamma_2 taken as blocks.*.ls2.gamma"]
    assert not torch.equal(target.head.weight, before)
    same(source, target, 224)


@pytest.mark.parametrize("key", ["model", "state_dict", "module", ""])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
def test_wrappers_of_files_and_of_names_are_taken_off(tmp_path, key, prefix):
    source, target = vit(0), vit(1)
    weights = {prefix + name: value for name, value in source.state_dict().items()}
    torch.save({key: weights, "args": argparse.Namespace(lr=1e-3)} if key else weights, tmp_path / "w.pth")
    said = load_weights(target, str(tmp_path / "w.pth"))
    words = [word for word in ("_orig_mod.", "module.") if word in prefix]
    assert said == ([f"{' and '.join(words)} stripped from the names"] if words else [])
    same(source, target, 224)


def test_names_of_blocks_that_were_compiled_one_by_one(tmp_path):
    source, target = vit(0), vit(1)
    weights = {name.replace("blocks.1.", "blocks.1._orig_mod."): value for name, value in source.state_dict().items()}
    load_weights(target, saved(tmp_path / "w.pth", weights))
    same(source, target, 224)


def test_averaged_weights_beside_are_mentioned(tmp_path):
    source, averaged, target = vit(0), vit(2), vit(1)
    path = saved(tmp_path / "w.pth", source.state_dict(), model_ema=dict(averaged.state_dict()))
    assert load_weights(target, path) == ["averaged weights (model_ema) are in the checkpoint too and were not used"]
    same(source, target, 224)


def test_safetensors_and_a_runs_folder(tmp_path):
    source, target = vit(0), vit(1)
    save_file(source.state_dict(), tmp_path / "model.safetensors")
    assert load_weights(target, tmp_path) == []
    same(source, target, 224)
    other = vit(2)
    assert load_weights(other, tmp_path / "model.safetensors") == []
    same(source, other, 224)


@pytest.mark.parametrize("family", sorted(SMALL))
def test_an_attached_model_takes_them_too(tmp_path, family):
    source, target = shaken(SMALL[family]()), SMALL[family]()
    cosub.attach(target, drop_rate=0.5)
    weights = source.state_dict() if family == "hiera" else official(source)  # Hiera's files have timm's names
    assert load_weights(target, saved(tmp_path / "w.pth", weights))[2:] == []
    same(source, target)
    same(source, cosub.detach(target))


def test_half_precision_in_the_file_stays_full_in_the_model(tmp_path):
    source, target = vit(0).half(), vit(1)
    load_weights(target, saved(tmp_path / "w.pth", source.state_dict()))
    assert target.head.weight.dtype == torch.float32
    assert torch.equal(target.head.weight, source.head.weight.float())


# --- position embeddings


@pytest.mark.parametrize(("size", "grid"), [((112, 160), (7, 10)), ((384, 384), (24, 24)), ((112, 448), (7, 28))])
@pytest.mark.parametrize("no_embed_class", [True, False])
def test_position_embedding_to_any_grid(tmp_path, size, grid, no_embed_class):
    source = vit(0, no_embed_class=no_embed_class)
    target = vit(1, img_size=size, no_embed_class=no_embed_class)
    said = load_weights(target, saved(tmp_path / "w.pth", official(source)))
    assert said[-1] == f"position embedding resampled from 14x14 to {grid[0]}x{grid[1]}"
    slots = 0 if no_embed_class else 1
    wanted = resample_abs_pos_embed(source.pos_embed, list(grid), [14, 14], num_prefix_tokens=slots)
    assert torch.equal(target.pos_embed, wanted)
    assert wanted.shape[1] == grid[0] * grid[1] + slots
    with torch.no_grad():
        assert target(pictures(size)).isfinite().all()


def test_a_ramp_stays_a_ramp(tmp_path):
    """What is resampled lies along the right axis: a ramp over height, none over width."""
    source, target = vit(0), vit(1, img_size=(112, 448))
    weights = source.state_dict()
    weights["pos_embed"] = torch.arange(14.0).view(1, 14, 1, 1).expand(1, 14, 14, 24).reshape(1, 196, 24).clone()
    load_weights(target, saved(tmp_path / "w.pth", weights))
    found = target.pos_embed.detach().view(7, 28, 24)
    assert (found[1:] > found[:-1] + 1).all()
    torch.testing.assert_close(found, found[:, :1].expand_as(found))


def test_a_grid_that_is_not_square_is_taken_as_it_is_for_the_same_one(tmp_path):
    source, target = vit(0, img_size=(112, 160)), vit(1, img_size=(112, 160))
    assert load_weights(target, saved(tmp_path / "w.pth", source.state_dict())) == []
    same(source, target, (112, 160))
    with pytest.raises(InputError, match=r"of another shape: pos_embed \(1x70x24, here 1x196x24\)"):
        load_weights(vit(1), tmp_path / "w.pth")


def test_the_slot_of_the_class_token_is_added_or_folded_exactly(tmp_path):
    without, with_slot = vit(0), vit(1, no_embed_class=False)
    said = load_weights(with_slot, saved(tmp_path / "a.pth", without.state_dict()))
    assert said == ["position embedding without a slot for the class token: zeros added"]
    same(without, with_slot, 224)
    source, target = vit(2, no_embed_class=False), vit(3)
    said = load_weights(target, saved(tmp_path / "b.pth", source.state_dict()))
    assert said == ["slot of the class token in the position embedding added to the class token"]
    same(source, target, 224)


def test_pits_position_map_is_resampled(tmp_path):
    def pit(size):
        return timm.create_model("pit_ti_224", img_size=size, patch_size=4, stride=4, base_dims=[8, 8, 8])

    source, target = shaken(pit(32)), pit(48)
    said = load_weights(target, saved(tmp_path / "w.pth", source.state_dict()))
    assert said == ["position embedding resampled from 8x8 to 12x12"]
    assert target.pos_embed.shape == (1, 16, 12, 12)
    nearby = nn.functional.interpolate(source.pos_embed, (12, 12), mode="bicubic", antialias=True)
    torch.testing.assert_close(target.pos_embed, nearby)


def test_a_patch_of_another_size_is_reported(tmp_path):
    target = vit(1, img_size=112, patch_size=8)
    said = load_weights(target, saved(tmp_path / "w.pth", vit(0).state_dict()))
    assert said == ["patch_embed.proj.weight resampled from 24x3x16x16 to 24x3x8x8"]


# --- heads


def test_a_head_of_another_size_is_dropped_and_keeps_its_initialisation(tmp_path):
    source, target = vit(0, num_classes=21841), vit(1, num_classes=1000)
    before = target.head.weight.clone(), target.head.bias.clone()
    said = load_weights(target, saved(tmp_path / "w.pth", source.state_dict()))
    assert said == ["head of 21841 classes dropped: this network has 1000"]
    assert torch.equal(target.head.weight, before[0])
    assert torch.equal(target.head.bias, before[1])
    with torch.no_grad():
        a, b = source.forward_features(pictures(224)), target.forward_features(pictures(224))
    torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)


def test_a_network_without_a_head_drops_the_files(tmp_path):
    said = load_weights(vit(1, num_classes=0), saved(tmp_path / "w.pth", vit(0).state_dict()))
    assert said == ["head of 5 classes dropped: this network has none"]


def test_maes_encoder_has_no_head_and_its_norm_moves_behind_the_mean(tmp_path):
    encoder = vit(0, num_classes=0, init_values=None, no_embed_class=False)
    path = saved(tmp_path / "mae.pth", encoder.state_dict())
    target = vit(1, init_values=None, no_embed_class=False)
    assert load_weights(target, path) == ["no head in the weights: that of 5 classes keeps its initialisation"]
    with torch.no_grad():
        a, b = encoder.forward_features(pictures(224)), target.forward_features(pictures(224))
    torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)
    averaging = vit(2, init_values=None, no_embed_class=False, global_pool="avg")
    assert "norm taken as fc_norm: this network averages its tokens first" in load_weights(averaging, path)
    assert torch.equal(averaging.fc_norm.weight, encoder.norm.weight)


def test_both_heads_of_a_distilled_deit(tmp_path):
    def distilled(seed, num_classes):
        torch.manual_seed(seed)
        settings = {**VIT, "num_classes": num_classes}
        return shaken(timm.create_model("deit_tiny_distilled_patch16_224", **settings))

    source, target = distilled(0, 5), distilled(1, 5)
    path = saved(tmp_path / "w.pth", source.state_dict())
    assert load_weights(target, path) == []
    same(source, target, 224)
    other = distilled(1, 7)
    kept = other.head_dist.weight.clone()
    assert load_weights(other, path) == [
        "head of 5 classes dropped: this network has 7",
        "head_dist of 5 classes dropped: this network has 7",
    ]
    assert torch.equal(other.head_dist.weight, kept)


# --- other families


def cait(seed: int, size: int = 32) -> nn.Module:
    torch.manual_seed(seed)
    return shaken(Cait(**{**SIDE, "img_size": size}, depth=2, depth_token_only=1))


def test_caits_file(tmp_path):
    source, target = cait(0), cait(1)
    path = saved(tmp_path / "S24_224.pth", {f"module.{name}": value for name, value in source.state_dict().items()})
    assert load_weights(target, path) == ["module. stripped from the names"]
    same(source, target)
    larger = cait(2, 48)
    assert load_weights(larger, path)[1:] == ["position embedding resampled from 4x4 to 6x6"]
    assert torch.equal(larger.pos_embed, resample_abs_pos_embed(source.pos_embed, [6, 6], num_prefix_tokens=0))


def xcit(seed: int, size: int = 32) -> nn.Module:
    torch.manual_seed(seed)
    return shaken(Xcit(**{**SIDE, "img_size": size}, depth=2, cls_attn_layers=1, eta=1.0))


def test_xcits_file(tmp_path):
    source, target = xcit(0), xcit(1)
    weights = {name.replace("pos_embed.", "pos_embeder."): value for name, value in source.state_dict().items()}
    for kind in ("weight", "bias"):
        parts = [weights.pop(f"cls_attn_blocks.0.attn.{letter}.{kind}") for letter in "qkv"]
        weights[f"cls_attn_blocks.0.attn.qkv.{kind}"] = torch.cat(parts)
    path = saved(tmp_path / "xcit.pth", weights)
    said = load_weights(target, path)
    assert "pos_embeder.token_projection.weight taken as pos_embed.token_projection.weight" in said
    assert any("cls_attn_blocks.*.attn.qkv.weight" in line and "attn.q.weight" in line for line in said)
    same(source, target)
    other = xcit(2, 48)
    assert load_weights(other, path) == said  # its position embedding is a function of the place
    same(source, other, 48)


def swin(seed: int, **changes) -> nn.Module:
    torch.manual_seed(seed)
    settings = {"img_size": 32, "patch_size": 4, "window_size": 4, "embed_dim": 8, "depths": (2, 2)}
    settings |= {"num_heads": (2, 2), "num_classes": 5, "drop_path_rate": 0.0}
    return shaken(timm.models.swin_transformer.SwinTransformer(**{**settings, **changes}))


def test_swins_file_and_its_relative_positions(tmp_path):
    source, target = swin(0), swin(1)
    weights = {name.replace("layers.1.downsample", "layers.0.downsample").replace("head.fc.", "head."): value
               for name, value in source.state_dict().items()}  # fmt: skip
    weights["layers.0.blocks.0.attn.relative_position_index"] = torch.zeros(16, 16, dtype=torch.long)
    path = saved(tmp_path / "swin.pth", weights)
    said = load_weights(target, path)
    assert "layers.*.blocks.*.attn.relative_position_index left out" in said
    assert "head.weight taken as head.fc.weight" in said
    assert not any("resampled" in line for line in said)
    same(source, target)
    wider = swin(2, img_size=64, window_size=8, num_classes=3)
    said = load_weights(wider, path)
    assert "layers.*.blocks.*.attn.relative_position_bias_table resampled from 49x2 to 225x2" in said
    assert "head.fc of 5 classes dropped: this network has 3" in said
    old, new = (
        model.layers[0].blocks[1].attn.relative_position_bias_table.detach().T.unflatten(1, (side, side))
        for model, side in ((source, 7), (wider, 15))
    )
    torch.testing.assert_close(new[:, 7, 7], old[:, 3, 3])  # no distance stays none
    corners = slice(None, None, 14), slice(None, None, 6)
    torch.testing.assert_close(new[:, corners[0], corners[0]], old[:, corners[1], corners[1]])


def beit(seed: int, **changes) -> nn.Module:
    torch.manual_seed(seed)
    settings = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3, "num_classes": 7}
    return shaken(timm.create_model("beit_base_patch16_224", **{**settings, **changes}))


def test_convnexts_file(tmp_path):
    def convnext(seed):
        torch.manual_seed(seed)
        settings = {"depths": (1, 1, 1, 1), "dims": (4, 8, 8, 8), "num_classes": 5}
        return shaken(timm.create_model("convnext_atto", **settings))

    source, target = convnext(0), convnext(1)
    names = {"stem.": "downsample_layers.0.", "conv_dw": "dwconv", "mlp.fc": "pwconv", ".blocks.": ".",
             "head.norm": "norm", "head.fc.": "head."}  # fmt: skip
    weights = {}
    for name, value in source.state_dict().items():
        for ours, theirs in names.items():
            name = name.replace(ours, theirs)
        if ".downsample." in name:
            _, stage, _, rest = name.split(".", 3)
            name = f"downsample_layers.{stage}.{rest}"
        weights[name] = value.flatten(1) if value.shape[2:] == (1, 1) and "pwconv" in name else value
    said = load_weights(target, saved(tmp_path / "convnext.pth", weights))
    assert "stages.*.*.dwconv.weight taken as stages.*.blocks.*.conv_dw.weight" in said
    assert any(line.startswith("and ") and line.endswith(" more") for line in said)
    same(source, target)


def test_a_convolutional_network_whose_file_counts_no_batches(tmp_path):
    def resnet(seed):
        torch.manual_seed(seed)
        return shaken(timm.create_model("resnet18", channels=(4, 4, 8, 8), stem_width=4, num_classes=5))

    source, target = resnet(0), resnet(1)
    weights = {name: value for name, value in source.state_dict().items() if "num_batches" not in name}
    assert load_weights(target, saved(tmp_path / "resnet.pth", weights)) == []
    same(source, target)


# --- timm's names and the Hub


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A Hub of one model: what is asked of it, and its file."""
    asked = []

    def download(repo_id, filename, **_):
        asked.append((repo_id, filename))
        if not (tmp_path / "hub" / filename).exists():
            raise EntryNotFoundError(f"404: no {filename} in {repo_id}")
        return str(tmp_path / "hub" / filename)

    (tmp_path / "hub").mkdir()
    monkeypatch.setattr("timm.models._hub.hf_hub_download", download)
    return tmp_path / "hub" / "model.safetensors", asked


BEIT = "beit_base_patch16_224.in22k_ft_in22k"


@pytest.mark.parametrize("source", [f"timm:{BEIT}", BEIT, f"hf-hub:timm/{BEIT}"])
def test_by_timms_name_or_the_hubs(hub, source):
    path, asked = hub
    network = beit(0)
    save_file(network.state_dict(), path)
    target = beit(1)
    assert load_weights(target, source) == []
    assert asked == [(f"timm/{BEIT}", "model.safetensors")]
    same(network, target)
    larger = beit(2, img_size=48, num_classes=5)
    said = load_weights(larger, source)
    assert said == [
        "blocks.*.attn.relative_position_bias_table resampled from 52x3 to 124x3",
        "head of 7 classes dropped: this network has 5",
    ]
    with torch.no_grad():
        assert larger(pictures(48)).isfinite().all()


def test_maes_name_is_one_of_timms(hub):
    path, asked = hub
    encoder = vit(0, num_classes=0, init_values=None, no_embed_class=False)
    save_file(encoder.state_dict(), path)
    target = vit(1, init_values=None, no_embed_class=False)
    said = load_weights(target, "vit_base_patch16_224.mae")
    assert said == ["no head in the weights: that of 5 classes keeps its initialisation"]
    assert asked == [("timm/vit_base_patch16_224.mae", "model.safetensors")]


def test_nothing_but_safetensors_is_asked_of_the_hub(hub):
    path, asked = hub
    torch.save(Evil(path.parent), path.with_name("pytorch_model.bin"))
    with pytest.raises(
        InputError, match=r"hf-hub:a/b: its model.safetensors cannot be downloaded \(404: .*other files"
    ):
        load_weights(vit(0), "hf-hub:a/b")
    assert asked == [("a/b", "model.safetensors")]


@pytest.mark.parametrize(
    "name",
    [
        "",
        "name",
        "a/b/c",
        "../b",
        "a/..",
        "./b",
        "a/b..c",
        "../b@x",
        "a/b@../../x",
        "http://x/y",
        "file:///etc/x",
        "a/b\n",
    ],
)
def test_what_is_no_name_on_the_hub_is_not_asked_for(hub, name):
    with pytest.raises(InputError, match=r"must be hf-hub:OWNER/NAME"):
        load_weights(vit(0), f"hf-hub:{name}")
    assert hub[1] == []


def test_names_that_timm_does_not_have(hub):
    near = r"\(did you mean deit3_small_patch16_224\.fb_in1k\?\)"
    with pytest.raises(InputError, match=f"timm has no weights of that name {near}"):
        load_weights(vit(0), "timm:deit3_small_patch16_224.fb_in1")
    with pytest.raises(InputError, match=f"nor a name of timm's weights {near}"):
        load_weights(vit(0), "deit3_small_patch16_224.fb_in1")
    with pytest.raises(InputError, match="timm has no weights of that name"):
        load_weights(vit(0), "timm:../deit3")
    elsewhere = "gcvit_tiny.in1k"
    assert is_model_pretrained(elsewhere)
    assert not get_pretrained_cfg(elsewhere).hf_hub_id
    with pytest.raises(InputError, match="are not on the Hub"):
        load_weights(vit(0), elsewhere)
    assert hub[1] == []


# --- what is refused


class Evil:
    """Runs a command where it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self):
        return os.system, (f"touch {self.folder}/touched",)


def refused(model: nn.Module, source: str | Path, message: str) -> None:
    """One line, and the model as it was."""
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(InputError, match=message) as error:
        load_weights(model, source)
    assert str(error.value).startswith("weights: ")
    assert "\n" not in str(error.value)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_code_in_a_pickle_is_not_run(tmp_path):
    for number, content in enumerate((Evil(tmp_path), {"model": {"head.bias": Evil(tmp_path)}}, nn.Linear(1, 1))):
        path = tmp_path / f"{number}.pth"
        torch.save(content, path)
        refused(vit(0), path, r"holds the Python object .*system|holds the Python object torch\.nn")
    torch.save(Evil(tmp_path), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    refused(vit(0), tmp_path / "old.pth", "holds the Python object")
    assert not (tmp_path / "touched").exists()


def test_every_damage_is_one_line(tmp_path):
    weights = {name: value for name, value in official(vit(0, img_size=32)).items() if "blocks" not in name}
    whole = saved(tmp_path / "whole.pth", weights).read_bytes()
    save_file(weights, tmp_path / "whole.safetensors")
    tensors = (tmp_path / "whole.safetensors").read_bytes()
    draw = random.Random(0)
    for suffix, content in ((".pth", whole), (".safetensors", tensors)):
        path = tmp_path / f"damaged{suffix}"
        cases = [b"", b"no weights", b"\x80\x02}.", content[:100], content[:-100], content[len(content) // 2 :]]
        cases += [draw.randbytes(draw.randrange(200)) for _ in range(40)]
        for case in cases:
            path.write_bytes(case)
            refused(vit(0), path, r"cannot be read as weights|holds the Python object|holds no weights by name")


@pytest.mark.parametrize("content", [{}, [], 3, {"a": 1}, {"model": {"x": [1]}}, torch.ones(2), {"model": None}])
def test_files_that_hold_no_weights(tmp_path, content):
    torch.save(content, tmp_path / "w.pth")
    refused(vit(0), tmp_path / "w.pth", r"holds no weights by name; save model\.state_dict\(\)")


def test_places_without_weights(tmp_path):
    refused(vit(0), tmp_path / "nothing.pth", "is neither a file, nor a run's folder, nor a name of timm's weights")
    refused(vit(0), "x" * 300, "is neither a file")
    refused(vit(0), tmp_path, r"is a folder without model\.safetensors; name a finished run or a file")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: vit(0, depth=3), r"VisionTransformer \(unexpected: blocks\.2\.norm1\.weight, .*, and \d+ more\)"),
        (lambda: vit(0, depth=1), r"\(missing: blocks\.1\.norm1\.weight, "),
        (lambda: vit(0, init_values=None), r"\(missing: blocks\.0\.ls1\.gamma, blocks\.0\.ls2\.gamma, "),
        (lambda: vit(0, embed_dim=48), r"of another shape: cls_token \(1x1x48, here 1x1x24\), "),
        (lambda: vit(0, in_chans=1), r"patch_embed\.proj\.weight \(24x1x16x16, here 24x3x16x16\)"),
        (lambda: cait(0), r"unexpected: blocks\.0\.attn\.proj_l\.weight, "),
        (lambda: swin(0), r"missing: .*unexpected: "),
        (lambda: xcit(0), r"missing: .*unexpected: "),
        (
            lambda: nn.Linear(2, 2),
            r"have other names throughout than this VisionTransformer: first weight, bias; here ",
        ),
    ],
    ids=["deeper", "shallower", "no layer scale", "wider", "grey", "cait", "swin", "xcit", "linear"],
)
def test_another_architecture_lists_what_differs(tmp_path, make, message):
    refused(vit(1), saved(tmp_path / "w.pth", make().state_dict()), message)


def test_values_that_are_not_finite(tmp_path):
    weights = vit(0).state_dict()
    weights["blocks.1.norm1.bias"][3] = torch.nan
    refused(vit(1), saved(tmp_path / "w.pth", weights), r"are not finite \(blocks\.1\.norm1\.bias\)")


def test_a_file_for_which_timms_reader_fails(tmp_path):
    path = saved(tmp_path / "w.pth", swin(0, depths=(2, 4)).state_dict())
    refused(swin(1), path, r"unexpected: layers\.1\.blocks\.2")


# --- in a recipe

SHAPE = {key: value for key, value in TINY.items() if key != "proj_drop_rate"}
CPU = World(0, 1, torch.device("cpu"))


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory) -> Path:
    """The network of the tiny recipe, at twice its resolution and with other classes."""
    torch.manual_seed(5)
    path = tmp_path_factory.mktemp("pretrained") / "vit.safetensors"
    model = shaken(timm.create_model("vit_tiny_patch16_224", img_size=16, num_classes=4, **SHAPE))
    save_file(model.state_dict(), path)
    return path


class Heard(Reporter):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, message: str) -> None:
        self.lines.append(message)


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_a_run_begins_with_its_weights(tmp_path, pretrained, ema):
    recipe, heard = tiny(tmp_path / "run", weights=str(pretrained), ema=ema), Heard()
    trainer = Trainer(recipe, open_source(recipe.data), CPU, RunFolder(tmp_path / "run"), heard)
    head = trainer.network.head.weight.clone()
    trainer.prepare()
    assert heard.lines == [
        f"weights: starting from {pretrained}",
        "weights: position embedding resampled from 4x4 to 2x2",
        "weights: head of 4 classes dropped: this network has 10",
    ]
    reference = timm.create_model("vit_tiny_patch16_224", img_size=8, num_classes=10, **SHAPE)
    load_weights(reference, pretrained)
    reference.head.weight.data = head
    reference.head.bias.data.zero_()
    same(reference, trainer.networks.result, 8)
    same(reference, trainer.network, 8)


def test_continued_to_the_bit_after_the_file_has_gone(tmp_path, pretrained, capfd):
    gone = tmp_path / "gone.safetensors"
    gone.write_bytes(pretrained.read_bytes())
    whole = tiny(tmp_path / "whole", weights=str(gone))
    run(whole)
    assert "weights: position embedding resampled from 4x4 to 2x2" in capfd.readouterr().err
    recipe = dataclasses.replace(whole, runtime=dataclasses.replace(whole.runtime, out=str(tmp_path / "run")))

    def stop(trainer):
        if trainer.state.step == 5:
            trainer.stop.note(signal.SIGTERM, None)

    with before_steps(stop), pytest.raises(Stopped):
        run(recipe)
    gone.unlink()
    capfd.readouterr()
    run(recipe)
    assert "weights: " not in capfd.readouterr().err
    ours, theirs = (cosub.load(tmp_path / name).state_dict() for name in ("run", "whole"))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    again = tiny(tmp_path / "again", weights=str(tmp_path / "run"), epochs=2, seed=1)
    trainer = Trainer(again, open_source(again.data), CPU, RunFolder(tmp_path / "again"), Reporter())
    trainer.prepare()
    assert all(torch.equal(value, ours[name]) for name, value in trainer.network.state_dict().items())
    with pytest.raises(InputError, match=r"it differs in weights"):
        run(dataclasses.replace(recipe, weights=""))


def cli(capsys, *words: str) -> str:
    """What wrong words get: one line of an error, status 2."""
    status = main(["train", *words])
    captured = capsys.readouterr()
    assert (status, captured.out) == (2, "")
    assert "Traceback" not in captured.err
    assert "Warning" not in captured.err
    return captured.err.rstrip("\n").splitlines()[-1]


def test_wrong_weights_on_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "damaged.safetensors").write_bytes(b"\x00" * 50)
    (tmp_path / "damaged.pth").write_bytes(b"PK\x03\x04" + b"\x00" * 50)
    torch.save(Evil(tmp_path), tmp_path / "evil.pth")
    saved(tmp_path / "other.pth", vit(0).state_dict())
    there = sorted(tmp_path.iterdir())
    for source, message in {
        "nothing.pth": "weights: nothing.pth: is neither a file",
        "damaged.safetensors": "cannot be read as weights",
        "damaged.pth": "cannot be read as weights",
        "evil.pth": "holds the Python object posix.system",
        "folder": "is a folder without model.safetensors",
        "timm:vit_tiny_patch16_224.augreg_in21": "did you mean vit_tiny_patch16_224.augreg_in21k?",
        "other.pth": "do not fit this VisionTransformer (missing: blocks.2.norm1.weight, ",
    }.items():
        line = cli(capsys, "--weights", source)
        assert line.startswith("cosub: weights: ")
        assert message in line
    assert sorted(tmp_path.iterdir()) == there
