"""Alignment of heads that carry five coloured dots, which a detector of colours finds exactly."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.transform import SimilarityTransform

from pipeline.cameras import Cameras, look_at_origin
from pipeline.evaluation.keypoints import (
    Placement,
    aligned_in_the_plane,
    alignment_in_space,
    fit_placement,
    triangulate,
)
from pipeline.evaluation.metrics import psnr
from pipeline.gaussians import Gaussians
from pipeline.portrait.alignment import similarity, warp
from pipeline.portrait.pose import MEAN_LANDMARKS
from pipeline.rendering import render_u8

SIZE_PX = 96
CAMERAS = look_at_origin([0.0, 25.0, 335.0], [0.0, 10.0, 0.0])
COLORS = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [1, 0, 1]], np.float32)
TURNED = np.array([[0.978, -0.208, 10.0], [0.208, 0.978, -10.0]])
"""By 12 degrees, about the middle or near it."""
SEEDS = st.integers(0, 2**32 - 1)


def some_placement(seed: int) -> Placement:
    rng = np.random.default_rng(seed)
    return Placement(float(rng.uniform(0.2, 5)), rng.normal(size=3))


def dots() -> Gaussians:
    """A dot at each of a face's landmarks."""
    return Gaussians(
        means=torch.from_numpy(MEAN_LANDMARKS.copy()),
        quats=torch.tensor([[1.0, 0, 0, 0]]).repeat(5, 1),
        scales=torch.tensor([[0.02, 0.015, 0.01]]).repeat(5, 1),
        opacities=torch.full((5,), 0.99),
        colors=torch.from_numpy(COLORS),
    )


def find_dots(image: np.ndarray) -> np.ndarray | None:
    """The centre of each dot's colour, [5, 2] pixels; None if one is not there."""
    likeness = 1 - np.abs(image[..., None, :] / 255 - COLORS).max(-1)
    weights = np.maximum(likeness - 0.3, 0)
    total = weights.sum((0, 1))
    if not (total > 0.5).all():
        return None
    rows, columns = np.indices(image.shape[:2]) + 0.5
    return np.stack([(weights * x[..., None]).sum((0, 1)) / total for x in (columns, rows)], -1)


@settings(deadline=None, max_examples=30)
@given(SEEDS, st.integers(2, 9))
def test_an_exact_placement_is_found_again(seed: int, points: int) -> None:
    wanted = some_placement(seed)
    source = np.random.default_rng(seed + 1).normal(size=(points, 3))
    found = fit_placement(source, wanted.apply(source))
    assert found.scale == pytest.approx(wanted.scale)
    assert found.shift == pytest.approx(wanted.shift, abs=1e-7)


@settings(deadline=None, max_examples=30)
@given(SEEDS, st.floats(0.01, 2))
def test_in_the_plane_it_is_the_similarity_of_umeyama(seed: int, noise: float) -> None:
    """Also of points that a mirror would fit better: a head is never shown inside out."""
    rng = np.random.default_rng(seed)
    source, shift = rng.normal(size=(5, 2)), rng.normal(size=2)
    angle, scale = rng.uniform(-3, 3), rng.uniform(0.2, 5)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    target = scale * source @ turn.T + shift + noise * rng.normal(size=(5, 2))
    found, oracle = similarity(source, target), SimilarityTransform.from_estimate(source, target)
    assert source @ found[:, :2].T + found[:, 2] == pytest.approx(oracle(source), abs=1e-6)


@settings(deadline=None, max_examples=30)
@given(SEEDS, st.integers(2, 6))
def test_points_are_found_where_all_cameras_see_them(seed: int, views: int) -> None:
    rng = np.random.default_rng(seed)
    azimuths = 40.0 * np.arange(views) + rng.uniform(0, 20, views)
    cameras = look_at_origin(azimuths, rng.uniform(-30, 30, views))
    points = rng.uniform(-0.4, 0.4, (5, 3)).astype(np.float32)
    found = triangulate(cameras, cameras.project(points, 200), 200)
    assert found == pytest.approx(points, abs=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_cameras_that_move_with_the_gaussians_see_the_same(seed: int) -> None:
    moved = some_placement(seed)
    poses = CAMERAS.cam_to_world.astype(np.float64)
    poses[:, :3, 3] = moved.apply(poses[:, :3, 3])
    cameras = Cameras(poses.astype(np.float32))
    before, after = (
        render_u8(one, seen_by, SIZE_PX).astype(int)
        for one, seen_by in ((dots(), CAMERAS), (moved.move(dots()), cameras))
    )
    assert np.abs(before - after).max() <= 1
    assert before.min() < 50


def test_a_head_that_is_displaced_in_the_plane_is_put_back() -> None:
    truth = render_u8(dots(), CAMERAS, SIZE_PX)
    # larger, elsewhere and turned in the image: but for perspective a similarity
    shown = render_u8(Placement(1.1, [0.02, -0.04, 0]).move(dots()), CAMERAS, SIZE_PX)
    shown = np.stack([warp(view, TURNED, (SIZE_PX, SIZE_PX), (255, 255, 255)) for view in shown])
    aligned = aligned_in_the_plane(shown, truth, 0, find_dots)
    assert aligned is not None
    assert aligned.shape == truth.shape
    before, after = (
        np.linalg.norm(find_dots(one[0]) - find_dots(truth[0]), axis=1).mean()
        for one in (shown, aligned)
    )
    assert after < 0.25 * before
    assert all(psnr(a, t) > psnr(s, t) + 1 for a, s, t in zip(aligned, shown, truth, strict=True))
    assert (aligned[:, 0, 0] == 255).all()


def test_a_head_that_is_displaced_in_space_is_put_back() -> None:
    truth = render_u8(dots(), CAMERAS, SIZE_PX)
    wrong = Placement(0.85, [0.05, 0.1, -0.1])
    shown = render_u8(wrong.move(dots()), CAMERAS, SIZE_PX)
    found = alignment_in_space(shown, truth, CAMERAS, find_dots)
    assert found is not None
    assert found.scale == pytest.approx(1 / wrong.scale, rel=0.03)
    assert found.apply(wrong.shift) == pytest.approx(np.zeros(3), abs=0.02)
    again = render_u8(found.move(wrong.move(dots())), CAMERAS, SIZE_PX)
    before = np.mean([psnr(*pair) for pair in zip(shown, truth, strict=True)])
    after = np.mean([psnr(*pair) for pair in zip(again, truth, strict=True)])
    assert after > before + 5


def test_without_a_face_nothing_is_aligned() -> None:
    truth = render_u8(dots(), CAMERAS, SIZE_PX)
    white = np.full_like(truth, 255)
    assert aligned_in_the_plane(white, truth, 0, find_dots) is None
    one_view = white.copy()
    one_view[0] = truth[0]
    assert alignment_in_space(one_view, truth, CAMERAS, find_dots) is None
