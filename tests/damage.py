"""Damaged and odd image files, made from a real photograph."""

import io
import struct
import zlib
from pathlib import Path

from PIL import Image, features


def encoded(image: Image.Image, format: str, **settings) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **settings)
    return buffer.getvalue()


def cut(content: bytes, share: float) -> bytes:
    return content[: int(len(content) * share)]


def patched(content: bytes, at: int, new: bytes) -> bytes:
    return content[:at] + new + content[at + len(new) :]


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _huge_png() -> bytes:
    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(b"\0")) + _chunk(b"IEND", b"")


def _huge_jpeg(jpeg: bytes) -> bytes:
    frame = jpeg.index(b"\xff\xc0")
    return patched(jpeg, frame + 5, struct.pack(">HH", 60000, 60000))


def _without(jpeg: bytes, marker: bytes) -> bytes:
    """Without the first segment of a kind."""
    start = jpeg.index(marker)
    return jpeg[:start] + jpeg[start + 2 + struct.unpack(">H", jpeg[start + 2 : start + 4])[0] :]


def damaged(jpeg: bytes) -> dict[str, bytes]:
    """Content by file name. The part of the name before the first dash is the kind of damage."""
    with Image.open(io.BytesIO(jpeg)) as image:
        photo = image.convert("RGB")
    png, tiff, bmp = encoded(photo, "PNG"), encoded(photo, "TIFF"), encoded(photo, "BMP")
    ppm, gif = encoded(photo, "PPM"), encoded(photo, "GIF")
    data = png.index(b"IDAT")
    made = {f"cut-{share}.jpg": cut(jpeg, share) for share in (0.001, 0.02, 0.1, 0.3, 0.5, 0.7, 0.9)}
    made |= {f"cutpng-{share}.png": cut(png, share) for share in (0.001, 0.3, 0.9)}
    made |= {f"cuttiff-{share}.tif": cut(tiff, share) for share in (0.3, 0.9)}
    made |= {f"cutbmp-{share}.bmp": cut(bmp, share) for share in (0.0001, 0.5)}
    made |= {"cutppm-0.5.ppm": cut(ppm, 0.5), "cutgif-0.3.png": cut(gif, 0.3)}
    made |= {"empty-.jpg": b"", "empty-.png": b""}
    made |= {"zeros-all.jpg": bytes(len(jpeg)), "zeros-start.jpg": patched(jpeg, 0, bytes(64))}
    made |= {
        "text-html.jpg": b"<!DOCTYPE html><html><head><title>404 Not Found</title></head></html>",
        "text-json.png": b'{"error": "rate limit exceeded"}',
        "text-pointer.jpg": b"version https://git-lfs.example/spec/v1\noid sha256:00\nsize 12345\n",
        "text-word.webp": b"hello",
    }
    made |= {
        "header-start.jpg": patched(jpeg, 0, b"\x00"),
        "header-frame.jpg": jpeg.replace(b"\xff\xc0", b"\xff\xbf", 1),
    }
    made |= {
        "header-huffman.jpg": patched(jpeg, jpeg.index(b"\xff\xc4") + 5, b"\xff" * 16),
        "header-noquantiser.jpg": _without(jpeg, b"\xff\xdb"),
    }
    made |= {"crc-header.png": patched(png, 29, bytes(4)), "deflate-.png": patched(png, data + 6, b"\xff" * 40)}
    made |= {"bomb-.png": _huge_png(), "bomb-.jpg": _huge_jpeg(jpeg)}
    if features.check("webp"):
        webp = encoded(photo, "WEBP")
        made |= {f"cutwebp-{share}.webp": cut(webp, share) for share in (0.3, 0.9)}
    return made


def odd(jpeg: bytes) -> dict[str, tuple[bytes, str]]:
    """Content by file name, and a word of what is said of it. All can be read."""
    with Image.open(io.BytesIO(jpeg)) as image:
        photo = image.convert("RGB").resize((48, 40))
    grey = photo.convert("L")
    deep = Image.frombytes("I;16", grey.size, b"".join(bytes((value, value)) for value in grey.tobytes()))
    clear = photo.convert("RGBA")
    turned, broken = Image.Exif(), b"Exif\0\0II*\0\xff\xff\xff\xffnothing of use"
    turned[0x0112] = 6
    frames = [photo, photo.rotate(90)]
    return {
        "cmyk.jpg": (encoded(photo.convert("CMYK"), "JPEG"), "CMYK"),
        "deep.png": (encoded(deep, "PNG"), "16-bit"),
        "palette.png": (encoded(photo.convert("P"), "PNG"), "palette"),
        "alpha.png": (encoded(clear, "PNG"), "alpha"),
        "moving.png": (encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]), "animated: 2 frames"),
        "really-a.png": (encoded(photo, "JPEG"), "wrong extension: .png of a JPEG file"),
        "turned.jpg": (encoded(photo, "JPEG", exif=turned), "orientation 6"),
        "exif.jpg": (encoded(photo, "JPEG", exif=broken), "EXIF cannot be parsed"),
    }


def write(folder: Path, contents: dict[str, bytes]) -> list[Path]:
    """Files of these contents, and links that lead nowhere."""
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    (folder / "link-nowhere.jpg").symlink_to(folder / "gone.jpg")
    (folder / "link-loop.jpg").symlink_to(folder / "link-loop.jpg")
    return [*(folder / name for name in contents), folder / "link-nowhere.jpg", folder / "link-loop.jpg"]
