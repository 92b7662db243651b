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
from pipeline.reconstruction.laid_portrait import Laid
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
        self._options = options
        self.counts = [len(one) for one in starts]
        quats = [functional.normalize(g.quats, dim=-1) for g in starts]
        logs = [g.scales.clamp(min=_MIN_SCALE).log() for g in starts]
        logits = [torch.logit(g.opacities, 1e-3) for g in starts]
        colors = [torch.logit(g.colors, 0.02) for g in starts]
        self._take([[g.means for g in starts], quats, logs, logits, colors])

    def _take(self, columns: Sequence[Sequence[torch.Tensor]]) -> None:
        """Of each parameter the rows [N, ...] of each head."""
        means, quats, logs, logits, colors = columns
        self.means = _side_by_side(means)
        self.quats = _side_by_side(quats)
        with torch.no_grad():
            self.quats[..., 0] += (self.quats == 0).all(-1)  # a rotation needs a direction
        self.log_scales = _side_by_side(logs, math.log(_MIN_SCALE))
        self.opacity_logits = _side_by_side(logits, _ABSENT_LOGIT)
        self.color_logits = _side_by_side(colors)
        self._fixed = torch.zeros_like(self.opacity_logits, dtype=torch.bool)

    @property
    def _parameters(self) -> tuple[torch.Tensor, ...]:
        return self.means, self.quats, self.log_scales, self.opacity_logits, self.color_logits

    def exchange(self, laid: Sequence[Laid], optimizer: torch.optim.Optimizer) -> None:
        """Lay a portrait onto each head; what is laid stays in its place from now on.

        Args:
            laid: one for each head.
            optimizer: Adam of `groups`, which goes on with what it knows of those that stay.
        """
        before, kept = self._parameters, [one.kept for one in laid]
        added = FreeGaussians([one.added for one in laid], self._options)
        self.counts = [int(one.kept.sum()) + len(one.added) for one in laid]
        self._take(
            [
                [
                    torch.cat([o[: len(k)][k], n[:count]])
                    for o, k, n, count in zip(old, kept, new, added.counts, strict=True)
                ]
                for old, new in zip(before, added._parameters, strict=True)
            ]
        )
        for number, (count, more) in enumerate(zip(self.counts, added.counts, strict=True)):
            self._fixed[number, count - more : count] = True
        for group, old, new in zip(optimizer.param_groups, before, self._parameters, strict=True):
            group["params"] = [new]
            if known := optimizer.state.pop(old, None):
                optimizer.state[new] = _handed_on(known, kept, new)

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
        o = self._options
        rates = (o.means_rate, o.quats_rate, o.scales_rate, o.opacities_rate, o.colors_rate)
        pairs = zip(self._parameters, rates, strict=True)
        return [{"params": [p], "lr": rate, "start": rate} for p, rate in pairs]

    def rate(self, progress: float, coarse: float) -> float:
        """1 for the coarse steps, then falling to a tenth."""
        return float(0.1 ** (max(0.0, progress - coarse) / (1 - coarse)))

    def limit(self) -> None:
        """What was laid keeps its place: views that contradict the portrait would drag it off."""
        if self.means.grad is not None:
            self.means.grad[self._fixed] = 0


def _side_by_side(parts: Sequence[torch.Tensor], filler: float = 0.0) -> torch.Tensor:
    """[B, N, ...] with gradients, on the device of ``parts``."""
    tails = [part.detach().float() for part in parts]
    padded = torch.nn.utils.rnn.pad_sequence(tails, True, filler)
    return padded.clone().requires_grad_()


def _handed_on(
    known: dict[str, Any], kept: Sequence[torch.Tensor], new: torch.Tensor
) -> dict[str, Any]:
    """Adam's state for a parameter that lost some rows and gained others.

    New rows begin with the mean of the squares of those that stay. From nothing, Adam's first
    steps would be as large as the rate allows, and spoil what was laid.
    """
    state = {"step": known["step"]}
    for name in ("exp_avg", "exp_avg_sq"):
        state[name] = torch.zeros_like(new)
        for number, rows in enumerate(kept):
            staying = known[name][number, : len(rows)][rows]
            state[name][number, : len(staying)] = staying
            if name == "exp_avg_sq" and len(staying):
                state[name][number, len(staying) :] = staying.mean(0)
    return state


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
