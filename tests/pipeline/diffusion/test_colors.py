import numpy as np
import pytest

from pipeline.diffusion.colors import match_colors

AZIMUTHS_DEG = np.arange(4, dtype=np.float32) * 90
SKIN, HAIR, GOLDEN = (200, 150, 130), (90, 60, 40), (180, 140, 70)


def head(hair: tuple[int, int, int], face: tuple[int, int, int], size_px: int = 64) -> np.ndarray:
    """Hair above, a face below, white round both; straight alpha."""
    image = np.zeros((size_px, size_px, 4), np.uint8)
    edge, middle = size_px // 8, size_px // 2
    image[edge:middle, edge:-edge] = (*hair, 255)
    image[middle:-edge, edge:-edge] = (*face, 255)
    return image


def orbit(hair: tuple[int, int, int], face: tuple[int, int, int]) -> np.ndarray:
    """The front as `head`, from elsewhere hair alone."""
    views = np.full((4, 64, 64, 3), 255, np.uint8)
    inside = head(hair, face)[..., 3] > 0
    views[0][inside] = head(hair, face)[..., :3][inside]
    views[1:, inside] = hair
    return views


def test_the_back_of_the_head_takes_the_colour_of_the_portraits_hair():
    views = match_colors(orbit(HAIR, SKIN), AZIMUTHS_DEG, head(GOLDEN, SKIN), 0.0)
    np.testing.assert_allclose(views[2, 32, 32], GOLDEN, atol=12)
    np.testing.assert_allclose(views[0, 48, 32], SKIN, atol=6)


def test_white_stays_white_and_right_colours_stay():
    views = orbit(HAIR, SKIN)
    same = match_colors(views, AZIMUTHS_DEG, head(HAIR, SKIN), 0.0)
    np.testing.assert_allclose(same.astype(int), views, atol=1)
    changed = match_colors(views, AZIMUTHS_DEG, head(GOLDEN, SKIN), 0.0)
    assert (changed[views.min(-1) == 255] == 255).all()


@pytest.mark.parametrize("yaw_deg", [-90.0, 270.0, -80.0])
def test_the_view_on_the_portraits_side_is_the_one_compared(yaw_deg):
    views = orbit(SKIN, SKIN)
    views[3] = orbit(HAIR, HAIR)[3]
    matched = match_colors(views, AZIMUTHS_DEG, head(GOLDEN, GOLDEN), yaw_deg)
    np.testing.assert_allclose(matched[3, 32, 32], GOLDEN, atol=12)
    np.testing.assert_allclose(matched[0, 32, 32], SKIN, atol=3)


def test_a_portrait_without_anything_in_it_changes_nothing():
    views = orbit(HAIR, SKIN)
    nothing = np.zeros((64, 64, 4), np.uint8)
    np.testing.assert_array_equal(match_colors(views, AZIMUTHS_DEG, nothing, 0.0), views)
