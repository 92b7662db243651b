"""What the rasteriser cannot do, it refuses by name."""

from typing import Any

import pytest
import torch
from scenes import HEIGHT, NAMES, WIDTH, noise, render, scene_and_cameras

from pipeline.errors import BackendUnavailable, ProcessingError
from pipeline.rasterizer import rasterize
from pipeline.rasterizer.cuda import kernels_built, rasterize_cuda


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_refused(name: str, number: float) -> None:
    inputs = scene_and_cameras()
    inputs[NAMES.index(name)].view(-1)[3] = number
    with pytest.raises(ProcessingError, match=f"1 of .* numbers in {name} are NaN"):
        render(inputs)


def test_backgrounds_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ProcessingError, match="18 of 18 numbers in backgrounds are NaN"):
        render(scene_and_cameras(), backgrounds=torch.full((6, 3), torch.nan))


def test_finite_numbers_whose_sum_is_not_are_taken() -> None:
    inputs = scene_and_cameras()
    inputs[4] = torch.full((400, 3), 3e38)
    _, alphas = render(inputs)
    assert alphas.any()


def test_a_zero_quaternion_is_refused() -> None:
    inputs = scene_and_cameras()
    inputs[1][7] = 0
    with pytest.raises(ProcessingError, match="1 quaternions are zero"):
        render(inputs)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("scales", (400, 2), r"scales has shape \(400, 2\); it must be \(400, 3\)"),
        ("means", (2, 400, 3), r"quats has shape \(400, 4\); it must be \(2, 400, 4\)"),
        ("colors", (3, 400, 3), r"colors .* must be \(400, 3\) or \(6, 400, 3\)"),
        ("viewmats", (0, 4, 4), r"viewmats has shape \(0, 4, 4\): there is no camera"),
    ],
)
def test_shapes_that_do_not_fit_are_named(name: str, shape: tuple[int, ...], message: str) -> None:
    inputs = scene_and_cameras()
    inputs[NAMES.index(name)] = noise(*shape)
    if name == "viewmats":
        inputs[6] = inputs[6][:0]
    with pytest.raises(ValueError, match=message):
        render(inputs)


def test_too_few_harmonics_are_named() -> None:
    inputs = scene_and_cameras()
    inputs[4] = torch.zeros(400, 9, 3)
    with pytest.raises(ValueError, match=r"colors .*; it must be \(400, 16, 3\) or"):
        render(inputs, sh_degree=3)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"render_mode": "N"}, "render_mode is 'N'; it must be one of"),
        ({"rasterize_mode": "soft"}, "rasterize_mode is 'soft'"),
        ({"sh_degree": 4}, "sh_degree is 4; it must be one of"),
        ({"near_plane": 0.0}, r"near_plane is 0.0; it must be more than 0"),
        ({"threads": 0}, "threads is 0; it must be more than 0"),
    ],
)
def test_options_without_such_a_value_are_named(option: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        render(scene_and_cameras(), **option)


def test_absolute_gradients_of_many_channels_are_refused() -> None:
    inputs = scene_and_cameras()
    with pytest.raises(BackendUnavailable, match="absgrad with 5 channels"):
        rasterize(*inputs[:4], noise(400, 4), *inputs[5:], WIDTH, HEIGHT, absgrad=True,
                  render_mode="RGB+D")  # fmt: skip


def test_a_device_without_a_rasteriser_is_named() -> None:
    inputs = [t.to("meta") for t in scene_and_cameras()]
    with pytest.raises(BackendUnavailable, match="device 'meta'"):
        render(inputs)


@pytest.mark.skipif(kernels_built(), reason="gsplat has its kernels here")
def test_cuda_without_kernels_says_how_to_build_them() -> None:
    with pytest.raises(BackendUnavailable, match=r"pip wheel .* gsplat==1\.5\.3"):
        rasterize_cuda(None, None)  # type: ignore[arg-type]
