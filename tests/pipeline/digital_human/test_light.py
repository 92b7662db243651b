import numpy as np

from pipeline.digital_human.geometry import ellipsoid
from pipeline.digital_human.kernels.bake import Receivers
from pipeline.digital_human.light import (
    BakeQuality,
    Lighting,
    Occluders,
    bake,
    sample_lighting,
)

NO_HAIR = np.zeros(0, np.int32)


def ambient_only() -> Lighting:
    """A white sky all round and no key light."""
    one = np.ones(3)
    return Lighting(np.eye(3), np.zeros((3, 3)), np.full(3, 10.0), one, one, 1.0)


def lit(points: np.ndarray, normals: np.ndarray, occluders: Occluders, lighting: Lighting):
    receivers = Receivers(points, normals, np.zeros(len(points), np.int8))
    return bake(lighting, receivers, occluders, BakeQuality(200, 16, 128))


def test_an_open_point_takes_the_whole_sky_from_any_side() -> None:
    points = np.zeros((3, 3))
    normals = np.array([[0, 1.0, 0], [1, 0, 0], [0, 0, -1]])
    far = Occluders(np.full((3, 3), 0.6), np.array([[0, 1, 2]], np.int32), NO_HAIR)
    irradiance = lit(points, normals, far, ambient_only()).irradiance
    # the wrapped cosine (c + .12) / 1.12 integrates to 1.12 of the plain cosine's pi
    np.testing.assert_allclose(irradiance, 1.12, rtol=0.03)


def test_a_ball_shades_what_is_behind_it() -> None:
    vertices, triangles = ellipsoid((0, 0.3, 0), (0.2, 0.2, 0.2), 20)
    points = np.array([[0, -0.2, 0], [0.6, -0.2, 0.0]])
    normals = np.tile([0.0, 1.0, 0.0], (2, 1))
    lighting = Lighting(
        np.tile([0.0, 1.0, 0.0], (3, 1)), np.ones((3, 3)), np.full(3, 500.0), np.zeros(3),
        np.zeros(3), 1.0,
    )  # fmt: skip
    baked = lit(points, normals, Occluders(vertices, triangles, NO_HAIR), lighting)
    assert baked.irradiance[0].max() < 0.05 < 2.5 < baked.irradiance[1].min()
    np.testing.assert_allclose(baked.visibility, [[0, 0, 0], [1, 1, 1]], atol=0.05)


def test_hair_dims_what_is_under_it() -> None:
    rng = np.random.default_rng(0)
    tuft = rng.uniform([-0.3, -0.15, -0.3], [0.3, -0.05, 0.3], (20000, 3))
    points = np.concatenate([[[0, -0.2, 0], [0.65, -0.2, 0]], tuft])
    normals = np.tile([0.0, 1.0, 0.0], (len(points), 1))
    hair = np.arange(2, len(points), dtype=np.int32)
    ground = Occluders(np.full((3, 3), -0.7), np.array([[0, 1, 2]], np.int32), hair)
    irradiance = lit(points, normals, ground, ambient_only()).irradiance
    assert irradiance[0, 0] < 0.7 * irradiance[1, 0]


def test_lighting_is_repeatable_and_its_key_is_in_front() -> None:
    for seed in range(40):
        lighting = sample_lighting(seed)
        again = sample_lighting(seed)
        np.testing.assert_array_equal(lighting.direction, again.direction)
        np.testing.assert_allclose(np.linalg.norm(lighting.direction, axis=1), 1)
        assert lighting.direction[0, 2] > 0
        assert lighting.direction[2, 2] < 0.1
