"""The low-resolution views that the second stage learns to sharpen.

Half of them are what the trained first stage really makes of the training subjects. It knows those
people, so it errs less with them than with strangers; the other half, true views made worse, keep
the second stage from trusting it too much.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.diffusion.pipeline import OrbitPipeline, enlarge
from pipeline.images import Bytes, to_bytes, to_signed
from pipeline.training.subjects import Subjects, portraits_of

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

    def views(self, subjects: Subjects) -> Bytes:
        """What the stage makes of one portrait of each subject, enlarged to the subjects' size.

        Returns:
            [S, V, P, P, 3] uint8, the same for the same subjects.
        """
        made = [
            self._views(subjects, np.arange(first, min(first + _BATCH, len(subjects))))
            for first in range(0, len(subjects), _BATCH)
        ]
        return np.concatenate(made)

    def _views(self, subjects: Subjects, who: np.typing.NDArray[np.int64]) -> Bytes:
        portraits = portraits_of(subjects, who, who % subjects.portraits.shape[1], self.size_px)
        views = self.pipeline(
            portraits,
            torch.from_numpy(subjects.orbit_azimuths_deg),
            steps=self.steps,
            guidance=1.0,
            generators=[torch.Generator().manual_seed(int(one)) for one in who],
        )
        size_px = subjects.orbit.shape[2]
        return to_bytes(torch.stack([enlarge(orbit, size_px) for orbit in views]))


def imitate_lowres(orbit: Bytes, lowres_px: int) -> Bytes:
    """What a first stage would have made of an orbit: small, soft, shifted and off in colour.

    A second stage that only ever saw perfectly shrunk views would trust the first stage's every
    mistake.

    Args:
        orbit: [S, V, P, P, 3] uint8.
        lowres_px: side of the first stage's views.

    Returns:
        [S, V, P, P, 3] uint8, enlarged again; the same for the same orbit.
    """
    generator = torch.Generator().manual_seed(orbit.shape[0])
    imitated = [_imitate_one(to_signed(subject), lowres_px, generator) for subject in orbit]
    return np.stack([to_bytes(one) for one in imitated])


def _imitate_one(views: Tensor, lowres_px: int, generator: torch.Generator) -> Tensor:
    count, size_px = len(views), views.shape[-1]
    softness = 0.5 + 0.5 * float(torch.rand((), generator=generator))
    small = F.interpolate(views, (int(lowres_px * softness),) * 2, mode="area")
    small = F.interpolate(small, (lowres_px,) * 2, mode="bicubic", align_corners=False)
    warp = torch.randn((count, 2, 4, 4), generator=generator) * 0.02
    field = F.interpolate(warp, (lowres_px,) * 2, mode="bicubic", align_corners=False)
    line = (torch.arange(lowres_px) + 0.5) / lowres_px * 2 - 1
    grid = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1) + field.movedim(1, -1)
    small = F.grid_sample(small, grid, padding_mode="border", align_corners=False)
    gain = 1 + 0.06 * torch.randn((count, 3, 1, 1), generator=generator)
    small = torch.where(small > 0.97, small, (small + 1) * gain - 1)
    return enlarge(small.clamp(-1, 1), size_px)
