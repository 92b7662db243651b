"""What the sampler asks at each step: the U-Net under fixed conditions, guided where it pays."""

import torch
from torch import Tensor

from pipeline.diffusion.conditions import Conditions
from pipeline.diffusion.fast_unet import FoldedTokens
from pipeline.diffusion.unet import OrbitUNet


class Denoiser:
    """The U-Net with everything that stays the same from step to step, guidance included.

    Args:
        unet: the network.
        conditions: of B subjects.
        views: [B, F] azimuths in degrees.
        scale: [B, F] guidance of each view.
        interval: the lowest and the highest sigma with guidance; None guides everywhere.
    """

    def __init__(
        self,
        unet: OrbitUNet,
        conditions: Conditions,
        views: Tensor,
        scale: Tensor,
        interval: tuple[float, float] | None,
    ) -> None:
        self.unet, self.scale = unet, scale[..., None, None, None]
        self.guides = bool((scale != 1).any())
        self.lowest, self.highest = interval or (0.0, float("inf"))
        self.plain = _Call(unet, conditions, views)
        if self.guides:
            both = conditions.unconditional().joined(conditions)
            self.doubled = _Call(unet, both, torch.cat([views, views]))

    def __call__(self, scaled: Tensor, timestep: Tensor, sigma: float) -> Tensor:
        """The v-prediction [B, F, C, h, w] of scaled latents of that shape, guided or not."""
        if not self.guides or not self.lowest <= sigma <= self.highest:
            return self.plain(scaled, timestep)
        without, given = self.doubled(torch.cat([scaled, scaled]), timestep).chunk(2)
        return without + self.scale * (given - without)


class _Call:
    """One batch of the U-Net: its conditions folded and cast once."""

    def __init__(self, unet: OrbitUNet, conditions: Conditions, views: Tensor) -> None:
        self.unet, self.views = unet, views
        self.tokens = FoldedTokens(unet, conditions.tokens.to(unet.dtype))
        self.time_ids = conditions.time_ids
        portrait = conditions.latents[:, None]
        self.portrait = portrait.expand(-1, views.shape[1], -1, -1, -1)

    def __call__(self, scaled: Tensor, timestep: Tensor) -> Tensor:
        sample = torch.cat([scaled, self.portrait], 2).to(self.unet.dtype)
        with self.tokens.used():
            predicted: Tensor = self.unet(
                sample,
                timestep.expand(len(sample)),
                self.tokens.stand_in,
                self.time_ids,
                self.views,
            )
        return predicted.float()
