"""The Gaussians of a head: one immutable value that every stage speaks.

They live in the canonical frame of `pipeline.cameras` (y up, the face towards +z).
"""

from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch

CHANNELS = 14
"""Numbers of one Gaussian as an array row, in LGM's order: position 3, opacity 1, scale 3,
quaternion 4 (w, x, y, z), colour 3."""

_WIDTHS = {"means": 3, "opacities": 1, "scales": 3, "quats": 4, "colors": 3}


@dataclass(frozen=True)
class Gaussians:
    """A set of 3D Gaussians, all tensors float32 on one device.

    Attributes:
        means: [N, 3] centres, world units.
        quats: [N, 4] rotations as (w, x, y, z); of any length but zero.
        scales: [N, 3] standard deviations along the rotated axes, world units, positive.
        opacities: [N] in [0, 1].
        colors: [N, 3] RGB in [0, 1], the same from every side.
    """

    means: torch.Tensor
    quats: torch.Tensor
    scales: torch.Tensor
    opacities: torch.Tensor
    colors: torch.Tensor

    def __post_init__(self) -> None:
        for name, width in _WIDTHS.items():
            shape = (len(self.means),) if width == 1 else (len(self.means), width)
            if tuple(getattr(self, name).shape) != shape:
                found = tuple(getattr(self, name).shape)
                raise ValueError(f"{name} has shape {found}; it must be {shape}.")

    def __len__(self) -> int:
        return len(self.means)

    def __getitem__(self, index: torch.Tensor | slice) -> Self:
        """The Gaussians at a mask [N] bool, at indices, or in a slice."""
        return self._map(lambda tensor: tensor[index])

    def to(self, device: torch.device | str) -> Self:
        """The same Gaussians on another device."""
        return self._map(lambda tensor: tensor.to(device))

    def detach(self) -> Self:
        """The same Gaussians without their gradient history."""
        return self._map(torch.Tensor.detach)

    def prune(self, min_opacity: float = 0.005) -> Self:
        """Leave out the Gaussians whose opacity is under ``min_opacity``."""
        return self[self.opacities >= min_opacity]

    def to_array(self) -> npt.NDArray[np.float32]:
        """As rows of `CHANNELS` numbers, [N, 14] float32."""
        columns = [getattr(self, name).reshape(len(self), width) for name, width in _WIDTHS.items()]
        array = torch.cat(columns, -1).detach().float().cpu().numpy()
        return np.ascontiguousarray(array)

    @classmethod
    def from_array(cls, array: npt.ArrayLike) -> Self:
        """From rows as `to_array` makes them, [N, 14], on the CPU."""
        return cls.from_tensor(torch.from_numpy(np.array(array, np.float32)))

    @classmethod
    def from_tensor(cls, tensor: torch.Tensor) -> Self:
        """From rows [N, 14] of a tensor, keeping its device and gradient history.

        Raises:
            ValueError: the rows do not have 14 numbers.
        """
        if tensor.ndim != 2 or tensor.shape[1] != CHANNELS:
            raise ValueError(f"Gaussians have shape [N, {CHANNELS}], not {tuple(tensor.shape)}.")
        parts = dict(zip(_WIDTHS, torch.split(tensor, list(_WIDTHS.values()), -1), strict=True))
        return cls(**{**parts, "opacities": parts["opacities"][:, 0]})

    def _map(self, change: Any) -> Self:
        return type(self)(
            **{field.name: change(getattr(self, field.name)) for field in fields(self)}
        )
