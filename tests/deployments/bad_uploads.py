"""Photos that are damaged, or only look like photos, made here; by name."""

import io
import struct
import zlib

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo


def _scene(mode: str = "RGB") -> Image.Image:
    y, x = np.mgrid[:96, :128]
    rgb = np.stack([x * 2, y * 2, (x * y) % 251], -1).astype(np.uint8)
    return Image.fromarray(rgb).convert(mode)


def _saved(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def _png(width: int, height: int, *more: tuple[bytes, bytes]) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), *more, (b"IDAT", b""), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


def _truncated(data: bytes, name: str) -> dict[str, bytes]:
    return {f"{name} cut at {n}/16": data[: len(data) * n // 16] for n in (1, 4, 8, 12, 15)}


def _flipped(data: bytes, name: str) -> dict[str, bytes]:
    """The data with bytes changed at places drawn from a fixed seed."""
    rng = np.random.default_rng(len(data))
    found = {}
    for number in range(6):
        damaged = bytearray(data)
        for place in rng.integers(2, len(data), 8):
            damaged[place] ^= 0xFF
        found[f"{name} damaged {number}"] = bytes(damaged)
    return found


def _bad_uploads() -> dict[str, bytes]:
    encoded = {kind: _saved(_scene(), kind) for kind in ("JPEG", "PNG", "WEBP")}
    text = PngInfo()
    text.add_text("comment", "x" * 2**20, zip=True)
    frames = [_scene().rotate(angle) for angle in (0, 90)]
    found = {
        "empty": b"",
        "html": b"<html><script>alert(1)</script></html>",
        "zeros": bytes(1000),
        "header only": _png(30_000, 30_000),
        "wide": _png(2**31 - 1, 1),
        "no size": _png(0, 0),
        "long text": _saved(_scene(), "PNG", pnginfo=text),
        "one line": _saved(_scene().resize((500, 1)), "PNG"),
        "gif": _saved(_scene(), "GIF"),
        "tiff": _saved(_scene(), "TIFF"),
        "bmp": _saved(_scene(), "BMP"),
        "animated": _saved(frames[0], "WEBP", save_all=True, append_images=frames[1:]),
        "also a zip": encoded["JPEG"] + b"PK\x03\x04" + bytes(100),
        "lying profile": _saved(_scene(), "JPEG", icc_profile=b"no profile" * 10),
        "lying exif": _saved(_scene(), "JPEG", exif=b"Exif\0\0" + b"\xff" * 200),
        "cmyk": _saved(_scene("CMYK"), "JPEG"),
        "one bit": _saved(_scene("1"), "PNG"),
        "palette": _saved(_scene("P"), "PNG"),
        "16 bit": _saved(Image.fromarray(np.arange(9216, dtype=np.uint16).reshape(96, 96)), "PNG"),
    }
    for kind, data in encoded.items():
        found |= _truncated(data, kind) | _flipped(data, kind)
    return found


BAD_UPLOADS = _bad_uploads()
