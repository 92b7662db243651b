"""Pictures of Gaussians from the project's cameras."""

import numpy as np
import pytest
import torch

from pipeline.cameras import look_at_origin
from pipeline.gaussians import Gaussians
from pipeline.rendering import render, render_u8


def _spot(x: float, y: float, z: float) -> Gaussians:
    return Gaussians(
        means=torch.tensor([[x, y, z]]),
        quats=torch.tensor([[1.0, 0, 0, 0]]),
        scales=torch.full((1, 3), 0.03),
        opacities=torch.tensor([0.99]),
        colors=torch.zeros(1, 3),
    )


@pytest.mark.parametrize(
    ("azimuth_deg", "elevation_deg", "spot", "left", "upper"),
    [
        (0, 0, (0.3, 0.0, 0.0), False, None),  # the subject's left is on the right of the picture
        (180, 0, (0.3, 0.0, 0.0), True, None),
        (90, 0, (0.0, 0.0, 0.3), True, None),  # from the subject's left, the face points left
        (0, 0, (0.0, 0.3, 0.0), None, True),
        (0, 40, (0.0, 0.0, 0.3), None, False),  # from above, the nose hangs low
    ],
)
def test_sides_of_the_picture(
    azimuth_deg: float,
    elevation_deg: float,
    spot: tuple[float, float, float],
    left: bool | None,
    upper: bool | None,
) -> None:
    image = render_u8(_spot(*spot), look_at_origin(azimuth_deg, elevation_deg), 64)[0]
    row, column = np.unravel_index(int(image[..., 0].argmin()), (64, 64))
    assert left is None or (column < 31) == left
    assert upper is None or (row < 31) == upper


def test_background_is_white_and_alpha_zero_where_nothing_is() -> None:
    image, alpha = render(_spot(0, 0, 0), look_at_origin(0, 0), 64)
    assert image.shape == (1, 64, 64, 3)
    assert torch.equal(image[0, 0, 0], torch.ones(3))
    assert alpha[0, 0, 0] == 0
    assert alpha[0, 32, 32] > 0.8


def test_many_views_are_the_views_one_by_one() -> None:
    cameras = look_at_origin(np.linspace(0, 300, 6), 10)
    together = render_u8(_spot(0.2, 0.1, 0.3), cameras, 40)
    for view in range(6):
        alone = render_u8(_spot(0.2, 0.1, 0.3), cameras[[view]], 40)
        assert np.array_equal(together[view : view + 1], alone)
