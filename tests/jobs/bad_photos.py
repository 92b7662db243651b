"""Every kind of input that must not become an avatar, and the error code that each must get."""

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image


def photo(path: Path, seed: int = 0, size_px: int = 96) -> Path:
    """A picture in one of many colours."""
    colour = np.random.default_rng(seed).integers(0, 255, 3)
    pixels = np.full((size_px, size_px, 3), colour, np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def write_bad_photos(folder: Path) -> dict[str, str]:
    """Write the bad inputs into ``folder``; return each name's error code."""
    jpeg = photo(folder / "good.jpg", 77).read_bytes()
    (folder / "good.jpg").unlink()
    files = {
        "text.jpg": (b"this is a letter, not a photo\n" * 20, "unreadable_image"),
        "truncated.jpg": (jpeg[: len(jpeg) * 2 // 3], "unreadable_image"),
        "pixel.png": (_png(1, 1, b"\0\xff\xff\xff"), "image_too_small"),
        "bomb.png": (_png(30_000, 30_000, b""), "image_too_large"),
        "empty.jpg": (b"", "unreadable_image"),
    }
    for name, (content, _) in files.items():
        (folder / name).write_bytes(content)
    return {name: code for name, (_, code) in files.items()}


def _png(width: int, height: int, scanlines: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(scanlines)), (b"IEND", b""))
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body
