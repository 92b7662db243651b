import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.cameras import look_at_origin
from pipeline.digital_human import dataset as dataset_module
from pipeline.digital_human.dataset import (
    HeadDataset,
    is_held_out,
    prepare_folder,
    sequence_path,
    write_sequence,
)
from pipeline.digital_human.sequence import DatasetOptions
from pipeline.errors import UnreadableSource, UsageError

TINY = DatasetOptions(size_px=32, samples=1, appearances=2, orbit_views=4, photo_views=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("heads")
    prepare_folder(path, TINY)
    assert write_sequence(path, TINY, 4)  # identity 2, appearance 0
    return path


def test_a_sequence_reads_back_what_was_rendered(folder: Path) -> None:
    sequence = HeadDataset(folder).load(4)
    assert sequence.identity_id == 2
    assert sequence.views.shape == (6, 32, 32, 4)
    assert sequence.views.dtype == np.uint8
    assert list(sequence.kind) == ["orbit"] * 4 + ["photo"] * 2
    np.testing.assert_allclose(sequence.azimuth_deg[:4], [0, 90, 180, 270])
    np.testing.assert_allclose(
        sequence.cameras.cam_to_world[:4], look_at_origin([0, 90, 180, 270], 0).cam_to_world
    )
    assert sequence.landmarks.shape == (6, 5, 2)
    assert sequence.landmark_visible[0].all()
    assert not sequence.landmark_visible[2].any()
    assert (np.abs(sequence.azimuth_deg[4:]) <= 65).all()
    assert ((sequence.elevation_deg[4:] >= -15) & (sequence.elevation_deg[4:] <= 35)).all()
    assert {"sex", "hair_style", "expression", "melanin"} <= set(sequence.labels)


def test_the_stored_views_are_lossless(folder: Path, tmp_path: Path) -> None:
    prepare_folder(tmp_path, TINY)
    write_sequence(tmp_path, TINY, 4)
    first, again = HeadDataset(folder).load(4), HeadDataset(tmp_path).load(4)
    np.testing.assert_array_equal(first.views, again.views)
    np.testing.assert_array_equal(first.landmarks, again.landmarks)


def test_a_mirrored_sequence_is_another_person_on_the_same_orbit(folder: Path) -> None:
    sequence = HeadDataset(folder).load(4)
    mirrored = sequence.mirrored()
    np.testing.assert_array_equal(mirrored.views[1], sequence.views[3, :, ::-1])
    np.testing.assert_array_equal(mirrored.azimuth_deg[:4], sequence.azimuth_deg[:4])
    np.testing.assert_allclose(
        mirrored.cameras.cam_to_world[:4], sequence.cameras.cam_to_world[:4], atol=1e-6
    )
    positions = mirrored.cameras.cam_to_world[4:, :3, 3]
    seen_from_deg = np.degrees(np.arctan2(positions[:, 0], positions[:, 2]))
    np.testing.assert_allclose(mirrored.azimuth_deg[4:], seen_from_deg, rtol=1e-4)
    np.testing.assert_allclose(mirrored.azimuth_deg[4:], -sequence.azimuth_deg[4:])
    left, right = mirrored.landmarks[0, :2]
    assert left[0] < right[0]
    again = mirrored.mirrored()
    for name in ("views", "azimuth_deg", "elevation_deg", "landmark_visible"):
        np.testing.assert_array_equal(getattr(again, name), getattr(sequence, name))
    np.testing.assert_allclose(again.landmarks, sequence.landmarks, atol=1e-5)


def test_a_finished_sequence_is_not_rendered_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("rendered again")

    monkeypatch.setattr(dataset_module, "render_sequence", refuse)
    assert not write_sequence(folder, TINY, 4)
    with pytest.raises(AssertionError, match="rendered again"):
        write_sequence(folder, TINY, 5)


def test_a_killed_write_leaves_nothing_that_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare_folder(tmp_path, TINY)

    def stopped(self: Path, target: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", stopped)
    with pytest.raises(KeyboardInterrupt):
        write_sequence(tmp_path, TINY, 4)
    assert not sequence_path(tmp_path, 4).exists()
    assert HeadDataset(tmp_path, "all").sequences == []


def test_other_options_are_refused(folder: Path) -> None:
    prepare_folder(folder, TINY)
    with pytest.raises(UsageError, match="give the same options"):
        prepare_folder(folder, DatasetOptions(size_px=64))


def test_every_tenth_identity_is_held_out(folder: Path, tmp_path: Path) -> None:
    assert [k for k in range(30) if is_held_out(k)] == [9, 19, 29]
    prepare_folder(tmp_path, TINY)
    for sequence_id in (4, 17, 18, 19, 20):
        sequence_path(tmp_path, sequence_id).write_bytes(b"")
    assert HeadDataset(tmp_path, "test").sequences == [18, 19]
    assert HeadDataset(tmp_path, "train").sequences == [4, 17, 20]
    assert len(HeadDataset(tmp_path, "all")) == 5


def test_the_description_says_what_a_reader_needs(folder: Path) -> None:
    text = json.loads((folder / "dataset.json").read_text())
    assert text["options"]["size_px"] == 32
    assert "OpenCV" in text["cam_to_world"]


def test_mistakes_are_named(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(UnreadableSource, match=r"no dataset\.json"):
        HeadDataset(tmp_path)
    with pytest.raises(UsageError, match="'dev' is none of train, test, all"):
        HeadDataset(folder, "dev")
    with pytest.raises(UnreadableSource, match="sequence 99 is not in"):
        HeadDataset(folder).load(99)
    with pytest.raises(UsageError, match="size 8 px is outside 16 to 1024"):
        DatasetOptions(size_px=8)
