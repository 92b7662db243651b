import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.portrait.alignment import (
    ARCFACE_TEMPLATE,
    apply,
    arcface_crop,
    invert,
    similarity,
    warp,
)
from pipeline.portrait.alpha import on_white, premultiply, straight

angles = st.floats(-180, 180)
scales = st.floats(0.05, 20)
shifts = st.tuples(st.floats(-500, 500), st.floats(-500, 500))


def turn(angle_deg: float, scale: float, shift: tuple[float, float]) -> np.ndarray:
    a = np.radians(angle_deg)
    linear = scale * np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
    return np.concatenate([linear, np.array(shift)[:, None]], 1)


@given(angles, scales, shifts)
def test_similarity_is_recovered_exactly(
    angle: float, scale: float, shift: tuple[float, float]
) -> None:
    true = turn(angle, scale, shift)
    found = similarity(ARCFACE_TEMPLATE, apply(true, ARCFACE_TEMPLATE))
    np.testing.assert_allclose(found, true, atol=1e-6 * max(scale, 1) * 500)


@given(st.integers(0, 2**32 - 1))
def test_similarity_is_the_least_squares_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    source, target = rng.normal(size=(2, 6, 2))
    best = similarity(source, target)
    error = np.sum((apply(best, source) - target) ** 2)
    nudge = turn(rng.normal(), 1 + 0.01 * rng.normal(), tuple(0.01 * rng.normal(size=2)))
    other = np.concatenate([nudge[:, :2] @ best[:, :2], best[:, 2:] + nudge[:, 2:]], 1)
    assert error <= np.sum((apply(other, source) - target) ** 2) + 1e-9


@given(angles, scales, shifts)
def test_invert_undoes(angle: float, scale: float, shift: tuple[float, float]) -> None:
    there = turn(angle, scale, shift)
    back = apply(invert(there), apply(there, ARCFACE_TEMPLATE))
    np.testing.assert_allclose(back, ARCFACE_TEMPLATE, atol=1e-6)


def test_weights_leave_points_out() -> None:
    target = ARCFACE_TEMPLATE + 3
    target[4] += 50
    found = similarity(ARCFACE_TEMPLATE, target, [1, 1, 1, 1, 0])
    np.testing.assert_allclose(found, [[1, 0, 3], [0, 1, 3]], atol=1e-9)


@pytest.mark.parametrize("scale", [0.1, 0.4, 1.0, 2.5])
def test_warp_puts_pixel_centres_where_the_transform_says(scale: float) -> None:
    y, x = np.mgrid[:200, :200] + 0.5
    blob = 255 * np.exp(-((x - 120) ** 2 + (y - 60) ** 2) / (2 * 18.0**2))
    image = np.repeat(blob[..., None], 3, 2).astype(np.uint8)
    size = round(200 * scale)
    moved = warp(image, turn(0, scale, (0, 0)), (size, size))[..., 0].astype(float)
    v, u = np.mgrid[:size, :size] + 0.5
    centre = np.array([(moved * u).sum(), (moved * v).sum()]) / moved.sum()
    np.testing.assert_allclose(centre, [120 * scale, 60 * scale], atol=0.15)


def test_warp_averages_when_it_shrinks() -> None:
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[:, ::2] = 255
    small = warp(stripes, turn(0, 1 / 8, (0, 0)), (32, 32))
    assert abs(small.astype(int) - 127).max() <= 12


def test_arcface_crop_brings_landmarks_to_the_template() -> None:
    image = np.full((300, 300, 3), 30, np.uint8)
    place = turn(25, 1.4, (90, 40))
    landmarks = apply(place, ARCFACE_TEMPLATE)
    for x, y in landmarks:
        image[round(y) - 2 : round(y) + 3, round(x) - 2 : round(x) + 3] = 255
    crop = arcface_crop(image, landmarks)
    assert crop.shape == (112, 112, 3)
    for x, y in ARCFACE_TEMPLATE:
        assert crop[round(y), round(x), 0] > 150


@given(st.integers(0, 2**32 - 1))
def test_premultiplying_comes_back_where_alpha_is_high(seed: int) -> None:
    rgba = np.random.default_rng(seed).integers(0, 256, (4, 4, 4), dtype=np.uint8)
    back = straight(premultiply(rgba))
    np.testing.assert_array_equal(back[..., 3], rgba[..., 3])
    high = rgba[..., 3] > 128
    assert abs(back[high].astype(int) - rgba[high]).max(initial=0) <= 3
    assert not back[rgba[..., 3] == 0, :3].any()


def test_on_white_is_the_weighted_mean() -> None:
    rgba = np.array([[[0, 100, 200, 255], [0, 100, 200, 0], [0, 100, 200, 51]]], np.uint8)
    expected = [[[0, 100, 200], [255, 255, 255], [204, 224, 244]]]
    np.testing.assert_array_equal(on_white(rgba), expected)
