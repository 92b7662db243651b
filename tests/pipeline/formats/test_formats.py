"""What every format promises: the same head comes back within the bounds of docs/formats.md."""

import re
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from marked_head import angles_deg, any_gaussians, marked_head, sorted_by_position

from pipeline.errors import ProcessingError, UsageError
from pipeline.formats.registry import FORMATS, read_gaussians, write_gaussians
from pipeline.gaussians import CHANNELS, Gaussians

ENDINGS = pytest.mark.parametrize("ending", FORMATS)
CHANNEL_NAMES = ("positions", "scales", "opacities", "colours", "rotations")
BOUNDS = {
    ".ply": (0.0, 2e-6, 2e-6, 1e-6, 5e-5),
    ".spz": (1.3e-4, 0.032, 0.002, 0.0037, 0.3),
    ".splat": (0.0, 0.0, 0.002, 0.002, 0.9),
    ".glb": (0.0, 0.0, 0.0, 1e-6, 5e-5),
}
"""Largest errors: positions in world units, scales as a part of 1, rotations in degrees."""
BYTES_EACH = {".ply": 56, ".spz": 20, ".splat": 32, ".glb": 64}


def _errors(before: Gaussians, after: Gaussians) -> tuple[float, ...]:
    errors = (
        (after.means - before.means).abs(),
        (after.scales / before.scales).log().abs(),
        (after.opacities - before.opacities).abs(),
        (after.colors - before.colors).abs(),
        angles_deg(before.quats, after.quats),
    )
    return tuple(float(error.max()) for error in errors)


@ENDINGS
@given(gaussians=any_gaussians())
@settings(deadline=None)
def test_what_is_written_is_read_again(ending: str, gaussians: Gaussians) -> None:
    if ending == ".splat":  # one at a time, because the format orders them
        gaussians = gaussians[:1]
    again = read_gaussians(write_gaussians(gaussians, ending), ending)
    errors = _errors(gaussians, again)
    assert all(error <= bound for error, bound in zip(errors, BOUNDS[ending], strict=True)), errors


@ENDINGS
def test_the_bounds_are_no_wider_than_they_need_be(ending: str) -> None:
    """A bound that the errors of 20,000 Gaussians stay far under would say nothing."""
    generator = torch.Generator().manual_seed(0)
    count = 20_000
    gaussians = Gaussians(
        means=torch.linspace(-100, 100, 3 * count).reshape(count, 3),
        quats=torch.randn(count, 4, generator=generator),
        scales=(torch.rand(count, 3, generator=generator) * 13 - 9).exp(),
        opacities=torch.rand(count, generator=generator),
        colors=torch.rand(count, 3, generator=generator),
    )
    again = sorted_by_position(read_gaussians(write_gaussians(gaussians, ending), ending))
    for error, bound in zip(_errors(gaussians, again), BOUNDS[ending], strict=True):
        assert error <= bound
        assert bound < 1e-4 or error > 0.7 * bound


@ENDINGS
def test_a_whole_head_is_written_and_read_at_once(ending: str) -> None:
    rows = np.random.default_rng(0).random((65_536, CHANNELS), np.float32)
    gaussians = Gaussians.from_array(rows)
    assert len(write_gaussians(gaussians, ending)) <= len(gaussians) * BYTES_EACH[ending] + 2000
    write_s, read_s = [], []
    for _ in range(3):
        started = time.perf_counter()
        data = write_gaussians(gaussians, ending)
        written = time.perf_counter()
        read_gaussians(data, ending)
        write_s.append(written - started)
        read_s.append(time.perf_counter() - written)
    assert (min(write_s) < 1, min(read_s) < 1) == (True, True)


@ENDINGS
def test_the_same_gaussians_give_the_same_bytes(ending: str) -> None:
    assert write_gaussians(marked_head(), ending) == write_gaussians(marked_head(), ending)


@ENDINGS
@given(channel=st.integers(0, CHANNELS - 1), value=st.sampled_from([np.nan, np.inf, -np.inf]))
@settings(max_examples=20)
def test_one_bad_number_is_refused_not_dropped(ending: str, channel: int, value: float) -> None:
    array = marked_head()[:5].to_array()
    array[2, channel] = value
    with pytest.raises(ProcessingError, match="1 of 5 Gaussians"):
        write_gaussians(Gaussians.from_array(array), ending)


@ENDINGS
def test_an_empty_set_is_refused(ending: str) -> None:
    with pytest.raises(ProcessingError, match=f"0 Gaussians to write; a {ending} file"):
        write_gaussians(marked_head()[:0], ending)


@ENDINGS
def test_extremes_stay_finite(ending: str) -> None:
    array = marked_head()[:2].to_array()
    array[:, 3:7] = [[0, 0, 1e-30, 1e-3], [1, 1, 2, 3]]
    array[0, 7:11] = 0  # not a rotation
    again = read_gaussians(write_gaussians(Gaussians.from_array(array), ending), ending)
    assert np.isfinite(again.to_array()).all()
    assert sorted(again.opacities.tolist()) == pytest.approx([0, 1], abs=1e-5)
    assert (again.scales > 0).all()
    assert torch.allclose(again.quats.norm(dim=-1), torch.ones(2), atol=0.02)


def test_far_and_huge_gaussians_are_cut_off_in_spz() -> None:
    array = marked_head()[:1].to_array()
    array[0, :3], array[0, 4:7] = (5000, -5000, 1), (1e9, 1, 1)
    again = read_gaussians(write_gaussians(Gaussians.from_array(array), ".spz"), ".spz")
    assert again.means[0].tolist() == pytest.approx([2048, -2048, 1], abs=1e-3)
    assert float(again.scales[0, 0].log()) == pytest.approx(5.9375)


def test_a_splat_file_begins_with_the_large_and_opaque() -> None:
    again = read_gaussians(write_gaussians(marked_head(), ".splat"), ".splat")
    weight = again.scales.prod(-1) * again.opacities
    assert (weight.diff() <= 1e-6 * weight[:-1]).all()
    assert weight[0] > 5 * weight[-1]


def test_an_unknown_ending_lists_the_known() -> None:
    with pytest.raises(UsageError, match=r"\.obj is no format .* \.ply, \.spz, \.splat, \.glb"):
        read_gaussians(b"", ".obj")
    with pytest.raises(UsageError, match="no ending is no format"):
        write_gaussians(marked_head(), "")


def test_the_document_has_the_tested_bounds() -> None:
    text = Path("docs/formats.md").read_text()
    for ending, bounds in BOUNDS.items():
        (row,) = re.findall(rf"^\| `{re.escape(ending)}` \|(.*)$", text, re.M)
        assert [cell.strip() for cell in row.split("|")[1:6]] == [
            f"{bound:g}" if bound >= 1e-4 else "0" if bound == 0 else "float32" for bound in bounds
        ]
