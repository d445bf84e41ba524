"""Pixels as files have them: 16 bits, alpha, cameras held upright, images much longer than wide."""

import dataclasses
import json
import struct
import sys
import zlib

import numpy as np
import pytest
from photographs import oddly_tagged, photographs, recipe, turned, write
from PIL import Image, ImageFile, ImageOps
from safetensors.torch import load_file
from tiny import run

from cosub.api.configuring import configure
from cosub.cli import main
from cosub.data.decoding import readable
from cosub.data.pixel_range import depth_cautions, resolve_range
from cosub.data.pixels import Rule, decoded, is_deep_colour, prepared, rule_of
from cosub.data.sources import BadImage, all_images, open_source
from cosub.data.transforms import evaluation
from cosub.errors import InputError
from cosub.recipes import get, recipes
from cosub.recipes.data import Folder, Hub, Shards
from cosub.recipes.files import as_begun, dump, identity, parse, read

RULE = Rule()


def pixels_of(path, rule: Rule | None = RULE) -> np.ndarray:
    return np.asarray(decoded(path, rule))


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bit_photographs_give_the_same_network_to_the_bit(tmp_path, suffix):
    images = photographs()
    made = {}
    for name, values in {"8": images, "16": images.astype(np.uint16) * 257}.items():
        summary = run(recipe(write(tmp_path / name / "data", values, suffix), tmp_path / name / "run"))
        made[name] = load_file(tmp_path / name / "run" / "model.safetensors"), summary["top1"]
    (eight, top1), (sixteen, other) = made.values()
    assert top1 == other
    assert eight.keys() == sixteen.keys()
    assert all((eight[key] == sixteen[key]).all() for key in eight)


def test_all_commands_read_16_bits_as_8(tmp_path, capsys):
    images = photographs()
    deep = write(tmp_path / "16", images.astype(np.uint16) * 257)
    plain = write(tmp_path / "8", images)
    run(recipe(plain, tmp_path / "run"))
    results = []
    for root in (plain, deep):
        assert main(["predict", str(tmp_path / "run"), str(root / "val" / "a"), "--json"]) == 0
        predicted = json.loads(capsys.readouterr().out)["predictions"]
        assert main(["evaluate", str(tmp_path / "run"), "--set", f"val={root / 'val'}", "--json"]) == 0
        scored = json.loads(capsys.readouterr().out)["sets"][0]
        results.append(([item["classes"] for item in predicted], scored["top1"]))
    assert results[0] == results[1]
    flat = all_images(Folder(path=str(deep / "train")), ("a", "b"))
    assert flat is not None
    assert (np.asarray(flat.image(0)) == pixels_of(deep / "train" / "a" / "00.png")).all()


def deep_colour(path, values: np.ndarray) -> None:
    """A PNG of three channels of 16 bits, which Pillow reads and does not write."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, 2, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    path.parent.mkdir(parents=True, exist_ok=True)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts))


def test_of_16_bit_colour_the_upper_8_bits_are_read(tmp_path):
    """257 x is x, and no value is more than one level from what grey would be."""
    ramp = np.linspace(0, 65535, 4096).astype(int).reshape(64, 64)
    values = np.stack([ramp, 65535 - ramp, np.full((64, 64), 257 * 100)], -1)
    deep_colour(tmp_path / "x.png", values)
    seen = pixels_of(tmp_path / "x.png").astype(int)
    assert (seen[..., 2] == 100).all()
    assert np.abs(seen - values / 257).max() < 1
    assert (seen == values >> 8).all()


def test_numbers_of_strides_and_offsets_are_no_depth(tmp_path):
    """Rows of a BMP image 720 pixels wide have 2,160 bytes; one of 16 bits per pixel has five or six per channel."""
    for width in (54, 540, 720):
        Image.new("RGB", (width, 4)).save(tmp_path / f"{width}.bmp")
        Image.new("RGB", (width, 4)).save(tmp_path / f"{width}.tif", compression="tiff_lzw")
    Image.new("RGB", (4, 4)).save(tmp_path / "1600.tif", compression="tiff_lzw", tiffinfo={270: "x" * 1584})
    content = bytearray((tmp_path / "54.bmp").read_bytes())
    content[28:30] = (16).to_bytes(2, "little")
    (tmp_path / "high.bmp").write_bytes(content)
    for path in sorted(tmp_path.iterdir()):
        with Image.open(path) as image:
            assert not is_deep_colour(image), (path, image.tile)
    deep_colour(tmp_path / "deep.png", np.full((4, 4, 3), 4000))
    with Image.open(tmp_path / "deep.png") as image:
        assert is_deep_colour(image)


def test_a_range_is_not_for_16_bit_colour(tmp_path):
    for name in ("train/a", "train/b", "val/a", "val/b"):
        for index in range(2):
            deep_colour(tmp_path / name / f"{index}.png", np.full((4, 4, 3), 4000 + index))
    config = Folder(path=str(tmp_path))
    (line,) = depth_cautions(config, open_source(config).train)
    assert "less than an eighth" in line
    assert "--data.range" not in line
    with pytest.raises(InputError, match="'auto': is for grey images"):
        resolve_range(dataclasses.replace(config, range="auto"))
    ranged = dataclasses.replace(config, range=(0.0, 4095.0))
    with pytest.raises(InputError, match="16-bit colour, of which Pillow reads the upper 8 bits; leave it out"):
        depth_cautions(ranged, open_source(ranged).train)


@pytest.mark.parametrize("mode", ["I;16", "I;16B"])
def test_the_scale_is_that_of_the_type(tmp_path, mode):
    values = np.array([[0, 128, 129, 257 * 100, 65535]], "<u2" if mode == "I;16" else ">u2")
    Image.frombytes(mode, (5, 1), values.tobytes()).save(tmp_path / "x.tif")
    assert pixels_of(tmp_path / "x.tif")[0, :, 0].tolist() == [0, 0, 1, 100, 255]
    assert pixels_of(tmp_path / "x.tif", None)[0, :, 0].tolist()[3:] == [255, 255]  # as before


def test_a_range_is_black_to_white_and_what_is_outside_is_clipped(tmp_path):
    Image.fromarray(np.array([[0, 1000, 1500, 2000, 65535]], np.uint16)).save(tmp_path / "x.png")
    assert pixels_of(tmp_path / "x.png", Rule((1000.0, 2000.0)))[0, :, 0].tolist() == [0, 0, 128, 255, 255]
    Image.fromarray(np.array([[0.0, 0.25, 1.0, np.nan]], np.float32)).save(tmp_path / "x.tif")
    assert pixels_of(tmp_path / "x.tif", Rule((0.0, 1.0)))[0, :, 0].tolist() == [0, 64, 255, 0]
    with pytest.raises(BadImage, match=r"take --data.range"):
        decoded(tmp_path / "x.tif", RULE)
    Image.fromarray(np.full((2, 2), 7, np.uint8)).save(tmp_path / "8.png")
    assert pixels_of(tmp_path / "8.png", Rule((1000.0, 2000.0)))[0, 0, 0] == 7


def test_a_set_that_uses_little_of_its_type_is_reported(tmp_path):
    xrays = write(tmp_path, photographs().astype(np.uint16) * 16)  # 12 bits
    config = Folder(path=str(xrays))
    (line,) = depth_cautions(config, open_source(config).train)
    assert "12 training images use the values 0 to 4080 of 0 to 65535" in line
    assert "--data.range auto" in line
    chosen = resolve_range(dataclasses.replace(config, range="auto"))
    assert chosen.range == (0.0, 4080.0)  # pyright: ignore[reportAttributeAccessIssue]
    source = open_source(chosen)
    assert depth_cautions(chosen, source.train) == []
    image = np.asarray(source.train.image(0))[:, :, 0]
    assert (image == photographs()[int(source.train.name(0)[-6:-4])]).all()


def test_a_set_that_uses_its_type_and_one_of_8_bits_are_not_reported(tmp_path):
    deep = Folder(path=str(write(tmp_path / "deep", photographs().astype(np.uint16) * 257)))
    config = Folder(path=str(write(tmp_path / "plain", photographs())))
    assert depth_cautions(deep, open_source(deep).train) == []
    assert depth_cautions(config, open_source(config).train) == []
    ranged = dataclasses.replace(config, range=(0.0, 4095.0))
    assert "none of the training images" in depth_cautions(ranged, open_source(ranged).train)[0]
    with pytest.raises(InputError, match=r"data.range: 'auto': no training image"):
        resolve_range(dataclasses.replace(config, range="auto"))


def test_floats_need_a_range(tmp_path):
    config = Folder(path=str(write(tmp_path, photographs().astype(np.float32) / 255, ".tif")))
    with pytest.raises(InputError, match=r"here 0 to 1, have no usual range; take --data.range auto"):
        depth_cautions(config, open_source(config).train)


def test_auto_is_kept_as_numbers_and_the_same_command_goes_on(tmp_path):
    data, out = write(tmp_path / "data", photographs().astype(np.uint16) * 16), tmp_path / "run"
    asked = recipe(data, out, range="auto")
    run(asked)
    kept = read(out / "recipe.json")
    assert kept.data.range == (0.0, 4080.0)  # pyright: ignore[reportAttributeAccessIssue]
    assert run(asked)["state"] == "done"
    with pytest.raises(InputError, match=r"it differs in data.range"):
        run(recipe(data, out, range=(0.0, 100.0)))


def test_the_flag_takes_two_numbers_or_a_word():
    assert configure(["digits", "--source", "folder", "--data.range", "0", "4095"]).data.range == (0, 4095)  # pyright: ignore[reportAttributeAccessIssue]
    assert configure(["digits", "--source", "hub", "--data.range", "auto"]).data.range == "auto"  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(InputError, match=r"data.range: .*the lower one first"):
        configure(["digits", "--source", "folder", "--data.range", "9", "3"])
    for words in (["5"], ["low", "high"]):
        told = ", ".join(map(repr, words))
        with pytest.raises(InputError, match=rf"^--data.range: {told}: must be type,auto or FLOAT FLOAT$"):
            configure(["digits", "--source", "folder", "--data.range", *words])


# --- which way up


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_images_are_turned_where_the_recipe_says_so(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    upright = turned(path)
    assert upright.shape == (24, 16, 3)
    assert (pixels_of(path, Rule(orientation=True)) == upright).all()
    assert pixels_of(path).shape == (16, 24, 3)


def test_recipes_for_own_photographs_turn_them_whatever_their_source_and_the_papers_do_not(tmp_path):
    (tmp_path / "weights.pth").touch()  # which is not read here
    assert {name for name in recipes() if getattr(get(name).data, "orientation", False)} == {"finetune", "scratch"}
    for source in ("hub", "shards", "table"):
        words = [
            "finetune",
            "--source",
            source,
            "--model",
            "vit_tiny_patch16_224",
            "--weights",
            str(tmp_path / "weights.pth"),
        ]
        assert configure(words).data.orientation  # pyright: ignore[reportAttributeAccessIssue]


def test_predict_turns_as_the_run_does(tmp_path, capsys):
    data = write(tmp_path / "data", photographs())
    turned(tmp_path / "x.png", 8)
    for orientation in (False, True):
        out = tmp_path / str(orientation)
        run(recipe(data, out, orientation=orientation))
        assert main(["predict", str(out), str(tmp_path / "x.png"), "--json"]) == 0
    first, second = (
        json.loads(line)["predictions"] for line in capsys.readouterr().out.splitlines() if line[:1] == "{"
    )
    assert first != second


@pytest.mark.parametrize("suffix", [".png", ".tif"])  # Pillow turns a TIFF when it is loaded
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "I;16", "1"])
def test_images_of_any_mode_are_turned_as_pillow_turns_them(tmp_path, mode, suffix):
    image = Image.new(mode, (7, 4))
    values = np.random.default_rng(0).integers(0, 256, len(image.tobytes()), np.uint8)
    image.frombytes(values.tobytes())
    if mode == "P":
        image.putpalette(list(range(256)) * 3)
        image.info["transparency"] = int(values[0])
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        image.save(tmp_path / f"x{suffix}", exif=exif, compression="tiff_lzw")
        with Image.open(tmp_path / f"x{suffix}") as opened:
            expected = prepared(ImageOps.exif_transpose(opened), RULE).convert("RGB")
        assert expected.size == ((4, 7) if orientation > 4 else (7, 4))
        assert (pixels_of(tmp_path / f"x{suffix}", Rule(orientation=True)) == np.asarray(expected)).all()


@pytest.mark.parametrize("tag", ["resolution", "unit", "version"])
def test_images_are_turned_whatever_else_their_exif_holds(tmp_path, tag):
    upright = turned(tmp_path / "x.jpg")
    oddly_tagged(tmp_path / "odd.jpg", tag)
    assert (pixels_of(tmp_path / "odd.jpg", Rule(orientation=True)) == upright).all()


def test_exif_that_does_not_parse_turns_nothing(tmp_path):
    image = Image.fromarray(np.zeros((4, 8, 3), np.uint8))
    image.save(tmp_path / "x.jpg", exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff")
    assert pixels_of(tmp_path / "x.jpg", Rule(orientation=True)).shape == (4, 8, 3)


# --- alpha and palettes


def test_white_shows_through_alpha_and_transparent_colours(tmp_path):
    Image.fromarray(np.array([[[9, 8, 7, 0], [9, 8, 7, 255], [0, 0, 0, 128]]], np.uint8)).save(tmp_path / "rgba.png")
    assert pixels_of(tmp_path / "rgba.png")[0].tolist() == [[255] * 3, [9, 8, 7], [127] * 3]
    Image.fromarray(np.array([[[9, 0], [9, 255]]], np.uint8), "LA").save(tmp_path / "la.png")
    assert pixels_of(tmp_path / "la.png")[0].tolist() == [[255] * 3, [9] * 3]
    palette = Image.new("P", (2, 1))
    palette.putpalette([1, 2, 3, 4, 5, 6])
    palette.putpixel((1, 0), 1)
    palette.save(tmp_path / "p.png", transparency=0)
    assert pixels_of(tmp_path / "p.png")[0].tolist() == [[255] * 3, [4, 5, 6]]
    palette.save(tmp_path / "opaque.png")
    assert pixels_of(tmp_path / "opaque.png")[0].tolist() == [[1, 2, 3], [4, 5, 6]]
    Image.fromarray(np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8)).save(tmp_path / "key.png", transparency=(1, 2, 3))
    assert pixels_of(tmp_path / "key.png")[0].tolist() == [[255] * 3, [4, 5, 6]]


# --- formats that a plugin reads


def test_a_plugin_is_there_wherever_an_image_is_opened(tmp_path, monkeypatch):
    """In a worker, and for a file that predict is given, no folder was listed before."""
    (tmp_path / "y.heic").write_bytes(b"ftypheic")

    class Opened(ImageFile.ImageFile):
        format = "HEIF"

        def _open(self) -> None:
            self._size, self._mode = (2, 2), "RGB"
            self.tile = [ImageFile._Tile("raw", (0, 0, 2, 2), 0, "RGB")]

    class Plugin:
        @staticmethod
        def register_heif_opener() -> None:
            monkeypatch.setitem(Image.EXTENSION, ".heic", "HEIF")
            monkeypatch.setitem(Image.OPEN, "HEIF", (Opened, lambda prefix: prefix[:8] == b"ftypheic"))
            monkeypatch.setattr(Image, "ID", [*Image.ID, "HEIF"])

    with pytest.raises(BadImage, match="pip install pillow-heif reads it"):
        decoded(tmp_path / "y.heic", RULE)
    (tmp_path / "y.heic").write_bytes(b"ftypheic" + bytes(range(12)))
    readable.cache_clear()
    monkeypatch.setitem(sys.modules, "pillow_heif", Plugin)
    assert pixels_of(tmp_path / "y.heic").shape == (2, 2, 3)
    readable.cache_clear()


# --- much longer than wide


@pytest.mark.parametrize("size", [(1, 20000), (20000, 1), (3, 49)])
def test_the_middle_of_a_long_image_is_read(tmp_path, size):
    values = np.arange(size[0] * size[1]).reshape(size[1], size[0]) % 251
    Image.fromarray(values.astype(np.uint8)).save(tmp_path / "x.png")
    image = decoded(tmp_path / "x.png", RULE)
    assert max(image.size) == 16 * min(image.size)
    (left, top) = ((size[0] - image.width) // 2, (size[1] - image.height) // 2)
    assert (np.asarray(image)[:, :, 0] == values[top : top + image.height, left : left + image.width]).all()
    assert evaluation(224)(image).shape == (3, 224, 224)


def test_up_to_sixteen_times_as_long_as_wide_nothing_is_cut(tmp_path):
    Image.new("RGB", (3, 48)).save(tmp_path / "x.png")
    assert decoded(tmp_path / "x.png", RULE).size == (3, 48)


# --- runs from before


@pytest.mark.parametrize("data", [Folder(path="x"), Hub(path="x"), Shards(path="x")])
def test_a_recipe_from_before_reads_pixels_as_then(data):
    values = json.loads(dump(dataclasses.replace(get("finetune"), data=data)))
    del values["format"]
    for name in ("pixels", "range", "orientation"):
        del values["data"][name]
    before = parse(values, "here")
    assert rule_of(before.data) is None
    begun = as_begun(dataclasses.replace(get("finetune"), data=data), before)
    assert begun.data == before.data
    assert identity(begun) == identity(before)


def test_a_run_of_scratch_goes_on_turning_as_it_began(folder, tmp_path, capsys):
    words = ["scratch", "--data.path", str(folder), "--out", str(tmp_path / "run")]
    begun = configure([*words, "--data.orientation", "False"])
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "recipe.json").write_text(dump(begun))
    assert identity(configure(words)) == identity(begun)
    assert configure([*words, "--data.orientation", "True"]).data.orientation  # what is given is refused later
    assert configure([*words[:-1], str(tmp_path / "new")]).data.orientation


def test_a_run_from_before_goes_on_by_the_same_command(tmp_path):
    data, out = write(tmp_path / "data", photographs().astype(np.uint16) * 257), tmp_path / "run"
    run(recipe(data, out, pixels=1))
    values = json.loads((out / "recipe.json").read_text())
    for name in ("pixels", "range", "orientation"):
        del values["data"][name]
    (out / "recipe.json").write_text(json.dumps(values))
    (out / "summary.json").unlink()
    assert run(recipe(data, out))["state"] == "done"
    for flag in ({"range": (0.0, 9.0)}, {"range": "auto"}, {"orientation": True}):
        with pytest.raises(InputError, match=rf"data.{next(iter(flag))}: .*start from a recipe"):
            run(recipe(data, out, **flag))


@pytest.mark.parametrize("begun", ["before", "False", "True"])
def test_fine_tuning_goes_on_turning_as_it_began_and_refuses_a_flag_that_says_otherwise(begun, tmp_path, capsys):
    data, out = write(tmp_path / "data", photographs()), tmp_path / "tuned"
    run(recipe(data, tmp_path / "start"))
    words = ["train", "finetune", "--weights", str(tmp_path / "start"), "--data.path", str(data), "--out", str(out)]
    words += ["--epochs", "1", "--batch-size", "4", "--group-size", "2", "--optimizer.warmup-epochs", "0"]
    assert main([*words, "--data.orientation", "True" if begun == "True" else "False"]) == 0
    if begun == "before":
        values = json.loads((out / "recipe.json").read_text())
        for name in ("pixels", "range", "orientation", "reading"):
            del values["data"][name]
        (out / "recipe.json").write_text(json.dumps(values))
    assert main(words) == 0
    other = "False" if begun == "True" else "True"
    capsys.readouterr()
    assert main([*words, "--data.orientation", other]) == 2
    assert capsys.readouterr().err.splitlines()[-1].count("data.orientation") == 1
