"""Training of the Gaussian network on heads of coloured Gaussians."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.cameras import ORBIT_VIEWS, Cameras, look_at_origin, orbit_azimuths_deg
from pipeline.gaussians import Gaussians
from pipeline.reconstruction.lgm import LargeGaussianModel
from pipeline.rendering import render
from pipeline.training.augment_views import distort, jitter_cameras
from pipeline.training.gaussians import Batch, GaussianConfig, GaussianPart, Heads
from pipeline.training.loop import TrainOptions, train

SIZE_PX = 32


def _views() -> Cameras:
    azimuths = np.concatenate([orbit_azimuths_deg(), np.array([10.0, -40.0])])
    return look_at_origin(azimuths, np.concatenate([np.zeros(ORBIT_VIEWS), [20.0, -10.0]]))


def _heads(seeds: range) -> Heads:
    """Each a ball of two colours."""
    images = []
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        means = torch.nn.functional.normalize(torch.randn(400, 3, generator=generator), dim=-1)
        colors = torch.rand(2, 3, generator=generator)[(means[:, 1] > 0.3).long()]
        ball = Gaussians(
            means=0.35 * means,
            quats=torch.tensor([[1.0, 0, 0, 0]]).repeat(400, 1),
            scales=torch.full((400, 3), 0.04),
            opacities=torch.full((400,), 0.95),
            colors=colors * 0.8,
        )
        image, alpha = render(ball, _views(), SIZE_PX)
        joined = torch.cat([image, alpha[..., None]], -1)
        images.append((joined.clamp(0, 1) * 255).round().to(torch.uint8).numpy())
    poses = np.repeat(_views().cam_to_world[None], len(seeds), 0)
    return Heads(np.stack(images), poses, _views().fov_y_deg)


class _SmallPart(GaussianPart):
    """The part with a network small enough for a test."""

    def build_model(self) -> LargeGaussianModel:
        return LargeGaussianModel(
            input_px=SIZE_PX,
            down_channels=(32, 32),
            down_attention=(False, True),
            up_channels=(32,),
            up_attention=(True,),
            layers=1,
            heads=4,
            positions="ray",
        )


@pytest.fixture(scope="module")
def part() -> _SmallPart:
    return _SmallPart(_heads(range(3)), _heads(range(3, 4)), GaussianConfig(batch_heads=2))


def test_a_batch_is_decided_by_seed_and_step(part: _SmallPart) -> None:
    first, again, other = part.batch(1, 5), part.batch(1, 5), part.batch(1, 6)
    assert torch.equal(first.inputs, again.inputs)
    assert torch.equal(first.targets, again.targets)
    assert not torch.equal(first.targets, other.targets)
    assert first.inputs.shape == (2, 4, 9, SIZE_PX, SIZE_PX)
    assert first.targets.shape == (2, 4, 4, SIZE_PX, SIZE_PX)


def test_targets_and_cameras_belong_together(part: _SmallPart) -> None:
    """The true ball, rendered by a batch's cameras, is the batch's targets."""
    batch = part.batch(0, 3)
    poses = part.train.cam_to_world[0]
    for target, cameras in zip(batch.targets, batch.cameras, strict=True):
        for image, pose in zip(target, cameras.cam_to_world, strict=True):
            view = int(np.abs(poses - pose).sum((1, 2)).argmin())
            candidates = [part.train.tensor(head, [view])[0] for head in range(3)]
            assert any(torch.equal(image, one) for one in candidates)


def test_input_views_are_a_quarter_turn_apart() -> None:
    part = _SmallPart(_heads(range(1)), _heads(range(1)), GaussianConfig(augment=0))
    directions = part.batch(0, 0).inputs[0, :, 6:, SIZE_PX // 2, SIZE_PX // 2]
    cosines = (directions * directions.roll(1, 0)).sum(-1)
    assert cosines.abs().max() < 0.05
    assert torch.allclose(directions[0], -directions[2], atol=0.05)


def test_training_learns_and_exports(part: _SmallPart, tmp_path: Path) -> None:
    options = TrainOptions(steps=25, learning_rate=3e-3, warmup_steps=3, bf16=False, ema_decay=0.8)
    torch.manual_seed(0)
    before = part.evaluate(part.build_model().eval())
    after = train(part, tmp_path, options)
    assert set(after) == {"psnr_orbit", "psnr_off_orbit"}
    assert after["psnr_orbit"] > before["psnr_orbit"] + 2
    assert LargeGaussianModel.from_pretrained(tmp_path).config.input_px == SIZE_PX


def test_a_loss_reaches_every_weight(part: _SmallPart) -> None:
    model = part.build_model()
    terms = part.loss(model, part.batch(0, 0))
    terms["loss"].backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters())
    assert set(terms) == {"loss", "color", "alpha", "structure"}


def test_equal_views_cost_nothing_but_what_differs(part: _SmallPart) -> None:
    """A network whose Gaussians are all transparent shows white: only the heads are wrong."""
    model = part.build_model()
    with torch.no_grad():
        model.conv.weight.zero_()
        model.conv.bias[3] = -20
    batch = part.batch(0, 0)
    with torch.no_grad():
        terms = part.loss(model, batch)
    assert float(terms["alpha"]) == pytest.approx(float(batch.targets[:, :, 3].square().mean()))
    white = Batch(batch.inputs, torch.ones_like(batch.targets), batch.cameras)
    with torch.no_grad():
        assert float(part.loss(model, white)["color"]) == pytest.approx(0, abs=1e-8)


def test_embedded_starts_small_and_before_its_rays_middle() -> None:
    part = GaussianPart(_heads(range(1)), _heads(range(1)), GaussianConfig())
    bias = part.build_model().conv.bias
    assert bias is not None
    assert bias[0] < 0
    assert bias[4:7].tolist() == [-2, -2, -2]


def test_distortion_moves_little_and_keeps_corners() -> None:
    ramp = torch.linspace(0, 1, 64).expand(2, 1, 64, 64).contiguous()
    warped = distort(ramp, np.random.default_rng(0))
    assert not torch.equal(warped[0], warped[1])
    assert 0.005 < (warped - ramp).abs().max() < 0.25 * 2 / 7
    assert torch.allclose(warped[..., [0, -1]], ramp[..., [0, -1]], atol=1e-5)
    assert warped.diff(dim=-1).min() > 0


def test_jitter_turns_cameras_about_the_head() -> None:
    cameras = look_at_origin([0.0, 90.0, 180.0], 10.0)
    turned = jitter_cameras(cameras.cam_to_world, np.random.default_rng(0), 1.0)
    assert np.allclose(np.linalg.norm(turned[:, :3, 3], axis=-1), 2, atol=1e-5)
    cosines = (turned[:, :3, 3] * cameras.cam_to_world[:, :3, 3]).sum(-1) / 4
    angles_deg = np.degrees(np.arccos(cosines.clip(-1, 1)))
    assert 1 < angles_deg.max() < np.hypot(18, 9) + 1e-3
    center = Cameras(turned).project(np.zeros((1, 3), np.float32), 100)
    assert np.allclose(center, 50, atol=1e-3)
