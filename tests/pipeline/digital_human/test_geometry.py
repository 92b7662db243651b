import numpy as np
import pytest

from pipeline.digital_human.geometry import (
    direction,
    ellipsoid,
    normalize,
    smooth_loop,
    tube,
)


def test_direction_follows_the_canonical_frame() -> None:
    np.testing.assert_allclose(direction(0, 0), [0, 0, 1], atol=1e-12)
    np.testing.assert_allclose(direction(90, 0), [1, 0, 0], atol=1e-12)
    np.testing.assert_allclose(direction(0, 90), [0, 1, 0], atol=1e-12)


@pytest.mark.parametrize("closed", [False, True])
def test_a_tube_keeps_its_radius_and_is_watertight(closed: bool) -> None:
    turn = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    path = np.stack([2 * np.cos(turn), 0 * turn, 2 * np.sin(turn)], 1)
    vertices, triangles = tube(path, 0.1, around=6, closed=closed)
    rings = vertices[: 24 * 6].reshape(24, 6, 3)
    np.testing.assert_allclose(np.linalg.norm(rings - path[:, None], axis=2), 0.1)
    edges = np.sort(np.stack([triangles, np.roll(triangles, -1, 1)], -1).reshape(-1, 2), 1)
    _, uses = np.unique(edges, axis=0, return_counts=True)
    assert (uses == 2).all()


def test_an_ellipsoid_has_its_radii() -> None:
    vertices, _ = ellipsoid((1, 2, 3), (0.5, 1.0, 2.0))
    scaled = (vertices - [1, 2, 3]) / [0.5, 1.0, 2.0]
    np.testing.assert_allclose(np.linalg.norm(scaled, axis=1), 1)


def test_normalize_leaves_zero_alone() -> None:
    np.testing.assert_allclose(normalize([[3, 0, 4], [0, 0, 0]]), [[0.6, 0, 0.8], [0, 0, 0]])


def test_smoothing_a_loop_keeps_its_centre() -> None:
    points = np.random.default_rng(0).normal(size=(12, 3))
    smooth = smooth_loop(points, 3)
    np.testing.assert_allclose(smooth.mean(0), points.mean(0))
    assert smooth.std() < points.std()
