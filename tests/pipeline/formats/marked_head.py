"""A head that looks different from every side, and random Gaussians, for the tests of formats."""

import torch
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pipeline.gaussians import Gaussians

UP, FRONT, LEFT = (0.1, 0.8, 0.2), (0.2, 0.3, 0.9), (0.9, 0.1, 0.1)
"""Colours of the blobs above, in front and to the subject's left."""


def marked_head() -> Gaussians:
    """A grey ball with long blobs: green above, blue in front, red to the left, all tilted."""
    generator = torch.Generator().manual_seed(5)
    ball = 0.2 * torch.nn.functional.normalize(torch.randn(300, 3, generator=generator), dim=-1)
    markers = torch.tensor([[0.05, 0.45, 0.0], [0.0, 0.05, 0.4], [0.5, 0.0, 0.05]])
    return Gaussians(
        means=torch.cat([ball, markers]),
        quats=torch.nn.functional.normalize(
            torch.randn(303, 4, generator=generator) + torch.tensor([0.1, 0.0, 0.0, 0.0]), dim=-1
        ),
        scales=torch.cat([torch.full((300, 3), 0.03), torch.tensor([[0.09, 0.03, 0.05]] * 3)]),
        opacities=torch.cat([torch.full((300,), 0.8), torch.tensor([0.95, 0.9, 0.85])]),
        colors=torch.cat([torch.full((300, 3), 0.5), torch.tensor([UP, FRONT, LEFT])]),
    )


def sorted_by_position(gaussians: Gaussians) -> Gaussians:
    """In the order of x, which a format may change."""
    return gaussians[gaussians.means[:, 0].argsort()]


def angles_deg(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """The angles between rotations as quaternions [N, 4] of any length, [N] float64."""
    a, b = (torch.nn.functional.normalize(q.double(), dim=-1) for q in (first, second))
    chord = torch.minimum((a - b).norm(dim=-1), (a + b).norm(dim=-1))
    return torch.rad2deg(4 * torch.asin(chord / 2))


def _columns(count: int, width: int, least: float, most: float) -> st.SearchStrategy[torch.Tensor]:
    numbers = st.floats(least, most, width=32, allow_subnormal=False)
    return arrays.arrays("f4", (count, width), elements=numbers).map(torch.from_numpy)


@st.composite
def any_gaussians(draw: st.DrawFn) -> Gaussians:
    """Up to eight Gaussians: within 100 units, scales 1e-4 to 100, every opacity and colour."""
    count = draw(st.integers(1, 8))
    quats = draw(_columns(count, 4, -1, 1))
    quats[quats.norm(dim=-1) < 0.1] = torch.tensor([0.5, -0.5, 0.5, 0.5])
    return Gaussians(
        means=draw(_columns(count, 3, -100, 100)),
        quats=quats,
        scales=draw(_columns(count, 3, -9.125, 4.5)).exp(),
        opacities=draw(_columns(count, 1, 0, 1))[:, 0],
        colors=draw(_columns(count, 3, 0, 1)),
    )
