"""Training of the autoencoder whose latents both diffusion stages work in."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor

from pipeline.diffusion.latents import decode, encode, from_patches, to_patches
from pipeline.images import to_signed
from pipeline.training.devices import device_of
from pipeline.training.examples import Examples

LATENT_CHANNELS = 16
SIZES_PX = (128, 64)
"""Sides of the views at which both stages use it, the largest first."""
_NORM_GROUPS = 4
"""diffusers' 32 would leave one channel a group here: an instance norm, which erases colours."""
_SWAPPED_SHARE = 0.4
"""Share of the batches whose colour channels are swapped, so that no hue is left out."""


class AutoencoderPart:
    """A small `AutoencoderKL` with eightfold reduction, trained on views at several sizes.

    Args:
        train: digital humans to learn from, as images of the first size.
        held_out: digital humans to be judged on, the same.
        sizes_px: sides at which it is used; batches alternate between them.
        batch_px: pixels a batch holds, so that every size costs the same.
    """

    def __init__(
        self,
        train: Examples,
        held_out: Examples,
        sizes_px: tuple[int, ...] = SIZES_PX,
        batch_px: int = 4 * 128 * 128,
    ) -> None:
        self.people, self.held_out = train, held_out
        self.sizes_px, self.batch_px = sizes_px, batch_px

    def build_model(self) -> AutoencoderKL:
        """2.6 million parameters; attention would cost more than it brings at these sizes."""
        return AutoencoderKL(
            in_channels=12,
            out_channels=12,
            down_block_types=("DownEncoderBlock2D",) * 3,
            up_block_types=("UpDecoderBlock2D",) * 3,
            block_out_channels=(32, 64, 128),
            layers_per_block=1,
            latent_channels=LATENT_CHANNELS,
            norm_num_groups=_NORM_GROUPS,
            mid_block_add_attention=False,
            sample_size=self.sizes_px[0],
            scaling_factor=1.0,
        )

    def batch(self, seed: int, step: int) -> Tensor:
        """Random views with changed colours, [B, 3, P, P] in [-1, 1]."""
        rng = np.random.default_rng((seed, step))
        size_px = self.sizes_px[step % len(self.sizes_px)]
        count = max(1, self.batch_px // size_px**2)
        views = self.people.shape("orbit")[0]
        who, which = np.divmod(rng.integers(len(self.people) * views, size=count), views)
        images = to_signed(self.people.pick("orbit", who, which).numpy())
        return _shrink(_recolor(images, rng), size_px)

    def loss(self, model: AutoencoderKL, batch: Tensor) -> Mapping[str, Tensor]:
        """Absolute and edge errors, squared errors of broad areas, and a KL term.

        Absolute errors alone give up on rare colours: a red hat came out brown. The KL term is just
        strong enough to bound the latents.
        """
        posterior = model.encode(to_patches(model, batch)).latent_dist
        decoded = from_patches(model, model.decode(posterior.sample()).sample.float())
        pixel = F.smooth_l1_loss(decoded, batch, beta=0.1)
        edge = sum(
            ((decoded.diff(dim=dim) - batch.diff(dim=dim)).abs().mean() for dim in (2, 3)),
            torch.zeros(()),
        )
        broad = F.mse_loss(F.avg_pool2d(decoded, 4), F.avg_pool2d(batch, 4))
        kl = posterior.kl().mean() / posterior.mean[0].numel()
        loss = pixel + 0.5 * edge + 4 * broad + 1e-5 * kl
        return {"loss": loss, "pixel": pixel, "edge": edge, "broad": broad, "kl": kl}

    def evaluate(self, model: AutoencoderKL) -> Mapping[str, float]:
        """PSNR of held-out views at each size, dB."""
        views = to_signed(self.held_out.pick("orbit", np.arange(len(self.held_out))).numpy())
        return {
            f"psnr_{size_px}px": _psnr(model, _shrink(views, size_px)) for size_px in self.sizes_px
        }

    def export(self, model: AutoencoderKL, out: Path) -> None:
        """Write a diffusers folder whose scaled latents have a standard deviation of one."""
        who = np.arange(0, len(self.people), max(1, len(self.people) // 32))
        views = self.people.pick("orbit", who)[:, ::4].numpy()
        with torch.no_grad():
            latents = encode(model, _shrink(to_signed(views), 128))
        model.register_to_config(scaling_factor=round(1 / float(latents.std()), 4))
        model.to(torch.float16).save_pretrained(out)


def _shrink(images: Tensor, size_px: int) -> Tensor:
    flat = images.flatten(0, -4)
    if flat.shape[-1] == size_px:
        return flat.contiguous()
    return F.interpolate(flat, (size_px, size_px), mode="area").contiguous()


def _recolor(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Exposure and colour casts of real photos, and hues that heads rarely have."""
    if rng.random() < _SWAPPED_SHARE:
        images = images[:, rng.permutation(3)]
    gain = torch.from_numpy(rng.uniform(0.7, 1.2, (len(images), 3, 1, 1)).astype(np.float32))
    white = images.amin(1, keepdim=True) > 0.99
    return torch.where(white, images, ((images + 1) * gain - 1).clamp(-1, 1))


def _psnr(model: AutoencoderKL, images: Tensor) -> float:
    errors = []
    for chunk in torch.split(images.to(device_of(model)), 32):
        decoded = decode(model, encode(model, chunk))
        errors.append((decoded - chunk).square().mean((1, 2, 3)) / 4)
    return float((-10 * torch.cat(errors).log10()).mean())
