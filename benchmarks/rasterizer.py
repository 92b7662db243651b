"""How fast our CPU kernels rasterise, beside others in the same run.

    python -m benchmarks.rasterizer --gaussians 16384 --size-px 256 --views 2 --runs 5
    python -m benchmarks.rasterizer --opensplat CHECKOUT

What it measures: CPU time of the process per view, on one thread, the least of some runs (which
other load on the machine disturbs least). *Forward* is a call of the rasteriser with inputs that
want gradients; *backward* takes the gradients of colours and alphas to means, quaternions,
scales, opacities and colours. Projection, sorting and binning are in both; ours also checks its
inputs. The contestants take turns, and their images and gradients are compared with ours, so that
the ratio is one of equals: a batched tile rasteriser in torch (`torch_tiles`), and with
``--opensplat`` OpenSplat's CPU kernels (`opensplat`), compiled with -O3 and for this CPU.

What it said on 2026-11-24, on one of two virtual cores of an AMD EPYC (Zen 3, AVX2) that other
work kept busy, one view (6 runs, for 65,536 Gaussians 2):

    CPU ms, times ours       16,384 at 256 px              65,536 at 512 px
                         forward       backward        forward       backward
    ours                  8.3           9.0             35            44
    torch               269 (32x)     281 (31x)       1218 (35x)    1134 (26x)
    OpenSplat -O3        57 (6.8x)     46 (5.1x)       267 (7.6x)    200 (4.6x)
    OpenSplat native     54 (6.5x)     42 (4.7x)       280 (8.0x)    187 (4.3x)

Images agree with torch's to 1e-7 and 2e-7 on average and with OpenSplat's to 1e-5 and 5e-5 (it
sorts by depth after the perspective division, which moves a few neighbours). OpenSplat's gradients
of colours and opacities are ours to 6e-3, of means to 4e-2; those of scales and quaternions are
others, and we do not know why.

The scene is a head-like shell: radius 0.4, flat Gaussians along it of lognormal size, opacities
of sigmoid(N(1, 1.5)), seen from an orbit of the project's cameras.
"""

import argparse
import math
import time
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks import opensplat, torch_tiles
from benchmarks.torch_tiles import Scene
from pipeline.cameras import Cameras, orbit
from pipeline.rasterizer import rasterize

Renderer = Callable[[Scene, Cameras, int], tuple[torch.Tensor, torch.Tensor]]


def shell(count: int, seed: int = 0) -> Scene:
    """Means, quats, scales, opacities and colours of ``count`` Gaussians, all wanting gradients."""
    g = torch.Generator().manual_seed(seed)
    normals = torch.nn.functional.normalize(torch.randn(count, 3, generator=g), dim=-1)
    means = normals * (0.4 + 0.02 * torch.randn(count, 1, generator=g))
    # The quaternion that turns z to the normal makes the third axis the thin one.
    turn = torch.stack([1 + normals[:, 2], -normals[:, 1], normals[:, 0]], -1)
    quats = torch.cat([turn, torch.zeros(count, 1)], -1) + 1e-4
    spacing = math.sqrt(4 * math.pi * 0.16 / count)
    scales = 0.75 * spacing * torch.exp(0.4 * torch.randn(count, 3, generator=g))
    scales = scales * torch.tensor([1, 1, 0.3])
    opacities = torch.sigmoid(1 + 1.5 * torch.randn(count, generator=g))
    scene = (means, quats, scales, opacities, torch.rand(count, 3, generator=g))
    for tensor in scene:
        tensor.requires_grad_()
    return scene


def ours(scene: Scene, cameras: Cameras, size_px: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Our kernels on one thread, on black."""
    Ks = torch.from_numpy(cameras.intrinsics(size_px))
    viewmats = torch.from_numpy(cameras.world_to_cam)
    image, alpha, _ = rasterize(*scene, viewmats, Ks, size_px, size_px, threads=1)
    return image, alpha


def measure(
    render: Renderer, scene: Scene, cameras: Cameras, size_px: int
) -> tuple[float, float, torch.Tensor]:
    """CPU seconds forward and backward, and colours, alphas and gradients in one flat tensor."""
    start = time.process_time()
    image, alpha = render(scene, cameras, size_px)
    middle = time.process_time()
    gradients = torch.autograd.grad((image.square().sum() + alpha.sum()), scene)
    end = time.process_time()
    both = torch.cat([t.detach().flatten() for t in (image, alpha, *gradients)])
    return middle - start, end - middle, both


def _contestants(opensplat_checkout: Path | None) -> dict[str, Renderer]:
    contestants: dict[str, Renderer] = {"ours": ours, "torch": torch_tiles.render}
    if opensplat_checkout is not None:
        for flags in opensplat.FLAGS:
            module = opensplat.build(opensplat_checkout, flags)
            contestants[f"OpenSplat {flags}"] = opensplat.renderer(module)
    return contestants


def main() -> None:
    """Measure all and print milliseconds a view and the ratios."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--gaussians", type=int, default=16384)
    parser.add_argument("--size-px", type=int, default=256)
    parser.add_argument("--views", type=int, default=2)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--opensplat", type=Path, metavar="CHECKOUT")
    args = parser.parse_args()
    torch.set_num_threads(1)
    scene, cameras = shell(args.gaussians), orbit(args.views)
    contestants = _contestants(args.opensplat)
    best = {name: [math.inf, math.inf] for name in contestants}
    results = {}
    for _ in range(args.runs):
        for name, render in contestants.items():
            forward, backward, results[name] = measure(render, scene, cameras, args.size_px)
            best[name] = [min(best[name][0], forward), min(best[name][1], backward)]
    print(f"{args.gaussians} Gaussians, {args.views} views of {args.size_px} px, one thread")
    print("CPU ms a view, projection, sorting and binning included; times ours; image difference")
    in_image = args.views * args.size_px**2 * 3
    for name, times in best.items():
        forward, backward = (t * 1e3 / args.views for t in times)
        ratios = [t / o for t, o in zip(times, best["ours"], strict=True)]
        apart = results[name] - results["ours"]
        image = apart[:in_image].abs()
        print(
            f"{name:16} forward {forward:7.2f} ({ratios[0]:5.1f}x)  backward {backward:7.2f} "
            f"({ratios[1]:5.1f}x)  max {image.max():.1e} mean {image.mean():.1e}  "
            f"all, relative {apart.norm() / results['ours'].norm():.1e}"
        )


if __name__ == "__main__":
    main()
