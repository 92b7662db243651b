import re

import llvmlite.binding
import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.digital_human.kernels.mesh import _noise_octave, noise, vertex_normals
from pipeline.digital_human.kernels.raster import (
    rasterize_segments,
    rasterize_triangles,
    resolve,
)

SIZE = 16


def drawn(screen: np.ndarray, triangles: np.ndarray, clip: np.ndarray) -> tuple[np.ndarray, ...]:
    ids = np.full((SIZE, SIZE), -1, np.int32)
    depth = np.zeros((SIZE, SIZE), np.float32)
    rasterize_triangles(screen, triangles, clip, ids, depth, 0, len(triangles))
    return ids, depth


def by_hand(screen: np.ndarray, triangles: np.ndarray, clip: np.ndarray) -> np.ndarray:
    """The nearest triangle per pixel, one pixel at a time."""
    ids = np.full((SIZE, SIZE), -1)
    for row in range(SIZE):
        for column in range(SIZE):
            nearest = 0.0
            for index, corners in enumerate(triangles):
                system = np.vstack([screen[corners, :2].T, np.ones(3)])
                if abs(np.linalg.det(system)) < 1e-9:
                    continue
                weights = np.linalg.solve(system, [column + 0.5, row + 0.5, 1])
                near = weights @ screen[corners, 2]
                kept = weights @ clip[corners] >= 0
                if (weights >= 0).all() and kept and near > nearest:
                    ids[row, column], nearest = index, near
    return ids


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_triangles_match_a_pixel_by_pixel_oracle(seed: int) -> None:
    rng = np.random.default_rng(seed)
    screen = np.concatenate([rng.uniform(-4, 20, (9, 2)), rng.uniform(0.3, 1, (9, 1))], 1)
    triangles = rng.permutation(9).reshape(3, 3).astype(np.int32)
    clip = rng.uniform(-0.5, 1, 9)
    ids, depth = drawn(screen, triangles, clip)
    assert (ids != by_hand(screen, triangles, clip)).mean() < 0.01  # ties on edges
    assert ((depth > 0) == (ids >= 0)).all()


def test_a_segment_covers_a_capsule() -> None:
    screen = np.array([[4.0, 4.0, 0.5], [12.0, 10.0, 0.5]])
    ids = np.full((SIZE, SIZE), -1, np.int32)
    depth = np.zeros((SIZE, SIZE), np.float32)
    rasterize_segments(screen, np.array([[0, 1]], np.int32), np.full(2, 1.5), ids, depth, 7)
    row, column = np.mgrid[0:SIZE, 0:SIZE] + 0.5
    pixels = np.stack([column, row], -1)
    along = screen[1, :2] - screen[0, :2]
    share = np.clip((pixels - screen[0, :2]) @ along / (along @ along), 0, 1)
    distance = np.linalg.norm(pixels - screen[0, :2] - share[..., None] * along, axis=-1)
    assert ((ids == 7) == (distance <= 1.5)).all()


def test_resolve_gives_straight_alpha() -> None:
    linear = np.zeros((4, 4, 4), np.float32)
    linear[0, 0] = (1, 0.5, 0, 1)
    identity_tone = np.clip((np.arange(4096) + 0.5) / 1365, 0, 1)
    image = np.zeros((2, 2, 4), np.uint8)
    resolve(linear, 2, identity_tone, image)
    np.testing.assert_allclose(image[0, 0], [255, 128, 0, 64], atol=1)
    assert not image[1:].any()


def test_normals_of_a_sphere_point_outwards() -> None:
    from pipeline.digital_human.geometry import ellipsoid

    vertices, triangles = ellipsoid((0, 0, 0), (1, 1, 1), 24)
    normals = vertex_normals(vertices, triangles)
    cosine = np.abs((normals * vertices).sum(1))
    assert np.median(cosine) > 0.99


@given(st.floats(0.5, 60), st.integers(0, 1000))
@settings(max_examples=15, deadline=None)
def test_noise_is_bounded_and_repeatable(frequency: float, seed: int) -> None:
    points = np.random.default_rng(seed).uniform(-3, 9, (200, 3))
    values = noise(points, frequency, seed, octaves=2)
    assert np.abs(values).max() <= 1
    np.testing.assert_array_equal(values, noise(points, frequency, seed, octaves=2))


def test_noise_is_continuous_but_not_constant() -> None:
    line = np.stack([np.linspace(0, 4, 4001)] + [np.full(4001, 0.3)] * 2, 1)
    values = noise(line, 3.0, 1)
    assert np.abs(np.diff(values)).max() < 0.02
    assert values.std() > 0.1


@pytest.mark.parametrize("octaves", [1, 3])
def test_noise_seeds_differ(octaves: int) -> None:
    points = np.random.default_rng(0).uniform(0, 5, (500, 3))
    first, second = (noise(points, 4, seed, octaves) for seed in (1, 2))
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.3


def test_noise_is_vectorised() -> None:
    """Vectorising fails silently; skin is painted with a million values of it."""
    rows, column = numba.types.float64[:, ::1], numba.types.float64[::1]
    fresh = numba.njit(fastmath=True, error_model="numpy")(_noise_octave.py_func)
    fresh.compile((rows, numba.types.float64, numba.types.float64, column))
    (assembly,) = fresh.inspect_asm().values()
    if not llvmlite.binding.get_host_cpu_features().get("avx2"):
        pytest.skip("this CPU has no AVX2")
    assert len(re.findall(r"v(?:fn?m(?:add|sub)\d+|mul|add|sub)pd\s.*[yz]mm", assembly)) > 16
