"""The paper's ablations as models that the stages run: without identity, and with one stage."""

from pathlib import Path

import numpy as np
import pytest
import torch
from test_diffusion import SIZE_PX, people
from tiny_diffusion import tiny_vae

from pipeline.cameras import orbit_azimuths_deg
from pipeline.errors import UsageError
from pipeline.graph import GraphOptions, build_graph
from pipeline.model_config import ModelConfig, StageConfig
from pipeline.recipe import Recipe
from pipeline.stage import Row
from pipeline.stages.diffusion import DiffusionConfig as StageOptions
from pipeline.stages.diffusion import SingleStage
from pipeline.training.diffusion import DiffusionPart
from pipeline.training.diffusion_presets import DiffusionConfig


def write_model(folder: Path, **changes: object) -> Path:
    """A model with a single stage, fresh from training's export."""
    config = DiffusionConfig(
        size_px=SIZE_PX, channels=(32, 64), heads=(1, 2), batch_views=16, **changes
    )
    part = DiffusionPart(people(2), people(2), tiny_vae(), config)
    torch.manual_seed(0)
    part.export(part.build_model().eval(), folder / "lowres")
    part.vae.save_pretrained(folder / "vae")
    ModelConfig(
        lowres=StageConfig(size_px=SIZE_PX, steps=2),
        highres=None,
        azimuths_deg=tuple(map(float, orbit_azimuths_deg(4))),
    ).save(folder)
    return folder


def row(seed: int) -> Row:
    identity = np.random.default_rng(seed).normal(size=512).astype(np.float32)
    portrait = np.full((48, 48, 4), 128, np.uint8)
    return {
        "portrait": portrait,
        "identity": identity / np.linalg.norm(identity),
        "yaw_deg": 0.0,
        "elevation_deg": 0.0,
        "seed": 7,
    }


def views_of(model: Path) -> list[np.ndarray]:
    stage = SingleStage(StageOptions(model=model))
    stage.setup("cpu")
    return [one["views"] for one in stage.process([row(0), row(1)], _Quiet())]


class _Quiet:
    def checkpoint(self, stage: str, step: int, steps: int) -> None:
        """Nobody watches."""


@pytest.mark.parametrize("told", [True, False])
def test_without_identity_two_people_with_one_portrait_get_the_same_views(tmp_path, told):
    first, second = views_of(write_model(tmp_path, identity_token=told))
    assert first.shape == (4, SIZE_PX, SIZE_PX, 3)
    assert np.array_equal(first, second) is not told


def test_a_model_with_one_stage_has_a_graph_without_the_second(tmp_path):
    write_model(tmp_path)
    for part in ("face", "matting"):
        (tmp_path / part).mkdir()
    assert ModelConfig.load(tmp_path).highres is None
    stages = build_graph(GraphOptions(model=tmp_path), "out", Recipe(model_hash="m"))
    assert [one.name for one in stages] == [
        "Load",
        "Prepare",
        "LowRes",
        "Reconstruct",
        "Judge",
        "Export",
    ]
    assert stages[2].outputs == ("views",)
    with pytest.raises(UsageError, match=r"highres-steps is 4 but .* has a single stage"):
        build_graph(GraphOptions(model=tmp_path, highres_steps=4), "o", Recipe(model_hash="m"))
