"""The Gaussians value type and its files."""

import io

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from plyfile import PlyData, PlyElement

from pipeline.cameras import orbit
from pipeline.errors import ProcessingError, UnreadableSource
from pipeline.gaussians import CHANNELS, Gaussians
from pipeline.ply import HARMONIC_0, read_ply, write_ply
from pipeline.rasterizer import rasterize


def _asymmetric(count: int = 50) -> Gaussians:
    """A red blob to the subject's left, green above and blue in front; nothing is symmetric."""
    generator = torch.Generator().manual_seed(3)
    axis = torch.arange(count) % 3
    means = 0.1 * torch.randn(count, 3, generator=generator)
    means[torch.arange(count), axis] += torch.tensor([0.4, 0.3, 0.2])[axis]
    return Gaussians(
        means=means,
        quats=torch.randn(count, 4, generator=generator),
        scales=0.02 + 0.1 * torch.rand(count, 3, generator=generator),
        opacities=0.05 + 0.9 * torch.rand(count, generator=generator),
        colors=torch.eye(3)[axis] * 0.8 + 0.1,
    )


def _front(gaussians: Gaussians) -> torch.Tensor:
    cameras = orbit(3)
    image, _, _ = rasterize(
        gaussians.means, gaussians.quats, gaussians.scales, gaussians.opacities, gaussians.colors,
        torch.from_numpy(cameras.world_to_cam), torch.from_numpy(cameras.intrinsics(48)), 48, 48,
    )  # fmt: skip
    return image


def test_array_has_lgms_order() -> None:
    row = np.arange(CHANNELS, dtype=np.float32)[None]
    gaussians = Gaussians.from_array(row)
    assert gaussians.means.tolist() == [[0, 1, 2]]
    assert gaussians.opacities.tolist() == [3]
    assert gaussians.scales.tolist() == [[4, 5, 6]]
    assert gaussians.quats.tolist() == [[7, 8, 9, 10]]
    assert gaussians.colors.tolist() == [[11, 12, 13]]
    assert gaussians.to_array().tolist() == row.tolist()


def test_from_tensor_keeps_gradients() -> None:
    rows = torch.rand(4, CHANNELS, requires_grad=True)
    Gaussians.from_tensor(rows).scales.sum().backward()
    assert rows.grad is not None
    assert rows.grad.sum(0).tolist() == [0, 0, 0, 0, 4, 4, 4, 0, 0, 0, 0, 0, 0, 0]


@pytest.mark.parametrize("shape", [(3, 13), (14,), (1, 2, 14)])
def test_arrays_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"Gaussians have shape \[N, 14\]"):
        Gaussians.from_array(np.zeros(shape))


def test_parts_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match=r"quats has shape \(2, 4\); it must be \(3, 4\)"):
        Gaussians(*(torch.zeros(shape) for shape in ((3, 3), (2, 4), (3, 3), (3,), (3, 3))))


def test_prune_leaves_out_the_transparent() -> None:
    gaussians = _asymmetric()
    kept = gaussians.prune(0.5)
    assert 0 < len(kept) < len(gaussians)
    assert kept.opacities.min() >= 0.5
    assert len(kept) == int((gaussians.opacities >= 0.5).sum())


def test_ply_round_trip_shows_the_same_head() -> None:
    gaussians = _asymmetric()
    again = read_ply(write_ply(gaussians))
    assert torch.allclose(_front(gaussians), _front(again), atol=1e-5)
    assert torch.allclose(again.means, gaussians.means)
    assert torch.allclose(again.scales, gaussians.scales, rtol=1e-4)
    assert torch.allclose(again.opacities, gaussians.opacities, atol=1e-5)
    assert torch.allclose(again.colors, gaussians.colors, atol=1e-5)


def test_ply_holds_the_frame_that_viewers_expect() -> None:
    """Left stays +x, up becomes -y, the front -z, and shapes turn along."""
    gaussians = Gaussians(
        means=torch.tensor([[0.1, 0.2, 0.3]]),
        quats=torch.tensor([[np.cos(np.pi / 8), 0.0, 0.0, np.sin(np.pi / 8)]]),
        scales=torch.tensor([[0.3, 0.1, 0.1]]),
        opacities=torch.tensor([0.7]),
        colors=torch.tensor([[1.0, 0.5, 0.0]]),
    )
    data = write_ply(gaussians)
    assert b"comment frame: y down" in data
    (vertex,) = PlyData.read(io.BytesIO(data))["vertex"].data
    assert [vertex[k] for k in "xyz"] == pytest.approx([0.1, -0.2, -0.3])
    assert vertex["opacity"] == pytest.approx(np.log(0.7 / 0.3), rel=1e-5)
    assert vertex["scale_0"] == pytest.approx(np.log(0.3), rel=1e-5)
    assert vertex["f_dc_0"] == pytest.approx(0.5 / HARMONIC_0, rel=1e-5)
    w, x, y, z = (float(vertex[f"rot_{k}"]) for k in range(4))
    long_axis = [1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)]
    assert long_axis == pytest.approx([np.sqrt(0.5), -np.sqrt(0.5), 0], abs=1e-6)


@given(st.integers(0, CHANNELS - 1), st.sampled_from([np.nan, np.inf, -np.inf]))
def test_one_bad_number_is_refused_not_dropped(channel: int, value: float) -> None:
    """gsplat 1.5.3 would write an empty file for one NaN opacity."""
    array = _asymmetric(5).to_array()
    array[2, channel] = value
    with pytest.raises(ProcessingError, match="1 of 5 Gaussians"):
        write_ply(Gaussians.from_array(array))


def test_extreme_opacities_stay_finite() -> None:
    array = _asymmetric(2).to_array()
    array[:, 3] = [0, 1]
    again = read_ply(write_ply(Gaussians.from_array(array)))
    assert again.opacities.tolist() == pytest.approx([0, 1], abs=1e-5)


def test_an_empty_set_is_refused() -> None:
    with pytest.raises(ProcessingError, match="0 Gaussians to write"):
        write_ply(_asymmetric()[:0])


def _cloud(**columns: list[float]) -> bytes:
    rows = np.array(list(zip(*columns.values(), strict=True)), [(name, "f4") for name in columns])
    stream = io.BytesIO()
    PlyData([PlyElement.describe(rows, "vertex")]).write(stream)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not a .ply file"),
        (b"\x89PNG\r\n\x1a\n", "not a .ply file"),
        (_cloud(x=[1], y=[2], z=[3]), "no property f_dc_0"),
        (write_ply(_asymmetric(5))[:-7], "not a .ply file"),
    ],
)
def test_what_is_not_gaussians_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(UnreadableSource, match=reason):
        read_ply(data)
