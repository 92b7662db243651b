import numpy as np
import pytest

from pipeline.evaluation.floors import FLOORS, Floors


def plain_views(level: int) -> np.ndarray:
    return np.full((3, 8, 8, 3), level, np.uint8)


def floors_of(*training: np.ndarray) -> Floors:
    return Floors(training.__getitem__, len(training))


def test_each_floor_is_what_its_name_says() -> None:
    floors = floors_of(plain_views(0), plain_views(100), plain_views(201))
    portrait = np.full((8, 8, 3), 7, np.uint8)
    guesses = floors.guesses(front=np.full((8, 8, 3), 120, np.uint8), portrait=portrait)
    assert tuple(guesses) == FLOORS
    assert (guesses["nearest identity"] == 100).all()
    assert (guesses["mean image"] == 100).all()  # 301 / 3 rounded
    assert (guesses["portrait copy"] == 7).all()
    assert all(views.shape == (3, 8, 8, 3) for views in guesses.values())
    assert all(views.dtype == np.uint8 for views in guesses.values())
    assert len(floors) == 3


def test_nearest_is_judged_by_the_front_view_alone() -> None:
    right_front, wrong_front = plain_views(200), plain_views(50)
    right_front[0], wrong_front[0] = 50, 200
    floors = floors_of(wrong_front, right_front)
    found = floors.nearest_identity(np.full((8, 8, 3), 60, np.uint8))
    assert np.array_equal(found, right_front)


def test_an_empty_training_set_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one training identity"):
        floors_of()
