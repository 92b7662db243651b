"""A face pack, such as insightface's buffalo_l or antelopev2, as a model's own."""

import shutil
from pathlib import Path

from pipeline.portrait.faces import FACE_FOLDER, pack_files
from pipeline.published.parts import Part

_INSIGHTFACE = {
    "det_10g",
    "det_500m",
    "det_2.5g",
    "scrfd_10g_bnkps",
    "w600k_r50",
    "w600k_mbf",
    "glintr100",
    "genderage",
    "1k3d68",
    "2d106det",
}
"""The names of its files, in all of its packs."""


def face_pack_parts(folder: Path) -> list[Part]:
    """The detector and the ArcFace network of a pack; its other networks are not used.

    Raises:
        ModelNotFound: it lacks one of the two, or a file cannot be loaded.
    """
    files = pack_files(folder)
    theirs = any(path.stem in _INSIGHTFACE for path in folder.glob("*.onnx"))
    return [
        Part(
            component=FACE_FOLDER,
            origin="insightface" if theirs else "face pack",
            files={path.name: path for path in files.values()},
            write=lambda out: _copy(tuple(files.values()), out),
            facts={task: path.name for task, path in files.items()},
        )
    ]


def _copy(files: tuple[Path, ...], out: Path) -> None:
    out.mkdir()
    for path in files:
        shutil.copyfile(path, out / path.name)
