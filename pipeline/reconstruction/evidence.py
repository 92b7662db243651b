"""What is known of a head: views from known cameras, and the portrait."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from pipeline.cameras import Cameras
from pipeline.reconstruction.images import resized, rgba_tensor, view_tensor

PORTRAIT_PX = 256
"""Side to which a larger portrait raises the comparison: beyond it, 16 thousand Gaussians show
no more."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """The pictures of one head.

    Attributes:
        views: [V, H, W, 3] uint8 on white.
        cameras: their V cameras.
        confidence: [V] in [0, 1], how far each view is trusted; None trusts the front twice as
            much as the back.
        portrait: [H, W, 4] uint8 straight alpha, framed like the views; it supervises its own
            view.
        portrait_camera: one camera, the estimate of where the portrait was taken from; given
            with ``portrait`` or not at all.
    """

    views: npt.NDArray[np.uint8]
    cameras: Cameras
    confidence: npt.NDArray[np.float32] | None = None
    portrait: npt.NDArray[np.uint8] | None = None
    portrait_camera: Cameras | None = None

    def __post_init__(self) -> None:
        if (self.portrait is None) != (self.portrait_camera is None):
            raise ValueError("portrait and portrait_camera are given together or not at all.")

    @property
    def size_px(self) -> int:
        """The side at which it is worth comparing."""
        portrait_px = 0 if self.portrait is None else min(self.portrait.shape[0], PORTRAIT_PX)
        return max(int(self.views.shape[1]), portrait_px)

    def trust(self) -> torch.Tensor:
        """How often each view is drawn, [V] float32."""
        given = default_confidence(self.cameras) if self.confidence is None else self.confidence
        return torch.from_numpy(given.astype(np.float32))

    def targets(self, sizes: tuple[int, ...], device: torch.device) -> dict[int, torch.Tensor]:
        """The views with alpha at some sizes, size to [V, 4, size, size] float32."""
        full = view_tensor(self.views)
        return {px: resized(full, px).to(device) for px in sizes}

    def portrait_target(self) -> torch.Tensor:
        """The portrait, [1, 4, H, W] float32; there must be one."""
        assert self.portrait is not None
        return rgba_tensor(self.portrait[None])


def default_confidence(cameras: Cameras) -> npt.NDArray[np.float32]:
    """1 for views of the face, falling to 0.5 for the back of the head; [V] float32."""
    forward = cameras.cam_to_world[:, 2, 3] / np.linalg.norm(cameras.cam_to_world[:, :3, 3], axis=1)
    return np.asarray(0.75 + 0.25 * forward, np.float32)


def trust_beside(photo: Cameras, cameras: Cameras, reach_deg: float) -> torch.Tensor:
    """0.5 for a view from the photo's side, rising to 1 at angles beyond ``reach_deg``; [V]."""
    sides = cameras.cam_to_world[:, :3, 3]
    side = photo.cam_to_world[0, :3, 3]
    cosine = sides @ side / (np.linalg.norm(sides, axis=1) * np.linalg.norm(side))
    angle_deg = np.degrees(np.arccos(cosine.clip(-1, 1)))
    trust = 1 - 0.5 * np.exp(-((angle_deg / reach_deg) ** 2))
    return torch.from_numpy(trust.astype(np.float32))
