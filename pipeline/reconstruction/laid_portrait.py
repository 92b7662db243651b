"""A portrait laid onto the mean face, in place of what the fit has there.

Generated views are blurred and place a face's surface badly; from beside the portrait's camera the
portrait would smear along it. Faces differ from their mean by 3 % of a head's height: what is laid
there looks right from the sides too, and the fit begins with a sharp face.

Legend: M points of the mean face, N Gaussians of a head.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Self

import torch
from torch.nn import functional

from pipeline.gaussians import Gaussians
from pipeline.portrait.mean_face import MeanFace

_LEAST_COSINE = 0.3
"""Points that face their picture less are left to the views."""
_LEAST_ALPHA = 0.9
_WIDTH, _THICKNESS = 0.6, 0.15
"""Standard deviations of a laid Gaussian along and across the surface, in distances of points."""
_OPACITY = 0.9
_BEFORE, _BEHIND, _BESIDE = 0.1, 0.06, 1.5
"""What makes room: before and behind the surface in world units, beside a point in distances."""
_AT_ONCE = 8192
"""Gaussians whose distances from all points are held in memory."""


@dataclass(frozen=True)
class Picture:
    """A picture of the face.

    Attributes:
        pixels: [4, H, H] colour and alpha in [0, 1].
        viewmat: [4, 4] world to camera.
        K: [3, 3] camera matrix in pixels.
    """

    pixels: torch.Tensor
    viewmat: torch.Tensor
    K: torch.Tensor


@dataclass(frozen=True)
class Surface:
    """`MeanFace` as tensors: points and normals [M, 3], spacings [M]."""

    points: torch.Tensor
    normals: torch.Tensor
    spacings: torch.Tensor

    @classmethod
    def of(cls, face: MeanFace, device: torch.device) -> Self:
        """A face's surface on a device."""
        return cls(*(torch.from_numpy(getattr(face, f.name)).to(device) for f in fields(face)))

    def __getitem__(self, chosen: torch.Tensor) -> Self:
        """The points of a mask [M] bool."""
        return type(self)(self.points[chosen], self.normals[chosen], self.spacings[chosen])


@dataclass(frozen=True)
class Laid:
    """What a portrait changes in a head.

    Attributes:
        kept: [N] bool, the head's Gaussians that stay.
        added: flat ones on the mean face, in the portrait's colours.
    """

    kept: torch.Tensor
    added: Gaussians


def lay(head: Gaussians, surface: Surface, pictures: Sequence[Picture], min_opacity: float) -> Laid:
    """Paint the mean face, each point from the picture that it faces most, and make room for it.

    Args:
        head: the fit so far.
        surface: of the face.
        pictures: of it, one or more.
        min_opacity: fainter Gaussians go in any case.
    """
    seen = [_seen(surface, picture) for picture in pictures]
    facing, colors = (torch.stack(of) for of in zip(*seen, strict=True))
    best, which = facing.max(0)
    shown = best > _LEAST_COSINE
    number = torch.arange(len(which), device=which.device)
    painted = surface[shown]
    kept = _apart(head, painted) & (head.opacities >= min_opacity)
    return Laid(kept, _flat_gaussians(painted, colors[which, number][shown]))


def _apart(head: Gaussians, painted: Surface) -> torch.Tensor:
    """Which Gaussians of a head are not where a portrait was laid, [N] bool."""
    if not len(painted.points):
        return torch.ones_like(head.opacities, dtype=torch.bool)
    parts = torch.split(head.means, _AT_ONCE)
    nearest = torch.cat([torch.cdist(part, painted.points).argmin(1) for part in parts])
    away = head.means - painted.points[nearest]
    height = (away * painted.normals[nearest]).sum(1)
    beside = (away.square().sum(1) - height.square()).clamp(min=0).sqrt()
    near = beside < _BESIDE * painted.spacings[nearest]
    return ~(near & (height < _BEFORE) & (height > -_BEHIND))


def _seen(surface: Surface, picture: Picture) -> tuple[torch.Tensor, torch.Tensor]:
    """How much each point faces a picture, [M], -1 where that shows no head; its colour [M, 3]."""
    rotation = picture.viewmat[:3, :3]
    in_camera = surface.points @ rotation.T + picture.viewmat[:3, 3]
    facing = -(surface.normals @ rotation.T * functional.normalize(in_camera, dim=1)).sum(1)
    pixel = in_camera @ picture.K.T
    place = 2 * pixel[:, :2] / pixel[:, 2:] / picture.pixels.shape[-1] - 1
    sampled = functional.grid_sample(
        picture.pixels[None], place[None, None], align_corners=False
    )[0, :, 0].T  # fmt: skip
    return facing.where(sampled[:, 3] > _LEAST_ALPHA, -1.0), sampled[:, :3]


def _flat_gaussians(painted: Surface, colors: torch.Tensor) -> Gaussians:
    """One for each point, its third axis along the normal."""
    up = torch.tensor([0.0, 0.0, 1.0], device=colors.device).expand_as(painted.normals)
    halfway = functional.normalize(painted.normals + up, dim=1)
    extent = torch.tensor([_WIDTH, _WIDTH, _THICKNESS], device=colors.device)
    return Gaussians(
        means=painted.points,
        quats=torch.cat([halfway[:, 2:], torch.linalg.cross(up, halfway)], 1),
        scales=painted.spacings[:, None] * extent,
        opacities=torch.full_like(painted.spacings, _OPACITY),
        colors=colors,
    )
