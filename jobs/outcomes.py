"""From the rows that an executor returns to exactly one outcome an input."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from pipeline.stage import Row

CRASHED, NOT_REACHED = "crashed", "not_reached"
_REASONS = {
    CRASHED: "the worker process died each time it came to this photo",
    NOT_REACHED: "the run was stopped before this photo was finished; run it again to go on",
}


def settle(rows: Iterable[Row], sources: Sequence[str], missing: str = CRASHED) -> list[Row]:
    """Give every input its outcome, and put the rows in the order of the inputs.

    A photo with the same content as another shares that one's outcome.

    Args:
        rows: finished rows; those of one photo with several faces differ in ``face_index``.
        sources: every input of the run.
        missing: why an input without a row has failed: `CRASHED`, since it took its worker down
            each time, or `NOT_REACHED`.
    """
    by_source = _by_source(rows, sources)
    for source in _lacking(by_source):
        by_source[source].append(_failed(source, missing))
    settled: list[Row] = []
    for source in sources:
        outcomes = [_shared(row, by_source) for row in by_source[source]]
        settled += sorted(outcomes, key=_face)
    return settled


def incomplete(rows: Iterable[Row], sources: Sequence[str]) -> list[str]:
    """The inputs that have no row, or fewer rows than the photo has faces."""
    return _lacking(_by_source(rows, sources))


def totals(rows: Iterable[Row]) -> dict[str, int]:
    """How many rows are ``ok``, ``rejected`` and ``failed``; how many of the ok ones were not made
    in this run because they are ``resumed`` or ``duplicates``; how many were ``retried`` in it, and
    how many stayed ``below_threshold``.
    """
    rows = list(rows)
    count = Counter(row["outcome"] for row in rows)
    return {
        "ok": count["ok"],
        "rejected": count["rejected"],
        "failed": count["failed"],
        "resumed": sum(bool(row.get("resumed")) for row in rows),
        "duplicates": sum(row.get("duplicate_of") is not None for row in rows),
        "retried": sum((row.get("tries") or 1) > 1 and not row.get("resumed") for row in rows),
        "below_threshold": sum(bool(row.get("below_threshold")) for row in rows),
    }


def exit_code(rows: Iterable[Row]) -> int:
    """0 if every input is ok, else 1."""
    return int(any(row["outcome"] != "ok" for row in rows))


def _by_source(rows: Iterable[Row], sources: Sequence[str]) -> dict[str, list[Row]]:
    """The rows of each input, one a face: the last, if a face was made and then found made."""
    found: dict[str, dict[int, Row]] = {source: {} for source in sources}
    for row in rows:
        found[row["source"]][_face(row)] = row
    return {source: list(faces.values()) for source, faces in found.items()}


def _lacking(by_source: dict[str, list[Row]]) -> list[str]:
    return [
        source
        for source, rows in by_source.items()
        if len(rows) < max((row.get("face_count") or 1 for row in rows), default=1)
    ]


def _face(row: Row) -> int:
    return int(row.get("face_index") or 0)


def _failed(source: str, code: str) -> Row:
    return {
        "source": source,
        "outcome": "failed",
        "error_code": code,
        "error_message": _REASONS[code],
        "error_stage": None,
    }


def _shared(row: Row, by_source: dict[str, list[Row]]) -> Row:
    """``row``; a duplicate gets the worst outcome of the photo that stands for it."""
    if row.get("duplicate_of") is None:
        return row
    order = ("ok", "rejected", "failed")
    owner = max(by_source[row["duplicate_of"]], key=lambda other: order.index(other["outcome"]))
    fields = ("outcome", "error_code", "error_message", "error_stage")
    shared: dict[str, Any] = {name: owner.get(name) for name in fields}
    return {**row, **shared}
