"""``headsplat models import`` of the release, of Stable Video Diffusion and of face packs."""

import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from published_video_diffusion import write_video_diffusion
from published_weights import (
    TINY,
    identity_shapes,
    numbers,
    write_stage_file,
)

from jobs.cli import main
from pipeline.cameras import RELEASE_AZIMUTHS_DEG
from pipeline.diffusion.loading import load_pipeline
from pipeline.diffusion.pipeline import Portraits
from pipeline.model_config import ModelConfig
from pipeline.model_folder import EMBEDDED
from pipeline.portrait.faces import FacePack, PortraitEmbedder


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The release's folder but for recon.safetensors, whose smallest size has 120 MB."""
    folder = tmp_path_factory.mktemp("HQ-Head")
    for name in ("low_stage.pt", "high_stage.pt"):
        write_stage_file(folder / name)
    torch.save(numbers(identity_shapes(TINY)), folder / "trained_arcface.pth")
    return folder


def _import(source: Path, model: Path, *more: str, licence: str = "not stated") -> int:
    arguments = ["models", "import", str(source), str(model), "--licence", licence]
    return main([*arguments, "--json", *more])


def test_the_release_becomes_a_model_that_generates(
    release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "model"
    assert _import(release, model) == 0
    record = json.loads(capsys.readouterr().out)
    names = [one["component"] for one in record["components"]]
    assert names == ["lowres", "vae", "identity", "highres"]
    assert record["missing"].keys() == {"reconstructor", "face", "matting"}
    assert record["notes"] == []
    config = ModelConfig.load(model)
    assert (config.preset, config.identity_input) == ("paper", "portrait")
    assert config.azimuths_deg == RELEASE_AZIMUTHS_DEG
    assert (config.lowres.size_px, config.highres.size_px, config.portrait_px) == (256, 512, 512)
    assert set(config.licences.items()) == {(name, "not stated") for name in names}
    digest = hashlib.sha256((release / "high_stage.pt").read_bytes()).hexdigest()
    assert config.sources["highres"]["sha256"] == {"high_stage.pt": digest}
    low, high = (load_pipeline(model, stage, "cpu") for stage in ("lowres", "highres"))
    for stage, mix in ((low, (1.0, 0.0)), (high, (0.5, 0.5))):
        assert (stage.config.noise_weight, stage.config.lowres_weight) == mix
        assert (stage.config.guidance_course, stage.config.orbit_start) == ("linear", "portrait")
        assert (stage.scheduler.config.sigma_max, stage.scheduler.config.sigma_min) == (700, 0.002)
    portrait = torch.full((1, 3, 32, 32), 0.5)
    identity = PortraitEmbedder(model / "identity").embed(_pixels(), [])
    subject = Portraits(
        portrait, torch.from_numpy(identity)[None], torch.tensor([20.0]), torch.zeros(1)
    )
    azimuths_deg, views = torch.from_numpy(config.azimuths), None
    for stage in (low, high):
        generators = [torch.Generator().manual_seed(0)]
        views = stage(
            subject, azimuths_deg, steps=1, guidance=2.5, generators=generators, lowres_views=views
        )
        assert views.shape == (1, 16, 3, 32, 32)
        assert torch.isfinite(views).all()


def test_stages_come_one_by_one_and_share_what_is_equal(
    release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "model"
    assert _import(release / "low_stage.pt", model) == 0
    assert _import(release / "high_stage.pt", model) == 0
    record = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [one["component"] for one in record["components"]] == ["highres"]
    assert _import(release / "trained_arcface.pth", model) == 2
    assert "has all of this already" in capsys.readouterr().err
    assert _import(release / "low_stage.pt", model) == 2
    assert "lowres exists; delete it" in capsys.readouterr().err


def test_stages_with_different_autoencoders_do_not_go_together(
    release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, other = tmp_path / "model", tmp_path / "high_stage.pt"
    copies = ("first_stage_model.", "conditioner.embedders.3.encoder.")
    changed = {f"{copy}encoder.conv_in.bias": torch.zeros(TINY.vae_width) for copy in copies}
    write_stage_file(other, **changed)
    assert _import(release / "low_stage.pt", model) == 0
    before = sorted(os.listdir(model))
    assert _import(other, model) == 2
    assert "high_stage.pt brings another vae than" in capsys.readouterr().err
    assert sorted(os.listdir(model)) == before


def test_another_identity_network_is_told(
    release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, other = tmp_path / "model", tmp_path / "high_stage.pt"
    name = "conditioner.embedders.5.id_model.output_layer.4.bias"
    write_stage_file(other, **{name: torch.zeros(TINY.identity_dim)})
    assert _import(release / "low_stage.pt", model) == 0
    assert _import(other, model) == 0
    (note,) = json.loads(capsys.readouterr().out.splitlines()[-1])["notes"]
    assert note.startswith("high_stage.pt holds another identity network than the one in use")


def test_stable_video_diffusion_starts_either_stage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, model = write_video_diffusion(tmp_path / "svd"), tmp_path / "model"
    assert _import(source, model, licence="Stability AI Community") == 0
    assert _import(source, model, "--stage", "highres", licence="Stability AI Community") == 0
    config = ModelConfig.load(model)
    assert sorted(config.sources) == ["highres", "lowres", "vae"]
    assert config.sources["lowres"]["sha256"].keys() == {
        "unet/diffusion_pytorch_model.safetensors",
        "image_encoder/model.safetensors",
    }
    assert (config.identity_input, config.azimuths_deg[1]) == ("face", 22.5)
    assert load_pipeline(model, "highres", "cpu").config.lowres_weight == 0.6


def test_stages_that_need_other_settings_do_not_go_together(
    release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "model"
    assert _import(write_video_diffusion(tmp_path / "svd"), model) == 0
    assert _import(release / "high_stage.pt", model) == 2
    assert "needs other settings (azimuths_deg, identity_input" in capsys.readouterr().err


def test_a_face_pack_completes_a_model(
    release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, pack = tmp_path / "model", tmp_path / "buffalo"
    shutil.copytree(EMBEDDED / "face", pack)
    (pack / "arcface.onnx").rename(pack / "w600k_r50.onnx")
    assert _import(release / "low_stage.pt", model) == 0
    assert _import(pack, model, "--commercial", licence="MIT") == 2
    assert "face: insightface's packs are for non-commercial" in capsys.readouterr().err
    assert _import(pack, model, licence="non-commercial research") == 0
    FacePack(model / "face")
    config = ModelConfig.load(model)
    assert config.identity_input == "portrait", "of its diffusion stage"
    assert config.sources["face"]["origin"] == "insightface"


@pytest.mark.parametrize("licence", ["Apache-2.0", "CC BY-NC 4.0", "unknown"])
def test_the_commercial_switch_goes_by_origin_and_licence(
    licence: str, release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "model"
    assert _import(release, model, "--commercial", licence="Apache-2.0") == 2
    assert "lowres: the paper's release states no licence" in capsys.readouterr().err
    assert not model.exists()
    assert _import(EMBEDDED / "face", model, licence=licence) == 0
    assert main(["models", "info", str(model), "--commercial"]) == int(licence != "Apache-2.0")
    told = f"not for commercial use: face, its licence is {licence!r}"
    assert (told in capsys.readouterr().out) == (licence != "Apache-2.0")


def test_the_shipped_model_is_for_commercial_use() -> None:
    assert main(["models", "info", "--commercial", "--json"]) == 0


def test_a_folder_with_nothing_to_import_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _import(tmp_path, tmp_path / "model") == 2
    assert "holds nothing that can be imported" in capsys.readouterr().err
    assert not (tmp_path / "model").exists()


def _pixels() -> npt.NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
