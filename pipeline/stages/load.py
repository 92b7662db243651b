"""Load: from the address of a photo to its bytes, its id, and whether there is anything to do."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from pipeline.avatar_folder import finished_record
from pipeline.connections import READ_TIMEOUT_S
from pipeline.errors import UnreadableImage
from pipeline.photo_files import INPUT, PhotoReader
from pipeline.portrait.decode import DEFAULT_LIMITS
from pipeline.recipe import Recipe, face_id
from pipeline.stage import Context, Resources, Row, Stage
from pipeline.storage import Location, locate
from pipeline.tries import resumed


@dataclass(frozen=True, kw_only=True)
class LoadConfig:
    """Options of `Load`.

    Attributes:
        recipe: what decides the avatar besides the photo.
        destination: folder or URI of the avatars; None makes every photo anew.
        max_bytes: largest photo that is read.
        read_timeout_s: for each request to an object store, retries included.
        formats: endings of the files, besides avatar.ply, that an avatar needs to be finished.
    """

    recipe: Recipe
    destination: str | None = None
    max_bytes: int = DEFAULT_LIMITS.max_bytes
    read_timeout_s: float = READ_TIMEOUT_S
    formats: tuple[str, ...] = ()


class Load(Stage):
    """Read a photo, name its avatar, and end its row here if that avatar is finished.

    One that is below the threshold and has tries left goes on with the seed of the next try.

    Where a row's photo is, `pipeline.photo_files` says; one that brings its own ``image`` bytes is
    not read again. Rows of photos with the same content as one that is already being made end
    with ``duplicate_of``.
    """

    name: ClassVar[str] = "Load"
    inputs: ClassVar[tuple[str, ...]] = ("source",)
    outputs: ClassVar[tuple[str, ...]] = ("image", "image_sha256", "id", "seed")
    resources = Resources(cpus=0.25, memory_gb=0.5)

    def __init__(self, config: LoadConfig) -> None:
        self.config = config
        self._photos = PhotoReader(config.max_bytes, config.read_timeout_s)

    def process(self, rows: Sequence[Row], context: Context) -> list[Row]:
        """Add ``image`` (bytes), ``image_sha256``, ``id`` and ``seed`` to each row.

        Raises:
            UnreadableSource: there is no such photo.
            SourceUnavailable: it cannot be read now, or not in time.
            ImageTooLarge: it is over ``max_bytes``.
            UnreadableImage: it is empty.
            ProcessingError: its avatar exists and is damaged.
        """
        return [result for row in rows for result in self._load(row, context)]

    def _load(self, row: Row, context: Context) -> list[Row]:
        image = row.get("image")
        if image is None:
            image = self._photos.read(row)
        if not image:
            raise UnreadableImage(f"{row['source']} is empty (0 bytes); give an image file")
        sha256 = hashlib.sha256(image).hexdigest()
        recipe = self.config.recipe
        identified = {
            **{name: value for name, value in row.items() if name != INPUT},
            "image_sha256": sha256,
            "id": recipe.photo_id(sha256),
            "seed": recipe.seed,
        }
        owner = context.claim(identified["id"], row["source"])
        if owner != row["source"]:
            return [{**identified, "outcome": "ok", "duplicate_of": owner}]
        known = self._resumed(identified)
        return [one if one.get("outcome") else {**one, "image": image} for one in known]

    def _resumed(self, row: Row) -> list[Row]:
        """The rows of the photo's avatars if all of them are finished, else one to work on."""
        if self.config.destination is None:
            return [row]
        root = locate(self.config.destination)
        if self.config.recipe.faces == "all":
            return _finished_faces(row, root, self.config.formats) or [row]
        return [resumed(row, finished_record(root, row["id"], self.config.formats))]


def _finished_faces(row: Row, root: Location, formats: tuple[str, ...]) -> list[Row]:
    rows: list[Row] = []
    face_count = 1
    while len(rows) < face_count:
        record = finished_record(root, face_id(row["id"], len(rows)), formats)
        if record is None:
            return []
        face_count = record["face_count"]
        rows.append(resumed(row, record))
    return rows if all(one.get("outcome") for one in rows) else []
