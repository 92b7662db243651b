"""Gaussians as .ply files in the standard 3D Gaussian splatting layout.

A file holds, per vertex and as float32: ``x y z f_dc_0..2 opacity scale_0..2 rot_0..3``, with the
colour as the constant spherical harmonic, the opacity as a logit, the scales as logarithms and the
rotation as (w, x, y, z).

Frame. Viewers expect the y-down world of OpenCV and COLMAP, so that is what a file holds: x to the
subject's left, y down, z backwards, out of the back of the head. That is the canonical frame
turned by 180 degrees about x: (x, y, z) -> (x, -y, -z). Saving turns, loading turns back.
"""

import io
from typing import Any

import numpy as np
import torch
from plyfile import PlyData, PlyElementParseError, PlyHeaderParseError

from pipeline.errors import ProcessingError, UnreadableSource
from pipeline.gaussians import Gaussians

HARMONIC_0 = 0.28209479177387814
"""The constant spherical harmonic: a colour is 0.5 + HARMONIC_0 * f_dc."""
_FLIP = (1.0, -1.0, -1.0)
_MIN_OPACITY, _MIN_SCALE = 1e-6, 1e-8
_COMMENTS = (
    "made by headsplat",
    "frame: y down, subject's left is +x, face towards -z (OpenCV/COLMAP)",
    "units: half-width of the field of view at the head is 0.689",
)
_PROPERTIES = (
    ("means", ("x", "y", "z")),
    ("colors", ("f_dc_0", "f_dc_1", "f_dc_2")),
    ("opacities", ("opacity",)),
    ("scales", ("scale_0", "scale_1", "scale_2")),
    ("quats", ("rot_0", "rot_1", "rot_2", "rot_3")),
)


def write_ply(gaussians: Gaussians) -> bytes:
    """Encode Gaussians as a binary little-endian .ply file.

    Args:
        gaussians: in the canonical frame. Opacities 0 and 1 become 1e-6 and 1 - 1e-6.

    Raises:
        ProcessingError: a number is NaN or infinite, or there are no Gaussians.
    """
    array = gaussians.to_array()
    if not len(array):
        raise ProcessingError("There are 0 Gaussians to write; a .ply file needs at least 1.")
    if not np.isfinite(array).all():
        bad = int((~np.isfinite(array)).any(1).sum())
        raise ProcessingError(
            f"{bad} of {len(array)} Gaussians have numbers that are NaN or infinite; "
            "a .ply file holds finite numbers only."
        )
    # Not at the top: it takes a second, and readers do not need it.
    from gsplat import export_splats

    g = gaussians.detach().to("cpu")
    data: bytes = export_splats(
        means=g.means * torch.tensor(_FLIP),
        scales=g.scales.clamp(min=_MIN_SCALE).log(),
        quats=_turn(g.quats),
        opacities=torch.logit(g.opacities, eps=_MIN_OPACITY),
        sh0=((g.colors - 0.5) / HARMONIC_0)[:, None],
        shN=torch.zeros(len(g), 0, 3),
    )
    head, separator, body = data.partition(b"end_header\n")
    comments = "".join(f"comment {line}\n" for line in _COMMENTS).encode()
    return head.replace(b"element vertex", comments + b"element vertex") + separator + body


def read_ply(data: bytes) -> Gaussians:
    """Decode a 3D Gaussian splatting .ply file into the canonical frame.

    Args:
        data: the file. Properties besides those named at the top of this module (normals, higher
            harmonics) are ignored.

    Raises:
        UnreadableSource: not a .ply file, or not one of Gaussians.
    """
    try:
        vertices = PlyData.read(io.BytesIO(data))["vertex"].data
    except (PlyHeaderParseError, PlyElementParseError, KeyError, UnicodeDecodeError) as error:
        raise UnreadableSource(f"The data is not a .ply file with vertices: {error}.") from error
    raw = {name: _columns(vertices, properties) for name, properties in _PROPERTIES}
    return Gaussians(
        means=raw["means"] * torch.tensor(_FLIP),
        quats=_turn(raw["quats"]),
        scales=raw["scales"].exp(),
        opacities=torch.sigmoid(raw["opacities"][:, 0]),
        colors=(0.5 + HARMONIC_0 * raw["colors"]).clamp(0, 1),
    )


def _turn(quats: torch.Tensor) -> torch.Tensor:
    """Turn rotations by 180 degrees about x; turning twice gives the same rotation back."""
    w, x, y, z = quats.unbind(-1)
    return torch.stack([-x, w, -z, y], -1)


def _columns(vertices: Any, names: tuple[str, ...]) -> torch.Tensor:
    missing = [name for name in names if name not in vertices.dtype.names]
    if missing:
        raise UnreadableSource(
            f"The .ply file has no property {missing[0]}; it is not one of Gaussians."
        )
    return torch.from_numpy(np.stack([vertices[name] for name in names], -1).astype(np.float32))
