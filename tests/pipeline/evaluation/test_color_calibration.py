import numpy as np
import pytest

from pipeline.errors import UnreadableSource
from pipeline.evaluation.color_calibration import correct_colors

COUNTS = (3, 5, 7, 8, 10, 11, 14, 16, 17, 19, 20, 22)


def some_colors() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (6, 5, 3), np.uint8)


@pytest.mark.parametrize("terms", COUNTS)
def test_a_matrix_that_changes_nothing_changes_nothing(terms: int) -> None:
    assert np.array_equal(correct_colors(some_colors(), np.eye(3, terms)), some_colors())


def test_it_is_linear_light_that_is_multiplied() -> None:
    """sRGB 188 is half the light of 255."""
    grey = np.full((1, 1, 3), 255, np.uint8)
    assert correct_colors(grey, 0.5 * np.eye(3)).tolist() == [[[188, 188, 188]]]
    dark = np.full((1, 1, 3), 5, np.uint8)
    assert correct_colors(dark, 2 * np.eye(3)).tolist() == [[[10, 10, 10]]]


@pytest.mark.parametrize(
    ("terms", "column", "of"),
    [
        (5, 3, lambda r, g, b: r * g * b),
        (10, 4, lambda r, g, b: r * b),
        (11, 9, lambda r, g, b: r * g * b),
        (14, 12, lambda r, g, b: b**3),
        (17, 12, lambda r, g, b: b**2 * r),
        (20, 14, lambda r, g, b: g**2 * r),
        (22, 21, lambda r, g, b: r * g * b**2),
        (7, 6, lambda r, g, b: 1.0),
    ],
)
def test_columns_are_the_published_monomials(terms, column, of) -> None:
    """Places as in the tables of Cheung et al. 2004 and Westland and Ripamonti 2004."""
    matrix = np.zeros((3, terms))
    matrix[1, column] = 0.7
    rgb = np.array([[[230, 180, 250]]], np.uint8)
    linear = ((rgb / 255 + 0.055) / 1.055) ** 2.4
    wanted = 0.7 * of(*linear[0, 0])
    encoded = 1.055 * wanted ** (1 / 2.4) - 0.055
    assert correct_colors(rgb, matrix).tolist() == [[[0, round(255 * encoded), 0]]]


@pytest.mark.parametrize("shape", [(3, 6), (4, 3), (3,)])
def test_a_matrix_of_another_kind_is_refused(shape) -> None:
    with pytest.raises(UnreadableSource, match=r"it must be 3 x one of 3, 5, 7"):
        correct_colors(some_colors(), np.zeros(shape))
