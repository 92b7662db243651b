"""What a run tells Prometheus, through Ray's metrics: each node's agent serves it.

Ray puts ``ray_`` before the names. A stage's busy share, 0 to 1, is
``rate(ray_headsplat_stage_seconds_sum[5m]) / ray_headsplat_stage_actors`` by stage.
"""

from collections.abc import Sequence
from functools import cache

from ray.util.metrics import Counter, Gauge, Histogram

from pipeline.stage import Row

_BOUNDARIES_S = [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0]


@cache
def _stage_seconds() -> Histogram:
    return Histogram(
        "headsplat_stage_seconds",
        "Seconds that a stage worked on a row",
        boundaries=_BOUNDARIES_S,
        tag_keys=("stage",),
    )


@cache
def _photos() -> Counter:
    return Counter(
        "headsplat_photos_total", "Finished rows by outcome", tag_keys=("outcome", "code")
    )


@cache
def _actors() -> Gauge:
    return Gauge("headsplat_stage_actors", "Planned actors of a stage", tag_keys=("stage",))


def observe(stage: str, results: Sequence[Row]) -> None:
    """Count what a worker's call took for each row."""
    for row in results:
        seconds = row.get("timings_s", {}).get(stage)
        if seconds is not None and not row.get("resumed"):  # those bring an earlier run's
            _stage_seconds().observe(seconds, {"stage": stage})


def count(row: Row) -> None:
    """Count a finished row."""
    code = row.get("error_code") or ""
    _photos().inc(1, {"outcome": row["outcome"], "code": code})


def planned(actors: dict[str, int]) -> None:
    """Say how large the pools are."""
    for stage, number in actors.items():
        _actors().set(number, {"stage": stage})
