"""Training of the Gaussian network on tiny rendered heads."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_gaussians import SIZE_PX, small_part
from tiny_heads import write_heads

from pipeline.cameras import Cameras, look_at_origin
from pipeline.errors import UsageError
from pipeline.reconstruction.lgm import LargeGaussianModel
from pipeline.training.augment_views import distort, jitter_cameras
from pipeline.training.devices import to_device
from pipeline.training.gaussians import Batch, GaussianPart
from pipeline.training.heads import Heads
from pipeline.training.loop import TrainOptions, train


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("heads")
    return write_heads(folder, (0, 1, 2, 9), 2 * SIZE_PX, random_views=2)


@pytest.fixture(scope="module")
def part(data: Path) -> GaussianPart:
    return small_part(data)


def _number(heads: Heads, pose: np.ndarray) -> int:
    """Which view of the first head a pose belongs to; all heads have the same cameras."""
    views = heads.views(0, range(heads.view_count))
    return int(np.argmin([np.abs(one.cam_to_world - pose).sum() for one in views]))


def test_a_batch_is_decided_by_seed_and_step(part: GaussianPart) -> None:
    first, again, other = part.batch(1, 5), part.batch(1, 5), part.batch(1, 6)
    assert torch.equal(first.inputs, again.inputs)
    assert torch.equal(first.targets, again.targets)
    assert not torch.equal(first.targets, other.targets)
    assert first.inputs.shape == (2, 4, 9, SIZE_PX, SIZE_PX)
    assert first.targets.shape == (2, 4, 4, SIZE_PX, SIZE_PX)


def test_targets_and_cameras_belong_together(part: GaussianPart) -> None:
    batch = part.batch(0, 3)
    for target, cameras in zip(batch.targets, batch.cameras, strict=True):
        for image, pose in zip(target, cameras.cam_to_world, strict=True):
            number = _number(part.train, pose)
            shown = [part.train.views(head, [number])[0].image for head in range(3)]
            pixels = (image * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
            assert any(np.array_equal(pixels, one) for one in shown)


def test_input_views_are_a_quarter_turn_apart(data: Path) -> None:
    directions = (
        small_part(data, augment=0).batch(0, 0).inputs[0, :, 6:, SIZE_PX // 2, SIZE_PX // 2]
    )
    cosines = (directions * directions.roll(1, 0)).sum(-1)
    assert cosines.abs().max() < 0.05
    assert torch.allclose(directions[0], -directions[2], atol=0.05)


def test_augmentation_spares_the_first_view_and_what_is_compared(data: Path) -> None:
    always, never = (
        small_part(data, batch_heads=1, augment=share, jitter_share=1.0) for share in (1, 0)
    )
    changed, plain = always.batch(0, 1), never.batch(0, 1)
    assert torch.equal(changed.inputs[0, 0], plain.inputs[0, 0])
    for view in range(1, 4):
        assert not torch.equal(changed.inputs[0, view, :3], plain.inputs[0, view, :3])
        assert not torch.equal(changed.inputs[0, view, 3:], plain.inputs[0, view, 3:])
    assert torch.equal(changed.targets, plain.targets)
    poses = [batch.cameras[0].cam_to_world for batch in (changed, plain)]
    assert np.array_equal(*poses)


def test_views_may_be_compared_at_a_larger_size_inputs_among_them(data: Path) -> None:
    part = small_part(data, size_px=2 * SIZE_PX, inputs_too=True, targets=6)
    batch = part.batch(0, 2)
    assert batch.inputs.shape[-1] == SIZE_PX
    assert batch.targets.shape == (2, 6, 4, 2 * SIZE_PX, 2 * SIZE_PX)
    for cameras in batch.cameras:
        numbers = [_number(part.train, pose) for pose in cameras.cam_to_world]
        assert len(set(numbers)) == 6
        assert np.ptp(np.diff(numbers[:4])) == 0
        assert numbers[1] - numbers[0] == 4
    assert part.loss(part.build_model(), batch)["loss"] > 0


def test_too_few_views_are_refused(data: Path) -> None:
    with pytest.raises(UsageError, match="the heads have 18 views and 19 are compared at a step"):
        small_part(data, targets=19)


def test_training_learns_and_exports(part: GaussianPart, tmp_path: Path) -> None:
    options = TrainOptions(steps=25, learning_rate=3e-3, warmup_steps=3, bf16=False, ema_decay=0.8)
    torch.manual_seed(0)
    before = part.evaluate(part.build_model().eval())
    after = train(part, tmp_path, options)
    assert set(after) == {"psnr_orbit", "psnr_off_orbit"}
    assert after["psnr_orbit"] > before["psnr_orbit"] + 2
    assert LargeGaussianModel.from_pretrained(tmp_path).config.input_px == SIZE_PX


def test_a_loss_reaches_every_weight(part: GaussianPart) -> None:
    model = part.build_model()
    terms = part.loss(model, part.batch(0, 0))
    terms["loss"].backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters())
    assert set(terms) == {"loss", "color", "alpha", "structure"}


def test_equal_views_cost_nothing_but_what_differs(part: GaussianPart) -> None:
    """A network whose Gaussians are all transparent shows white: only the heads are wrong."""
    model = part.build_model()
    with torch.no_grad():
        model.conv.weight.zero_()
        model.conv.bias[3] = -20
        model.conv.bias[7] = 1  # a rotation needs a direction
    batch = part.batch(0, 0)
    with torch.no_grad():
        terms = part.loss(model, batch)
    assert float(terms["alpha"]) == pytest.approx(float(batch.targets[:, :, 3].square().mean()))
    white = Batch(
        batch.inputs, torch.ones_like(batch.targets), batch.cameras, batch.faces, batch.shows_face
    )
    with torch.no_grad():
        assert float(part.loss(model, white)["color"]) == pytest.approx(0, abs=1e-8)


def test_a_batch_moves_to_a_device_with_the_cameras_left_behind(part: GaussianPart) -> None:
    batch = part.batch(0, 0)
    moved = to_device(batch, "meta")
    names = ("inputs", "targets", "faces", "shows_face")
    assert {getattr(moved, name).device.type for name in names} == {"meta"}
    assert moved.cameras[0].cam_to_world is batch.cameras[0].cam_to_world


def test_a_network_along_rays_starts_small_and_before_their_middle(part: GaussianPart) -> None:
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
