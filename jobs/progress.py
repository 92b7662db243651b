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
    """

    def __init__(self, total: int, stream: TextIO | None = None) -> None:
        self._total = total
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
            self._bar.update(self._task, completed=len(self._sources), not_ok=self._not_ok)
        elif self._total <= _EVERY_ROW_UP_TO:
            self._print(f"{_told(row)}")
        elif time.monotonic() - self._last_line > _LINE_EVERY_S:
            self._last_line = time.monotonic()
            rate = len(self._sources) / (self._last_line - self._started)
            left_s = (self._total - len(self._sources)) / rate
            self._print(f"{self._not_ok} not ok, {rate:.2f} photos/s, {left_s / 60:.0f} min left")

    def step(self, stage: str, step: int, steps: int) -> None:
        """Show what is being done to the present photo; only the bar has room for it."""
        if self._bar is not None:
            self._bar.update(self._task, stage=f"{stage} {step}/{steps}")

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
            TimeRemainingColumn(),
            TextColumn("{task.fields[stage]}"),
            console=Console(file=self._stream),
        )
        self._task = self._bar.add_task("photos", total=self._total, not_ok=0, stage="")
        self._bar.start()


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
    return f"{name}: ok, {sum(row.get('timings_s', {}).values()):.1f} s"
