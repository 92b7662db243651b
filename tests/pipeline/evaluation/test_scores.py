from pathlib import Path

import numpy as np
import pytest
from tiny_arcface import write_arcface

from pipeline.evaluation.metrics import PSNR_CEILING_DB
from pipeline.evaluation.scores import METRICS, Backbones, ViewScores, score_views
from pipeline.portrait.alignment import ARCFACE_TEMPLATE
from pipeline.portrait.faces import FaceEmbedder, PortraitEmbedder

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
    embed = Backbones(embed=FaceEmbedder(arcface).embed)
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
    backbones = Backbones(embed=FaceEmbedder(arcface).embed)
    embedded = score_views(truth, truth, template_landmarks(), hidden, backbones)
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


def test_raw_csim_is_of_whole_images_from_all_sides(arcface: Path) -> None:
    """It rises where only the background agrees, which is why it says little."""
    backbones = Backbones(
        embed=FaceEmbedder(arcface).embed, embed_raw=PortraitEmbedder(arcface).embed
    )
    truth = np.full((2, 224, 224, 3), 255, np.uint8)
    truth[:, 84:140, 84:140] = 60
    other = truth.copy()
    other[:, 84:140, 84:140] = heads(3, 2)[:, :56, :56]
    centred = np.repeat((98 + ARCFACE_TEMPLATE[None] / 4).astype(np.float32), 2, 0)
    hidden = np.zeros(2, bool)
    same = score_views(truth, truth, centred, hidden, backbones)
    assert same.csim_raw == pytest.approx([1, 1], abs=1e-5)
    assert np.isnan(same.csim).all()
    scores = score_views(other, truth, centred, ~hidden, backbones)
    assert (scores.csim_raw > 0.9).all()
    assert (scores.csim_raw > scores.csim).all()


def test_metrics_of_the_face_see_the_face_alone() -> None:
    truth = heads(4)
    landmarks = np.repeat(30 + ARCFACE_TEMPLATE[None].astype(np.float32) / 3, 3, 0)
    around, within = truth.copy(), truth.copy()
    around[:, :20] = 0
    within[:, 50:60, 45:55] = 0
    visible = np.array([True, False, True])
    a, w = (score_views(one, truth, landmarks, visible) for one in (around, within))
    assert (a.psnr_face_db[[0, 2]] == PSNR_CEILING_DB).all()
    assert a.ssim_face[[0, 2]] == pytest.approx(1)
    assert (w.psnr_face_db[[0, 2]] < w.psnr_db[[0, 2]]).all()
    assert (w.ssim_face[[0, 2]] < w.ssim[[0, 2]]).all()
    assert np.isnan([a.psnr_face_db[1], a.ssim_face[1]]).all()


def test_a_face_smaller_than_its_window_has_no_ssim() -> None:
    small = np.repeat(ARCFACE_TEMPLATE[None].astype(np.float32) / 12, 3, 0)
    scores = score_views(heads(5), heads(6), small, np.ones(3, bool))
    assert np.isnan(scores.ssim_face).all()
    assert np.isfinite(scores.psnr_face_db).all()


def test_what_was_not_scored_is_nan_for_each_view() -> None:
    some = ViewScores(psnr_db=np.array([20.0, 30.0]))
    assert some.means()["psnr_db"] == 25
    assert all(np.isnan(some.means()[name]) for name in METRICS if name != "psnr_db")
    assert np.isnan(some.without(np.array([True, False])).psnr_db).tolist() == [True, False]
    assert all(getattr(ViewScores.none(3), name).shape == (3,) for name in METRICS)
