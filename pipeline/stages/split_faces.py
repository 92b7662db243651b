"""SplitFaces: in photos that give an avatar a face, name each and skip those that exist."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from pipeline.avatar_folder import finished_record
from pipeline.recipe import face_id
from pipeline.stage import Context, Resources, Row, Stage
from pipeline.storage import locate
from pipeline.tries import resumed


@dataclass(frozen=True, kw_only=True)
class SplitFacesConfig:
    """Options of `SplitFaces`.

    Attributes:
        destination: folder or URI of the avatars; None makes every face anew.
        formats: endings of the files, besides avatar.ply, that an avatar needs to be finished.
    """

    destination: str | None = None
    formats: tuple[str, ...] = ()


class SplitFaces(Stage):
    """Give each face of a photo its own id.

    `Load` ends the rows of photos whose faces are all finished; here a photo of which a killed run
    finished only some loses those. The rest have the seed of their next try.
    """

    name: ClassVar[str] = "SplitFaces"
    inputs: ClassVar[tuple[str, ...]] = ("id", "face_index", "seed")
    outputs: ClassVar[tuple[str, ...]] = ("id",)
    resources = Resources(cpus=0.25, memory_gb=0.5)

    def __init__(self, config: SplitFacesConfig) -> None:
        self.config = config

    def process(self, rows: Sequence[Row], context: Context) -> list[Row]:
        """Replace the photo's ``id`` by the face's, and end the rows that are finished."""
        return [self._split(row) for row in rows]

    def _split(self, row: Row) -> Row:
        named = {**row, "id": face_id(row["id"], row["face_index"])}
        if self.config.destination is None:
            return named
        root = locate(self.config.destination)
        return resumed(named, finished_record(root, named["id"], self.config.formats))
