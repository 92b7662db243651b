"""Gaussians as .glb files with glTF's extension KHR_gaussian_splatting, a Release Candidate.

One mesh primitive of points has a float32 accessor each for position, rotation (x, y, z, w),
scale, opacity in [0, 1] and the constant spherical harmonic, for the kernel ``ellipse``. Scales are
linear, as the extension wants them. Programs that do not know the extension show the points, in the
colours of ``COLOR_0``. glTF's world is y up with the front towards +z: the canonical frame.

github.com/KhronosGroup/glTF, extensions/2.0/Khronos/KHR_gaussian_splatting, as of April 2026.
"""

import struct
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.errors import UnreadableSource
from pipeline.formats.glb_container import open_glb, pack_glb
from pipeline.formats.numbers import Array, from_harmonic, readable, to_harmonic, writable
from pipeline.gaussians import Gaussians

EXTENSION = "KHR_gaussian_splatting"
COLOR_SPACE = "srgb_rec709_display"
_POINTS, _ARRAY_BUFFER, _FLOAT, _USHORT = 0, 34962, 5126, 5123
_DAMAGE = (
    *(struct.error, ValueError, LookupError, TypeError, AttributeError),
    *(OverflowError, RecursionError),
)
"""What reading a document of unexpected content raises."""
_TYPES = {1: "SCALAR", 3: "VEC3", 4: "VEC4"}
_ATTRIBUTES = {
    "means": "POSITION",
    "quats": f"{EXTENSION}:ROTATION",
    "scales": f"{EXTENSION}:SCALE",
    "opacities": f"{EXTENSION}:OPACITY",
    "colors": f"{EXTENSION}:SH_DEGREE_0_COEF_0",
}


def write_glb(gaussians: Gaussians) -> bytes:
    """Encode Gaussians as binary glTF 2.0.

    Args:
        gaussians: in the canonical frame.

    Raises:
        ProcessingError: a number is NaN or infinite, or there are no Gaussians.
    """
    g = writable(gaussians, ".glb")
    colors, opacities = g.colors.numpy(), g.opacities.numpy()[:, None]
    columns: dict[str, npt.NDArray[Any]] = {
        _ATTRIBUTES["means"]: g.means.numpy(),
        _ATTRIBUTES["quats"]: np.roll(g.quats.numpy(), -1, axis=1),
        _ATTRIBUTES["scales"]: g.scales.numpy(),
        _ATTRIBUTES["opacities"]: opacities.clip(0, 1),
        _ATTRIBUTES["colors"]: to_harmonic(colors),
        "COLOR_0": _point_colors(colors, opacities),
    }
    return pack_glb(_document(columns), b"".join(column.tobytes() for column in columns.values()))


def read_glb(data: bytes) -> Gaussians:
    """Decode the first primitive of Gaussians into the canonical frame.

    Args:
        data: the file. Harmonics above degree 0 are ignored.

    Raises:
        UnreadableSource: not a .glb file, damaged, without Gaussians, or with a transformed node,
            a kernel or a colour space that is not read.
    """
    try:
        glb = open_glb(data)
        primitive = glb.primitive(EXTENSION)
        _check_kernel(primitive["extensions"][EXTENSION])
        found = {
            name: glb.accessor(primitive["attributes"][attribute])
            for name, attribute in _ATTRIBUTES.items()
        }
    except _DAMAGE as error:
        why = f"it lacks {error}" if isinstance(error, LookupError) else str(error)
        raise UnreadableSource(f"The data is not a .glb file of Gaussians: {why}.") from error
    return readable(
        means=found["means"],
        quats=np.roll(found["quats"], 1, axis=1),
        scales=found["scales"],
        opacities=found["opacities"][:, 0],
        colors=from_harmonic(found["colors"]),
        ending=".glb",
    )


def _document(columns: dict[str, npt.NDArray[Any]]) -> dict[str, Any]:
    """The JSON part; the columns follow one another in the binary part."""
    views: list[dict[str, Any]] = []
    accessors: list[dict[str, Any]] = []
    for column in columns.values():
        start = sum(view["byteLength"] for view in views)
        views.append({"buffer": 0, "byteOffset": start, "byteLength": column.nbytes,
                      "target": _ARRAY_BUFFER})  # fmt: skip
        accessors.append(_accessor(len(accessors), column))
    means = columns["POSITION"]
    accessors[0] |= {"min": means.min(0).tolist(), "max": means.max(0).tolist()}
    kernel = {"kernel": "ellipse", "colorSpace": COLOR_SPACE}
    primitive = {
        "mode": _POINTS,
        "attributes": {name: k for k, name in enumerate(columns)},
        "extensions": {EXTENSION: kernel},
    }
    return {
        "asset": {"version": "2.0", "generator": "headsplat"},
        "extensionsUsed": [EXTENSION],
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"name": "head", "mesh": 0}],
        "meshes": [{"primitives": [primitive]}],
        "accessors": accessors,
        "bufferViews": views,
        "buffers": [{"byteLength": sum(column.nbytes for column in columns.values())}],
    }


def _accessor(view: int, column: npt.NDArray[Any]) -> dict[str, Any]:
    floats = column.dtype == np.float32
    return {
        "bufferView": view,
        "componentType": _FLOAT if floats else _USHORT,
        "count": len(column),
        "type": _TYPES[column.shape[1]],
        **({} if floats else {"normalized": True}),
    }


def _point_colors(colors: Array, opacities: Array) -> npt.NDArray[np.uint16]:
    """RGBA for points: linear light as glTF's vertex colours are; 16 bits keep dark hair smooth."""
    linear = np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)
    rgba = np.concatenate([linear, opacities], 1).clip(0, 1)
    return (rgba * 65535).round().astype("<u2")


def _check_kernel(kernel: dict[str, Any]) -> None:
    for name, known in (("kernel", "ellipse"), ("colorSpace", COLOR_SPACE)):
        if kernel[name] != known:
            raise ValueError(f"its {name} is {kernel[name]!r}, and only {known!r} can be read")
