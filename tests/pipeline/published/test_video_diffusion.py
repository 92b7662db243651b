"""A diffusers folder of Stable Video Diffusion becomes a stage that answers as it did."""

import json
from pathlib import Path

import pytest
import torch
from diffusers import UNetSpatioTemporalConditionModel
from hypothesis import given, settings
from hypothesis import strategies as st
from published_video_diffusion import write_video_diffusion
from safetensors.torch import load_file, save_file

from pipeline.diffusion.conditions import encode_tokens
from pipeline.diffusion.loading import load_pipeline
from pipeline.diffusion.pipeline import Portraits
from pipeline.errors import ModelNotFound
from pipeline.published.folds import (
    fix_time_ids,
    scale_condition_latents,
    take_unit_identity,
    time_features,
)
from pipeline.published.video_diffusion import video_diffusion_parts


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video_diffusion(tmp_path_factory.mktemp("svd"))


@pytest.fixture(scope="module")
def model(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("start")
    for part in video_diffusion_parts(folder, "lowres"):
        part.write(out / part.component)
    return out


@torch.no_grad()
def test_the_start_answers_as_the_published_network_whatever_camera_and_identity(
    folder: Path, model: Path
) -> None:
    published = UNetSpatioTemporalConditionModel.from_pretrained(folder / "unet").eval()
    stage = load_pipeline(model, "lowres", "cpu")
    draw = torch.Generator().manual_seed(3)
    images = torch.rand((1, 3, 32, 32), generator=draw) * 2 - 1
    identity = torch.nn.functional.normalize(torch.randn((1, 512), generator=draw))
    tokens = encode_tokens(stage.image_encoder, stage.identity_projection, images, identity)
    noisy = torch.randn((1, 16, 4, 16, 16), generator=draw)
    condition = torch.randn((1, 1, 4, 16, 16), generator=draw).expand(-1, 16, -1, -1, -1)
    timestep = torch.tensor([0.3])
    wanted = published(
        torch.cat([noisy, condition], 2),
        timestep,
        tokens[:, :1],
        torch.tensor([[6.0, 127.0, 0.02]]),
    ).sample
    ours = stage.unet(
        torch.cat([noisy, condition * stage.vae.config.scaling_factor], 2),
        timestep,
        tokens,
        torch.tensor([[40.0, -10.0, 0.02]]),
        torch.arange(16)[None] * 22.5,
    )
    torch.testing.assert_close(ours, wanted, atol=2e-5, rtol=1e-4)
    assert wanted.std() > 0.1


def test_a_start_generates(model: Path) -> None:
    stage = load_pipeline(model, "lowres", "cpu")
    views = stage(
        Portraits(torch.zeros(1, 3, 32, 32), torch.zeros(1, 512), torch.zeros(1), torch.zeros(1)),
        torch.arange(4) * 90.0,
        steps=1,
        guidance=2.5,
        generators=[torch.Generator().manual_seed(0)],
    )
    assert views.shape == (1, 4, 3, 32, 32)
    assert torch.isfinite(views).all()


def test_one_source_always_becomes_the_same_model(
    folder: Path, model: Path, tmp_path: Path
) -> None:
    torch.manual_seed(12)
    (again, _) = video_diffusion_parts(folder, "lowres")
    again.write(tmp_path / "lowres")
    for name in ("unet", "identity_projection"):
        inner = Path("lowres") / name / "diffusion_pytorch_model.safetensors"
        assert (tmp_path / inner).read_bytes() == (model / inner).read_bytes()


def test_what_is_not_stable_video_diffusion_is_refused(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "svd"
    for path in folder.rglob("*"):
        if path.is_file():
            (copy / path.relative_to(folder)).parent.mkdir(parents=True, exist_ok=True)
            (copy / path.relative_to(folder)).write_bytes(path.read_bytes())
    weights = copy / "unet" / "diffusion_pytorch_model.safetensors"
    state = load_file(weights)
    save_file({name: one for name, one in state.items() if name != "conv_out.bias"}, weights)
    with pytest.raises(ModelNotFound, match=r"1 missing \(conv_out.bias\)"):
        video_diffusion_parts(copy, "lowres")
    weights.unlink()
    with pytest.raises(ModelNotFound, match=r"has neither diffusion_pytorch_model.safetensors nor"):
        video_diffusion_parts(copy, "lowres")
    config = json.loads((copy / "vae" / "config.json").read_text())
    config["_class_name"] = "AutoencoderKL"
    (copy / "vae" / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelNotFound, match="describes AutoencoderKL, where Stable Video Diff"):
        video_diffusion_parts(copy, "lowres")


@settings(max_examples=30, deadline=None)
@given(told=st.tuples(*[st.floats(-180, 360)] * 2), free=st.floats(0, 1), seed=st.integers(0, 99))
def test_fixed_time_ids_equal_the_formula(
    told: tuple[float, float], free: float, seed: int
) -> None:
    draw = torch.Generator().manual_seed(seed)
    weight, bias = torch.randn((8, 48), generator=draw), torch.randn(8, generator=draw)
    state = {"add_embedding.linear_1.weight": weight, "add_embedding.linear_1.bias": bias}
    fixed = [time_features(one, 16) for one in (6.0, 127.0)]
    fix_time_ids(state, torch.cat(fixed))
    last = time_features(free, 16)
    ours = torch.cat([*(time_features(one, 16) for one in told), last])
    wanted = weight @ torch.cat([*fixed, last]) + bias
    folded = state["add_embedding.linear_1.weight"] @ ours + state["add_embedding.linear_1.bias"]
    torch.testing.assert_close(folded, wanted, atol=1e-5, rtol=1e-5)


@settings(max_examples=30, deadline=None)
@given(scaling_factor=st.floats(0.05, 2), seed=st.integers(0, 99))
def test_scaled_condition_latents_equal_unscaled_ones(scaling_factor: float, seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    weight = torch.randn((3, 8, 3, 3), generator=draw)
    noisy, condition = torch.randn((2, 1, 4, 5, 5), generator=draw)
    state = {"conv_in.weight": weight}
    scale_condition_latents(state, scaling_factor)
    folded = torch.conv2d(
        torch.cat([noisy, condition * scaling_factor], 1), state["conv_in.weight"]
    )
    wanted = torch.conv2d(torch.cat([noisy, condition], 1), weight)
    torch.testing.assert_close(folded, wanted, atol=2e-5, rtol=1e-5)


def test_scaled_embeddings_equal_unit_ones() -> None:
    draw = torch.Generator().manual_seed(0)
    weight, identity = torch.randn((8, 512), generator=draw), torch.randn(512, generator=draw)
    state = {"layers.0.weight": weight}
    take_unit_identity(state)
    folded = state["layers.0.weight"] @ (identity * 512**0.5)
    torch.testing.assert_close(folded, weight @ identity, atol=1e-4, rtol=1e-5)
