"""What every format asks of the numbers it holds, and the harmonic that three store colours as."""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from pipeline.errors import ProcessingError, UnreadableSource
from pipeline.gaussians import Gaussians

Array = npt.NDArray[np.floating[Any]]

HARMONIC_0 = 0.28209479177387814
"""The constant spherical harmonic: a colour is 0.5 + HARMONIC_0 * f_dc."""
MIN_SCALE = 1e-8
"""World units; a thinner Gaussian is made as thick as this, since logarithms need some."""


def to_harmonic(colors: Array) -> Array:
    """Colours in [0, 1] as coefficients of the constant harmonic, the same shape."""
    return ((colors - 0.5) / HARMONIC_0).astype(np.float32)


def from_harmonic(coefficients: Array) -> Array:
    """The inverse of `to_harmonic`, cut off at 0 and 1."""
    with np.errstate(all="ignore"):  # what is not finite is refused by `readable`
        return (0.5 + HARMONIC_0 * coefficients).clip(0, 1).astype(np.float32)


def writable(gaussians: Gaussians, ending: str) -> Gaussians:
    """The Gaussians on the CPU, float32, with scales of at least `MIN_SCALE` and unit quaternions.

    Raises:
        ProcessingError: a number is NaN or infinite, or there are no Gaussians.
    """
    array = gaussians.to_array()
    if not len(array):
        raise ProcessingError(f"There are 0 Gaussians to write; a {ending} file needs at least 1.")
    if bad := _bad_rows(array):
        raise ProcessingError(
            f"{bad} of {len(array)} Gaussians have numbers that are NaN or infinite; "
            f"a {ending} file holds finite numbers only."
        )
    return _tidied(Gaussians.from_array(array))


def readable(means: Array, quats: Array, scales: Array, opacities: Array, colors: Array,
             ending: str) -> Gaussians:  # fmt: skip
    """The Gaussians of a file, if its numbers are some.

    Args:
        means: [N, 3].
        quats: [N, 4] as (w, x, y, z); zeros, which some tools write, become no rotation.
        scales: [N, 3].
        opacities: [N].
        colors: [N, 3].
        ending: of the file, for the error's text.

    Raises:
        UnreadableSource: there are none, the shapes do not fit, a number is NaN or infinite, or a
            scale is negative.
    """
    columns = (means, quats, scales, opacities, colors)
    try:
        gaussians = Gaussians(*(torch.from_numpy(np.array(c, np.float32)) for c in columns))
    except ValueError as error:
        raise UnreadableSource(f"The parts of the {ending} file do not fit: {error}") from error
    if not len(gaussians):
        raise UnreadableSource(f"The {ending} file has 0 Gaussians; there must be at least 1.")
    if bad := _bad_rows(gaussians.to_array()):
        raise UnreadableSource(
            f"{bad} of {len(gaussians)} Gaussians in the {ending} file have numbers that are NaN "
            "or infinite; write it again without them."
        )
    if negative := int((gaussians.scales < 0).any(1).sum()):
        raise UnreadableSource(
            f"{negative} of {len(gaussians)} Gaussians in the {ending} file have a negative scale; "
            "it is not a file of Gaussians."
        )
    return _tidied(gaussians)


def _bad_rows(array: Array) -> int:
    return int((~np.isfinite(array)).any(1).sum())


def _tidied(gaussians: Gaussians) -> Gaussians:
    length = gaussians.quats.norm(dim=-1, keepdim=True)
    identity = torch.tensor([1.0, 0.0, 0.0, 0.0])
    return replace(
        gaussians,
        quats=torch.where(length > 0, gaussians.quats / length.clamp(min=1e-30), identity),
        scales=gaussians.scales.clamp(min=MIN_SCALE),
    )
