"""Eight numbers at a time do what numpy does one by one."""

from typing import Any

import numba
import numpy as np
import pytest

from pipeline.rasterizer.lane_memory import load, load_pixels, store, store_pixels
from pipeline.rasterizer.lanes import (
    any_of,
    lane,
    least,
    minus_magnitude,
    quotient,
    spread,
    steps,
    sums,
    where,
)
from pipeline.rasterizer.layout import F32

A, B = np.random.default_rng(0).normal(size=(2, 8)).astype(np.float32)


@numba.njit
def _compute(a: F32, b: F32, out: F32) -> Any:
    x, y = load(a, 0), load(b, 0)
    store(out[0], 0, x + y)
    store(out[1], 0, x - y)
    store(out[2], 0, x * y)
    store(out[3], 0, least(x, y))
    store(out[4], 0, where((x <= y) & (x > spread(np.float32(0))), x, steps()))
    store(out[5], 0, minus_magnitude(x))
    store(out[6], 0, quotient(x, y))
    store(out[7], 0, sums(x, y, x, y, x * x, y * y, steps(), y))
    return any_of(x > y), any_of(x > x), lane(x, 3)


def test_operators_and_functions() -> None:
    out = np.zeros((8, 8), np.float32)
    some, none, fourth = _compute(A, B, out)
    exact = [A + B, A - B, A * B, np.minimum(A, B)]
    exact += [np.where((A <= B) & (A > 0), A, np.arange(8)), -np.abs(A)]
    assert np.array_equal(out[:6], np.float32(exact))
    assert np.abs(out[6] / (A / B) - 1).max() < 1e-6
    wanted = [t.sum() for t in (A, B, A, B, A * A, B * B, np.arange(8), B)]
    assert np.allclose(out[7], wanted, atol=1e-6)
    assert some
    assert not none
    assert fourth == A[3]


@numba.njit
def _double(pixels: F32, fourth: Any, out: F32) -> None:
    channels = load_pixels(pixels, 2, fourth)
    if fourth is None:
        store_pixels(out, 1, (channels[0] + channels[0], channels[1], channels[2]))
    else:
        store_pixels(out, 1, (channels[0] + channels[0], channels[1], channels[2], channels[3]))


@pytest.mark.parametrize(("depth", "fourth"), [(3, None), (4, True)])
def test_pixels_come_apart_and_together(depth: int, fourth: bool | None) -> None:
    pixels = np.arange(8 * depth + 2, dtype=np.float32)
    out = np.zeros(8 * depth + 2, np.float32)
    _double(pixels, fourth, out)
    wanted = pixels[2:].reshape(8, depth) * ([2] + [1] * (depth - 1))
    assert np.array_equal(out[1:-1].reshape(8, depth), wanted)
    assert out[0] == out[-1] == 0
