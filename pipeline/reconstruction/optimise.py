"""Fit the Gaussians of one head to its views, and to the portrait itself.

The ``gaussians`` mode of per-subject optimisation: the Gaussians are the unknowns, from the start
that the network or the visual hull gives. Half the steps run at half the resolution. Views that
were generated are trusted less the nearer they are to the portrait's camera, where the portrait
knows better.
"""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from pipeline.cameras import Cameras
from pipeline.gaussians import Gaussians
from pipeline.rasterizer import rasterize
from pipeline.reconstruction.images import resized, rgba_tensor, view_tensor
from pipeline.reconstruction.losses import dssim
from pipeline.reconstruction.photo_camera import PhotoCamera, locate_photo

PORTRAIT_PX = 256
"""Side to which a larger portrait raises the comparison: beyond it, 16 thousand Gaussians show
no more."""

_STRANGER_DISTANCE = 0.06
"""Of the image's side: what the portrait shows farther than this from the head is left out."""


@dataclass(frozen=True, kw_only=True)
class OptimiseOptions:
    """How long and how hard the Gaussians are fitted.

    Attributes:
        steps: optimiser steps.
        coarse: share of the steps at half the resolution, before the portrait joins; below 1.
        views_per_step: generated views drawn at each step; the portrait comes on top.
        size_px: side at which images are compared; None takes that of the views, or of a larger
            portrait up to 256 px.
        means_rate: learning rate of the positions, world units; like all rates, it falls to a
            tenth over the fine steps.
        quats_rate: of the rotations.
        scales_rate: of the scales' logarithms.
        opacities_rate: of the opacities' logits.
        colors_rate: of the colours' logits.
        camera_rate: of the portrait's camera, radians and world units.
        dssim_weight: of structural dissimilarity, beside the mean absolute difference.
        alpha_weight: of the alphas' mean absolute difference.
        scale_weight: of scales over ``max_scale``.
        max_scale: world units.
        portrait_weight: of the portrait against one generated view.
        portrait_reach_deg: angle within which the portrait outranks generated views.
        min_opacity: Gaussians that end below are left out.
        patience: stop when the mean loss of this many steps is no better than that of the same
            number before; 0 never stops.
        time_budget_s: stop after this many seconds. It makes results depend on the machine, so
            that it is meant as an upper bound that is not reached.
    """

    steps: int = 150
    coarse: float = 0.5
    views_per_step: int = 2
    size_px: int | None = None
    means_rate: float = 6e-4
    quats_rate: float = 5e-3
    scales_rate: float = 1e-2
    opacities_rate: float = 5e-2
    colors_rate: float = 5e-2
    camera_rate: float = 2e-3
    dssim_weight: float = 0.2
    alpha_weight: float = 0.3
    scale_weight: float = 1.0
    max_scale: float = 0.05
    portrait_weight: float = 2.5
    portrait_reach_deg: float = 35.0
    min_opacity: float = 0.02
    patience: int = 40
    time_budget_s: float = math.inf


@dataclass(frozen=True)
class Optimised:
    """The result of `optimise_gaussians`.

    Attributes:
        gaussians: the fitted head, on the CPU.
        portrait_camera: the portrait's refined camera, if there was a portrait.
        losses: of every step.
    """

    gaussians: Gaussians
    portrait_camera: Cameras | None
    losses: tuple[float, ...]


def optimise_gaussians(
    start: Gaussians,
    views: npt.NDArray[np.uint8],
    cameras: Cameras,
    *,
    confidence: npt.NDArray[np.float32] | None = None,
    portrait: npt.NDArray[np.uint8] | None = None,
    portrait_camera: Cameras | None = None,
    options: OptimiseOptions | None = None,
    seed: int = 0,
    threads: int | None = None,
) -> Optimised:
    """Fit Gaussians to the views of one head.

    Args:
        start: what to start from.
        views: [V, H, W, 3] on white.
        cameras: their V cameras.
        confidence: [V] in [0, 1], how far each view is trusted; by default the front twice as
            much as the back.
        portrait: [H, W, 4] straight alpha, framed like the views; it supervises its own view.
        portrait_camera: one camera, the estimate of where the portrait was taken from; needed
            with ``portrait``, and refined.
        options: how long and how hard.
        seed: of the draw of views.
        threads: CPU threads of the rasteriser. Results do not depend on it.

    Returns:
        The fitted head, without the Gaussians that became transparent.
    """
    if (portrait is None) != (portrait_camera is None):
        raise ValueError("portrait and portrait_camera are given together or not at all.")
    options = options or OptimiseOptions()
    if options.size_px is None:
        portrait_px = 0 if portrait is None else min(portrait.shape[0], PORTRAIT_PX)
        options = replace(options, size_px=max(views.shape[1], portrait_px))
    trust = default_confidence(cameras) if confidence is None else confidence
    photo = PhotoCamera(portrait_camera) if portrait_camera is not None else None
    with _one_torch_thread():
        fit = _Fit(start, view_tensor(views), cameras, trust, options, threads)
        if photo is not None and portrait is not None:
            fit.later = (rgba_tensor(portrait[None]), photo)
        losses = fit.run(torch.Generator().manual_seed(seed))
    return Optimised(
        fit.gaussians().detach().prune(options.min_opacity),
        photo.cameras() if photo is not None else None,
        tuple(losses),
    )


def default_confidence(cameras: Cameras) -> npt.NDArray[np.float32]:
    """1 for views of the face, falling to 0.5 for the back of the head; [V] float32."""
    forward = cameras.cam_to_world[:, 2, 3] / np.linalg.norm(cameras.cam_to_world[:, :3, 3], axis=1)
    return np.asarray(0.75 + 0.25 * forward, np.float32)


class _Fit:
    """The unknowns, the targets and one Adam for all of them.

    ``later`` is the portrait and its camera, which join after the coarse steps: before there is a
    face, the camera cannot be told.
    """

    def __init__(
        self,
        start: Gaussians,
        targets: torch.Tensor,
        cameras: Cameras,
        trust: npt.NDArray[np.float32],
        options: OptimiseOptions,
        threads: int | None,
    ) -> None:
        self.options, self.threads = options, threads
        size_px = options.size_px or targets.shape[-1]
        self.sizes = (size_px // 2, size_px)
        self.cameras, self.trust = cameras, torch.from_numpy(trust.astype(np.float32))
        self.targets = {px: resized(targets, px) for px in self.sizes}
        self.later: tuple[torch.Tensor, PhotoCamera] | None = None
        self.photo: PhotoCamera | None = None
        self.photo_targets: dict[int, torch.Tensor] = {}
        g = start.detach().to("cpu")
        self.means = g.means.clone().requires_grad_()
        self.quats = functional.normalize(g.quats, dim=-1).requires_grad_()
        self.log_scales = g.scales.clamp(min=1e-4).log().requires_grad_()
        self.opacity_logits = torch.logit(g.opacities, 1e-3).requires_grad_()
        self.color_logits = torch.logit(g.colors, 0.02).requires_grad_()
        rates = {
            "means": (self.means, options.means_rate),
            "quats": (self.quats, options.quats_rate),
            "scales": (self.log_scales, options.scales_rate),
            "opacities": (self.opacity_logits, options.opacities_rate),
            "colors": (self.color_logits, options.colors_rate),
        }
        groups = [{"params": [p], "lr": rate, "start": rate} for p, rate in rates.values()]
        self.optimizer = torch.optim.Adam(groups, eps=1e-15, fused=True)

    def join(self, portrait: torch.Tensor, photo: PhotoCamera) -> None:
        """Find the camera of the portrait [1, 4, H, W], and compare with it from now on."""
        self.photo = photo
        locate_photo(portrait[0], self.gaussians(), photo, threads=self.threads)
        with torch.no_grad():
            view, K = photo.viewmat(), photo.K(self.sizes[1])
            head = self._rasterize(view, K, self.sizes[1], torch.ones(3))[:, 3:]
        portrait = _without_strangers(resized(portrait, self.sizes[1]), head)
        self.photo_targets = {px: resized(portrait, px) for px in self.sizes}
        reach = self.options.portrait_reach_deg
        self.trust = self.trust * _trust_beside(photo.cameras(), self.cameras, reach)
        rate = self.options.camera_rate
        self.optimizer.add_param_group(
            {"params": list(photo.parameters()), "lr": rate, "start": rate}
        )

    def gaussians(self) -> Gaussians:
        return Gaussians(
            means=self.means,
            quats=self.quats,
            scales=self.log_scales.exp(),
            opacities=torch.sigmoid(self.opacity_logits),
            colors=torch.sigmoid(self.color_logits),
        )

    def run(self, generator: torch.Generator) -> list[float]:
        """Take the steps, coarse ones first; return the loss of each."""
        o = self.options
        losses: list[float] = []
        started = time.monotonic()
        coarse_steps = int(o.coarse * o.steps)
        for step in range(o.steps):
            if step == coarse_steps and self.later is not None:
                self.join(*self.later)
            decay = 0.1 ** (max(0, step - coarse_steps) / (o.steps - coarse_steps))
            for group in self.optimizer.param_groups:
                group["lr"] = group["start"] * decay
            drawn = torch.multinomial(self.trust, o.views_per_step, generator=generator)
            self.optimizer.zero_grad(set_to_none=True)
            behind = torch.rand(3, generator=generator)
            loss = self._loss(drawn.tolist(), self.sizes[step >= coarse_steps], behind)
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            losses.append(float(loss.detach()))
            late = time.monotonic() - started > o.time_budget_s
            if late or _flat(losses[coarse_steps:], o.patience):
                break
        return losses

    def _loss(self, drawn: list[int], size_px: int, behind: torch.Tensor) -> torch.Tensor:
        """Of some views before a colour: before white, white Gaussians would do for holes."""
        cameras = self.cameras[drawn]
        viewmats = torch.from_numpy(cameras.world_to_cam)
        Ks = torch.from_numpy(cameras.intrinsics(size_px))
        targets = self.targets[size_px][drawn]
        weights = torch.ones(len(drawn))
        if self.photo is not None:
            viewmats = torch.cat([viewmats, self.photo.viewmat()])
            Ks = torch.cat([Ks, self.photo.K(size_px)])
            targets = torch.cat([targets, self.photo_targets[size_px]])
            weights = torch.cat([weights, torch.tensor([self.options.portrait_weight])])
        clear = 1 - targets[:, 3:]
        colors = targets[:, :3] - clear * (1 - behind[:, None, None])
        shown = self._rasterize(viewmats, Ks, size_px, behind)
        per_view = self._difference(shown, torch.cat([colors, targets[:, 3:]], 1))
        loss = (per_view * weights).sum() / weights.sum()
        too_large = (self.log_scales.exp() - self.options.max_scale).relu()
        loss = loss + self.options.scale_weight * too_large.mean()
        return loss + self.photo.prior() if self.photo is not None else loss

    def _rasterize(
        self, viewmats: torch.Tensor, Ks: torch.Tensor, size_px: int, behind: torch.Tensor
    ) -> torch.Tensor:
        """Colour before ``behind`` [3], and alpha, [B, 4, H, W]."""
        g = self.gaussians()
        images, alphas, _ = rasterize(
            g.means, g.quats, g.scales, g.opacities, g.colors, viewmats, Ks, size_px, size_px,
            backgrounds=behind.expand(len(viewmats), 3), threads=self.threads,
        )  # fmt: skip
        return torch.cat([images, alphas], -1).permute(0, 3, 1, 2)

    def _difference(self, shown: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Of images with alpha [B, 4, H, W] from their targets, [B]."""
        absolute = (shown - targets).abs().flatten(2).mean(2)
        structure = dssim(shown[:, :3], targets[:, :3])
        o = self.options
        color = (1 - o.dssim_weight) * absolute[:, :3].mean(1) + o.dssim_weight * structure
        return color + o.alpha_weight * absolute[:, 3]


def _flat(losses: list[float], patience: int) -> bool:
    """Whether the last ``patience`` losses are on average no better than as many before."""
    if not patience or len(losses) < 2 * patience:
        return False
    last, before = losses[-patience:], losses[-2 * patience : -patience]
    return sum(last) >= sum(before)


def _without_strangers(portrait: torch.Tensor, head: torch.Tensor) -> torch.Tensor:
    """The portrait [1, 4, H, W] with white wherever there is no head near by, [1, 1, H, W].

    Shoulders beyond the bust, a hand or a leftover of the background would turn into specks in
    front of the camera, which no other view contradicts.
    """
    reach = max(1, round(_STRANGER_DISTANCE * head.shape[-1]))
    near = functional.max_pool2d(head, 2 * reach + 1, 1, reach) > 0.1
    nothing = torch.tensor([1.0, 1.0, 1.0, 0.0])[None, :, None, None]
    return torch.where(near, portrait, nothing)


def _trust_beside(photo: Cameras, cameras: Cameras, reach_deg: float) -> torch.Tensor:
    """0.5 for a view from the photo's side, rising to 1 at angles beyond ``reach_deg``; [V]."""
    sides = cameras.cam_to_world[:, :3, 3]
    side = photo.cam_to_world[0, :3, 3]
    cosine = sides @ side / (np.linalg.norm(sides, axis=1) * np.linalg.norm(side))
    angle_deg = np.degrees(np.arccos(cosine.clip(-1, 1)))
    trust = 1 - 0.5 * np.exp(-((angle_deg / reach_deg) ** 2))
    return torch.from_numpy(trust.astype(np.float32))


@contextmanager
def _one_torch_thread() -> Iterator[None]:
    """Keep torch from spinning beside the rasteriser's threads, and its sums in one order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
