"""The head's up, front and left in every format, told by another program where it can."""

import gaussforge
import numpy as np
import pytest
import torch
from marked_head import angles_deg, marked_head, sorted_by_position

from pipeline.cameras import orbit
from pipeline.formats.frames import turned
from pipeline.formats.glb_container import open_glb
from pipeline.formats.ply import PlyOptions, read_ply, write_ply
from pipeline.formats.registry import FORMATS, read_gaussians, write_gaussians
from pipeline.gaussians import Gaussians
from pipeline.rendering import render_u8


def _converted(data: bytes, source: str, target: str, **options: int) -> bytes:
    """What gaussforge makes of a file; it leaves axes alone."""
    result = gaussforge.GaussForge().convert(data, source, target, **options)
    assert "error" not in result, result
    converted: bytes = result["data"]
    return converted


def _same_head(one: Gaussians, two: Gaussians) -> None:
    assert torch.allclose(one.means, two.means, atol=3e-4)
    assert torch.allclose(one.scales.log(), two.scales.log(), atol=0.07)
    assert torch.allclose(one.opacities, two.opacities, atol=0.005)
    assert torch.allclose(one.colors, two.colors, atol=0.008)
    assert angles_deg(one.quats, two.quats).max() < 1.5


@pytest.mark.parametrize("ending", FORMATS)
def test_the_head_looks_the_same_from_all_sides(ending: str) -> None:
    again = read_gaussians(write_gaussians(marked_head(), ending), ending)
    before, after = (render_u8(head, orbit(4), 48).astype(int) for head in (marked_head(), again))
    assert np.abs(before - after).max() <= 12
    assert np.abs(before - before[:, :, ::-1]).max() > 100


def test_gaussforge_reads_our_splat_as_it_reads_our_ply() -> None:
    ours = write_gaussians(marked_head(), ".splat")
    read = read_ply(_converted(ours, "splat", "ply"))
    _same_head(sorted_by_position(read), sorted_by_position(marked_head()))


def test_gaussforge_reads_our_spz_y_up() -> None:
    """The numbers in an .spz are those of a y-up .ply."""
    ours = write_gaussians(marked_head(), ".spz")
    _same_head(turned(read_ply(_converted(ours, "spz", "ply"))), marked_head())


def test_we_read_gaussforges_splat() -> None:
    data = _converted(write_ply(marked_head()), "ply", "splat")
    read = read_gaussians(data, ".splat")
    _same_head(sorted_by_position(read), sorted_by_position(marked_head()))


def test_we_read_gaussforges_ply() -> None:
    """It writes normals and 45 harmonics, and drops comments."""
    data = _converted(write_ply(marked_head(), PlyOptions(sh_degree=3)), "ply", "ply")
    _same_head(read_ply(data), marked_head())


@pytest.mark.parametrize("version", [2, 3, 4])
def test_we_read_gaussforges_spz(version: int) -> None:
    y_up = write_ply(marked_head(), PlyOptions(axes="y-up"))
    data = _converted(y_up, "ply", "spz", spz_version=version)
    again = read_gaussians(data, ".spz")
    if version == 2:  # it keeps rotations to 13 degrees
        assert angles_deg(again.quats, marked_head().quats).max() < 13
        again = Gaussians(**{**vars(again), "quats": marked_head().quats})
    _same_head(again, marked_head())


def test_glb_has_up_front_and_left_where_gltf_has_them() -> None:
    """glTF: right-handed, +y up, the front of an asset faces +z."""
    glb = open_glb(write_gaussians(marked_head(), ".glb"))
    (primitive,) = glb.document["meshes"][0]["primitives"]
    points = glb.accessor(primitive["attributes"]["POSITION"])
    colors = glb.accessor(primitive["attributes"]["COLOR_0"])
    up, front, left = points[-3:]
    assert up[1] == points[:, 1].max() > 0.4
    assert front[2] == points[:, 2].max() > 0.35
    assert left[0] == points[:, 0].max() > 0.45
    assert [int(color[:3].argmax()) for color in colors[-3:]] == [1, 2, 0]
