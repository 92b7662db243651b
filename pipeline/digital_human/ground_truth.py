"""Depth, normals and parts of a view as PNG files, which every tool reads without loss."""

import io
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
from PIL import Image

DEPTH_STEP = 1e-4
"""World units of one grey level of a depth image, which holds up to 6.55 of them."""
TRUTH_COLUMNS = ("depth", "normals", "parts")
ENCODINGS = {
    "depth": f"16-bit grey PNG; distance along the camera's z axis = value * {DEPTH_STEP:g} world "
    "units; 0 is background",
    "normals": "RGB PNG; world normal = value / 127.5 - 1, up to rounding; 0 0 0 is background",
    "parts": "8-bit PNG; index into part_names; 255 is background",
}


def encode_png(pixels: npt.NDArray[np.uint8] | npt.NDArray[np.uint16]) -> bytes:
    """Lossless bytes of an image: [H, W] uint8 or uint16, [H, W, 3] or [H, W, 4] uint8."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()


def decode_png(data: bytes) -> npt.NDArray[np.uint8]:
    """Undo `encode_png`."""
    return np.asarray(Image.open(io.BytesIO(data)))


def encode_depth(depth: npt.NDArray[np.float32]) -> bytes:
    """Depths [H, W] in world units, 0 for background, rounded to `DEPTH_STEP`."""
    steps = np.round(depth / DEPTH_STEP).clip(0, 65535)
    return encode_png(steps.astype(np.uint16))


def encode_normals(normals: npt.NDArray[np.float32]) -> bytes:
    """Unit normals [H, W, 3], 0 for background."""
    levels = np.round((normals + 1) * 127.5).clip(0, 255).astype(np.uint8)
    return encode_png(levels * normals.any(-1, keepdims=True))


@dataclass(frozen=True)
class GroundTruth:
    """What is known of every pixel of V views.

    Attributes:
        depth: [V, H, W] float32 world units along each camera's z axis, 0 for background.
        normals: [V, H, W, 3] float32 world normals of about unit length, 0 for background.
        parts: [V, H, W] uint8 index into `parts.PART_NAMES`, 255 for background.
    """

    depth: npt.NDArray[np.float32]
    normals: npt.NDArray[np.float32]
    parts: npt.NDArray[np.uint8]

    @classmethod
    def decode(cls, depth: list[bytes], normals: list[bytes], parts: list[bytes]) -> Self:
        """From the PNG files of each view."""
        levels = np.stack([decode_png(data) for data in normals])
        directions = levels.astype(np.float32) / np.float32(127.5) - 1
        return cls(
            np.stack([decode_png(data) for data in depth]) * np.float32(DEPTH_STEP),
            directions * levels.any(-1, keepdims=True),
            np.stack([decode_png(data) for data in parts]),
        )

    def mirrored(self, order: npt.NDArray[np.int64]) -> Self:
        """As a mirror shows the head: view k is the flipped view ``order[k]``."""
        signs = np.array([-1, 1, 1], np.float32)
        return type(self)(
            np.ascontiguousarray(self.depth[order, :, ::-1]),
            np.ascontiguousarray(self.normals[order, :, ::-1] * signs),
            np.ascontiguousarray(self.parts[order, :, ::-1]),
        )
