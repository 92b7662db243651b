"""The packed numbers of .spz files: fixed-point positions and quaternions of three components."""

import numpy as np
import numpy.typing as npt

from pipeline.formats.numbers import Array

Bytes = npt.NDArray[np.uint8]
_LARGEST_OTHER = np.sqrt(0.5)
"""What the second largest component of a unit quaternion can be at most."""
_LEVELS = 511


def pack_positions(means: Array, fraction_bits: int) -> Bytes:
    """Pack [N, 3] as signed 24-bit fixed point, little-endian, [N, 9]; cut off at its range."""
    fixed = (
        (means.astype(np.float64) * (1 << fraction_bits)).round().clip(-(1 << 23), (1 << 23) - 1)
    )
    words = fixed.astype("<i4").view(np.uint8).reshape(len(means), 3, 4)
    return np.ascontiguousarray(words[..., :3]).reshape(len(means), 9)


def unpack_positions(packed: Bytes, fraction_bits: int) -> Array:
    """The inverse of `pack_positions`, [N, 9] to [N, 3]."""
    words = np.zeros((len(packed), 3, 4), np.uint8)
    words[..., 1:] = packed.reshape(len(packed), 3, 3)
    # in the upper three bytes the sign is where int32 has it
    fixed = words.view("<i4")[..., 0] >> 8
    return (fixed / (1 << fraction_bits)).astype(np.float32)


def pack_rotations(quats: Array) -> Bytes:
    """Pack unit quaternions [N, 4] (w, x, y, z) as version 3 does, [N, 4] bytes.

    The two highest bits say which of (x, y, z, w) is largest and left out; the others follow as
    a sign and nine bits of magnitude each, the last in the lowest bits. -q is the same rotation as
    q, so the largest is made positive.
    """
    xyzw = np.roll(quats.astype(np.float64), -1, axis=1)
    largest = np.abs(xyzw).argmax(1)
    xyzw *= np.where(xyzw[np.arange(len(xyzw)), largest] < 0, -1, 1)[:, None]
    others = np.take_along_axis(xyzw, _others(largest), 1)
    magnitudes = (np.abs(others) / _LARGEST_OTHER * _LEVELS).round().clip(0, _LEVELS)
    fields = magnitudes.astype(np.uint32) | ((others < 0).astype(np.uint32) << 9)
    words = (largest.astype(np.uint32) << 30) | (fields << np.array([20, 10, 0], np.uint32)).sum(
        1, dtype=np.uint32
    )
    packed: Bytes = words.astype("<u4").view(np.uint8).reshape(-1, 4)
    return packed


def unpack_rotations(packed: Bytes) -> Array:
    """Unit quaternions [N, 4] (w, x, y, z) of version 3 and 4 ([N, 4]) or 2 ([N, 3]).

    Version 2 holds x, y and z as 127.5 + 127.5 q and leaves out w, which is not negative.
    """
    if packed.shape[1] == 3:
        xyz = packed / 127.5 - 1
        return np.column_stack([_left_out(xyz), xyz]).astype(np.float32)
    words = np.ascontiguousarray(packed).view("<u4")
    fields = words >> np.array([20, 10, 0], np.uint32) & 1023
    others = (fields & _LEVELS) * np.where(fields > _LEVELS, -1, 1) * (_LARGEST_OTHER / _LEVELS)
    largest = (words[:, 0] >> 30).astype(np.intp)
    xyzw = np.empty((len(words), 4))
    np.put_along_axis(xyzw, _others(largest), others, 1)
    np.put_along_axis(xyzw, largest[:, None], _left_out(others)[:, None], 1)
    return np.roll(xyzw, 1, axis=1).astype(np.float32)


def _others(largest: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """The indices of the three components that are not the largest, in order, [N, 3]."""
    return np.array([[k for k in range(4) if k != i] for i in range(4)], np.intp)[largest]


def _left_out(others: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(np.sqrt((1 - (others**2).sum(1)).clip(min=0)))
