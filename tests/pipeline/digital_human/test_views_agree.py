"""Depth, masks and landmarks of different views describe one and the same solid head."""

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.cameras import Cameras, look_at_origin
from pipeline.digital_human import HeadScene
from pipeline.digital_human.scene import Frame

SIZE_PX = 192
CAMERAS = look_at_origin([0, 20, -35, 50, 180], [0, 20, -10, 35, 0])

Array = npt.NDArray[np.floating]


@pytest.fixture(scope="module")
def frames(head: HeadScene) -> list[Frame]:
    return [head.frame(CAMERAS, view, SIZE_PX, 3) for view in range(len(CAMERAS))]


def rays(cameras: Cameras, view: int, pixels: Array) -> tuple[Array, Array]:
    """Origin [3] and directions [N, 3] with unit depth through pixels [N, 2] (x right, y down)."""
    inverse = np.linalg.inv(cameras.intrinsics(SIZE_PX)[view].astype(np.float64))
    in_camera = np.concatenate([pixels, np.ones((len(pixels), 1))], 1) @ inverse.T
    pose = cameras.cam_to_world[view].astype(np.float64)
    return pose[:3, 3], in_camera @ pose[:3, :3].T


def triangulate(first: int, second: int, seen: list[Array]) -> Array:
    """Points [N, 3] nearest to the rays through the same landmarks in two views."""
    points = []
    for k in range(len(seen[0])):
        left, right = np.zeros((3, 3)), np.zeros(3)
        for view in (first, second):
            origin, direction = rays(CAMERAS, view, seen[view][k : k + 1])
            unit = direction[0] / np.linalg.norm(direction[0])
            across = np.eye(3) - np.outer(unit, unit)
            left, right = left + across, right + across @ origin
        points.append(np.linalg.solve(left, right))
    return np.array(points)


def surface(frames: list[Frame], view: int) -> Array:
    """World points [N, 3] of every third drawn pixel."""
    drawn = frames[view].depth > 0
    drawn &= np.add.outer(np.arange(SIZE_PX), np.arange(SIZE_PX)) % 3 == 0
    row, column = np.nonzero(drawn)
    origin, direction = rays(CAMERAS, view, np.stack([column, row], 1) + 0.5)
    return origin + direction * frames[view].depth[row, column, None]


def test_landmarks_of_two_views_lead_to_those_of_the_others(frames: list[Frame]) -> None:
    points = triangulate(0, 1, [frame.landmarks for frame in frames])
    for view, frame in enumerate(frames):
        found = CAMERAS[[view]].project(points.astype(np.float32), SIZE_PX)[0]
        np.testing.assert_allclose(found, frame.landmarks, atol=0.05)


@pytest.mark.parametrize(("here", "there"), [(0, 1), (1, 2), (2, 0), (1, 3)])
def test_the_surface_of_one_view_is_never_in_front_of_another(
    frames: list[Frame], here: int, there: int
) -> None:
    points = surface(frames, here)
    column, row = CAMERAS[[there]].project(points.astype(np.float32), SIZE_PX)[0].T.astype(int)
    inside = (np.minimum(column, row) >= 0) & (np.maximum(column, row) < SIZE_PX)
    points, column, row = points[inside], column[inside], row[inside]
    drawn = frames[there].depth[row, column]
    # What one camera sees is solid, so the other sees it, or something nearer; edges may miss.
    assert (drawn > 0).mean() > 0.96
    pose = CAMERAS.cam_to_world[there]
    behind = (points - pose[:3, 3]) @ pose[:3, 2] - drawn
    assert (behind[drawn > 0] > -0.02).mean() > 0.96
    same = np.abs(behind) < 0.01
    assert same.mean() > 0.4
    parts = frames[there].parts[row, column][same]
    own = surface_parts(frames[here])[inside][same]
    assert (parts == own).mean() > 0.94


def surface_parts(frame: Frame) -> npt.NDArray[np.uint8]:
    drawn = frame.depth > 0
    drawn &= np.add.outer(np.arange(SIZE_PX), np.arange(SIZE_PX)) % 3 == 0
    return frame.parts[drawn]


def test_the_mask_is_where_there_is_depth(frames: list[Frame]) -> None:
    for frame in frames:
        solid = frame.rgba[..., 3] > 127
        assert ((frame.depth > 0) == solid).mean() > 0.995
