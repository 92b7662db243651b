"""Gaussians from what a user names: an avatar's folder or a file of any format."""

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.avatar_folder import GAUSSIANS
from pipeline.errors import UsageError
from pipeline.formats.registry import find_format, read_gaussians

if TYPE_CHECKING:
    from pipeline.gaussians import Gaussians


def gaussian_file(path: Path) -> Path:
    """The file that ``path`` names: itself, or the ``avatar.ply`` in it.

    Raises:
        UsageError: there is none, or its ending is of no known format.
    """
    file = path / GAUSSIANS if path.is_dir() else path
    if not file.is_file():
        raise UsageError(f"{file} does not exist; give an avatar's folder or a file of Gaussians")
    find_format(file.suffix)
    return file


def load_gaussians(path: Path) -> "Gaussians":
    """Read an avatar's folder or a file of Gaussians.

    Raises:
        UsageError: there is none, or its ending is of no known format.
        UnreadableSource: it is damaged.
    """
    file = gaussian_file(path)
    return read_gaussians(file.read_bytes(), file.suffix)
