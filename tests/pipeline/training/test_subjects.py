"""What the trainers take from a dataset: the right ring, and the random views as portraits."""

import numpy as np
import pytest
import torch
from tiny_heads import write_heads

from pipeline.digital_human.dataset import HeadDataset
from pipeline.portrait.alpha import on_white
from pipeline.training.head_views import MAX_VIEWS, load_sequences
from pipeline.training.subjects import load_orbits, load_subjects

SIZE_PX = 32


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory) -> HeadDataset:
    folder = tmp_path_factory.mktemp("heads")
    write_heads(folder, (0, 1), SIZE_PX, elevations_deg=(20.0, 0.0), random_views=2)
    return HeadDataset(folder)


def embed(image: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    assert image.shape == (SIZE_PX, SIZE_PX, 3)
    assert landmarks.shape == (5, 2)
    return np.full(512, image.mean(), np.float32)


def test_orbits_are_the_ring_at_the_height_of_the_face(heads: HeadDataset) -> None:
    orbits = load_orbits(heads, range(2), SIZE_PX)["orbit"].numpy()
    assert orbits.shape == (2, 16, SIZE_PX, SIZE_PX, 3)
    np.testing.assert_array_equal(orbits[1], on_white(heads.load(1).views[16:32]))


def test_portraits_are_the_random_views_and_the_front(heads: HeadDataset) -> None:
    people = load_subjects(heads, range(2), SIZE_PX, embed, copies=1, mirrored=True)
    assert people["number"].tolist() == [0, 1, 2, 3]
    assert people["orbit"].shape[:2] == (4, 16)
    assert people["azimuth_deg"][0].tolist() == [20, 19, 0, 0]
    assert people["azimuth_deg"][1].tolist() == [-20, -19, 0, 0]
    assert people["elevation_deg"][0].tolist() == [10, 10, 0, 0]
    np.testing.assert_array_equal(people["orbit"][1, 1], people["orbit"][0, 15].flip(1))


def test_a_range_of_places_gives_what_the_whole_dataset_gives_there(heads: HeadDataset) -> None:
    whole, second = (load_subjects(heads, one, SIZE_PX, embed) for one in (range(2), range(1, 2)))
    assert all(torch.equal(column, whole[name][1:]) for name, column in second.items())
    assert load_subjects(heads, range(2), SIZE_PX, embed, without=("",)) == {}


def test_a_large_grid_gives_each_head_other_views(heads: HeadDataset) -> None:
    first, second = load_sequences(heads.root.uri, "train")
    assert len(first.rgba) == len(second.rgba) == MAX_VIEWS
    assert not np.array_equal(first.cam_to_world, second.cam_to_world)
