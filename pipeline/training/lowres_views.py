"""The low-resolution views that the second stage learns to sharpen.

Half of them are what the trained first stage really makes of the training subjects. It knows those
people, so it errs less with them than with strangers; the other half, true views made worse, keep
the second stage from trusting it too much.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.diffusion.colors import match_colors
from pipeline.diffusion.pipeline import OrbitPipeline, enlarge
from pipeline.images import Bytes, to_bytes, to_signed
from pipeline.training.examples import Examples, Indices, portraits_of

_BATCH = 8


@dataclass(frozen=True)
class FirstStage:
    """A trained first stage, and how it is run.

    Attributes:
        pipeline: the stage.
        size_px: side of its views.
        steps: denoising steps.
    """

    pipeline: OrbitPipeline
    size_px: int
    steps: int

    def views(self, people: Examples, which: Indices) -> Bytes:
        """What the stage makes of a portrait [S] of each person.

        Returns:
            [S, V, p, p, 3] uint8, the same for the same people, portraits and numbers.
        """
        who = np.arange(len(people))
        made = [
            self._views(people, who[first : first + _BATCH], which[first : first + _BATCH])
            for first in range(0, len(people), _BATCH)
        ]
        return np.concatenate(made)

    def _views(self, people: Examples, who: Indices, which: Indices) -> Bytes:
        numbers, azimuths_deg = people.pick("number", who), people.orbit_azimuths_deg
        portraits = portraits_of(people, who, which, self.size_px)
        views = self.pipeline(
            portraits,
            torch.from_numpy(azimuths_deg),
            steps=self.steps,
            guidance=1.0,
            generators=[torch.Generator().manual_seed(int(one)) for one in numbers],
        )
        cutouts = people.pick("cutouts", who, which).numpy()
        made = zip(to_bytes(views), cutouts, portraits.azimuth_deg.tolist(), strict=True)
        return np.stack([match_colors(orbit, azimuths_deg, one, yaw) for orbit, one, yaw in made])


class _Draw(NamedTuple):
    """What is random in the imitated views of a person."""

    softness: float
    warp: Tensor
    gain: Tensor


def enlarge_all(views: Bytes, size_px: int) -> Bytes:
    """Enlarge orbits [S, V, p, p, 3] uint8 as the second stage does, to [S, V, P, P, 3]."""
    return to_bytes(torch.stack([enlarge(to_signed(orbit), size_px) for orbit in views]))


def imitate_lowres(
    orbit: Bytes, lowres_px: int, numbers: npt.NDArray[np.int64], total: int
) -> Bytes:
    """What a first stage would have made of an orbit: small, soft, shifted and off in colour.

    A second stage that only ever saw perfectly shrunk views would trust the first stage's every
    mistake.

    Args:
        orbit: [S, V, P, P, 3] uint8.
        lowres_px: side of the first stage's views.
        numbers: [S] which people of the dataset these are.
        total: people that there are.

    Returns:
        [S, V, p, p, 3] uint8, the same for a person whoever else is asked for.
    """
    generator = torch.Generator().manual_seed(total)
    drawn = [_draw(orbit.shape[1], generator) for _ in range(int(numbers.max()) + 1)]
    people = zip(orbit, numbers, strict=True)
    imitated = [_imitate_one(to_signed(views), lowres_px, drawn[one]) for views, one in people]
    return np.stack([to_bytes(one) for one in imitated])


def _draw(views: int, generator: torch.Generator) -> _Draw:
    return _Draw(
        softness=0.5 + 0.5 * float(torch.rand((), generator=generator)),
        warp=torch.randn((views, 2, 4, 4), generator=generator) * 0.02,
        gain=1 + 0.06 * torch.randn((views, 3, 1, 1), generator=generator),
    )


def _imitate_one(views: Tensor, lowres_px: int, drawn: _Draw) -> Tensor:
    small = F.interpolate(views, (int(lowres_px * drawn.softness),) * 2, mode="area")
    small = F.interpolate(small, (lowres_px,) * 2, mode="bicubic", align_corners=False)
    field = F.interpolate(drawn.warp, (lowres_px,) * 2, mode="bicubic", align_corners=False)
    line = (torch.arange(lowres_px) + 0.5) / lowres_px * 2 - 1
    grid = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1) + field.movedim(1, -1)
    small = F.grid_sample(small, grid, padding_mode="border", align_corners=False)
    small = torch.where(small > 0.97, small, (small + 1) * drawn.gain - 1)
    return small.clamp(-1, 1)
