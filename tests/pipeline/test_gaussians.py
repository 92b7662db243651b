"""The Gaussians value type."""

import numpy as np
import pytest
import torch

from pipeline.gaussians import CHANNELS, Gaussians


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
