"""Formats by the ending of a file's name: what verbs and `Export` choose from.

A format's module is imported when it is used, so that the list costs nothing.
"""

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.errors import UsageError

if TYPE_CHECKING:
    from pipeline.formats.ply import PlyOptions
    from pipeline.gaussians import Gaussians


@dataclass(frozen=True, kw_only=True)
class Format:
    """One format.

    Attributes:
        name: what the functions ``write_NAME`` and ``read_NAME`` of `pipeline.formats` end in.
        rounds: what writing costs, in words; measured in tests/pipeline/formats.
    """

    name: str
    rounds: str

    def function(self, verb: str) -> Any:
        """``read`` or ``write`` of this format."""
        module = importlib.import_module(f"pipeline.formats.{self.name}")
        return getattr(module, f"{verb}_{self.name}")


FORMATS = {
    ".ply": Format(name="ply", rounds="nothing is rounded"),
    ".spz": Format(
        name="spz",
        rounds="rounds positions to 0.00013, scales to 3.2 %, opacities to 0.002, colours to "
        "0.004 and rotations to 0.3 degrees",
    ),
    ".splat": Format(
        name="splat",
        rounds="rounds opacities and colours to 0.002 and rotations to 0.9 degrees, and orders the "
        "Gaussians anew",
    ),
    ".glb": Format(name="glb", rounds="nothing is rounded"),
}
"""Every format by its ending."""


def find_format(ending: str) -> Format:
    """The format of a file's ending, such as ``.ply``.

    Raises:
        UsageError: there is none; the text lists those there are.
    """
    if ending.lower() not in FORMATS:
        known = ", ".join(FORMATS)
        raise UsageError(f"{ending or 'no ending'} is no format of Gaussians; known are {known}")
    return FORMATS[ending.lower()]


def read_gaussians(data: bytes, ending: str) -> "Gaussians":
    """Decode a file into the canonical frame.

    Raises:
        UsageError: the ending is of no known format.
        UnreadableSource: the data is not of that format.
    """
    gaussians: Gaussians = find_format(ending).function("read")(data)
    return gaussians


def write_gaussians(gaussians: "Gaussians", ending: str, ply: "PlyOptions | None" = None) -> bytes:
    """Encode Gaussians of the canonical frame as a file.

    Args:
        gaussians: at least one, all finite.
        ending: of the file.
        ply: for a .ply file, what it has besides the Gaussians.

    Raises:
        UsageError: the ending is of no known format, or ``ply`` is given for another than .ply.
        ProcessingError: a number is NaN or infinite, or there are no Gaussians.
    """
    write = find_format(ending).function("write")
    if ply is not None and ending.lower() != ".ply":
        raise UsageError(f"normals, sh-degree and axes are for .ply files, not for {ending}")
    data: bytes = write(gaussians) if ply is None else write(gaussians, ply)
    return data
