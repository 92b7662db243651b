import time
from dataclasses import replace

import numpy as np
import pytest

from pipeline.cameras import look_at_origin, orbit
from pipeline.digital_human import HeadScene
from pipeline.digital_human.parts import EYE, HAIR, KNIT, LENS, PART_NAMES, PLASTIC, SKIN
from pipeline.digital_human.scene import NOTHING
from pipeline.digital_human.sequence import cuts_head
from tests.pipeline.digital_human.conftest import quick_head

FRONT = look_at_origin(0, 0)


def test_building_twice_gives_the_same_picture(head: HeadScene) -> None:
    again = quick_head(3, hair_style="buzz", beard="none")
    np.testing.assert_array_equal(head.render(FRONT, 64), again.render(FRONT, 64))


def test_alpha_is_straight_and_empty_pixels_are_zero(head: HeadScene) -> None:
    frame = head.frame(FRONT, 0, 64)
    alpha = frame.rgba[..., 3]
    assert not frame.rgba[alpha == 0].any()
    assert 0.15 < (alpha > 0).mean() < 0.5
    soft = (alpha > 60) & (alpha < 200)
    solid = frame.rgba[alpha == 255][:, :3].mean()
    assert soft.any()
    assert frame.rgba[soft][:, :3].mean() > 0.5 * solid  # not darkened by the background


def test_landmarks_lie_on_eyes_nose_and_mouth(head: HeadScene) -> None:
    frame = head.frame(FRONT, 0, 256)
    assert frame.landmark_visible.all()
    column, row = frame.landmarks.astype(int).T
    assert (frame.parts[row[:2], column[:2]] == EYE).all()
    assert (frame.parts[row[2:], column[2:]] == SKIN).all()
    assert column[0] < column[2] < column[1]
    assert column[3] < column[2] < column[4]
    assert row[0] < row[2] < row[3]
    red = frame.rgba[row[3:], column[3:], 0].astype(float)
    green = frame.rgba[row[3:], column[3:], 1].astype(float)
    assert (red > 1.2 * green).all()  # lips


def test_landmarks_agree_with_the_camera_and_the_depth(head: HeadScene) -> None:
    cameras = look_at_origin(20, 10, 1.9, 5)
    frame = head.frame(cameras, 0, 256)
    np.testing.assert_allclose(
        frame.landmarks, cameras.project(head.landmarks.astype(np.float32), 256)[0], atol=1e-3
    )
    column, row = frame.landmarks[2].astype(int)
    in_camera = cameras.world_to_cam[0] @ np.append(head.landmarks[2], 1)
    assert frame.depth[row, column] == pytest.approx(in_camera[2], abs=0.01)


def test_positive_azimuth_shows_the_subjects_left(head: HeadScene) -> None:
    views = look_at_origin([90, -90], 0)
    left, right = (head.frame(views, view, 128) for view in (0, 1))
    left_eye, right_eye = 1, 0  # image-right in front is the subject's left
    assert left.landmark_visible[left_eye]
    assert not left.landmark_visible[right_eye]
    assert right.landmark_visible[right_eye]
    assert not right.landmark_visible[left_eye]
    # seen from the subject's left, the face looks to the image's left
    assert left.landmarks[2, 0] < 64 < right.landmarks[2, 0]


def test_a_mark_on_the_left_cheek_is_seen_from_the_left_only() -> None:
    scene = quick_head(4, hair_style="bald", beard="none")
    cheek = np.array([0.16, -0.08, 0.2])
    marked = np.linalg.norm(scene.meshes.vertices - cheek, axis=1) < 0.06
    marked &= scene.meshes.vertices[:, 0] > 0
    assert marked.any()
    cameras = look_at_origin([60, -90], 0)
    plain = scene.render(cameras, 96).astype(int)
    albedo = np.where(marked[:, None], (0.0, 1.0, 0.0), scene.meshes.albedo)
    painted = replace(scene, meshes=replace(scene.meshes, albedo=albedo))
    changed = (painted.render(cameras, 96).astype(int) != plain).any(-1)
    assert changed[0].sum() > 10
    assert changed[1].sum() == 0


def test_normals_face_the_camera_and_parts_are_named(head: HeadScene) -> None:
    frame = head.frame(FRONT, 0, 64)
    shown = frame.parts != NOTHING
    assert set(np.unique(frame.parts[shown])) <= set(range(len(PART_NAMES)))
    np.testing.assert_allclose(np.linalg.norm(frame.normals[shown], axis=1), 1, atol=1e-3)
    skin = frame.parts == SKIN
    assert (frame.normals[skin][:, 2] > 0).mean() > 0.97
    assert ((frame.depth > 0) == shown).all()


@pytest.mark.parametrize(
    ("style", "accessory", "part"),
    [("afro", None, HAIR), ("bald", "hat", KNIT), ("bald", "sunglasses", LENS)],
)
def test_the_largest_heads_fit_the_orbit(style: str, accessory: str | None, part: int) -> None:
    scene = quick_head(8, accessory=accessory, hair_style=style)
    drawn = {part} if part != LENS else {PLASTIC}
    cameras = orbit(4)
    for view in range(4):
        frame = scene.frame(cameras, view, 96, 1)
        assert not cuts_head(frame)
        if view == 0:
            assert drawn <= set(np.unique(frame.parts))
    assert (scene.lens_tint is not None) == (part == LENS)


def test_dark_lenses_darken_the_eyes() -> None:
    plain = quick_head(8, hair_style="bald").render(FRONT, 96)[0].astype(float)
    scene = quick_head(8, accessory="sunglasses", hair_style="bald")
    frame = scene.frame(FRONT, 0, 96)
    column, row = frame.landmarks[0].astype(int)
    around = np.s_[row - 3 : row + 4, column - 4 : column + 5, :3]
    assert frame.rgba[around].mean() + 25 < plain[around].mean()


def test_a_view_takes_milliseconds(head: HeadScene) -> None:
    head.render(FRONT, 256)
    started = time.process_time()
    head.render(FRONT, 256)
    assert time.process_time() - started < 1.0  # 0.06 s when measured; a slow path takes minutes
