"""Progress on the error stream: a bar on a terminal, plain lines elsewhere."""

import sys
import time
from typing import Any, Self, TextIO

from pipeline.stage import Row

_LINE_EVERY_S = 10.0
_EVERY_ROW_UP_TO = 200


class Progress:
    """Counts finished inputs; use it as a context manager.

    Short runs without a terminal get a line an outcome, long ones a line every ten seconds: what
    went wrong is in the manifest.

    Args:
        total: inputs that there are.
        stream: where to show it; the error stream by default.
        unit: what the inputs are called.
        each: whether each outcome of a short run gets a line.
    """

    def __init__(
        self, total: int, stream: TextIO | None = None, *, unit: str = "photos", each: bool = True
    ) -> None:
        self._total, self._unit = total, unit
        self._each = each and total <= _EVERY_ROW_UP_TO
        self._stream = stream or sys.stderr
        self._sources: set[str] = set()
        self._not_ok = 0
        self._started = self._last_line = time.monotonic()
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Self:
        if self._stream.isatty():
            self._open_bar()
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def add(self, row: Row) -> None:
        """Count one finished row."""
        self._sources.add(row["source"])
        self._not_ok += row["outcome"] != "ok"
        if self._bar is not None:
            self._bar.update(
                self._task,
                completed=len(self._sources),
                not_ok=self._not_ok,
                rate=f"{self._per_second():.2f} {self._unit}/s",
            )
        elif self._each:
            self._print(_told(row))
        elif time.monotonic() - self._last_line > _LINE_EVERY_S:
            self._last_line = time.monotonic()
            self._print(f"{self._not_ok} not ok, {self._pace()}")

    def step(self, stage: str, step: int, steps: int) -> None:
        """Show what is being done to the present photo; only the bar has room for it."""
        if self._bar is not None:
            self._bar.update(self._task, stage=f"{stage} {step}/{steps}")

    def _per_second(self) -> float:
        return len(self._sources) / max(time.monotonic() - self._started, 1e-3)

    def _pace(self) -> str:
        """How fast it goes and how long that will take."""
        left_s = (self._total - len(self._sources)) / max(self._per_second(), 1e-9)
        return f"{self._per_second():.2f} {self._unit}/s, {_span(left_s)} left"

    def _print(self, text: str) -> None:
        print(f"[{len(self._sources)}/{self._total}] {text}", file=self._stream, flush=True)

    def _open_bar(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        self._bar = Bar(
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[not_ok]} not ok"),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[stage]}"),
            console=Console(file=self._stream),
        )
        self._task = self._bar.add_task(self._unit, total=self._total, not_ok=0, rate="", stage="")
        self._bar.start()


def _span(seconds: float) -> str:
    """A length of time in its largest unit."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _told(row: Row) -> str:
    name = row["source"].rsplit("/", 1)[-1]
    if (row.get("face_count") or 1) > 1:
        name += f" face {row['face_index'] + 1}/{row['face_count']}"
    if row["outcome"] != "ok":
        return f"{name}: {row['outcome']}: {row['error_message']}"
    if row.get("duplicate_of"):
        return f"{name}: same as {row['duplicate_of'].rsplit('/', 1)[-1]}"
    if row.get("resumed"):
        return f"{name}: made before"
    told = f"{name}: ok, {sum(row.get('timings_s', {}).values()):.1f} s"
    return (
        f"{told}, below the threshold, try {row['tries']}" if row.get("below_threshold") else told
    )
