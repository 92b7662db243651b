import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.cameras import RADIUS, look_at_origin, orbit

SUBJECTS_LEFT, UP, FACE = np.eye(3, dtype=np.float32) * 0.3
CENTRE_PX = 128


@given(st.floats(-180, 180), st.floats(-80, 80), st.floats(-45, 45))
def test_every_camera_is_a_rotation_that_sees_the_head_in_the_middle(azimuth, elevation, roll):
    cameras = look_at_origin(azimuth, elevation, roll_deg=roll)
    rotation = cameras.cam_to_world[0, :3, :3].astype(np.float64)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-5)
    assert np.linalg.det(rotation) == pytest.approx(1, abs=1e-5)
    assert np.linalg.norm(cameras.cam_to_world[0, :3, 3]) == pytest.approx(RADIUS, abs=1e-5)
    centre = cameras.project(np.zeros((1, 3), np.float32), 2 * CENTRE_PX)
    np.testing.assert_allclose(centre, CENTRE_PX, atol=1e-3)


def test_front_view_shows_the_subjects_left_on_the_right_and_up_on_top():
    pixels = look_at_origin(0, 0).project(np.stack([SUBJECTS_LEFT, UP]), 2 * CENTRE_PX)[0]
    assert pixels[0, 0] > CENTRE_PX + 40
    assert pixels[1, 1] < CENTRE_PX - 40


def test_positive_azimuth_shows_the_subjects_left_side_with_the_face_to_the_left():
    camera = look_at_origin(90, 0)
    np.testing.assert_allclose(camera.cam_to_world[0, :3, 3], [RADIUS, 0, 0], atol=1e-6)
    assert camera.project(FACE[None], 2 * CENTRE_PX)[0, 0, 0] < CENTRE_PX - 40


@given(st.floats(-179, 179), st.floats(-80, 80), st.floats(-45, 45))
def test_a_mirrored_camera_sees_the_mirrored_head_mirrored(azimuth, elevation, roll):
    cameras = look_at_origin(azimuth, elevation, roll_deg=roll)
    points = np.random.default_rng(0).uniform(-0.3, 0.3, (20, 3)).astype(np.float32)
    seen = cameras.project(points, 2 * CENTRE_PX)
    mirrored = cameras.mirrored().project(points * np.float32([-1, 1, 1]), 2 * CENTRE_PX)
    np.testing.assert_allclose(mirrored[..., 0], 2 * CENTRE_PX - seen[..., 0], atol=1e-2)
    np.testing.assert_allclose(mirrored[..., 1], seen[..., 1], atol=1e-2)
    assert cameras.azimuths_deg[0] == pytest.approx(azimuth, abs=1e-3)
    assert cameras.mirrored().azimuths_deg[0] == pytest.approx(-azimuth, abs=1e-3)


def test_positive_elevation_is_above():
    assert look_at_origin(0, 30).cam_to_world[0, 1, 3] > 0.9


def test_positive_roll_turns_the_head_counter_clockwise():
    top = look_at_origin(0, 0, roll_deg=20).project(UP[None], 2 * CENTRE_PX)[0, 0]
    assert top[0] < CENTRE_PX


def test_orbit_starts_in_front_and_goes_round_evenly():
    positions = orbit(16).cam_to_world[:, :3, 3]
    np.testing.assert_allclose(positions[0], [0, 0, RADIUS], atol=1e-6)
    np.testing.assert_allclose(positions[8], [0, 0, -RADIUS], atol=1e-6)
    gaps = np.linalg.norm(positions - np.roll(positions, 1, 0), axis=1)
    np.testing.assert_allclose(gaps, gaps[0], rtol=1e-5)


def test_world_to_cam_undoes_cam_to_world():
    cameras = look_at_origin([10, 200], [5, -10], roll_deg=3)
    product = cameras.world_to_cam @ cameras.cam_to_world
    np.testing.assert_allclose(product, np.tile(np.eye(4), (2, 1, 1)), atol=1e-6)
