"""Fit heads to their views, and to the portraits themselves (section 3.4, per subject).

Two modes share one loop. ``gaussians``: the Gaussians are the unknowns, from the start that the
network or the visual hull gives; half the steps run at half the resolution; several heads go side
by side. ``network``, the paper's: the weights of the network are tuned for one head. Views that
were generated are trusted less the nearer they are to the portrait's camera, where the portrait
knows better. A portrait from the side is held to its mirror image as well, from the other side.

Legend: B heads, C views of a step, portrait included.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch.nn import functional

from pipeline.cameras import Cameras
from pipeline.gaussians import Gaussians
from pipeline.portrait.mean_face import mean_face
from pipeline.rasterizer import rasterize
from pipeline.reconstruction.evidence import Evidence, trust_beside
from pipeline.reconstruction.fit_options import FitOptions, TuneOptions
from pipeline.reconstruction.images import resized
from pipeline.reconstruction.laid_portrait import Picture, Surface, lay
from pipeline.reconstruction.lgm import LargeGaussianModel, view_inputs
from pipeline.reconstruction.losses import dssim
from pipeline.reconstruction.photo_camera import PhotoCamera, locate_photo
from pipeline.reconstruction.unknowns import FreeGaussians, TunedNetwork, Unknowns, head

_STRANGER_DISTANCE = 0.06
"""Of the image's side: what the portrait shows farther than this from the head is left out."""


@dataclass(frozen=True)
class Optimised:
    """A fitted head.

    Attributes:
        gaussians: without those that became transparent, on the CPU.
        portrait_camera: the portrait's refined camera, if there was a portrait.
        losses: of every step until the head had converged.
    """

    gaussians: Gaussians
    portrait_camera: Cameras | None
    losses: tuple[float, ...]


def optimise_gaussians(
    starts: Sequence[Gaussians],
    evidence: Sequence[Evidence],
    *,
    options: FitOptions | None = None,
    seeds: Sequence[int] | None = None,
    threads: int | None = None,
) -> list[Optimised]:
    """Fit the Gaussians of some heads, each as if it were alone.

    Args:
        starts: what to start from; the work is done on their device.
        evidence: their pictures, of one size; either all with a portrait or none.
        options: how long and how hard.
        seeds: of each head's draw of views; zeros by default.
        threads: CPU threads of the rasteriser. Results do not depend on it.

    Returns:
        The fitted heads in the same order.
    """
    options = options or FitOptions()
    with _one_torch_thread():
        unknowns = FreeGaussians(starts, options)
        return _Fit(unknowns, evidence, options, starts[0].means.device, threads).run(seeds)


def tune_network(
    model: LargeGaussianModel,
    seen: list[int],
    evidence: Evidence,
    *,
    options: TuneOptions | None = None,
    seed: int = 0,
    threads: int | None = None,
) -> Optimised:
    """Tune the network's weights for one head; they are put back afterwards.

    Args:
        model: in evaluation mode; the work is done on its device, in float32.
        seen: which of the views the network sees.
        evidence: the head's pictures.
        options: how long and how hard.
        seed: of the draw of views.
        threads: CPU threads of the rasteriser.

    Returns:
        What the tuned network makes of the views that it sees.
    """
    options = options or TuneOptions()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    inputs = view_inputs(model, evidence.views[seen], evidence.cameras[seen])
    unknowns = TunedNetwork(model, inputs[None], options)
    try:
        return _Fit(unknowns, [evidence], options, model.device, threads).run([seed])[0]
    finally:
        model.load_state_dict(before)


class _Fit:
    """The unknowns, the targets and one optimiser for all of them.

    Portraits and their cameras join after the coarse steps: before there is a face, the camera
    cannot be told.
    """

    def __init__(
        self,
        unknowns: Unknowns,
        evidence: Sequence[Evidence],
        options: FitOptions,
        device: torch.device,
        threads: int | None,
    ) -> None:
        self.unknowns, self.evidence, self.options = unknowns, evidence, options
        self.device, self.threads = device, threads
        size_px = options.size_px or max(one.size_px for one in evidence)
        self.sizes = (size_px // 2, size_px)
        self.targets = [one.targets(self.sizes, device) for one in evidence]
        self.viewmats = [torch.from_numpy(e.cameras.world_to_cam).to(device) for e in evidence]
        self.Ks = {
            px: [torch.from_numpy(e.cameras.intrinsics(px)).to(device) for e in evidence]
            for px in self.sizes
        }
        self.trust = [one.trust() for one in evidence]
        self.photos: list[PhotoCamera] = []
        self.photo_targets: list[dict[int, torch.Tensor]] = []
        self.mirror_weights: list[float] = []
        # Adam where a group's weight decay is 0
        self.optimizer = torch.optim.AdamW(
            unknowns.groups(), eps=1e-15, weight_decay=0.0, fused=True
        )

    def run(self, seeds: Sequence[int] | None) -> list[Optimised]:
        """Take the steps, coarse ones first."""
        generators = [torch.Generator().manual_seed(s) for s in seeds or [0] * len(self.evidence)]
        losses: list[list[float]] = [[] for _ in self.evidence]
        done: dict[int, Optimised] = {}
        started, step, progress = time.monotonic(), 0, 0.0
        fine_from = 0
        while progress < 1 and len(done) < len(self.evidence):
            fine = progress >= self.options.coarse
            if fine and not self.photos and self.evidence[0].portrait is not None:
                self._join()
            fine_from = fine_from if fine else step + 1
            of_heads = self._step(progress, self.sizes[fine], generators)
            step += 1
            spent = time.monotonic() - started
            progress = max(step / self.options.steps, spent / self.options.time_budget_s)
            for number in set(range(len(losses))) - set(done):
                losses[number].append(of_heads[number])
                if progress >= 1 or _flat(losses[number][fine_from:], self.options.patience):
                    done[number] = self._result(number, losses[number])
        return [done[number] for number in range(len(losses))]

    def _join(self) -> None:
        """Lay the portraits onto the faces, find their cameras, compare with them from now on."""
        for one in self.evidence:
            assert one.portrait_camera is not None
            self.photos.append(PhotoCamera(one.portrait_camera).to(self.device))
        targets = [one.portrait_target().to(self.device) for one in self.evidence]
        if self.options.lay_portrait:
            self._lay(targets)
        for number, (photo, target) in enumerate(zip(self.photos, targets, strict=True)):
            now = head(self.unknowns, number)
            locate_photo(target[0], now, photo, threads=self.threads)
            with torch.no_grad():
                view, K = photo.viewmat(), photo.K(self.sizes[1])
                _, alpha, _ = rasterize(
                    now.means, now.quats, now.scales, now.opacities, now.colors, view, K,
                    self.sizes[1], self.sizes[1], threads=self.threads,
                )  # fmt: skip
            covered = alpha.permute(0, 3, 1, 2)
            target = _without_strangers(resized(target, self.sizes[1]), covered)
            self.photo_targets.append({px: resized(target, px) for px in self.sizes})
            self._rank(number, photo)
        rate = self.options.camera_rate
        cameras = [p for photo in self.photos for p in photo.parameters()]
        self.optimizer.add_param_group({"params": cameras, "lr": rate, "start": rate})

    @torch.no_grad()
    def _lay(self, targets: Sequence[torch.Tensor]) -> None:
        """Put the portraits onto the mean face, by the cameras that were estimated with it."""
        assert isinstance(self.unknowns, FreeGaussians)
        surface = Surface.of(mean_face(), self.device)
        laid = []
        for number, (photo, target) in enumerate(zip(self.photos, targets, strict=True)):
            pixels, K = resized(target, self.sizes[1])[0], photo.K(self.sizes[1])[0]
            pictures = [Picture(pixels, photo.viewmat()[0], K)]
            if self._mirror_weight(photo):
                pictures.append(Picture(pixels.flip(-1), photo.mirrored_viewmat()[0], K))
            now = head(self.unknowns, number)
            laid.append(lay(now, surface, pictures, self.options.min_opacity))
        self.unknowns.exchange(laid, self.optimizer)

    def _mirror_weight(self, photo: PhotoCamera) -> float:
        """Of the portrait's mirror image, which helps where a portrait is from the side."""
        azimuth_deg = photo.cameras().azimuths_deg[0]
        turned = abs(azimuth_deg) > self.options.mirror_from_deg
        return self.options.mirror_weight if turned else 0.0

    def _rank(self, number: int, photo: PhotoCamera) -> None:
        """Trust views less where the portrait, or its mirror image, knows better."""
        weight = self._mirror_weight(photo)
        knowing = [photo.cameras(), photo.cameras().mirrored()][: 2 if weight else 1]
        for camera in knowing:
            self.trust[number] *= trust_beside(
                camera, self.evidence[number].cameras, self.options.portrait_reach_deg
            )
        self.mirror_weights.append(weight)

    def _step(
        self, progress: float, size_px: int, generators: Sequence[torch.Generator]
    ) -> list[float]:
        """One step for all heads; their losses."""
        rate = self.unknowns.rate(progress, self.options.coarse)
        for group in self.optimizer.param_groups:
            group["lr"] = group["start"] * rate
        self.optimizer.zero_grad(set_to_none=True)
        losses = self._losses(size_px, generators)
        torch.autograd.backward(losses.sum())
        self.unknowns.limit()
        self.optimizer.step()
        return [float(loss) for loss in losses.detach()]

    def _losses(self, size_px: int, generators: Sequence[torch.Generator]) -> torch.Tensor:
        """Of each head [B], in some views before a colour: before white, white Gaussians would
        do for holes.
        """
        splats = self.unknowns.splats()
        drawn = [
            torch.multinomial(trust, self.options.views_per_step, generator=generator).tolist()
            for trust, generator in zip(self.trust, generators, strict=True)
        ]
        behind = torch.stack([torch.rand(3, generator=one) for one in generators]).to(self.device)
        viewmats, Ks, targets = self._views(drawn, size_px)
        backgrounds = behind[:, None].expand(-1, viewmats.shape[1], -1)
        images, alphas, _ = rasterize(
            *splats, viewmats, Ks, size_px, size_px, backgrounds=backgrounds, threads=self.threads
        )
        shown = torch.cat([images, alphas], -1).movedim(-1, 2)
        clear = 1 - targets[:, :, 3:]
        colors = targets[:, :, :3] - clear * (1 - behind[:, None, :, None, None])
        per_view = self._difference(shown, torch.cat([colors, targets[:, :, 3:]], 2))
        weights = torch.ones_like(per_view)
        if self.photos:
            number = self.options.views_per_step
            weights[:, number] = self.options.portrait_weight
            weights[:, number + 1 :] = weights.new_tensor(self.mirror_weights)[:, None]
        losses = (per_view * weights).sum(1) / weights.sum(1)
        too_large = (splats.scales - self.options.max_scale).relu().sum((1, 2))
        of_each = 3 * torch.tensor(self.unknowns.counts, device=self.device)
        losses = losses + self.options.scale_weight * too_large / of_each
        if not self.photos:
            return losses
        return losses + torch.stack([photo.prior() for photo in self.photos])

    def _views(
        self, drawn: list[list[int]], size_px: int
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """World to camera [B, C, 4, 4], camera matrices [B, C, 3, 3], targets [B, C, 4, H, W]."""
        viewmats, Ks, targets = [], [], []
        for number, views in enumerate(drawn):
            viewmat, K = self.viewmats[number][views], self.Ks[size_px][number][views]
            target = self.targets[number][size_px][views]
            if self.photos:
                photo = self.photos[number]
                viewmat = torch.cat([viewmat, photo.viewmat()])
                K = torch.cat([K, photo.K(size_px)])
                photo_target = self.photo_targets[number][size_px]
                target = torch.cat([target, photo_target])
                if any(self.mirror_weights):
                    viewmat = torch.cat([viewmat, photo.mirrored_viewmat()])
                    K = torch.cat([K, photo.K(size_px)])
                    target = torch.cat([target, photo_target.flip(-1)])
            viewmats.append(viewmat)
            Ks.append(K)
            targets.append(target)
        return torch.stack(viewmats), torch.stack(Ks), torch.stack(targets)

    def _difference(self, shown: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Of images with alpha [B, C, 4, H, W] from their targets, [B, C]."""
        absolute = (shown - targets).abs().mean((3, 4))
        structure = dssim(shown[:, :, :3].flatten(0, 1), targets[:, :, :3].flatten(0, 1))
        o = self.options
        color = (1 - o.dssim_weight) * absolute[:, :, :3].mean(2)
        alpha = o.alpha_weight * absolute[:, :, 3]
        return color + o.dssim_weight * structure.reshape(color.shape) + alpha

    def _result(self, number: int, losses: list[float]) -> Optimised:
        gaussians = head(self.unknowns, number).to("cpu").prune(self.options.min_opacity)
        camera = self.photos[number].cameras() if self.photos else None
        return Optimised(gaussians, camera, tuple(losses))


def _flat(losses: list[float], patience: int) -> bool:
    """Whether the last ``patience`` losses are on average no better than as many before."""
    if not patience or len(losses) < 2 * patience:
        return False
    last, before = losses[-patience:], losses[-2 * patience : -patience]
    return sum(last) >= sum(before)


def _without_strangers(portrait: torch.Tensor, covered: torch.Tensor) -> torch.Tensor:
    """The portrait [1, 4, H, W] with white wherever there is no head near by, [1, 1, H, W].

    Shoulders beyond the bust, a hand or a leftover of the background would turn into specks in
    front of the camera, which no other view contradicts.
    """
    reach = max(1, round(_STRANGER_DISTANCE * covered.shape[-1]))
    near = functional.max_pool2d(covered, 2 * reach + 1, 1, reach) > 0.1
    nothing = portrait.new_tensor([1.0, 1.0, 1.0, 0.0])[None, :, None, None]
    return torch.where(near, portrait, nothing)


@contextmanager
def _one_torch_thread() -> Iterator[None]:
    """Keep torch from spinning beside the rasteriser's threads, and its sums in one order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
