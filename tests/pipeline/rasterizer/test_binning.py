"""Hits come sorted, and tiles that an ellipse does not reach have none."""

import math

import numpy as np
import pytest
import torch
from scenes import lenses

from pipeline.cameras import orbit
from pipeline.rasterizer.blend_function import _bin
from pipeline.rasterizer.depth_order import sorted_by_depth
from pipeline.rasterizer.project_function import project
from pipeline.rasterizer.request import Options, Scene


@pytest.mark.parametrize("farthest", [1.0001, 2.0, 1e6])
def test_the_order_is_by_depth_and_equal_depths_keep_theirs(farthest: float) -> None:
    rng = np.random.default_rng(0)
    depths = rng.uniform(1, farthest, 3000).astype(np.float32)
    depths[::3] = depths[0]
    tiles = np.tile(np.array([0, 1, 0, 1], np.int32), (3000, 1))
    tiles[::7] = 0
    order = depths.argsort(kind="stable")
    assert np.array_equal(sorted_by_depth(depths, tiles), order[order % 7 > 0])


def test_nobody_seen_is_nobody_sorted() -> None:
    assert len(sorted_by_depth(np.ones(3, np.float32), np.zeros((3, 4), np.int32))) == 0


def test_a_tile_that_only_the_rectangle_touches_is_no_hit() -> None:
    """A needle across the image: its rectangle is the image, but it keeps to the diagonal."""
    viewmats, Ks = lenses(orbit(1))
    turn = torch.tensor([[math.cos(math.pi / 8), 0, 0, math.sin(math.pi / 8)]])
    needle = (torch.zeros(1, 3), turn, torch.tensor([[0.3, 0.003, 0.003]]), torch.ones(1))
    options = Options(44, 44, None, "RGB", 0.01, 1e10, 0.3, "classic", False, 1)
    seen = project(Scene(*needle, torch.zeros(1, 3), viewmats, Ks, None), options)
    hits = _bin(seen.depths.numpy(), seen.ellipses.numpy(), seen.tiles.numpy(), options).hits
    left, right, top, bottom = seen.tiles[0, 0].tolist()
    assert len(hits) < 0.75 * (right - left) * (bottom - top)
    assert (hits[:, 3] - hits[:, 2]).sum() < 0.5 * 44 * (right - left)
