import numpy as np
import pytest

from pipeline.digital_human.subdivision import subdivide

CUBE = np.array(
    [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]], np.int32
)
CUBE_CORNERS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)


@pytest.mark.parametrize("levels", [1, 2])
def test_weights_sum_to_one_and_faces_multiply_by_four(levels: int) -> None:
    result = subdivide(CUBE, 8, levels)
    assert len(result.quads) == 6 * 4**levels
    for weights in (result.smooth, result.linear):
        np.testing.assert_allclose(np.asarray(weights.sum(1)), 1)


def test_a_cube_rounds_to_the_known_first_level() -> None:
    fine = subdivide(CUBE, 8).smooth @ CUBE_CORNERS
    # corner rule for valence 3: (F + 2 R) / 3 with F = 1/3 and R = 2/3 of the corner
    np.testing.assert_allclose(fine[:8], CUBE_CORNERS * 5 / 9)
    assert len(fine) == 8 + 12 + 6


def test_a_flat_sheet_keeps_its_plane_and_its_outline() -> None:
    y, x = np.mgrid[0:3, 0:3]
    points = np.stack([x, y, 0 * x], -1).reshape(-1, 3).astype(float)
    quads = np.array([[0, 1, 4, 3], [1, 2, 5, 4], [3, 4, 7, 6], [4, 5, 8, 7]], np.int32)
    fine = subdivide(quads, 9).smooth @ points
    np.testing.assert_allclose(fine[:, 2], 0)
    np.testing.assert_allclose(fine[1], points[1])
    np.testing.assert_allclose(fine[4], points[4])


def test_the_surface_stays_closed() -> None:
    quads = subdivide(CUBE, 8, 2).quads
    edges = np.sort(np.stack([quads, np.roll(quads, -1, 1)], -1).reshape(-1, 2), 1)
    _, uses = np.unique(edges, axis=0, return_counts=True)
    assert (uses == 2).all()
