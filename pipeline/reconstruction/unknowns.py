"""What a fit may change: Gaussians, or the weights of the network that makes them.

Legend: B heads that are fitted at the same time, N Gaussians of the largest.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch.nn import functional

from pipeline.gaussians import Gaussians
from pipeline.reconstruction.fit_options import FitOptions, TuneOptions
from pipeline.reconstruction.lgm import LargeGaussianModel

_ABSENT_LOGIT = -12.0
"""Opacity of the Gaussians that fill up smaller heads: under what the rasteriser draws."""
_MIN_SCALE = 1e-4
"""World units; smaller ones show nothing and have no useful gradient."""
Group = dict[str, Any]


class Splats(NamedTuple):
    """Gaussians of B heads side by side, as `pipeline.rasterizer.rasterize` takes them.

    Attributes:
        means: [B, N, 3].
        quats: [B, N, 4].
        scales: [B, N, 3].
        opacities: [B, N].
        colors: [B, N, 3].
    """

    means: torch.Tensor
    quats: torch.Tensor
    scales: torch.Tensor
    opacities: torch.Tensor
    colors: torch.Tensor


class Unknowns(Protocol):
    """What the optimiser asks of the thing that it changes."""

    counts: list[int]
    """Gaussians of each head."""

    def splats(self) -> Splats:
        """The Gaussians as they are now, with gradients."""

    def groups(self) -> list[Group]:
        """Parameter groups of the optimiser; ``start`` is a group's first learning rate."""

    def rate(self, progress: float, coarse: float) -> float:
        """What the learning rates are multiplied by, ``progress`` going from 0 to 1."""

    def limit(self) -> None:
        """Change the gradients before a step."""


def head(unknowns: Unknowns, number: int) -> Gaussians:
    """One head's Gaussians as they are now, without gradients, on their device."""
    count = unknowns.counts[number]
    with torch.no_grad():
        parts = unknowns.splats()._asdict()
    return Gaussians(**{name: part[number, :count].detach() for name, part in parts.items()})


class FreeGaussians:
    """Gaussians as unknowns: logarithms of scales, logits of opacities and colours.

    Args:
        starts: B heads to begin with.
        options: learning rates.
    """

    def __init__(self, starts: Sequence[Gaussians], options: FitOptions) -> None:
        self.counts = [len(one) for one in starts]
        self.means = self._side_by_side([g.means for g in starts])
        self.quats = self._side_by_side([functional.normalize(g.quats, dim=-1) for g in starts])
        with torch.no_grad():
            self.quats[..., 0] += (self.quats == 0).all(-1)  # a rotation needs a direction
        logs = [g.scales.clamp(min=_MIN_SCALE).log() for g in starts]
        self.log_scales = self._side_by_side(logs, math.log(_MIN_SCALE))
        logits = [torch.logit(g.opacities, 1e-3) for g in starts]
        self.opacity_logits = self._side_by_side(logits, _ABSENT_LOGIT)
        self.color_logits = self._side_by_side([torch.logit(g.colors, 0.02) for g in starts])
        self._rates = (
            (self.means, options.means_rate),
            (self.quats, options.quats_rate),
            (self.log_scales, options.scales_rate),
            (self.opacity_logits, options.opacities_rate),
            (self.color_logits, options.colors_rate),
        )

    def splats(self) -> Splats:
        """The Gaussians as they are now, with gradients."""
        return Splats(
            self.means,
            self.quats,
            self.log_scales.exp(),
            torch.sigmoid(self.opacity_logits),
            torch.sigmoid(self.color_logits),
        )

    def groups(self) -> list[Group]:
        """One parameter group for each kind of number."""
        return [{"params": [p], "lr": rate, "start": rate} for p, rate in self._rates]

    def rate(self, progress: float, coarse: float) -> float:
        """1 for the coarse steps, then falling to a tenth."""
        return float(0.1 ** (max(0.0, progress - coarse) / (1 - coarse)))

    def limit(self) -> None:
        """Gradients stay as they are."""

    def _side_by_side(self, parts: list[torch.Tensor], filler: float = 0.0) -> torch.Tensor:
        """[B, N, ...] with gradients, on the device of ``parts``."""
        tails = [part.detach().float() for part in parts]
        padded = torch.nn.utils.rnn.pad_sequence(tails, True, filler)
        return padded.clone().requires_grad_()


class TunedNetwork:
    """The network's weights as unknowns, for one head (the paper's section 3.4).

    The views that the network sees are not augmented: what is wanted is this head.

    Args:
        model: changed in place; in evaluation mode.
        inputs: [1, V, 9, P, P] from `network_inputs`.
        options: learning rate and limits.
    """

    def __init__(
        self, model: LargeGaussianModel, inputs: torch.Tensor, options: TuneOptions
    ) -> None:
        self.model, self.inputs, self.options = model, inputs, options
        self.counts = [inputs.shape[1] * model.splat_px**2]

    def splats(self) -> Splats:
        """What the network makes of the views now."""
        g = Gaussians.from_tensor(self.model(self.inputs)[0])
        return Splats(
            g.means[None], g.quats[None], g.scales[None], g.opacities[None], g.colors[None]
        )

    def groups(self) -> list[Group]:
        """One parameter group, all weights."""
        rate = self.options.network_rate or float(self.model.config.tune_rate)
        return [
            {
                "params": list(self.model.parameters()),
                "lr": rate,
                "start": rate,
                "betas": (0.9, 0.95),
                "eps": 1e-8,
                "weight_decay": self.options.weight_decay,
            }
        ]

    def rate(self, progress: float, coarse: float) -> float:
        """Rises linearly over the warm-up, then falls to nothing along a cosine."""
        if progress < self.options.warmup:
            return max(progress / self.options.warmup, 0.04)
        along = (progress - self.options.warmup) / (1 - self.options.warmup)
        return 0.5 * (1 + float(torch.cos(torch.tensor(torch.pi * along))))

    def limit(self) -> None:
        """Clip the norm of the gradient."""
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.options.clip_norm)
