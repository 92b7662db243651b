"""``headsplat heads average``: the mean face, from real renders."""

import json
from pathlib import Path

import numpy as np
import pytest

from jobs.cli import main
from pipeline.digital_human.dataset_options import DatasetOptions
from pipeline.digital_human.index import write_index
from pipeline.digital_human.store import prepare, write_sequence
from pipeline.portrait.mean_face import MeanFace, mean_face
from pipeline.portrait.pose import MEAN_LANDMARKS
from pipeline.storage import locate


def _rendered(folder: Path, people: tuple[int, ...], **options: object) -> str:
    dataset = DatasetOptions(
        samples=1, appearances=1, elevations_deg=(0.0,), views_per_ring=1, **options
    )
    root = locate(str(folder))
    prepare(root, dataset)
    for number in people:
        write_sequence(root, dataset, number)
    write_index(root)
    return str(folder)


def _distances(points: np.ndarray, face: MeanFace) -> np.ndarray:
    return np.linalg.norm(points[:, None] - face.points, axis=-1).min(1)


def test_the_mean_of_two_people_is_a_face(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    file = tmp_path / "mean.safetensors"
    heads = _rendered(tmp_path / "heads", (1, 2), size_px=256, ground_truth=True)
    assert main(["heads", "average", heads, str(file), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    face = MeanFace.load(file)
    assert record == {"people": 2, "points": len(face.points), "file": str(file)}
    assert np.mean(_distances(face.points * [-1, 1, 1], face)) < 0.01  # left as right
    assert np.median(_distances(face.points, mean_face())) < 0.02
    np.testing.assert_allclose(np.linalg.norm(face.normals, axis=1), 1, atol=1e-5)
    assert (face.normals[:, 2] > 0).mean() > 0.95


def test_the_shipped_face_has_the_mean_landmarks() -> None:
    """By them portraits are framed; what is laid onto the face would miss its eyes otherwise."""
    assert _distances(MEAN_LANDMARKS, mean_face()).max() < 0.02


def test_what_cannot_be_averaged_is_named(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    plain = _rendered(tmp_path / "plain", (1,), size_px=256)
    small = _rendered(tmp_path / "small", (), size_px=64, ground_truth=True)
    for heads, said in ((plain, "--ground-truth"), (small, "64 px"), ("none", "none")):
        assert main(["heads", "average", heads, str(tmp_path / "file.safetensors")]) != 0
        assert said in capsys.readouterr().err
