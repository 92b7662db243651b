"""From the rows that an executor returns to exactly one outcome an input."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.photo_files import INPUT
from pipeline.stage import Row

CRASHED, NOT_REACHED = "crashed", "not_reached"
REASONS = {
    CRASHED: "the worker process died each time it came to this photo",
    NOT_REACHED: "the run was stopped before this photo was finished; run it again to go on",
}
_WORST_LAST = ("ok", "rejected", "failed")
_SHARED = ("outcome", "error_code", "error_message", "error_stage")


@dataclass
class _Photo:
    """What has come of one photo so far; ``faces`` has a bit for each face seen."""

    faces: int = 0
    face_count: int = 1
    worst: dict[str, Any] | None = None


class Ledger:
    """Follows the rows of one wave of photos until each has its outcome.

    Args:
        rows: what the executor was given.
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        self._rows = rows
        self._photos: dict[str, _Photo] = {row["source"]: _Photo() for row in rows}
        self._twins: list[Row] = []

    def add(self, row: Row) -> bool:
        """Take a finished row; False if it is a duplicate's, whose outcome comes at the end."""
        if row.get("duplicate_of") is not None:
            self._photos[row["source"]].faces = 1
            self._twins.append(row)
            return False
        photo = self._photos[row["source"]]
        _see(photo, row)
        _worsen(photo, {name: row.get(name) for name in _SHARED})
        return True

    def close(self) -> Iterator[Row]:
        """The rows still owed: of photos and faces without one, and of duplicates.

        A photo without a row has failed, since it took its worker down each time. A photo with the
        same content as another shares that one's outcome.
        """
        for row in self._rows:
            photo = self._photos[row["source"]]
            for face in range(photo.face_count):
                if not photo.faces >> face & 1:
                    failed = {**row, **_crash(face if photo.face_count > 1 else None, photo)}
                    failed.pop(INPUT, None)
                    _worsen(photo, failed)
                    yield failed
        for twin in self._twins:
            owner = self._photos[twin["duplicate_of"]].worst
            yield {**twin, **{name: (owner or {}).get(name) for name in _SHARED}}


def incomplete(rows: Iterable[Row], sources: Sequence[str]) -> list[str]:
    """The inputs that have no row, or fewer rows than the photo has faces."""
    photos = {source: _Photo() for source in sources}
    for row in rows:
        _see(photos[row["source"]], row)
    return [source for source, photo in photos.items() if not _is_whole(photo)]


def _see(photo: _Photo, row: Row) -> None:
    photo.faces |= 1 << int(row.get("face_index") or 0)
    photo.face_count = max(photo.face_count, int(row.get("face_count") or 1))


def _is_whole(photo: _Photo) -> bool:
    return photo.faces.bit_count() >= photo.face_count


def _crash(face: int | None, photo: _Photo) -> Row:
    crash: Row = {
        "outcome": "failed",
        "error_code": CRASHED,
        "error_message": REASONS[CRASHED],
        "error_stage": None,
    }
    return crash if face is None else {**crash, "face_index": face, "face_count": photo.face_count}


def _worsen(photo: _Photo, row: dict[str, Any]) -> None:
    if photo.worst is None or _rank(row) > _rank(photo.worst):
        photo.worst = {name: row.get(name) for name in _SHARED}


def _rank(row: dict[str, Any]) -> int:
    return _WORST_LAST.index(row["outcome"])
