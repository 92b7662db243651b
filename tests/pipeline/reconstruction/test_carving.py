"""Masks, the visual hull, and Gaussians carved out of views."""

import numpy as np
import pytest
import torch
from painted_ball import SIZE_PX, Ball

from pipeline.errors import ProcessingError
from pipeline.reconstruction.carving import gaussians_from_views
from pipeline.reconstruction.hull import GRID, HALF_EXTENT, hull_field
from pipeline.reconstruction.masks import alpha_from_white
from pipeline.rendering import render, render_u8


def test_white_inside_the_head_is_head_and_specks_are_not() -> None:
    view = np.full((1, 40, 40, 3), 255, np.uint8)
    view[0, 10:30, 10:30] = 120
    view[0, 15:18, 15:18] = 255
    view[0, 2, 2] = 0
    alpha = alpha_from_white(view)[0]
    assert alpha[16, 16] == 1
    assert alpha[2, 2] == 0
    assert alpha[10:30, 10:30].min() == 1
    assert alpha.sum() == 400


def test_faint_noise_on_white_is_background() -> None:
    noise = np.random.default_rng(0).integers(247, 256, (2, 32, 32, 3), np.uint8)
    assert not alpha_from_white(noise).any()


def test_alpha_follows_the_renders_alpha(ball: Ball) -> None:
    with torch.no_grad():
        _, alpha = render(ball.gaussians, ball.cameras, SIZE_PX)
    assert np.abs(alpha_from_white(ball.views) - alpha.numpy()).mean() < 0.003


def test_hull_encloses_the_ball_and_little_else(ball: Ball) -> None:
    field = hull_field(alpha_from_white(ball.views), ball.cameras)
    axis = np.linspace(-HALF_EXTENT, HALF_EXTENT, GRID)
    points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1)
    distance = np.linalg.norm(points, axis=-1)
    assert field[distance < 0.34].min() > 0.5
    assert field[distance > 0.49].max() < 0.5
    assert field[np.linalg.norm(points - [0.36, 0, 0], axis=-1) < 0.05].min() > 0.5
    assert field[np.linalg.norm(points - [-0.45, 0, 0], axis=-1) < 0.03].max() < 0.5


def test_hull_does_not_depend_on_threads(ball: Ball) -> None:
    alphas = alpha_from_white(ball.views)
    one = hull_field(alphas, ball.cameras, threads=1)
    assert np.array_equal(one, hull_field(alphas, ball.cameras, threads=3))


def test_one_wrong_view_does_not_cut_into_the_head(ball: Ball) -> None:
    alphas = np.concatenate([alpha_from_white(ball.views)] * 2)
    cameras = ball.cameras[[*range(8), *range(8)]]
    alphas[3] = 0
    assert hull_field(alphas, cameras)[GRID // 2, GRID // 2, GRID // 2] > 0.9


def test_carved_gaussians_look_like_the_head(ball: Ball) -> None:
    carved = gaussians_from_views(ball.views, ball.cameras, count=6000)
    assert 3000 < len(carved) <= 6000
    error = render_u8(carved, ball.cameras, SIZE_PX) / 255.0 - ball.views / 255.0
    assert -10 * np.log10((error**2).mean()) > 19


def test_carving_is_repeatable_and_bounded(ball: Ball) -> None:
    first, second = (
        gaussians_from_views(ball.views, ball.cameras, count=500, seed=4).to_array() for _ in "ab"
    )
    assert first.shape == (500, 14)
    assert np.array_equal(first, second)


def test_nothing_in_common_is_an_error(ball: Ball) -> None:
    white = np.full_like(ball.views, 255)
    with pytest.raises(ProcessingError, match="8 views show no common shape"):
        gaussians_from_views(white, ball.cameras)
