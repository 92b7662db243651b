"""LGM's network: a few views of a head in, Gaussians out, in one forward pass.

The asymmetric U-Net of Tang et al. 2024 (ends at a lower resolution than it starts) with attention
across views. Every pixel of its output is one Gaussian. Parameter names are those of LGM's
published checkpoints.

Shapes: B heads, V views, C channels, H = W = ``input_px``, S = ``splat_px``.
"""

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import nn

from pipeline.cameras import FOV_Y_DEG, RADIUS, Cameras
from pipeline.gaussians import CHANNELS, Gaussians
from pipeline.reconstruction.rays import as_trained, half_extent, nearest_to_origin, plucker_rays
from pipeline.reconstruction.unet import UNet, full_precision

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)
_DEPTH_REACH, _SIDE_REACH = 0.75, 0.05
"""How far along and beside its ray a Gaussian may lie from the ray's middle, world units."""

Preset = Literal["tiny", "small", "big", "embedded"]

_PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {
        "down_channels": (32, 64, 128, 256, 512),
        "down_attention": (False, False, False, False, True),
        "up_channels": (512, 256, 128),
        "up_attention": (True, False, False),
    },
    "small": {
        "down_channels": (64, 128, 256, 512, 1024, 1024),
        "down_attention": (False, False, False, True, True, True),
        "up_channels": (1024, 1024, 512, 256),
        "up_attention": (True, True, True, False),
    },
    "big": {
        "down_channels": (64, 128, 256, 512, 1024, 1024),
        "down_attention": (False, False, False, True, True, True),
        "up_channels": (1024, 1024, 512, 256, 128),
        "up_attention": (True, True, True, False, False),
    },
    "embedded": {
        "input_px": 128,
        "down_channels": (32, 64, 64, 96),
        "down_attention": (False, False, False, True),
        "up_channels": (96, 64, 64),
        "up_attention": (True, False, False),
        "heads": 8,
        "positions": "ray",
        "tune_rate": 1e-3,
    },
}


class LargeGaussianModel(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Views and their rays to Gaussians; see `lgm_config` for the presets.

    Args:
        input_px: side of the input views.
        down_channels: widths from the finest to the coarsest level.
        down_attention: which of these levels attend across views.
        mid_attention: whether the middle does.
        up_channels: widths on the way up: those of the down levels backwards, possibly without
            the finest, which makes the output smaller than the input.
        up_attention: which of these levels attend across views.
        layers: residual layers a level.
        heads: attention heads.
        positions: ``absolute`` is LGM's: three channels are a point in [-1, 1]. ``ray`` places
            a Gaussian near its pixel's ray: the first channel moves it along, the other two a
            little beside, so that a fresh network starts with the Gaussians about the head.
        camera_radius: of the orbit it was trained on, world units.
        fov_y_deg: vertical field of view of the cameras there. What it makes comes out at the size
            of our orbit: enlarged so that it fills as much of the view, see `as_trained`.
        tune_rate: learning rate at which its weights are tuned for one head. 1e-6 is the paper's,
            for 415 M of them; a hundredth of that wants larger steps.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        input_px: int = 256,
        down_channels: tuple[int, ...] = (64, 128, 256, 512, 1024, 1024),
        down_attention: tuple[bool, ...] = (False, False, False, True, True, True),
        mid_attention: bool = True,
        up_channels: tuple[int, ...] = (1024, 1024, 512, 256, 128),
        up_attention: tuple[bool, ...] = (True, True, True, False, False),
        layers: int = 2,
        heads: int = 16,
        positions: Literal["absolute", "ray"] = "absolute",
        camera_radius: float = RADIUS,
        fov_y_deg: float = FOV_Y_DEG,
        tune_rate: float = 1e-6,
    ) -> None:
        super().__init__()
        if tuple(up_channels) != tuple(down_channels)[::-1][: len(up_channels)]:
            raise ValueError(
                f"up_channels {tuple(up_channels)} must start like down_channels backwards, "
                f"{tuple(down_channels)[::-1]}: the layers on the way up take in those results."
            )
        self.unet = UNet(
            tuple(down_channels),
            tuple(down_attention),
            mid_attention,
            tuple(up_channels),
            tuple(up_attention),
            layers,
            heads,
        )
        self.conv = nn.Conv2d(CHANNELS, CHANNELS, 1)
        self._size = half_extent(RADIUS, FOV_Y_DEG) / half_extent(camera_radius, fov_y_deg)

    @property
    def splat_px(self) -> int:
        """Side of the output: one Gaussian a pixel and view."""
        levels = len(self.config.down_channels) - len(self.config.up_channels)
        return int(self.config.input_px) >> levels

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Predict Gaussians.

        Args:
            inputs: [B, V, 9, H, W] from `network_inputs`, with the rays of its own orbit as
                `view_inputs` makes them; any number of views.

        Returns:
            [B, V * S * S, 14] float32 in the order of `pipeline.gaussians.CHANNELS`: views, then
            rows, then columns.
        """
        b, v = inputs.shape[:2]
        raw = self.unet(inputs.flatten(0, 1), v)
        with full_precision(raw.device):
            raw = self.conv(raw).float()
        positions = self._positions(raw[:, :3], inputs[:, :, 3:].flatten(0, 1).float())
        rest = raw[:, 3:]
        channels = torch.cat(
            [
                self._size * positions,
                torch.sigmoid(rest[:, :1]),
                self._size * (0.1 * nn.functional.softplus(rest[:, 1:4])),
                nn.functional.normalize(rest[:, 4:8], dim=1),
                0.5 * torch.tanh(rest[:, 8:]) + 0.5,
            ],
            1,
        )
        return channels.reshape(b, v, CHANNELS, -1).transpose(2, 3).reshape(b, -1, CHANNELS)

    def _positions(self, raw: torch.Tensor, rays: torch.Tensor) -> torch.Tensor:
        """Points [B * V, 3, S, S] from raw channels and the rays [B * V, 6, H, W]."""
        if self.config.positions == "absolute":
            return raw.clamp(-1, 1)
        rays = nn.functional.adaptive_avg_pool2d(rays, self.splat_px)
        along = nn.functional.normalize(rays[:, 3:], dim=1)
        up = along.new_tensor([0.0, 1.0, 0.0])[None, :, None, None].expand_as(along)
        right = nn.functional.normalize(torch.linalg.cross(along, up, dim=1), dim=1)
        above = torch.linalg.cross(right, along, dim=1)
        reach = torch.tanh(raw)
        beside = right * reach[:, 1:2] + above * reach[:, 2:3]
        middle = nearest_to_origin(rays)
        points: torch.Tensor = middle + _DEPTH_REACH * along * reach[:, :1] + _SIDE_REACH * beside
        return points


def lgm_config(preset: Preset) -> dict[str, Any]:
    """The constructor arguments of a preset.

    ``tiny``, ``small`` and ``big`` are LGM's (256 px in; 16,384, 16,384 and 65,536 Gaussians from
    four views). ``embedded`` runs on a CPU: 128 px in, 16,384 Gaussians from four views.
    """
    return dict(_PRESETS[preset])


def network_inputs(images: torch.Tensor, rays: torch.Tensor) -> torch.Tensor:
    """Join normalised colours and rays.

    Args:
        images: [..., 3, H, W] in [0, 1] on white.
        rays: [..., 6, H, W] of the same views, from `plucker_rays`.

    Returns:
        [..., 9, H, W] float32.
    """
    mean = images.new_tensor(_IMAGENET_MEAN)[:, None, None]
    std = images.new_tensor(_IMAGENET_STD)[:, None, None]
    return torch.cat([(images - mean) / std, rays], -3)


def view_inputs(
    model: LargeGaussianModel, views: npt.NDArray[np.uint8], cameras: Cameras
) -> torch.Tensor:
    """What the network is given for the views of one head.

    Args:
        model: on any device.
        views: [V, H, W, 3] on white, any size.
        cameras: their V cameras; a network from another orbit sees its own, see `as_trained`.

    Returns:
        [V, 9, P, P] in the model's precision, on its device.
    """
    size_px = int(model.config.input_px)
    images = torch.from_numpy(views).permute(0, 3, 1, 2).float() / 255
    if images.shape[-1] != size_px:
        images = nn.functional.interpolate(
            images, size=(size_px, size_px), mode="bilinear", antialias=True, align_corners=False
        )
    known = as_trained(cameras, model.config.camera_radius, model.config.fov_y_deg)
    inputs = network_inputs(images, plucker_rays(known, size_px))
    return inputs.to(model.device, model.dtype)


def reconstruct(
    model: LargeGaussianModel,
    views: npt.NDArray[np.uint8],
    cameras: Cameras,
    *,
    bf16: bool = False,
) -> Gaussians:
    """Gaussians from the views of one head.

    Args:
        model: on any device, in evaluation mode.
        views: [V, H, W, 3] on white, any size.
        cameras: their V cameras.
        bf16: autocast to bfloat16, all but the last two layers and what follows, so that positions
            are float32. With random weights results differ by up to 0.03, world units for means.
            `pipeline.devices.bf16_is_fast` says where it pays; elsewhere it is far slower.

    Returns:
        V * S * S Gaussians, float32, without gradients, on the model's device.
    """
    inputs = view_inputs(model, views, cameras)
    with torch.no_grad(), torch.autocast(model.device.type, torch.bfloat16, enabled=bf16):
        rows = model(inputs[None])
    return Gaussians.from_tensor(rows[0])
