import numpy as np
import pytest

from pipeline.cameras import look_at_origin
from pipeline.portrait.framing import frame_render

SIZE_PX = 96


def dots(points: np.ndarray) -> np.ndarray:
    """Opaque discs of radius 4 px at pixel positions, each of its own red."""
    y, x = np.mgrid[:SIZE_PX, :SIZE_PX] + 0.5
    image = np.zeros((SIZE_PX, SIZE_PX, 4), np.uint8)
    for index, (px, py) in enumerate(points):
        image[(x - px) ** 2 + (y - py) ** 2 < 16] = (80 + 60 * index, 0, 0, 255)
    return image


def centre_of(image: np.ndarray, red: int) -> np.ndarray:
    y, x = np.mgrid[:SIZE_PX, :SIZE_PX] + 0.5
    mask = (abs(image[..., 0].astype(int) - red) < 20) & (image[..., 3] > 200)
    return np.array([x[mask].mean(), y[mask].mean()])


@pytest.mark.parametrize(("roll_deg", "radius"), [(8, 2), (-8, 2), (0, 2.2), (5, 1.8)])
def test_framing_undoes_roll_and_distance(roll_deg: float, radius: float) -> None:
    azimuth_deg, elevation_deg = 30.0, 12.0
    jittered = look_at_origin(azimuth_deg, elevation_deg, radius, roll_deg)
    level = look_at_origin(azimuth_deg, elevation_deg)
    pose = level.cam_to_world[0]
    world = np.stack([0.3 * pose[:3, 0], -0.4 * pose[:3, 1]]).astype(np.float32)
    image = dots(jittered.project(world, SIZE_PX)[0])
    seen = jittered.project(world, SIZE_PX)[0]
    framed, moved = frame_render(image, jittered.cam_to_world[0], seen)
    wanted = level.project(world, SIZE_PX)[0]
    assert moved == pytest.approx(wanted, abs=0.05)
    assert centre_of(framed, 80) == pytest.approx(wanted[0], abs=0.4)
    assert centre_of(framed, 140) == pytest.approx(wanted[1], abs=0.4)


def test_a_framed_portrait_is_left_alone() -> None:
    points = np.array([[20.0, 30.0], [70.0, 60.0]], np.float32)
    image = dots(points)
    framed, moved = frame_render(image, look_at_origin(-20.0, 5.0).cam_to_world[0], points)
    assert moved == pytest.approx(points, abs=1e-4)
    assert abs(framed.astype(int) - image).max() <= 1
