"""Another method's renders of the same subjects, from a folder.

Layout: ``FOLDER/SUBJECT/VIEW.png``. SUBJECT is the subject's key, ``9``, or ``9/92`` where an
identity has several expressions; VIEW is ``00``, ``01`` and so on, in the order of
``azimuths_deg``. Images are as large as the true views, RGB on white or RGBA with straight alpha.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline.errors import UsageError
from pipeline.evaluation.subjects import HeldOut, Subject
from pipeline.portrait.alpha import on_white

Load = Callable[[str], npt.NDArray[np.uint8]]
"""From a subject's key to its views [V, H, W, 3] uint8 on white."""


def find_renders(
    given: Mapping[str, Path], held_out: HeldOut, taken: Sequence[str] = ()
) -> Mapping[str, Load]:
    """Check renders before hours are spent.

    Args:
        given: each method's folder.
        held_out: whom they must show.
        taken: names that mean something else.

    Returns:
        From each method's name to its views of a subject.

    Raises:
        UsageError: a name is taken, a view is missing, or is no image of the right size.
    """
    found: dict[str, Load] = {}
    for name, folder in given.items():
        if name in taken:
            raise UsageError(f"the name {name!r} of renders is taken; give another")
        _check(folder, held_out)
        found[name] = partial(_load, folder, held_out.views)
    return found


def write_portraits(held_out: HeldOut, folder: Path) -> int:
    """What another method needs to render a subject: ``SUBJECT/portrait.png`` and ``cameras.json``.

    Returns:
        How many subjects there are.
    """
    for key in held_out.keys:
        subject = held_out.load(key)
        place = folder / key
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(subject.portrait).save(place / "portrait.png")
        (place / "cameras.json").write_text(json.dumps(_cameras(subject)))
    return len(held_out.keys)


def _cameras(subject: Subject) -> dict[str, object]:
    return {
        "size_px": subject.views.shape[1],
        "fov_y_deg": subject.cameras.fov_y_deg,
        "azimuths_deg": subject.azimuths_deg.tolist(),
        "cam_to_world": subject.cameras.cam_to_world.tolist(),
        "portrait_azimuth_deg": subject.azimuth_deg,
        "portrait_elevation_deg": subject.elevation_deg,
    }


def _files(folder: Path, key: str, views: int) -> list[Path]:
    return [folder / key / f"{view:02d}.png" for view in range(views)]


def _check(folder: Path, held_out: HeldOut) -> None:
    files = [file for key in held_out.keys for file in _files(folder, key, held_out.views)]
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise UsageError(
            f"{missing[0]} is missing, {len(missing)} of {len(files)} in all; a method's views of "
            f"a subject are SUBJECT/00.png to SUBJECT/{held_out.views - 1:02d}.png"
        )
    wanted = (held_out.size_px, held_out.size_px)
    for file in files:
        size = _size(file)
        if size != wanted:
            raise UsageError(
                f"{file} is {size[0]}x{size[1]} px, the true views are {wanted[0]}x{wanted[1]}; "
                "render it at that size"
            )


def _size(file: Path) -> tuple[int, int]:
    try:
        with Image.open(file, formats=("PNG",)) as image:
            return image.size
    except OSError as error:
        raise UsageError(f"{file} is no PNG image ({error}); render it again") from error


def _load(folder: Path, views: int, key: str) -> npt.NDArray[np.uint8]:
    return np.stack([_read(file) for file in _files(folder, key, views)])


def _read(file: Path) -> npt.NDArray[np.uint8]:
    try:
        with Image.open(file, formats=("PNG",)) as image:
            return on_white(np.asarray(image.convert("RGBA")))
    except OSError as error:
        raise UsageError(f"{file} is no PNG image ({error}); render it again") from error
