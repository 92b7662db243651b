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

from pipeline.diffusion.pipeline import OrbitPipeline, enlarge
from pipeline.images import Bytes, to_bytes, to_signed
from pipeline.training.examples import Examples, portraits_of

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

    def views(self, people: Examples) -> Bytes:
        """What the stage makes of one portrait of each person, enlarged to the people's size.

        Returns:
            [S, V, P, P, 3] uint8, the same for the same people and numbers.
        """
        made = [
            self._views(people, np.arange(first, min(first + _BATCH, len(people))))
            for first in range(0, len(people), _BATCH)
        ]
        return np.concatenate(made)

    def _views(self, people: Examples, who: npt.NDArray[np.int64]) -> Bytes:
        numbers = people.pick("number", who).numpy()
        which = numbers % people.shape("portraits")[0]
        views = self.pipeline(
            portraits_of(people, who, which, self.size_px),
            torch.from_numpy(people.orbit_azimuths_deg),
            steps=self.steps,
            guidance=1.0,
            generators=[torch.Generator().manual_seed(int(one)) for one in numbers],
        )
        size_px = people.shape("orbit")[1]
        return to_bytes(torch.stack([enlarge(orbit, size_px) for orbit in views]))


class _Draw(NamedTuple):
    """What is random in the imitated views of a person."""

    softness: float
    warp: Tensor
    gain: Tensor


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
        [S, V, P, P, 3] uint8, enlarged again; the same for a person whoever else is asked for.
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
    size_px = views.shape[-1]
    small = F.interpolate(views, (int(lowres_px * drawn.softness),) * 2, mode="area")
    small = F.interpolate(small, (lowres_px,) * 2, mode="bicubic", align_corners=False)
    field = F.interpolate(drawn.warp, (lowres_px,) * 2, mode="bicubic", align_corners=False)
    line = (torch.arange(lowres_px) + 0.5) / lowres_px * 2 - 1
    grid = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1) + field.movedim(1, -1)
    small = F.grid_sample(small, grid, padding_mode="border", align_corners=False)
    small = torch.where(small > 0.97, small, (small + 1) * drawn.gain - 1)
    return enlarge(small.clamp(-1, 1), size_px)
