"""How an exported network's user opens an image as the run did: words for the card."""

from cosub.data.pixels import GROUND, LONGEST, rule_of
from cosub.recipes.data import DataConfig

_PLAINLY = 'Image.open("image.png").convert("RGB")'

_OPENED = """import numpy as np
from PIL import Image


def opened(name):
    image = Image.open(name)
    deep = image.mode in ("I", "F") or image.mode.startswith("I;16"){turn}
    width, height = image.size
    most = {longest} * min(width, height)
    left, top = max(0, (width - most) // 2), max(0, (height - most) // 2)
    image = image.crop((left, top, left + min(width, most), top + min(height, most)))
    if deep:  # {low:g} is black, {high:g} is white
        values = (np.asarray(image).astype(np.float64) - {low!r}) * (255 / {span!r})
        image = Image.fromarray(values.clip(0, 255).round().astype(np.uint8))
    elif image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "{ground}"), image)
    return image.convert("RGB")


"""
_TURN = """
    image.load()
    turn = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}.get(image.getexif().get(274))  # its EXIF's orientation
    if turn is not None:
        image = image.transpose(turn)"""


def with_opening(usage: str, data: DataConfig) -> str:
    """A card's words with images opened as by a run on these data; the same words where Pillow alone does it."""
    rule = rule_of(data)
    if rule is None:
        return usage
    low, high = rule.range if isinstance(rule.range, tuple) else (0.0, 65535.0)
    turn = _TURN if rule.orientation else ""
    opened = _OPENED.format(turn=turn, longest=LONGEST, low=low, high=high, span=high - low, ground=GROUND)
    return opened + usage.replace(_PLAINLY, 'opened("image.png")')
