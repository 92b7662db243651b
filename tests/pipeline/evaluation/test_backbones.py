"""Loading of the metrics' networks, of the true shapes and with random weights."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_arcface import write_arcface

from pipeline.errors import ModelNotFound
from pipeline.evaluation.backbones import DREAMSIM_FILES, BackboneFiles, load_backbones
from pipeline.evaluation.scores import score_views
from pipeline.reconstruction.lpips import Lpips, Trunk

STAND_IN = '''
import numpy as np
import torch


class Brightness(torch.nn.Module):
    """As the real one takes images: one pair at a time, [1, 3, 224, 224] in 0 to 1."""

    def forward(self, a, b):
        assert a.shape == b.shape == (1, 3, 224, 224)
        assert 0 <= a.min() and a.max() <= 1
        return (a.mean() - b.mean()).abs()[None]


def dreamsim(pretrained=True, device="cuda", cache_dir="./models"):
    assert pretrained and device == "cpu"

    def preprocess(picture):
        pixels = np.asarray(picture.convert("RGB").resize((224, 224)))
        return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None] / 255

    return Brightness(), preprocess
'''


def write_lpips(folder: Path, trunk: Trunk) -> tuple[Path, ...]:
    torch.manual_seed(0)
    network = Lpips(trunk)
    for name, weights in network.named_parameters():
        if name.startswith("lin"):
            weights.abs_()
    torch.save(network.state_dict(), folder / f"{trunk}.pth")
    return (folder / f"{trunk}.pth",)


def some_views(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (3, 64, 64, 3), np.uint8)


def test_a_metric_without_weights_says_why_and_has_no_numbers(tmp_path: Path) -> None:
    backbones, unavailable = load_backbones(BackboneFiles(evaluator=tmp_path / "evaluator"))
    assert set(unavailable) == {"lpips_vgg", "lpips_alex", "dreamsim", "csim", "csim_raw"}
    assert "--lpips-alex" in unavailable["lpips_alex"]
    assert "evaluator" in unavailable["csim"]
    landmarks = np.random.default_rng(1).uniform(20, 44, (3, 5, 2)).astype(np.float32)
    seen = np.ones(3, bool)
    scores = score_views(some_views(0), some_views(1), landmarks, seen, backbones)
    assert all(np.isnan(scores.means()[name]) for name in unavailable)
    assert np.isfinite(scores.psnr_face_db).all()


def test_lpips_is_0_for_the_truth_and_grows_with_the_error(tmp_path: Path) -> None:
    files = BackboneFiles(
        evaluator=write_arcface(tmp_path / "evaluator" / "arcface.onnx").parent,
        lpips_alex=write_lpips(tmp_path, "alex"),
    )
    backbones, unavailable = load_backbones(files)
    assert set(unavailable) == {"lpips_vgg", "dreamsim"}
    distance = backbones.distances["lpips_alex"]
    truth = some_views(0)
    noise = np.random.default_rng(5).integers(-60, 61, truth.shape)
    errors = (
        distance(np.clip(truth + share * noise, 0, 255).astype(np.uint8), truth).mean()
        for share in (0, 0.2, 1)
    )
    none, little, much = errors
    assert none == 0 < little < much
    assert distance(truth, truth).shape == (3,)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    files = BackboneFiles(evaluator=tmp_path, lpips_vgg=write_lpips(tmp_path, "alex"))
    with pytest.raises(ModelNotFound, match=r"alex\.pth are not VGG16 and the linear layers"):
        load_backbones(files)


def test_dreamsim_never_fetches_and_is_left_out_without_its_package(tmp_path: Path) -> None:
    files = BackboneFiles(evaluator=tmp_path / "none", dreamsim=tmp_path)
    with pytest.raises(ModelNotFound, match=r"lacks dino_vitb16_pretrain\.pth, .*ensemble_lora"):
        load_backbones(files)
    for name in DREAMSIM_FILES:
        (tmp_path / name).touch()
    assert "pip install dreamsim" in load_backbones(files)[1]["dreamsim"]


def test_dreamsim_is_called_as_its_package_documents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in DREAMSIM_FILES:
        (tmp_path / name).touch()
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "dreamsim.py").write_text(STAND_IN)
    monkeypatch.syspath_prepend(tmp_path / "site")
    files = BackboneFiles(evaluator=tmp_path / "none", dreamsim=tmp_path)
    distance = load_backbones(files)[0].distances["dreamsim"]
    del sys.modules["dreamsim"]  # not through monkeypatch, which would put it back
    dark, bright = (np.full((2, 30, 30, 3), level, np.uint8) for level in (51, 204))
    assert distance(dark, bright) == pytest.approx([0.6, 0.6], abs=1e-6)
