"""Export: from Gaussians and views to the files of an avatar's folder."""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

import numpy as np

from pipeline import __version__
from pipeline.avatar_folder import (
    GAUSSIANS,
    PORTRAIT,
    RECORD,
    TURNTABLE,
    VERDICT,
    VIEWS,
    add_formats,
    read_record,
    recorded_facts,
)
from pipeline.cameras import RADIUS, look_at_origin, orbit_azimuths_deg
from pipeline.connections import first_line
from pipeline.errors import DestinationUnavailable
from pipeline.recipe import Recipe
from pipeline.stage import Context, Resources, Row, Stage
from pipeline.storage import Location, locate, publishing, split_options
from pipeline.tries import is_better

FRAME = (
    "right-handed, y up, head centred at the origin facing +z, the subject's left towards +x;"
    " cam_to_world has OpenCV camera axes (x right, y down, z forward); .ply and .splat files are"
    " turned by 180 degrees about x (y down), as viewers expect"
)
_PORTRAIT_FACTS = ("yaw_deg", "elevation_deg", "face_index", "face_count")
_NUMBER = np.generic
_IN_CONTAINER = re.compile(r"[^/]+\.(?:tar|parquet)#.*", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """Options of `Export`.

    Attributes:
        destination: folder or URI under which the avatar folders are made.
        recipe: recorded in ``avatar.json``.
        azimuths_deg: of the views, in their order.
        elevation_deg: of the views.
        turntable_frames: frames of the turning preview.
        turntable_px: side of the turning preview.
        formats: endings of the files of Gaussians besides avatar.ply.
    """

    destination: str
    recipe: Recipe
    azimuths_deg: tuple[float, ...] = tuple(map(float, orbit_azimuths_deg()))
    elevation_deg: float = 0.0
    turntable_frames: int = 32
    turntable_px: int = 256
    formats: tuple[str, ...] = ()


class Export(Stage):
    """Write ``<destination>/<id>/``, whole or not at all.

    A further try replaces the one that is there if it is better; else that one stays, and the row
    goes on with its facts.

    The same photo, model and seed give the same bytes, except for ``timings_s`` in
    ``avatar.json``.
    """

    name: ClassVar[str] = "Export"
    inputs: ClassVar[tuple[str, ...]] = (
        "id",
        "source",
        "image_sha256",
        "seed",
        "portrait",
        "views",
        "gaussians",
    )
    outputs: ClassVar[tuple[str, ...]] = ("gaussian_count",)
    resources = Resources(cpus=0.5, memory_gb=1.0)

    def __init__(self, config: ExportConfig) -> None:
        self.config = config

    def process(self, rows: Sequence[Row], context: Context) -> list[Row]:
        """Write each row's avatar; add ``gaussian_count``.

        Raises:
            ProcessingError: the Gaussians cannot be written.
            DestinationUnavailable: the files cannot be stored now.
        """
        return [self._export(row, context) for row in rows]

    def _export(self, row: Row, context: Context) -> Row:
        root = locate(self.config.destination)
        earlier = read_record(root, row["id"]) if row.get("tries", 1) > 1 else None
        if earlier is not None and not is_better(row, earlier):
            return _keep(root, earlier, row)
        files = self._artefacts(row, context)
        result = {**row, "gaussian_count": len(row["gaussians"])}
        files[RECORD] = _json(self._record(result))
        replace = earlier is not None
        context.checkpoint(self.name, 2, 2)  # what is cancelled until now is never written
        try:
            with publishing(root, row["id"], last=RECORD, replace=replace) as folder:
                for name, data in files.items():
                    Path(folder, name).write_bytes(data)
            # afterwards, because another run may have published the folder first, without them
            add_formats(root.child(row["id"]), self.config.formats)
        except OSError as error:
            raise DestinationUnavailable(
                f"the avatar cannot be stored: {first_line(error)}"
            ) from error
        return result

    def _artefacts(self, row: Row, context: Context) -> dict[str, bytes]:
        # here, because torch takes a second and the command line lists the stages
        from pipeline import pictures
        from pipeline.formats.ply import write_ply
        from pipeline.gaussians import Gaussians

        gaussians = Gaussians.from_array(row["gaussians"])
        files = {
            PORTRAIT: pictures.png(row["portrait"]),
            VIEWS: pictures.webp(pictures.contact_sheet(row["views"])),
            GAUSSIANS: write_ply(gaussians),
        }
        context.checkpoint(self.name, 1, 2)
        frames = pictures.turntable(
            gaussians, self.config.turntable_frames, self.config.turntable_px
        )
        return {**files, TURNTABLE: pictures.animated_webp(frames)}

    def _record(self, row: Row) -> dict[str, Any]:
        facts = {name: row[name] for name in (*_PORTRAIT_FACTS, *VERDICT) if name in row}
        return {
            "id": row["id"],
            "source": source_name(row["source"]),
            "image_sha256": row["image_sha256"],
            **asdict(self.config.recipe),
            "seed": row["seed"],
            **facts,
            "gaussian_count": row["gaussian_count"],
            "frame": FRAME,
            "views": {"size_px": row["views"].shape[2], **self._cameras()},
            "versions": {"headsplat": __version__},
            "timings_s": row.get("timings_s", {}),
        }

    def _cameras(self) -> dict[str, Any]:
        cameras = look_at_origin(self.config.azimuths_deg, self.config.elevation_deg)
        return {
            "azimuths_deg": list(self.config.azimuths_deg),
            "elevation_deg": self.config.elevation_deg,
            "orbit_radius": RADIUS,
            "fov_y_deg": cameras.fov_y_deg,
            "cam_to_world": np.round(cameras.cam_to_world.astype(np.float64), 7).tolist(),
        }


def _keep(root: Location, earlier: dict[str, Any], row: Row) -> Row:
    """Record that one more try was made, beside the better one that stays."""
    record = {**earlier, "tries": row["tries"]}
    root.child(row["id"], RECORD).write(_json(record))
    return {**row, **recorded_facts(record)}


def source_name(source: str) -> str:
    """The last part of a path or URI: what a user calls the photo.

    Of a photo in a container it is the container's, ``#`` and the name inside.
    """
    path = split_options(source)[0].replace("\\", "/")
    inside = _IN_CONTAINER.search(path)
    return inside[0] if inside else PurePosixPath(path).name or source


def _json(record: dict[str, Any]) -> bytes:
    def plain(value: object) -> object:
        if isinstance(value, _NUMBER):
            return value.item()
        raise TypeError(f"{type(value).__name__} cannot be recorded; use a number or a text")

    text = json.dumps(record, indent=1, sort_keys=True, default=plain, ensure_ascii=False)
    return (text + "\n").encode()
