"""The CPU rasteriser against the dense oracle, and its guarantees."""

import hashlib
from typing import Any

import pytest
import torch
from dense_oracle import random_scene, rasterize_dense

from pipeline.cameras import Cameras, look_at_origin, orbit
from pipeline.errors import BackendUnavailable, ProcessingError
from pipeline.rasterizer import RenderMode, default_threads, rasterize
from pipeline.rasterizer.cuda import kernels_built, rasterize_cuda

NAMES = ("means", "quats", "scales", "opacities", "colors", "viewmats")
WIDTH, HEIGHT = 44, 37


def _cameras(cameras: Cameras) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(cameras.world_to_cam), torch.from_numpy(cameras.intrinsics(WIDTH))


def _inputs(count: int = 400) -> list[torch.Tensor]:
    """A scene and six cameras: more than one chunk; one of them stands inside the ball's edge."""
    cameras = look_at_origin(
        [10.0, 80.0, 170.0, 250.0, 300.0, 0.0], [5.0, -20.0, 40.0, 0.0, 10.0, 0.0],
        [2.0, 1.8, 1.5, 2.2, 2.0, 0.45],
    )  # fmt: skip
    return [*random_scene(count), *_cameras(cameras)]


def _render(inputs: list[torch.Tensor], **options: Any) -> tuple[torch.Tensor, torch.Tensor]:
    images, alphas, _ = rasterize(*inputs, WIDTH, HEIGHT, **options)
    return images, alphas


@pytest.mark.parametrize("antialiased", [False, True])
def test_image_and_gradients_match_the_dense_oracle(antialiased: bool) -> None:
    inputs = _inputs()
    backgrounds = torch.rand(6, 3, generator=torch.Generator().manual_seed(1))
    weights = torch.randn(6, HEIGHT, WIDTH, 5, generator=torch.Generator().manual_seed(2))
    exact = [t.double().requires_grad_(i < 6) for i, t in enumerate(inputs)]
    image, alpha = rasterize_dense(
        *exact, WIDTH, HEIGHT, backgrounds.double(), antialiased=antialiased
    )
    (torch.cat([image, alpha], -1) * weights).sum().backward()
    ours = [t.requires_grad_(i < 6) for i, t in enumerate(inputs)]
    mode = "antialiased" if antialiased else "classic"
    our_image, our_alpha = _render(
        ours, backgrounds=backgrounds, render_mode="RGB+D", rasterize_mode=mode
    )
    (torch.cat([our_image, our_alpha], -1) * weights).sum().backward()

    assert (our_image - image).abs().max() < 2e-5
    assert (our_alpha - alpha).abs().max() < 2e-5
    for name, mine, theirs in zip(NAMES, ours, exact, strict=False):
        assert mine.grad is not None
        assert theirs.grad is not None
        error = (mine.grad - theirs.grad).norm() / theirs.grad.norm()
        assert error < 5e-5, f"{name}: relative error {error:.1e}"


@pytest.mark.parametrize(
    ("mode", "channels"), [("RGB", 3), ("D", 1), ("ED", 1), ("RGB+D", 4), ("RGB+ED", 4)]
)
def test_render_modes_are_views_of_one_image(mode: RenderMode, channels: int) -> None:
    inputs = _inputs()
    full, alphas = _render(inputs, render_mode="RGB+D")
    image, _ = _render(inputs, render_mode=mode)
    depth = full[..., 3:] / alphas.clamp(min=1e-10) if "ED" in mode else full[..., 3:]
    wanted = torch.cat([full[..., :3], depth], -1)
    wanted = wanted[..., :3] if mode == "RGB" else wanted[..., -channels:]
    assert torch.equal(image, wanted)


def test_expected_depth_is_the_distance_along_the_view() -> None:
    """A wall of opaque Gaussians 0.5 in front of the origin is 1.5 from the front camera."""
    xs, ys = torch.meshgrid(torch.linspace(-1, 1, 40), torch.linspace(-1, 1, 40), indexing="ij")
    means = torch.stack([xs.flatten(), ys.flatten(), torch.full((1600,), 0.5)], -1)
    wall = [means, torch.tensor([[1.0, 0, 0, 0]]).repeat(1600, 1), torch.full((1600, 3), 0.03)]
    inputs = [*wall, torch.full((1600,), 0.95), torch.rand(1600, 3), *_cameras(orbit(1))]
    depth, _ = _render(inputs, render_mode="ED")
    assert torch.allclose(depth, torch.tensor(1.5), atol=1e-4)


def _digest(threads: int) -> str:
    inputs = [t.requires_grad_(i < 6) for i, t in enumerate(_inputs(3000))]
    images, alphas = _render(inputs, threads=threads)
    (images.square().sum() + alphas.sum()).backward()
    state = [images, alphas, *(t.grad for t in inputs[:6] if t.grad is not None)]
    return hashlib.sha256(b"".join(t.detach().numpy().tobytes() for t in state)).hexdigest()


def test_any_number_of_threads_gives_the_same_bytes() -> None:
    assert _digest(1) == _digest(2) == _digest(3) == _digest(7)


@pytest.mark.parametrize("where", ["no Gaussians", "behind the camera"])
def test_an_empty_scene_shows_the_background(where: str) -> None:
    means, *rest = _inputs()
    inputs = [means + torch.tensor([0.0, 50.0, 0.0]), *rest]
    if where == "no Gaussians":
        inputs = [t[:0] for t in inputs[:5]] + inputs[5:]
    inputs = [t.requires_grad_(i < 5) for i, t in enumerate(inputs)]
    backgrounds = torch.full((6, 3), 0.25)
    images, alphas = _render(inputs, backgrounds=backgrounds)
    assert torch.equal(images, torch.full((6, HEIGHT, WIDTH, 3), 0.25))
    assert not alphas.any()
    (images.sum() + alphas.sum()).backward()
    assert all(t.grad is not None and not t.grad.any() for t in inputs[:5])


def test_a_chunk_of_views_is_independent_of_the_others() -> None:
    inputs = _inputs()
    together, _ = _render(inputs)
    alone, _ = _render([*inputs[:5], inputs[5][4:5], inputs[6][4:5]])
    assert torch.equal(together[4:5], alone)


@pytest.mark.parametrize("name", NAMES)
def test_numbers_that_are_not_finite_are_refused(name: str) -> None:
    inputs = _inputs()
    inputs[NAMES.index(name)].view(-1)[3] = float("nan")
    with pytest.raises(ProcessingError, match=f"1 of .* numbers in {name} are NaN"):
        _render(inputs)


def test_a_zero_quaternion_is_refused() -> None:
    inputs = _inputs()
    inputs[1][7] = 0
    with pytest.raises(ProcessingError, match="1 quaternions are zero"):
        _render(inputs)


def test_shapes_that_do_not_fit_are_named() -> None:
    inputs = _inputs()
    with pytest.raises(ValueError, match=r"scales has shape \(400, 2\); it must be \(400, 3\)"):
        _render([*inputs[:2], inputs[2][:, :2], *inputs[3:]])


@pytest.mark.skipif(kernels_built(), reason="gsplat has its kernels here")
def test_cuda_without_kernels_says_how_to_build_them() -> None:
    with pytest.raises(BackendUnavailable, match=r"pip wheel .* gsplat==1\.5\.3"):
        rasterize_cuda()


@pytest.mark.parametrize(("value", "threads"), [("3", 3), ("2,1", 2), ("1", 1)])
def test_threads_follow_openmp(monkeypatch: pytest.MonkeyPatch, value: str, threads: int) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert default_threads() == threads
