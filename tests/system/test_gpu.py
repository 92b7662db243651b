"""What changes on a GPU: skipped without one."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_gaussians import small_part
from tiny_heads import write_heads

from pipeline.cameras import look_at_origin, orbit
from pipeline.gaussians import Gaussians
from pipeline.model_folder import EMBEDDED
from pipeline.rasterizer.cuda import kernels_built
from pipeline.reconstruction.evidence import Evidence
from pipeline.reconstruction.fit_options import FitOptions
from pipeline.reconstruction.lgm import LargeGaussianModel, lgm_config, reconstruct
from pipeline.reconstruction.optimise import optimise_gaussians
from pipeline.rendering import render_u8
from pipeline.stage import Row, run_stage
from pipeline.stages.diffusion import DiffusionConfig, HighRes, LowRes
from pipeline.training.loop import TrainOptions, train

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


def _row() -> Row:
    rng = np.random.default_rng(0)
    portrait = np.zeros((256, 256, 4), np.uint8)
    portrait[40:200, 60:200] = (180, 140, 120, 255)
    identity = rng.normal(size=512).astype(np.float32)
    return {
        "portrait": portrait,
        "identity": identity / np.linalg.norm(identity),
        "yaw_deg": 10.0,
        "elevation_deg": 0.0,
        "seed": 1,
    }


def test_the_diffusion_stages_make_the_views_that_they_make_on_a_cpu() -> None:
    made = {}
    for device in ("cpu", "cuda"):
        rows = [_row()]
        for stage in (
            LowRes(DiffusionConfig(model=EMBEDDED)),
            HighRes(DiffusionConfig(model=EMBEDDED)),
        ):
            stage.setup(device)
            rows = run_stage(stage, rows)
        made[device] = rows[0]["views"].astype(int)
    assert np.abs(made["cuda"] - made["cpu"]).mean() < 2


def test_the_gaussian_network_in_bf16_is_near_float32_on_a_cpu() -> None:
    torch.manual_seed(0)
    model: LargeGaussianModel = LargeGaussianModel(**lgm_config("embedded")).eval()
    views = np.random.default_rng(0).integers(0, 256, (4, 128, 128, 3), np.uint8)
    here = reconstruct(model, views, orbit(4))
    there = reconstruct(model.to("cuda"), views, orbit(4), bf16=True)
    assert there.means.dtype == torch.float32
    for name in ("means", "scales", "opacities", "colors"):
        difference = getattr(here, name) - getattr(there, name).cpu()
        assert 0 < difference.abs().max() < 0.05, name


@pytest.mark.skipif(not kernels_built(), reason="gsplat's kernels are not built")
def test_gsplat_shows_what_our_kernels_show() -> None:
    rng = torch.Generator().manual_seed(0)
    rows = torch.rand(2000, 14, generator=rng)
    rows[:, :3] -= 0.5
    rows[:, 4:7] = 0.01 + 0.02 * rows[:, 4:7]
    gaussians = Gaussians.from_tensor(rows)
    here = render_u8(gaussians, orbit(4), 128).astype(int)
    there = render_u8(gaussians.to("cuda"), orbit(4), 128).astype(int)
    assert np.abs(here - there).mean() < 1


@pytest.mark.skipif(not kernels_built(), reason="gsplat's kernels are not built")
def test_heads_side_by_side_are_fitted_as_well_as_on_a_cpu() -> None:
    rng = torch.Generator().manual_seed(1)
    rows = torch.rand(2000, 14, generator=rng)
    rows[:, :3] -= 0.5
    rows[:, 4:7] = 0.01 + 0.02 * rows[:, 4:7]
    rows[:, 7:11] -= 0.5
    truth = Gaussians.from_tensor(rows)
    views = render_u8(truth, orbit(8), 96)
    evidence = [
        Evidence(
            views=views,
            cameras=orbit(8),
            portrait=np.dstack([views[0], np.full((96, 96), 255, np.uint8)]),
            portrait_camera=look_at_origin(4, 0),
        )
    ] * 2
    moved = rows.clone()
    moved[:, :3] += 0.01 * torch.randn(2000, 3, generator=rng)
    errors = {}
    for device in ("cpu", "cuda"):
        starts = [Gaussians.from_tensor(part).to(device) for part in (moved, moved[:1500])]
        fitted = optimise_gaussians(starts, evidence, options=FitOptions(steps=40))
        shown = [render_u8(one.gaussians, orbit(8), 96) for one in fitted]
        errors[device] = [np.square(one.astype(float) - views).mean() for one in shown]
    assert errors["cuda"] == pytest.approx(errors["cpu"], rel=0.1)


@pytest.mark.skipif(not kernels_built(), reason="gsplat's kernels are not built")
def test_the_gaussian_network_trains_and_is_judged_on_the_gpu(tmp_path: Path) -> None:
    part = small_part(write_heads(tmp_path / "heads", (0, 1, 9), 32))
    devices = []

    def watch(_: object, given: tuple[torch.Tensor, ...]) -> None:
        devices.append(given[0].device.type)

    build = part.build_model

    def watched() -> torch.nn.Module:
        model = build()
        model.conv.register_forward_pre_hook(watch)
        return model

    part.build_model = watched  # type: ignore[method-assign]
    options = TrainOptions(steps=2, warmup_steps=1)
    first = train(part, tmp_path / "run", options)
    assert set(devices) == {"cuda"}
    assert np.isfinite(list(first.values())).all()
    again = train(part, tmp_path / "run", replace(options, steps=3))  # from its checkpoint
    assert np.isfinite(list(again.values())).all()
