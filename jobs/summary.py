"""What came of a run's photos, counted and told."""

import json
import sys
from collections import Counter
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

COLUMNS = (
    "outcome",
    "error_code",
    "run",
    "resumed",
    "duplicate_of",
    "tries",
    "below_threshold",
)
"""Of the manifest."""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The outcomes of a run.

    Attributes:
        totals: how many avatars and photos are ``ok``, ``rejected`` and ``failed``; how many of the
            ok ones were not made in this run because they are ``resumed`` or ``duplicates``; how
            many were ``retried`` in it; how many stayed ``below_threshold``.
        reasons: how often each error code, for ``rejected`` and ``failed``.
        seconds: length of the run.
    """

    totals: dict[str, int]
    reasons: dict[str, dict[str, int]]
    seconds: float

    @property
    def exit_code(self) -> int:
        """0 if every photo is ok, else 1."""
        return int(self.totals["rejected"] + self.totals["failed"] > 0)


def summarise(rows: pa.Table, run: str, seconds: float) -> Summary:
    """Count the rows of a run's photos.

    Args:
        rows: with `COLUMNS`, also those that an earlier run wrote.
        run: the name of this one.
        seconds: its length.
    """
    counts = rows.group_by(["outcome", "error_code"]).aggregate([([], "count_all")]).to_pylist()
    outcomes: Counter[str] = Counter()
    reasons: dict[str, dict[str, int]] = {"rejected": {}, "failed": {}}
    for entry in counts:
        outcomes[entry["outcome"]] += entry["count_all"]
        if entry["outcome"] in reasons:
            reasons[entry["outcome"]][str(entry["error_code"])] = entry["count_all"]
    ok, twin = pc.equal(rows["outcome"], "ok"), pc.is_valid(rows["duplicate_of"])
    earlier = pc.or_(rows["resumed"], pc.not_equal(rows["run"], run))
    again = pc.greater(pc.fill_null(rows["tries"], 1), 1)
    totals = {
        "ok": outcomes["ok"],
        "rejected": outcomes["rejected"],
        "failed": outcomes["failed"],
        "resumed": _count(pc.and_(pc.and_(ok, pc.invert(twin)), earlier)),
        "duplicates": _count(pc.and_(ok, twin)),
        "retried": _count(pc.and_(again, pc.invert(earlier))),
        "below_threshold": _count(pc.fill_null(rows["below_threshold"], False)),
    }
    return Summary(totals=totals, reasons=reasons, seconds=round(seconds, 1))


def print_summary(summary: Summary, places: dict[str, str], *, as_json: bool) -> None:
    """Tell what came of a run, on the output stream.

    Args:
        summary: the counts.
        places: addresses of ``destination``, ``gallery``, ``manifest`` and ``failed``.
        as_json: as one JSON object.
    """
    count = summary.totals
    if as_json:
        told: dict[str, Any] = {"seconds": summary.seconds, "totals": count}
        print(json.dumps({**places, **told, "reasons": summary.reasons}))
        return
    lines = [("made", count["ok"] - count["resumed"] - count["duplicates"], "")]
    lines += [("made before", count["resumed"], "")] if count["resumed"] else []
    lines += [("duplicates", count["duplicates"], "")] if count["duplicates"] else []
    if count["retried"] or count["below_threshold"]:
        lines += [("retried", count["retried"], f"{count['below_threshold']} below the threshold")]
    for outcome, codes in summary.reasons.items():
        why = ", ".join(f"{number} {code}" for code, number in sorted(codes.items()))
        lines.append((outcome, count[outcome], why))
    print("\n".join(f"  {name:<12}{number:>8}  {why}".rstrip() for name, number, why in lines))
    print(f"  {'time':<12}{summary.seconds:>7.1f}s")
    print(f"  {places['gallery']}", flush=True)
    if count["failed"]:
        print(f"  what went wrong: {places['failed']}", file=sys.stderr)


def _count(mask: pa.ChunkedArray) -> int:
    return int(pc.sum(mask).as_py() or 0)
