"""Where the portrait was taken from: an estimate, refined against the head."""

import torch
from torch import nn

from pipeline.cameras import MIRROR, Cameras
from pipeline.gaussians import Gaussians
from pipeline.rasterizer import rasterize
from pipeline.reconstruction.images import resized

LOCATE_PX = 128
LOCATE_STEPS = 40
_LOCATE_RATE = 1.5e-2
_PRIOR = 0.15
"""Cost of a squared radian away from the estimate: a head is nearly a ball, so that similarity
alone would let the camera drift."""


class PhotoCamera(nn.Module):
    """One camera with a small correction: three turns about the head and three shifts.

    Args:
        estimate: a batch of one camera that looks at the head.
    """

    estimate: torch.Tensor
    intrinsics: torch.Tensor

    def __init__(self, estimate: Cameras) -> None:
        super().__init__()
        if len(estimate) != 1:
            raise ValueError(f"the estimate has {len(estimate)} cameras; it must be 1.")
        self.fov_y_deg = estimate.fov_y_deg
        self.register_buffer("intrinsics", torch.from_numpy(estimate.intrinsics(1)))
        self.register_buffer("estimate", torch.from_numpy(estimate.world_to_cam[0]))
        self.turn = nn.Parameter(torch.zeros(3))
        self.shift = nn.Parameter(torch.zeros(3))

    def viewmat(self) -> torch.Tensor:
        """World to camera, [1, 4, 4]: turned about the head's centre, then shifted."""
        x, y, z = self.turn.unbind()
        zero = torch.zeros_like(x)
        skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero]).reshape(3, 3)
        rotation = torch.linalg.matrix_exp(skew) @ self.estimate[:3, :3]
        top = torch.cat([rotation, (self.estimate[:3, 3] + self.shift)[:, None]], 1)
        return torch.cat([top, self.estimate[3:]])[None]

    def mirrored_viewmat(self) -> torch.Tensor:
        """World to mirrored camera, [1, 4, 4], see `Cameras.mirrored`; without a gradient."""
        mirror = torch.from_numpy(MIRROR).to(self.estimate.device)
        return mirror @ self.viewmat().detach() @ mirror

    def K(self, size_px: int) -> torch.Tensor:
        """The camera matrix for images of ``size_px``, [1, 3, 3]."""
        scale = self.intrinsics.new_tensor([size_px, size_px, 1.0])
        return self.intrinsics * scale[:, None]

    def prior(self) -> torch.Tensor:
        """The cost of leaving the estimate."""
        return _PRIOR * (self.turn.square().sum() + self.shift.square().sum())

    def cameras(self) -> Cameras:
        """The corrected camera as a batch of one."""
        pose = torch.linalg.inv(self.viewmat().detach().double()).float()
        return Cameras(pose.cpu().numpy(), self.fov_y_deg)


def locate_photo(
    photo: torch.Tensor, gaussians: Gaussians, camera: PhotoCamera, *, threads: int | None = None
) -> None:
    """Correct ``camera`` so that the head looks most like the photo.

    Starting the descent from several sides as well found no better cameras.

    Args:
        photo: [4, H, W] colour on white and alpha, in [0, 1].
        gaussians: the head so far.
        camera: corrected in place.
        threads: CPU threads of the rasteriser.
    """
    target = resized(photo[None], LOCATE_PX)[0]
    optimizer = torch.optim.Adam(camera.parameters(), _LOCATE_RATE)
    for step in range(LOCATE_STEPS):
        for group in optimizer.param_groups:
            group["lr"] = _LOCATE_RATE * (1 - step / LOCATE_STEPS)
        optimizer.zero_grad()
        cost = _cost(target, gaussians.detach(), camera, threads)
        cost.backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def _cost(
    target: torch.Tensor, gaussians: Gaussians, camera: PhotoCamera, threads: int | None
) -> torch.Tensor:
    """Mean difference in colour and alpha, and the prior."""
    size_px = target.shape[-1]
    image, alpha, _ = rasterize(
        gaussians.means,
        gaussians.quats,
        gaussians.scales,
        gaussians.opacities,
        gaussians.colors,
        camera.viewmat(),
        camera.K(size_px),
        size_px,
        size_px,
        backgrounds=target.new_ones(1, 3),
        threads=threads,
    )
    shown = torch.cat([image, alpha], -1)[0].permute(2, 0, 1)
    return (shown - target).abs().mean() + camera.prior()
