"""Pluecker rays against the cameras that they come from."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.cameras import FOV_Y_DEG, RADIUS, look_at_origin
from pipeline.reconstruction.rays import as_trained, half_extent, nearest_to_origin, plucker_rays


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


@settings(max_examples=50, deadline=None)
@given(
    st.floats(-180, 180),
    st.floats(-60, 60),
    st.floats(0.5, 10),
    st.floats(5, 120),
    st.floats(-0.6, 0.6),
    st.floats(-0.6, 0.6),
)
def test_points_across_the_view_keep_their_pixel_under_a_networks_cameras(
    azimuth_deg: float, elevation_deg: float, radius: float, fov_y_deg: float, u: float, v: float
) -> None:
    ours = look_at_origin(azimuth_deg, elevation_deg)
    network = as_trained(ours, radius, fov_y_deg)
    size = half_extent(RADIUS, FOV_Y_DEG) / half_extent(radius, fov_y_deg)
    pose = ours.cam_to_world[0]
    point = (u * pose[:3, 0] + v * pose[:3, 1])[None]
    assert np.allclose(ours.project(point, 64), network.project(point / size, 64), atol=2e-3)
    wanted = look_at_origin(azimuth_deg, elevation_deg, radius, fov_y_deg=fov_y_deg)
    assert np.allclose(network.cam_to_world, wanted.cam_to_world, atol=1e-5)
    assert np.isclose(network.fov_y_deg, fov_y_deg)


def test_our_own_orbit_is_not_touched() -> None:
    cameras = look_at_origin([0.0, 90.0], 20.0, radius=[1.7, 2.0])
    assert as_trained(cameras, RADIUS, FOV_Y_DEG) is cameras


def test_nearer_and_wider_cameras_stay_so_in_proportion() -> None:
    cameras = look_at_origin([0.0, 90.0], 0.0, radius=[1.0, 2.0], fov_y_deg=60.0)
    network = as_trained(cameras, 1.5, FOV_Y_DEG)
    assert np.allclose(np.linalg.norm(network.cam_to_world[:, :3, 3], axis=1), [0.75, 1.5])
    assert np.isclose(network.fov_y_deg, 60)
