"""The release's checkpoints: every tensor accounted for, and the same results as its own code."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL
from published_weights import (
    FULL,
    TINY,
    given,
    identity_shapes,
    numbers,
    stage_numbers,
    stage_shapes,
)
from published_weights import write_stage_file as write
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from pipeline.diffusion.conditions import Conditions
from pipeline.diffusion.denoiser import Denoiser
from pipeline.diffusion.edm import GUIDANCE
from pipeline.diffusion.latents import encode
from pipeline.diffusion.loading import load_pipeline
from pipeline.diffusion.pipeline import NOISE_AUGMENTATION, OrbitPipeline
from pipeline.diffusion.unet import OrbitUNet
from pipeline.errors import ModelNotFound
from pipeline.portrait.faces import PortraitEmbedder
from pipeline.published.autoencoder import vae_config, vae_origin
from pipeline.published.checkpoint_files import (
    Origin,
    Published,
    filled,
    on_meta,
    read_tensors,
)
from pipeline.published.ir_se50 import IrSe, ir_se_config
from pipeline.published.open_clip import clip_config, clip_origin
from pipeline.published.release import LEFT_OUT, arcface_parts, stage_parts
from pipeline.published.stable_video import unet_config, unet_origin

IDENTITY_PREFIX = "conditioner.embedders.5.id_model."
CONDITION = "conditioner.embedders.3.encoder."

RECORDED = json.loads(Path(__file__).with_name("release_outputs.json").read_text())
"""What the release's code computes with `TINY` numbers from `given` inputs, in float32."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both stages, imported."""
    folder = tmp_path_factory.mktemp("release")
    for name, stage in (("low_stage.pt", "lowres"), ("high_stage.pt", "highres")):
        for part in stage_parts(write(folder / name), stage):
            if not (folder / part.component).exists():
                part.write(folder / part.component)
    return folder


def assert_as_recorded(name: str, ours: Tensor, tolerance: float) -> None:
    recorded = RECORDED[name]
    assert list(ours.shape) == recorded["shape"]
    wanted = torch.tensor(recorded["values"])
    torch.testing.assert_close(
        ours.flatten()[:: recorded["step"]], wanted, atol=tolerance, rtol=tolerance
    )


@torch.no_grad()
def test_each_network_computes_what_the_releases_own_code_does(model: Path) -> None:
    inputs, stage = given(), load_pipeline(model, "lowres", "cpu")
    token = stage.image_encoder(inputs["pixels"]).image_embeds
    assert_as_recorded("image_token", token, 1e-5)
    identity = _identity(model, inputs["crop"])
    assert_as_recorded("identity", identity, 1e-5)
    identity_token = stage.identity_projection(identity, token[:, None])[:, 0]
    assert_as_recorded("identity_token", identity_token, 1e-5)
    condition = encode(stage.vae, inputs["image"]) / stage.vae.config.scaling_factor
    assert_as_recorded("condition", condition, 1e-5)
    assert_as_recorded("image", stage.vae.decode(inputs["latents"][:1]).sample, 1e-5)


@torch.no_grad()
def test_the_unet_answers_our_inputs_as_the_releases_answers_its_own(model: Path) -> None:
    stage, conditions = load_pipeline(model, "lowres", "cpu"), _conditions(model)
    latents = given()["latents"][None]
    portrait = conditions.latents[:, None].expand(-1, 4, -1, -1, -1)
    for azimuth_deg in (0.0, 33.0):  # the release is told none
        conditions.time_ids[:, 0] = azimuth_deg
        answer = stage.unet(
            torch.cat([latents, portrait], 2),
            torch.tensor([0.3]),
            conditions.tokens,
            conditions.time_ids,
            torch.tensor([[0.0, 4.04, 15.47, 33.22]]),
        )
        assert_as_recorded("unet", answer[0], 1e-4)


@pytest.mark.parametrize("name", ["lowres", "highres"])
@torch.no_grad()
def test_a_stage_samples_what_the_releases_sampler_does(name: Any, model: Path) -> None:
    stage, inputs = load_pipeline(model, name, "cpu"), given()
    weights = stage.config.noise_weight, stage.config.lowres_weight
    assert weights == {"lowres": (1.0, 0.0), "highres": (0.5, 0.5)}[name]
    start = weights[0] * inputs["latents"] + weights[1] * inputs["lowres_latents"]
    assert_as_recorded(name, _sample(stage, _conditions(model), start[None])[0], 1e-3)


def test_full_size_networks_take_every_tensor(tmp_path: Path) -> None:
    path = tmp_path / "low_stage.pt"
    tensors = {n: torch.empty(s, device="meta") for n, s in stage_shapes(FULL).items()}
    torch.save({"module": tensors}, path)
    file = Published(path)
    unet, vae, clip = unet_config(file, 32), vae_config(file), CLIPVisionConfig(**clip_config(file))
    identity = ir_se_config(file, IDENTITY_PREFIX)
    assert unet["block_out_channels"] == (320, 640, 1280, 1280)
    assert unet["num_attention_heads"] == (5, 10, 20, 20)
    assert (vae["block_out_channels"], vae["layers_per_block"]) == ((128, 256, 512, 512), 2)
    assert (clip.num_hidden_layers, clip.num_attention_heads, clip.image_size) == (32, 16, 224)
    assert len(identity["widths"]) == 25
    networks: list[tuple[Callable[[], nn.Module], Callable[[str], Origin], int]] = [
        (lambda: OrbitUNet(**unet), lambda name: unet_origin(name, 2), 1_524_623_082),
        (lambda: AutoencoderKL(**vae), lambda name: vae_origin(name, 4), 83_653_863),
        (lambda: AutoencoderKL(**vae), lambda name: vae_origin(name, 4, CONDITION), 83_653_863),
        (lambda: CLIPVisionModelWithProjection(clip), clip_origin, 632_076_800),
        (lambda: IrSe(**identity), lambda name: Origin(IDENTITY_PREFIX + name), 43_797_696),
    ]
    for make, origin, parameters in networks:
        network = on_meta(make)
        assert sum(one.numel() for one in network.parameters()) == parameters
        taken = {name: one.shape for name, one in file.take(network, origin).items()}
        assert taken == {name: one.shape for name, one in network.state_dict().items()}
    file.leave([*LEFT_OUT, "conditioner.embedders.5.mlp."])
    file.finish()


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (
            {"model.diffusion_model.out.2.bias": None},
            r"1 missing \(model.diffusion_model.out.2.b",
        ),
        (
            {"conditioner.embedders.5.mlp.2.weight": torch.zeros(3, 32)},
            r"1 misshapen \(conditioner.embedders.5.mlp.2.weight \(3, 32\)\)",
        ),
        (
            {"first_stage_model.encoder.mid.attn_1.q.weight": torch.zeros(64, 64)},
            r"1 misshapen \(first_stage_model.encoder.mid.attn_1.q.weight",
        ),
        ({"model.control.weight": torch.zeros(2)}, r"1 unexpected \(model.control.weight\)"),
        (
            {"conditioner.embedders.0.open_clip.model.visual.new": torch.zeros(2)},
            r"1 unexpected \(conditioner.embedders.0.open_clip.model.visual.new\)",
        ),
        (
            {"first_stage_model.quant_conv.bias": torch.zeros(8, dtype=torch.int8)},
            r"1 of another type \(first_stage_model.quant_conv.bias torch.int8\)",
        ),
        ({CONDITION + "quant_conv.bias": torch.zeros(8)}, "encodes its condition with another"),
        ({"model.diffusion_model.label_emb.0.0.weight": None}, "but not model.diffusion_model.lab"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_by_name(
    changed: dict[str, Tensor | None], told: str, tmp_path: Path
) -> None:
    with pytest.raises(ModelNotFound, match=told):
        stage_parts(write(tmp_path / "low_stage.pt", **changed), "lowres")


def test_nothing_in_a_file_is_executed(tmp_path: Path) -> None:
    class Harmful:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return os.mkdir, (str(tmp_path / "executed"),)

    torch.save(
        {"module": {"module.a": torch.zeros(1)}, "extra": Harmful()}, tmp_path / "low_stage.pt"
    )
    with pytest.raises(ModelNotFound, match=r"holds more than tensors \(it names posix.mkdir\)"):
        stage_parts(tmp_path / "low_stage.pt", "lowres")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 cut short"])
def test_a_damaged_file_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "trained_arcface.pth").write_bytes(content)
    with pytest.raises(ModelNotFound, match=r"trained_arcface\.pth"):
        arcface_parts(tmp_path / "trained_arcface.pth")


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("container", ["module", "state_dict", None])
def test_files_of_every_trainer_and_age_are_read(
    zipped: bool, container: str | None, tmp_path: Path
) -> None:
    path, state = tmp_path / "trained_arcface.pth", numbers(identity_shapes(TINY))
    held = state if container is None else {container: state, "epoch": 3}
    torch.save(held, path, _use_new_zipfile_serialization=zipped)
    read = read_tensors(path)
    assert read.keys() == state.keys()
    assert all(torch.equal(read[name], one) for name, one in state.items())


def test_half_precision_is_kept_where_nothing_was_folded(tmp_path: Path) -> None:
    halves = {
        name: one.half() if one.is_floating_point() else one
        for name, one in stage_numbers().items()
    }
    (stage, vae, identity) = stage_parts(write(tmp_path / "low_stage.pt", **halves), "lowres")
    assert (stage.facts["dtype"], vae.facts["dtype"]) == ("float16 and float32", "float16")
    torch.save(numbers(identity_shapes(TINY)), tmp_path / "trained_arcface.pth")
    (alone,) = arcface_parts(tmp_path / "trained_arcface.pth")
    assert alone.tensors == identity.tensors, "the same numbers in two types"
    stage.write(tmp_path / "lowres")
    written = load_file(tmp_path / "lowres" / "unet" / "diffusion_pytorch_model.safetensors")
    changed = {name for name, one in written.items() if one.dtype == torch.float32}
    linear = "add_embedding.linear_1"
    assert changed == {"conv_in.weight", f"{linear}.weight", f"{linear}.bias"}


def test_the_exported_identity_network_takes_what_insightface_feeds_it(model: Path) -> None:
    crop = (given()["crop"][0].permute(1, 2, 0) * 255).round().to(torch.uint8)
    fed = crop.permute(2, 0, 1)[None].float() / 255
    wanted = torch.nn.functional.normalize(_identity(model, fed))[0]
    embedded = PortraitEmbedder(model / "identity").embed(crop.numpy(), [])
    torch.testing.assert_close(torch.from_numpy(embedded), wanted, atol=1e-5, rtol=0)


def _identity(model: Path, crops: Tensor) -> Tensor:
    """The release's identity network by the numbers of its file: [B, E] of unit length."""
    file = Published(model / "low_stage.pt")
    network = on_meta(lambda: IrSe(**ir_se_config(file, IDENTITY_PREFIX)))
    state = file.take(network, lambda name: Origin(IDENTITY_PREFIX + name))
    with torch.no_grad():
        return torch.nn.functional.normalize(filled(network, state)(crops))


def _conditions(model: Path) -> Conditions:
    """What the recorded U-Net was told: the inputs of `given`, elevation 7."""
    inputs, stage = given(), load_pipeline(model, "lowres", "cpu")
    with torch.no_grad():
        image = stage.image_encoder(inputs["pixels"]).image_embeds[:, None]
        identity = stage.identity_projection(_identity(model, inputs["crop"]), image)
        return Conditions(
            torch.cat([image, identity], 1),
            encode(stage.vae, inputs["image"]),
            torch.tensor([[0.0, 7.0, NOISE_AUGMENTATION]]),
        )


def _sample(stage: OrbitPipeline, conditions: Conditions, start: Tensor) -> Tensor:
    """Three steps of `OrbitPipeline.__call__` from ``start`` on, in latents."""
    stage.scheduler.set_timesteps(3)
    latents = start * float(stage.scheduler.init_noise_sigma)
    views = torch.tensor([[0.0, 4.04, 15.47, 33.22]])
    scale = GUIDANCE[stage.config.guidance_course](views, torch.zeros(1), 2.5)
    denoiser = Denoiser(stage.unet, conditions, views, scale, None)
    return stage._denoise(latents, denoiser, [], None, lambda step: None)
