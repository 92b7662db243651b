"""Pluecker rays against the cameras that they come from."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.cameras import look_at_origin
from pipeline.reconstruction.rays import nearest_to_origin, plucker_rays


@settings(max_examples=25, deadline=None)
@given(
    st.floats(-180, 180),
    st.floats(-60, 60),
    st.floats(-30, 30),
    st.integers(0, 11),
    st.integers(0, 11),
)
def test_points_on_a_ray_project_to_its_pixel(
    azimuth_deg: float, elevation_deg: float, roll_deg: float, row: int, column: int
) -> None:
    cameras = look_at_origin(azimuth_deg, elevation_deg, roll_deg=roll_deg)
    rays = plucker_rays(cameras, 12)[0, :, row, column].numpy()
    moment, direction = rays[:3], rays[3:]
    assert np.isclose(np.linalg.norm(direction), 1, atol=1e-6)
    assert np.isclose(moment @ direction, 0, atol=1e-5)
    origin = cameras.cam_to_world[0, :3, 3]
    assert np.allclose(np.cross(origin, direction), moment, atol=1e-5)
    points = origin + np.array([[0.7], [2.0], [3.5]]) * direction
    pixels = cameras.project(points.astype(np.float32), 12)[0]
    assert np.allclose(pixels, [column + 0.5, row + 0.5], atol=1e-3)


def test_nearest_point_to_the_origin() -> None:
    cameras = look_at_origin([20.0, 200.0], [10.0, -30.0])
    rays = plucker_rays(cameras, 9)
    nearest = nearest_to_origin(rays * 1.0)
    direction = rays[:, 3:]
    assert (nearest * direction).sum(1).abs().max() < 1e-5
    assert torch.allclose(torch.linalg.cross(nearest, direction, dim=1), rays[:, :3], atol=1e-5)
    assert nearest[:, :, 4, 4].abs().max() < 1e-5
