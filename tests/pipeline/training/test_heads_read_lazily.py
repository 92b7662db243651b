"""Heads that are read when they are wanted."""

import threading

import numpy as np
import pytest
from tiny_heads import BALL_RADIUS, FACE, write_heads

from pipeline.digital_human.dataset import HeadDataset
from pipeline.errors import UsageError
from pipeline.training.heads import Heads, cameras_of, images_of

SIZE_PX = 32


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> HeadDataset:
    folder = tmp_path_factory.mktemp("heads")
    grid = {"elevations_deg": (-10.0, 0.0), "random_views": 1}
    return HeadDataset(write_heads(folder, (0, 1), 2 * SIZE_PX, **grid))


def _same(first: Heads, second: Heads, numbers: list[int]) -> bool:
    pairs = zip(first.views(1, numbers), second.views(1, numbers), strict=True)
    return all(np.array_equal(a.image, b.image) for a, b in pairs)


def test_the_orbit_at_elevation_0_comes_first(dataset):
    heads = Heads(dataset, SIZE_PX)
    views = heads.views(0, range(heads.view_count))
    assert (len(heads), heads.orbit_views, len(views)) == (2, 16, 33)
    heights = np.array([one.cam_to_world[1, 3] for one in views])
    assert np.allclose(heights[:16], 0, atol=1e-6)
    assert (np.abs(heights[16:]) > 0.1).all()


def test_a_view_has_its_camera_and_its_landmarks(dataset):
    heads = Heads(dataset, SIZE_PX)
    points = BALL_RADIUS * FACE / np.linalg.norm(FACE, axis=1, keepdims=True)
    views = heads.views(1, [3, 0, 8])
    expected = cameras_of(views).project(points, SIZE_PX)
    assert np.allclose(np.stack([one.landmarks for one in views]), expected, atol=1e-3)
    assert [one.shows_face for one in views] == [False, True, False]
    assert images_of(views).shape == (3, 4, SIZE_PX, SIZE_PX)
    assert {one.fov_y_deg for one in views} == {38.0}


def test_what_is_forgotten_is_read_again_and_the_same(dataset):
    everything, little = Heads(dataset, SIZE_PX), Heads(dataset, SIZE_PX, cache_bytes=5 * 4 * 32**2)
    for numbers in ([0, 5, 9, 20], [20, 21, 22, 23, 24, 25, 26], [0, 26]):
        assert _same(everything, little, numbers)
        assert len(little._seen) <= 5


def test_what_is_remembered_is_not_read_again(dataset, monkeypatch):
    heads, reads = Heads(dataset, SIZE_PX), []
    load = dataset.load
    monkeypatch.setattr(dataset, "load", lambda *given: reads.append(given) or load(*given))
    heads.views(0, [1, 2])
    heads.views(0, [2, 3, 1])
    assert [len(views) for _, views in reads] == [2, 1]
    heads.views(0, [1, 2, 3])
    assert len(reads) == 2


def test_several_threads_see_what_one_sees(dataset):
    alone, shared = Heads(dataset, SIZE_PX), Heads(dataset, SIZE_PX, cache_bytes=4 * 4 * 32**2)
    wrong = []

    def read(start: int) -> None:
        for first in range(start, start + 20):
            if not _same(alone, shared, [first % 33, (first + 7) % 33]):
                wrong.append(first)

    readers = [threading.Thread(target=read, args=(start,)) for start in range(4)]
    for one in readers:
        one.start()
    for one in readers:
        one.join()
    assert not wrong


def test_datasets_that_cannot_be_used_are_refused(tmp_path):
    write_heads(tmp_path / "few", (0,), SIZE_PX)
    with pytest.raises(UsageError, match="lacks people to train on or to judge by"):
        Heads(HeadDataset(tmp_path / "few", "test"), SIZE_PX)
    write_heads(tmp_path / "odd", (0,), SIZE_PX, views_per_ring=6)
    with pytest.raises(UsageError, match="has 6 even views a ring; the Gaussian network needs"):
        Heads(HeadDataset(tmp_path / "odd"), SIZE_PX)
    write_heads(tmp_path / "uneven", (0,), SIZE_PX, azimuths="release")
    with pytest.raises(UsageError, match="has 16 release views a ring"):
        Heads(HeadDataset(tmp_path / "uneven"), SIZE_PX)
