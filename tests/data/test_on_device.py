"""Images on the device: drawn by a counter, augmented in batches as timm's transforms do one by one."""

import dataclasses
import itertools
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter, ImageOps
from scipy import stats
from tiny import run, run_and_kill, tiny, weights
from torchvision.transforms import functional

from cosub.data import on_device
from cosub.data.batch_augment import DRAWS, augmented, blurred, crop_and_flip, grey, jitter, three_augment
from cosub.data.counter import uniform
from cosub.data.loading import Slice, StepSampler, permutation
from cosub.data.on_device import OnDevice
from cosub.data.sources import open_source
from cosub.errors import InputError
from cosub.recipes.augmentation import Augment
from cosub.recipes.data import Digits, Folder

SIMPLE = Augment(crop="simple", policy="", jitter=0.0)


def photographs(number=64, side=32):
    """Smooth in parts and rough in others, as bytes."""
    generator = torch.Generator().manual_seed(0)
    rough = torch.randint(0, 256, (number, 3, side, side), generator=generator).float()
    smooth = torch.nn.functional.interpolate(rough[:, :, :4, :4], size=(side, side), mode="bicubic")
    return (0.7 * smooth + 0.3 * rough).clamp(0, 255).byte()


def pillow(image):
    return Image.fromarray(image.permute(1, 2, 0).numpy())


def bytes_of(image):
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def apart(a, b):
    return (a.int() - b.int()).abs()


# --- draws


def test_the_counter_is_split_mix_64():
    def reference(counter):
        mask = 2**64 - 1
        value = (counter * 0x9E3779B97F4A7C15) & mask
        value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & mask
        value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & mask
        return (value ^ (value >> 31)) >> 40

    found = (uniform(0, torch.arange(5), 3) * 2**24).long().flatten().tolist()
    assert found == [reference(counter + 1) for counter in range(15)]
    assert reference(1) == 0xE220A8397B1DCDAF >> 40  # the published first output of seed 0


def test_a_draw_is_a_function_of_its_seed_and_position():
    whole = uniform(2**62 + 5, torch.arange(100), DRAWS)
    assert torch.equal(whole[37:41], uniform(2**62 + 5, torch.arange(37, 41), DRAWS))
    assert not torch.equal(whole, uniform(2**62 + 6, torch.arange(100), DRAWS))


def test_draws_are_uniform_and_independent():
    draws = uniform(1, torch.arange(20_000), DRAWS)
    assert draws.min() >= 0
    assert draws.max() < 1
    for column in draws.T:
        assert stats.kstest(column.numpy(), "uniform").pvalue > 1e-4
    for a, b in itertools.combinations(draws.T, 2):
        assert abs(np.corrcoef(a, b)[0, 1]) < 0.04


# --- operations


@pytest.mark.parametrize("crop", ["simple", "center"])
@pytest.mark.parametrize("side", [8, 32])
def test_crop_and_flip_are_torchvisions(crop, side):
    images, draws = photographs(side=side), uniform(3, torch.arange(64), DRAWS)
    padding = {"simple": min(4, side // 8), "center": 0}[crop]
    found = crop_and_flip(images, draws, Augment(crop=crop, flip=0.4))
    for image, draw, result in zip(images, draws, found, strict=True):
        top, left = (int(value * (2 * padding + 1)) for value in draw[:2])
        padded = functional.pad(image, [padding] * 4, padding_mode="reflect")
        expected = functional.crop(padded, top, left, side, side)
        assert torch.equal(result, functional.hflip(expected) if draw[2] < 0.4 else expected)


def test_all_shifts_and_both_sides_are_as_likely():
    draws = uniform(4, torch.arange(8100), DRAWS)
    ramp = torch.arange(32, dtype=torch.uint8)
    images = torch.stack([ramp[:, None].expand(32, 32), ramp[None].expand(32, 32), ramp[None].expand(32, 32)])
    found = crop_and_flip(images.expand(8100, 3, 32, 32), draws, Augment(crop="simple", flip=0.5))
    rows = found[:, 0, 16, 16].int() - 16
    flipped = found[:, 1, 16, 16] > found[:, 1, 16, 17]
    assert sorted(set(rows.tolist())) == list(range(-4, 5))
    assert stats.chisquare(list(Counter(rows.tolist()).values())).pvalue > 1e-4
    assert stats.binomtest(int(flipped.sum()), 8100).pvalue > 1e-4


def test_grey_and_solarised_are_pillows_to_the_byte():
    images = photographs()
    kind = torch.full((64,), 0.1)
    solarised = three_augment(images, kind, kind)
    desaturated = three_augment(images, kind + 0.4, kind)
    for image, solar, plain in zip(images, solarised, desaturated, strict=True):
        assert torch.equal(solar, bytes_of(ImageOps.solarize(pillow(image), 128)))
        assert torch.equal(plain, bytes_of(ImageOps.grayscale(pillow(image)).convert("RGB")))


def test_blur_is_pillows():
    images, radii = photographs(), torch.linspace(0.1, 2.0, 64)
    for image, radius, result in zip(images, radii, blurred(images, radii), strict=True):
        difference = apart(result, bytes_of(pillow(image).filter(ImageFilter.GaussianBlur(float(radius)))))
        assert difference.max() <= 1  # both round after each of six box blurs, Pillow in whole numbers
        assert difference.float().mean() < 0.2


def test_three_augment_takes_one_third_each():
    images = torch.full((3000, 3, 8, 8), 200, dtype=torch.uint8)
    images[:, 0] = 100
    draws = uniform(5, torch.arange(3000), 2)
    found = three_augment(images, draws[:, 0], draws[:, 1])[:, :, 4, 4].tolist()
    counts = Counter(map(tuple, found))
    assert counts.keys() == {(100, 55, 55), tuple(grey(images)[0, :, 0, 0].tolist()), (100, 200, 200)}
    assert stats.chisquare(list(counts.values())).pvalue > 1e-4


def test_jitter_is_torchvisions_on_pillow_images():
    images, draws = photographs(), uniform(6, torch.arange(64), DRAWS)
    found = jitter(images, draws, 0.3)
    operations = [functional.adjust_brightness, functional.adjust_contrast, functional.adjust_saturation]
    orders = list(itertools.permutations(range(3)))
    for image, draw, result in zip(images, draws, found, strict=True):
        expected = pillow(image)
        for kind in orders[int(draw[5] * 6)]:
            expected = operations[kind](expected, 0.7 + 0.6 * float(draw[6 + kind]))
        difference = apart(result, bytes_of(expected))
        assert difference.max() <= 1  # a product that is nearly whole is rounded otherwise
        assert difference.float().mean() < 0.01
    assert {tuple(orders[int(draw[5] * 6)]) for draw in draws} == set(orders)


# --- a run


def recipe(out, **changes):
    return tiny(out, data=Digits(on_device=True), **changes)


@pytest.mark.slow
def test_killed_and_continued_to_the_bit(tmp_path):
    run(recipe(tmp_path / "whole"))
    run_and_kill(recipe(tmp_path / "killed", checkpoint_every=4), 9)
    run(recipe(tmp_path / "killed", checkpoint_every=4))
    whole, killed = weights(tmp_path / "whole"), weights(tmp_path / "killed")
    assert all(torch.equal(whole[name], killed[name]) for name in whole)


def test_micro_steps_see_the_same_images():
    source = open_source(Digits())
    images = OnDevice(source.train, 8, "bicubic", SIMPLE, seed=0)

    def batches(micro_steps):
        sampler = StepSampler(len(source.train.labels), 64, 16, 0, Slice(0, 1, micro_steps, 4), range(20, 24))
        return list(images.batches(sampler, 0, torch.device("cpu")))

    whole, parts = batches(1), batches(4)
    assert torch.equal(torch.cat([b.images for b in whole]), torch.cat([b.images for b in parts]))
    assert torch.equal(torch.cat([b.labels for b in whole]), torch.cat([b.labels for b in parts]))
    assert len({b.images.numpy().tobytes() for b in whole}) == 4


def test_without_augmentation_the_images_are_the_sources():
    source = open_source(Digits())
    images = OnDevice(source.train, 8, "bicubic", dataclasses.replace(SIMPLE, crop="center", flip=0.0), seed=0)
    sampler = StepSampler(len(source.train.labels), 64, 16, 0, Slice(0, 1, 1, 4), range(1))
    (batch,) = images.batches(sampler, 0, torch.device("cpu"))
    order = permutation(len(source.train.labels), 0, 0)[:64].tolist()
    assert torch.equal(batch.images, torch.stack([bytes_of(source.train.image(index)) for index in order]))
    assert batch.labels.tolist() == [source.train.labels[index] for index in order]


def test_what_is_not_done_on_the_device_is_refused_with_the_recipe(tmp_path):
    with pytest.raises(InputError, match=r"augment.crop: .*simple or center"):
        recipe(tmp_path, augment=Augment())
    with pytest.raises(InputError, match=r"augment.policy: .*3a or an empty one"):
        recipe(tmp_path, augment=Augment(crop="simple", policy="rand-m9-mstd0.5-inc1"))


def test_images_that_do_not_fit_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(on_device, "_free", lambda device: 1000)
    with pytest.raises(InputError, match=r"data.on_device: 1,437 images of 8 pixels take 0.0 GB"):
        run(recipe(tmp_path / "run"))


@pytest.mark.parametrize(
    ("size", "content", "message"), [((40, 30), None, "is not square"), ((8, 8), b"no", "cannot be read")]
)
def test_images_that_are_not_square_or_damaged_are_refused(tmp_path, size, content, message):
    for index in range(8):
        place = tmp_path / "images" / "train" / ("cat", "dog")[index % 2] / f"{index}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size).save(place)
        if content:
            place.write_bytes(content)
    source = open_source(Folder(path=str(tmp_path / "images")))
    images = OnDevice(source.train, 8, "bicubic", SIMPLE, seed=0)
    with pytest.raises(InputError, match=message):
        images.batches(None, 0, torch.device("cpu"))


def test_everything_at_once_stays_in_shape():
    images, draws = photographs(), uniform(7, torch.arange(64), DRAWS)
    found = augmented(images, draws, Augment(crop="simple", policy="3a", jitter=0.3))
    assert (found.shape, found.dtype) == (images.shape, torch.uint8)
    assert not torch.equal(found, images)
