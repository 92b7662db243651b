"""The CPU rasteriser's guarantees: modes, batches, threads, views, empty scenes."""

import hashlib
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from scenes import HEIGHT, WIDTH, lenses, noise, render, scene_and_cameras

from pipeline.cameras import orbit
from pipeline.rasterizer import RenderMode, default_threads, rasterize


@pytest.mark.parametrize(
    ("mode", "channels"), [("RGB", 3), ("D", 1), ("ED", 1), ("RGB+D", 4), ("RGB+ED", 4)]
)
def test_render_modes_are_views_of_one_image(mode: RenderMode, channels: int) -> None:
    inputs = scene_and_cameras()
    full, alphas = render(inputs, render_mode="RGB+D")
    image, _ = render(inputs, render_mode=mode)
    depth = full[..., 3:] / alphas.clamp(min=1e-10) if "ED" in mode else full[..., 3:]
    wanted = torch.cat([full[..., :3], depth], -1)
    wanted = wanted[..., :3] if mode == "RGB" else wanted[..., -channels:]
    assert torch.equal(image, wanted)


def test_more_channels_are_those_of_several_images() -> None:
    inputs = scene_and_cameras()
    inputs[4] = noise(400, 6)
    image, _ = render(inputs, render_mode="RGB+ED")
    first, _ = render([*inputs[:4], inputs[4][:, :3], *inputs[5:]])
    last, _ = render([*inputs[:4], inputs[4][:, 3:], *inputs[5:]], render_mode="RGB+ED")
    assert torch.equal(image, torch.cat([first, last], -1))


def test_expected_depth_is_the_distance_along_the_view() -> None:
    """A wall of opaque Gaussians 0.5 in front of the origin is 1.5 from the front camera."""
    xs, ys = torch.meshgrid(torch.linspace(-1, 1, 40), torch.linspace(-1, 1, 40), indexing="ij")
    means = torch.stack([xs.flatten(), ys.flatten(), torch.full((1600,), 0.5)], -1)
    wall = [means, torch.tensor([[1.0, 0, 0, 0]]).repeat(1600, 1), torch.full((1600, 3), 0.03)]
    inputs = [*wall, torch.full((1600,), 0.95), torch.rand(1600, 3), *lenses(orbit(1))]
    depth, _ = render(inputs, render_mode="ED")
    assert torch.allclose(depth, torch.tensor(1.5), atol=1e-4)


def _digest(threads: int) -> str:
    inputs = [t.requires_grad_(i < 6) for i, t in enumerate(scene_and_cameras(3000))]
    images, alphas, meta = rasterize(*inputs, WIDTH, HEIGHT, threads=threads, absgrad=True)
    (images.square().sum() + alphas.sum()).backward()
    grads = [t.grad for t in inputs[:6] if t.grad is not None]
    state = [images, alphas, meta["means2d"].absgrad, *grads]
    return hashlib.sha256(b"".join(t.detach().numpy().tobytes() for t in state)).hexdigest()


def test_any_number_of_threads_gives_the_same_bytes() -> None:
    assert _digest(1) == _digest(2) == _digest(3) == _digest(7)


def test_two_python_threads_at_once_do_not_disturb_each_other() -> None:
    """As in a Ray actor with max_concurrency=2."""
    alone = _digest(2)
    with ThreadPoolExecutor(2) as pool:
        assert set(pool.map(_digest, [2, 2, 2, 2, 3, 3])) == {alone}


def test_a_batch_is_its_scenes_one_by_one() -> None:
    """Also for gradients, absolute ones included; two batch dimensions."""
    scenes = [scene_and_cameras(200, views=5) for _ in range(4)]
    for i, scene in enumerate(scenes):
        scene[0] = scene[0] + 0.02 * i
        scene[4] = noise(200, 3, seed=i)
    together = [
        torch.stack(ts).unflatten(0, (2, 2)).requires_grad_() for ts in zip(*scenes, strict=True)
    ]
    images, alphas, meta = rasterize(*together, WIDTH, HEIGHT, absgrad=True)
    meta["means2d"].retain_grad()
    images.square().sum().backward()
    assert images.shape == (2, 2, 5, HEIGHT, WIDTH, 3)
    for i, scene in enumerate(scenes):
        alone = [t.requires_grad_() for t in scene]
        image, alpha, own = rasterize(*alone, WIDTH, HEIGHT, absgrad=True)
        own["means2d"].retain_grad()
        image.square().sum().backward()
        pairs = [(images, image), (alphas, alpha), (meta["radii"], own["radii"])]
        pairs += [(a.grad, b.grad) for a, b in zip(together[:6], alone, strict=False)]
        pairs += [(meta["means2d"].grad, own["means2d"].grad)]
        pairs += [(meta["means2d"].absgrad, own["means2d"].absgrad)]
        assert all(torch.equal(a.flatten(0, 1)[i], b) for a, b in pairs)


@pytest.mark.parametrize("batch", [(), (2,)])
@pytest.mark.parametrize("degree", [None, 1])
@pytest.mark.parametrize("where", ["no Gaussians", "behind the camera"])
def test_an_empty_scene_shows_the_background(
    where: str, degree: int | None, batch: tuple[int, ...]
) -> None:
    means, *rest = scene_and_cameras()
    inputs = [means + torch.tensor([0.0, 50.0, 0.0]), *rest]
    if degree is not None:
        inputs[4] = torch.ones(400, 4, 3)
    if where == "no Gaussians":
        inputs = [t[:0] for t in inputs[:5]] + inputs[5:]
    inputs = [
        t.expand(*batch, *t.shape).clone().requires_grad_(i < 5) for i, t in enumerate(inputs)
    ]
    backgrounds = torch.full((*batch, 6, 3), 0.25)
    images, alphas, meta = rasterize(
        *inputs, WIDTH, HEIGHT, backgrounds=backgrounds, sh_degree=degree, absgrad=True
    )
    assert torch.equal(images, torch.full((*batch, 6, HEIGHT, WIDTH, 3), 0.25))
    assert not alphas.any()
    assert not meta["radii"].any()
    (images.sum() + alphas.sum()).backward()
    assert all(t.grad is not None and not t.grad.any() for t in inputs[:5])
    assert not meta["means2d"].absgrad.any()


def test_a_chunk_of_views_is_independent_of_the_others() -> None:
    inputs = scene_and_cameras()
    together, _ = render(inputs)
    alone, _ = render([*inputs[:5], inputs[5][4:5], inputs[6][4:5]])
    assert torch.equal(together[4:5], alone)


@pytest.mark.parametrize(("value", "threads"), [("3", 3), ("2,1", 2), ("1", 1)])
def test_threads_follow_openmp(monkeypatch: pytest.MonkeyPatch, value: str, threads: int) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert default_threads() == threads
