"""Gaussians as .ply files in the standard 3D Gaussian splatting layout.

A file holds, per vertex and as float32: ``x y z [nx ny nz] f_dc_0..2 [f_rest_0..] opacity
scale_0..2 rot_0..3``, with the colour as the constant spherical harmonic, the opacity as a logit,
the scales as logarithms and the rotation as (w, x, y, z). That is the order in which 3DGS training
writes it; the bracketed columns are optional and zero.

A comment line says which frame the file is in; without one it is y down, see
`pipeline.formats.frames`.
"""

import io
import re
import tempfile
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from plyfile import PlyData, PlyElement, PlyElementParseError, PlyHeaderParseError

from pipeline.errors import UnreadableSource
from pipeline.formats.frames import turned
from pipeline.formats.numbers import Array, from_harmonic, readable, to_harmonic, writable
from pipeline.gaussians import Gaussians

_MIN_OPACITY = 1e-6
_Y_UP = "frame: y up, subject's left is +x, face towards +z (OpenGL/glTF)"
_Y_DOWN = "frame: y down, subject's left is +x, face towards -z (OpenCV/COLMAP)"
_COMMENTS = (
    "made by headsplat",
    "units: half-width of the field of view at the head is 0.689",
)
_MEANS, _NORMALS = ("x", "y", "z"), ("nx", "ny", "nz")
_COLORS = ("f_dc_0", "f_dc_1", "f_dc_2")
_SCALES = ("scale_0", "scale_1", "scale_2")
_QUATS = ("rot_0", "rot_1", "rot_2", "rot_3")
_COUNTS = re.compile(rb"^[ \t]*element[ \t]+\S+[ \t]+(\d+)", re.M)
_PROPERTIES = re.compile(rb"^[ \t]*property[ \t]", re.M)
_END = b"end_header"


@dataclass(frozen=True, kw_only=True)
class PlyOptions:
    """What a .ply file has besides the Gaussians, for viewers that insist on it.

    Attributes:
        normals: whether to write ``nx ny nz``, all zero.
        sh_degree: degree of the spherical harmonics that columns are written for, 0 to 3; those
            above degree 0 are zero.
        axes: the frame; ``y-down`` is what viewers expect, ``y-up`` is the canonical one.
    """

    normals: bool = False
    sh_degree: int = 0
    axes: Literal["y-down", "y-up"] = "y-down"


DEFAULT = PlyOptions()


def write_ply(gaussians: Gaussians, options: PlyOptions = DEFAULT) -> bytes:
    """Encode Gaussians as a binary little-endian .ply file.

    Args:
        gaussians: in the canonical frame. Opacities 0 and 1 become 1e-6 and 1 - 1e-6.
        options: what else the file has.

    Raises:
        ProcessingError: a number is NaN or infinite, or there are no Gaussians.
    """
    g = writable(gaussians, ".ply")
    y_up = options.axes == "y-up"
    g = g if y_up else turned(g)
    opacities = g.opacities.double().clamp(_MIN_OPACITY, 1 - _MIN_OPACITY).logit()
    rest = 3 * ((options.sh_degree + 1) ** 2 - 1)
    columns = dict(zip(_MEANS, g.means.numpy().T, strict=True))
    columns |= {name: np.zeros(len(g)) for name in _NORMALS if options.normals}
    columns |= zip(_COLORS, to_harmonic(g.colors.numpy()).T, strict=True)
    columns |= {f"f_rest_{k}": np.zeros(len(g)) for k in range(rest)}
    columns |= {"opacity": opacities.numpy()}
    columns |= zip(_SCALES, g.scales.log().numpy().T, strict=True)
    columns |= zip(_QUATS, g.quats.numpy().T, strict=True)
    return _encode(columns, [*_COMMENTS[:1], _Y_UP if y_up else _Y_DOWN, *_COMMENTS[1:]])


def read_ply(data: bytes) -> Gaussians:
    """Decode a 3D Gaussian splatting .ply file into the canonical frame.

    Args:
        data: the file. Properties besides those named at the top of this module are ignored, and
            so are normals and the harmonics above degree 0.

    Raises:
        UnreadableSource: not a .ply file, or not one of Gaussians.
    """
    try:
        _check_counts(data)
        ply = _open(data)
        vertices = ply["vertex"].data
    except (PlyHeaderParseError, PlyElementParseError, KeyError, ValueError) as error:
        raise UnreadableSource(f"The data is not a .ply file with vertices: {error}.") from error
    with np.errstate(all="ignore"):  # what is not finite then is refused
        g = readable(
            means=_columns(vertices, _MEANS),
            quats=_columns(vertices, _QUATS),
            scales=np.exp(_columns(vertices, _SCALES)),
            opacities=1 / (1 + np.exp(-_columns(vertices, ("opacity",))[:, 0])),
            colors=from_harmonic(_columns(vertices, _COLORS)),
            ending=".ply",
        )
    y_up = any(comment.startswith("frame: y up") for comment in ply.comments)
    return g if y_up else turned(g)


def _encode(columns: dict[str, Any], comments: list[str]) -> bytes:
    count = len(columns["x"])
    rows = np.empty(count, [(name, "<f4") for name in columns])
    for name, values in columns.items():
        rows[name] = values
    stream = io.BytesIO()
    element = PlyElement.describe(rows, "vertex")
    PlyData([element], byte_order="<", comments=comments).write(stream)
    return stream.getvalue()


def _open(data: bytes) -> Any:
    if b"\nformat ascii" in data[:100]:
        return PlyData.read(io.BytesIO(data))
    # from a file, because plyfile maps those and reads other streams row by row: 65,536 Gaussians
    # take 0.05 s and 3.2 s
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.seek(0)
        return PlyData.read(file)


def _check_counts(data: bytes) -> None:
    """Refuse a header that promises more than the file holds, before memory is asked for it.

    Every property of every row takes a byte at least.
    """
    header = data.partition(_END)[0].replace(b"\r", b"\n")
    counts = sum(map(int, _COUNTS.findall(header)))
    promised = counts * max(1, len(_PROPERTIES.findall(header)))
    if promised > len(data):
        raise UnreadableSource(
            f"The data is not a .ply file with vertices: its header promises {promised:,} numbers "
            f"and it has {len(data):,} bytes."
        )


def _columns(vertices: Any, names: tuple[str, ...]) -> Array:
    missing = [name for name in names if name not in (vertices.dtype.names or ())]
    if missing:
        raise UnreadableSource(
            f"The .ply file has no property {missing[0]}; it is not one of Gaussians."
        )
    return np.stack([vertices[name] for name in names], -1).astype(np.float32)
