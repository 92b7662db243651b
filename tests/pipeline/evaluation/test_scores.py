from pathlib import Path

import numpy as np
import pytest
from tiny_arcface import write_arcface

from pipeline.evaluation.metrics import PSNR_CEILING_DB
from pipeline.evaluation.scores import score_views
from pipeline.portrait.alignment import ARCFACE_TEMPLATE
from pipeline.portrait.faces import FaceEmbedder

SIZE_PX = 112


@pytest.fixture(scope="module")
def arcface(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluator")
    write_arcface(folder / "arcface.onnx")
    return folder


def heads(seed: int, views: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (views, SIZE_PX, SIZE_PX, 3), np.uint8)


def template_landmarks(views: int = 3) -> np.ndarray:
    return np.repeat(ARCFACE_TEMPLATE[None].astype(np.float32), views, 0)


def test_csim_is_one_for_the_truth_and_less_for_another(arcface: Path) -> None:
    embed = FaceEmbedder(arcface).embed
    visible = np.array([True, False, True])
    truth = heads(0)
    same = score_views(truth, truth, template_landmarks(), visible, embed)
    assert same.csim[[0, 2]] == pytest.approx(1, abs=1e-5)
    assert np.isnan(same.csim[1])
    other = score_views(255 - truth, truth, template_landmarks(), visible, embed)
    assert (other.csim[[0, 2]] < 0).all()
    assert other.means()["csim"] == pytest.approx(other.csim[[0, 2]].mean())


def test_without_embedder_or_face_there_is_no_csim(arcface: Path) -> None:
    truth = heads(1)
    hidden = np.zeros(3, bool)
    embedded = score_views(truth, truth, template_landmarks(), hidden, FaceEmbedder(arcface).embed)
    plain = score_views(truth, truth, template_landmarks(), ~hidden)
    for scores in (embedded, plain):
        assert np.isnan(scores.csim).all()
        assert np.isnan(scores.means()["csim"])


def test_views_are_scored_one_by_one() -> None:
    truth = heads(2)
    guess = truth.copy()
    guess[1] = 255 - truth[1]
    scores = score_views(guess, truth, template_landmarks(), np.zeros(3, bool))
    assert (scores.psnr_db[[0, 2]] == PSNR_CEILING_DB).all()
    assert scores.psnr_db[1] < 12
    assert scores.ssim[1] < 0 < scores.ssim[0]
