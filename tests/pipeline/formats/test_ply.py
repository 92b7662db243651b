"""What is particular to .ply: the layout, its options and the frame."""

import io
from typing import Literal

import numpy as np
import pytest
import torch
from marked_head import marked_head
from plyfile import PlyData, PlyElement

from pipeline.errors import UnreadableSource, UsageError
from pipeline.formats.numbers import HARMONIC_0
from pipeline.formats.ply import PlyOptions, read_ply, write_ply
from pipeline.formats.registry import write_gaussians
from pipeline.gaussians import Gaussians

STANDARD = [
    *("x", "y", "z", "f_dc_0", "f_dc_1", "f_dc_2", "opacity"),
    *("scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"),
]


def test_a_file_holds_the_frame_that_viewers_expect() -> None:
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


@pytest.mark.parametrize("axes", ["y-down", "y-up"])
@pytest.mark.parametrize(("degree", "rest"), [(0, 0), (1, 9), (2, 24), (3, 45)])
def test_columns_that_viewers_insist_on(
    axes: Literal["y-down", "y-up"], degree: int, rest: int
) -> None:
    head = marked_head()
    data = write_ply(head, PlyOptions(normals=True, sh_degree=degree, axes=axes))
    vertices = PlyData.read(io.BytesIO(data))["vertex"].data
    extra = ["nx", "ny", "nz"]
    names = STANDARD[:3] + extra + STANDARD[3:6] + [f"f_rest_{k}" for k in range(rest)]
    assert list(vertices.dtype.names) == names + STANDARD[6:]
    assert all(not vertices[name].any() for name in names if name[:2] in ("nx", "ny", "nz", "f_r"))
    up = 1 if axes == "y-up" else -1
    assert vertices["y"][300] == pytest.approx(up * 0.45)
    assert torch.allclose(read_ply(data).means, head.means)


def test_without_a_comment_y_is_down() -> None:
    data = write_ply(marked_head())
    plain = b"\n".join(line for line in data.split(b"\n") if not line.startswith(b"comment"))
    assert b"frame" not in plain
    assert torch.equal(read_ply(plain).means, marked_head().means)


def test_text_files_are_read_too() -> None:
    ply = PlyData.read(io.BytesIO(write_ply(marked_head())))
    ply.text = True
    stream = io.BytesIO()
    ply.write(stream)
    assert torch.allclose(read_ply(stream.getvalue()).means, marked_head().means, atol=1e-5)


def test_a_cloud_of_points_is_no_head() -> None:
    points = np.zeros(1, [(name, "f4") for name in "xyz"])
    stream = io.BytesIO()
    PlyData([PlyElement.describe(points, "vertex")]).write(stream)
    with pytest.raises(UnreadableSource, match="has no property rot_0"):
        read_ply(stream.getvalue())


def test_the_options_are_for_ply_alone() -> None:
    with pytest.raises(UsageError, match=r"for \.ply files, not for \.spz"):
        write_gaussians(marked_head(), ".spz", PlyOptions())
