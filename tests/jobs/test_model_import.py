"""``headsplat models import``: a published file becomes a part of a model folder."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from jobs.cli import main
from pipeline.model_config import ModelConfig
from pipeline.reconstruction.lgm import LargeGaussianModel, lgm_config
from pipeline.stages.reconstruct import Reconstruct, ReconstructConfig

State = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def state() -> State:
    """The tensors of LGM's smallest network in float16, each filled with a number of its own."""
    with torch.device("meta"):
        named = LargeGaussianModel(**lgm_config("tiny")).state_dict().items()
    return {n: torch.full(t.shape, k / 64, dtype=torch.half) for k, (n, t) in enumerate(named)}


@pytest.fixture(scope="module")
def source(state: State, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("published") / "published.safetensors"
    save_file({**state, "lpips_loss.net.slice1.0.weight": torch.zeros(2)}, path)
    yield path
    path.unlink()  # pytest keeps the folder, and this is 120 MB


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    ModelConfig(licences={"vae": "Apache-2.0"}).save(tmp_path / "model")
    yield tmp_path / "model"
    shutil.rmtree(tmp_path / "model")


def _import(source: Path, folder: Path, *more: str, licence: str = "MIT") -> int:
    arguments = ["models", "import", str(source), str(folder), "--licence", licence]
    return main([*arguments, *(more or ("--cameras", "lgm")), "--json"])


@pytest.mark.parametrize(("cameras", "fov_y_deg"), [("lgm", 49.1), ("release", 10.0)])
def test_a_published_network_becomes_the_folders(
    cameras: str,
    fov_y_deg: float,
    source: Path,
    state: State,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert _import(source, folder, "--cameras", cameras) == 0
    record = json.loads(capsys.readouterr().out)
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    assert record["components"] == [
        {
            "component": "reconstructor",
            "preset": "tiny",
            "parameters": sum(tensor.numel() for tensor in state.values()),
            "dtype": "float16",
            "gaussians": 16384,
            "camera_radius": 1.5,
            "fov_y_deg": fov_y_deg,
            "licence": "MIT",
            "origin": cameras,
            "sha256": {source.name: digest},
        }
    ]
    assert record["missing"].keys() == {"lowres", "highres", "face", "matting"}
    assert ModelConfig.load(folder).sources == {
        "reconstructor": {"origin": cameras, "sha256": {source.name: digest}}
    }
    (weights,) = (folder / "reconstructor").glob("*.safetensors")
    written = load_file(weights)
    assert written.keys() == state.keys()
    assert all(torch.equal(written[name], tensor) for name, tensor in state.items())
    stage = Reconstruct(ReconstructConfig(model=folder))
    stage.setup("cpu")
    assert stage.network is not None
    assert (stage.network.config.camera_radius, stage.network.config.fov_y_deg) == (1.5, fov_y_deg)


def test_the_summary_and_models_info_show_the_part_and_its_licence(
    source: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--licence", "not stated", "--cameras", "lgm"]
    assert main(["models", "import", str(source), str(folder), *options]) == 0
    shown = capsys.readouterr().out
    assert "    preset            tiny\n" in shown
    assert "    licence           not stated\n" in shown
    assert "  missing: matting - copy matting/ of another model" in shown
    assert main(["models", "info", str(folder)]) == 0
    assert f"    from {source.name}, sha256 " in capsys.readouterr().out
    assert main(["models", "info", str(folder), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["licences"] == {"vae": "Apache-2.0", "reconstructor": "not stated"}
    (part,) = record["components"]
    assert part["name"] == "reconstructor"
    assert part["size_bytes"] == pytest.approx(2 * 59_743_000, rel=1e-2)


def test_nothing_is_overwritten(
    source: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "reconstructor").mkdir()
    assert _import(source, folder) == 2
    assert "reconstructor exists; delete it, or import into another" in capsys.readouterr().err
    assert os.listdir(folder / "reconstructor") == []


def test_a_refused_file_leaves_the_folder_as_it_was(
    state: State, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = ModelConfig.load(folder)
    path = tmp_path / "incomplete.safetensors"
    save_file({name: tensor for name, tensor in state.items() if name != "conv.bias"}, path)
    assert _import(path, folder) == 2
    assert "1 missing (conv.bias)" in capsys.readouterr().err
    torch.save({"module": {"module.a": torch.zeros(1)}}, tmp_path / "low_stage.pt")
    assert _import(tmp_path / "low_stage.pt", folder) == 2
    assert "holds no video U-Net" in capsys.readouterr().err
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pt")
    assert _import(tmp_path / "other.pt", folder) == 2
    assert "has the name of no published file" in capsys.readouterr().err
    assert os.listdir(folder) == ["model_index.json"]
    assert ModelConfig.load(folder) == before


def test_the_releases_folder_says_its_cameras_and_a_network_alone_settles_nothing(
    source: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "HQ-Head").mkdir()
    os.link(source, tmp_path / "HQ-Head" / "recon.safetensors")
    assert main(["models", "import", str(tmp_path / "HQ-Head"), str(folder), "--licence", "?"]) == 0
    assert "    fov_y_deg         10.0\n" in capsys.readouterr().out
    made = tmp_path / "made"
    assert (
        main(
            [
                "models",
                "import",
                str(source),
                str(made),
                "--licence",
                "MIT",
                "--cameras",
                "lgm",
                "--commercial",
            ]
        )
        == 0
    )
    assert ModelConfig.load(made).identity_input == "face", "of stages that come later"
    (tmp_path / "HQ-Head" / "recon.safetensors").unlink()
    shutil.rmtree(made)


def test_a_network_alone_does_not_say_its_cameras(
    source: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "import", str(source), str(folder), "--licence", "MIT"]) == 2
    assert "add --cameras lgm, or --cameras release" in capsys.readouterr().err


def test_the_target_is_a_model_folder_and_the_licence_is_stated(
    source: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bare").mkdir()
    assert _import(source, tmp_path / "bare") == 2
    assert "is not a headsplat model index" in capsys.readouterr().err
    assert os.listdir(tmp_path / "bare") == []
    assert _import(source, folder, licence=" ") == 2
    assert "--licence is empty" in capsys.readouterr().err
    assert os.listdir(folder) == ["model_index.json"]
