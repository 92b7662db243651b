"""The portrait laid over views: where it belongs, at its depth, and nowhere else."""

import numpy as np
import pytest
import torch
from painted_ball import SIZE_PX, Ball

from pipeline.cameras import RADIUS, look_at_origin
from pipeline.gaussians import Gaussians
from pipeline.images import Bytes, resize
from pipeline.reconstruction.hull import hull_field
from pipeline.reconstruction.masks import alpha_from_white
from pipeline.reconstruction.portrait_depth import DEPTH_PX, portrait_depth, rays
from pipeline.reconstruction.projected_portrait import project_portrait
from pipeline.rendering import render_u8

FRONT, SIDE, BACK = 0, 1, 4
"""Views of the ball's orbit at 0, 45 and 180 degrees."""


@pytest.fixture(scope="module")
def grey(ball: Ball) -> Bytes:
    """What a small model might know of the ball: its shape."""
    parts = vars(ball.gaussians) | {"colors": torch.full_like(ball.gaussians.colors, 0.5)}
    return render_u8(Gaussians(**parts), ball.cameras, 64)


def _error(made: Bytes, true: Bytes) -> float:
    return float(np.abs(made.astype(int) - true).mean())


def test_views_beside_the_portrait_show_what_it_shows(ball: Ball, grey: Bytes) -> None:
    camera = look_at_origin(0, 0)
    made = project_portrait(grey, ball.cameras, ball.rgba(camera)[0], camera, SIZE_PX)
    before = resize(grey, SIZE_PX)
    assert _error(made[FRONT], ball.views[FRONT]) < 0.2 * _error(before[FRONT], ball.views[FRONT])
    for view in (SIDE, -SIDE):
        assert _error(made[view], ball.views[view]) < 0.8 * _error(before[view], ball.views[view])
    np.testing.assert_array_equal(made[BACK], before[BACK])


def test_a_portrait_from_the_side_shows_its_mirror_image_on_the_other(
    ball: Ball, grey: Bytes
) -> None:
    camera = look_at_origin(45, 0)
    made = project_portrait(grey, ball.cameras, ball.rgba(camera)[0], camera, SIZE_PX)
    mirrored = made[-SIDE][:, ::-1].astype(int)
    assert np.abs(mirrored - made[SIDE]).mean() < 3
    red = (made[-SIDE][..., 0] > 150) & (made[-SIDE][..., 1] < 60)
    assert red.any(), "the left ear, which only this side has, is on both"


def test_what_is_beside_the_head_is_somebody_else(ball: Ball, grey: Bytes) -> None:
    camera = look_at_origin(0, 0)
    portrait = ball.rgba(camera)[0]
    with_stranger = portrait.copy()
    with_stranger[:, :5] = (0, 255, 0, 255)
    with_one, alone = (
        project_portrait(grey, ball.cameras, one, camera, SIZE_PX)
        for one in (with_stranger, portrait)
    )
    np.testing.assert_array_equal(with_one, alone)


def test_views_without_a_head_stay_as_they_are(ball: Ball) -> None:
    camera, white = look_at_origin(0, 0), np.full((8, 64, 64, 3), 255, np.uint8)
    made = project_portrait(white, ball.cameras, ball.rgba(camera)[0], camera, SIZE_PX)
    np.testing.assert_array_equal(made, np.full_like(made, 255))


@pytest.mark.parametrize("azimuth_deg", [0.0, 30.0, -70.0])
def test_depth_is_that_of_the_ball_beside_the_face(ball: Ball, azimuth_deg: float) -> None:
    camera = look_at_origin(azimuth_deg, 10)
    field = torch.from_numpy(hull_field(alpha_from_white(ball.views), ball.cameras))
    depth, stray_px = portrait_depth(field, camera)
    origin, directions = rays(camera, DEPTH_PX)
    # |origin + depth ray| = 0.35 where the ray enters the ball
    a, b = directions.square().sum(-1), directions @ origin
    root = b.square() - a * (RADIUS**2 - 0.35**2)
    entry = (-b - root.clamp(min=0).sqrt()) / a
    places = origin + directions * entry[..., None]
    on_hair = (places[..., 1] > 0.15) & (places[..., 1] < 0.28) & (root > 0.02)
    assert on_hair.sum() > 200
    # the hull of a ring of views is somewhat larger than the ball
    assert (entry - depth)[on_hair].mean() == pytest.approx(0.03, abs=0.03)
    assert stray_px[on_hair].max() == 0
    assert stray_px[0, 0] > 20
