import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.cameras import look_at_origin
from pipeline.portrait.alignment import apply, similarity
from pipeline.portrait.framing import frame, portrait_transform
from pipeline.portrait.pose import MEAN_LANDMARKS, fit_pose

SIZE_PX = 640


def seen_from(yaw: float, elevation: float, roll: float = 0.0) -> np.ndarray:
    camera = look_at_origin(yaw, elevation, roll_deg=roll)
    return camera.project(MEAN_LANDMARKS, SIZE_PX)[0].astype(np.float64)


@settings(max_examples=40, deadline=None)
@given(st.floats(-60, 60), st.floats(-15, 25), st.floats(-30, 30))
def test_the_mean_head_is_found_where_it_was_seen_from(
    yaw: float, elevation: float, roll: float
) -> None:
    pose = fit_pose(seen_from(yaw, elevation, roll))
    assert abs(pose.yaw_deg - yaw) < 4
    # the prior pulls steep views towards eye level, on purpose
    assert abs(pose.elevation_deg - elevation) < 1 + 0.6 * abs(elevation - 2)


@settings(max_examples=25, deadline=None)
@given(st.floats(-50, 50), st.floats(0.1, 8), st.floats(-40, 40))
def test_the_photo_s_scale_and_turn_do_not_change_the_camera(
    yaw: float, scale: float, turn: float
) -> None:
    points = seen_from(yaw, 5)
    a = np.radians(turn)
    moved = scale * points @ np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]]) + 37
    here, there = fit_pose(points), fit_pose(moved)
    assert abs(here.yaw_deg - there.yaw_deg) < 0.2
    assert abs(here.elevation_deg - there.elevation_deg) < 0.2
    np.testing.assert_allclose(there.roll_deg - here.roll_deg, turn, atol=0.3)


def test_positive_yaw_means_a_camera_on_the_subject_s_left() -> None:
    # seen from the subject's left the nose points to the image's left
    points = seen_from(0, 0)
    points[2, 0] -= 0.03 * SIZE_PX
    assert fit_pose(points).yaw_deg > 10
    points[2, 0] += 0.06 * SIZE_PX
    assert fit_pose(points).yaw_deg < -10


@pytest.mark.parametrize(("yaw", "elevation", "roll"), [(0, 0, 0), (35, 10, -20), (-50, -5, 15)])
def test_framing_puts_the_landmarks_where_the_training_camera_sees_them(
    yaw: float, elevation: float, roll: float
) -> None:
    pose = fit_pose(seen_from(yaw, elevation, roll))
    framed = apply(portrait_transform(pose, 256), seen_from(yaw, elevation, roll))
    upright = look_at_origin(pose.yaw_deg, pose.elevation_deg).project(MEAN_LANDMARKS, 256)[0]
    assert np.abs(framed - upright).max() < 3


def test_framing_is_upright_and_transparent_outside_the_photo() -> None:
    landmarks = seen_from(0, 0, roll=30)
    photo = np.full((SIZE_PX, SIZE_PX, 4), 255, np.uint8)
    photo[..., :3] = (200, 50, 50)
    framed = frame(photo, fit_pose(landmarks), 128)
    assert framed.shape == (128, 128, 4)
    assert framed[64, 64].tolist() == [200, 50, 50, 255]
    assert framed[0, 0, 3] == 0  # a corner that the turned photo does not reach


def test_noise_in_landmarks_moves_the_camera_little() -> None:
    rng = np.random.default_rng(0)
    errors = []
    for yaw in np.linspace(-45, 45, 10):
        for _ in range(4):
            noisy = seen_from(yaw, 4) + rng.normal(0, 0.006 * SIZE_PX, (5, 2))
            errors.append(fit_pose(noisy).yaw_deg - yaw)
    assert np.std(errors) < 5


def test_the_mean_head_is_symmetric() -> None:
    mirrored = MEAN_LANDMARKS[[1, 0, 2, 4, 3]] * [-1, 1, 1]
    np.testing.assert_allclose(mirrored, MEAN_LANDMARKS, atol=1e-6)
    identity = similarity(MEAN_LANDMARKS[:, :2], MEAN_LANDMARKS[:, :2])
    np.testing.assert_allclose(identity, [[1, 0, 0], [0, 1, 0]], atol=1e-9)
