"""Progress on the error stream: a bar on a terminal, plain lines or JSON elsewhere."""

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Self, TextIO

from pipeline.stage import Row

LOG_FORMAT = "HEADSPLAT_LOG_FORMAT"
"""Environment variable; "json" makes every line one JSON object."""
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
        self._rows = self._not_ok = 0
        self._codes: Counter[str] = Counter()
        self._started = self._last_line = time.monotonic()
        self._use = _StageUse()
        self._bar: Any = None
        self._task: Any = None
        self._json = os.environ.get(LOG_FORMAT) == "json"

    def __enter__(self) -> Self:
        if self._stream.isatty() and not self._json:
            self._open_bar()
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.stop()
        if self._json:
            self._event("totals", {"wall_s": round(time.monotonic() - self._started, 1)})

    def describe(self, actors: Mapping[str, int], *, as_json: bool = False) -> None:
        """Say how many actors each stage has, so that their use can be shown.

        Args:
            actors: by stage.
            as_json: write JSON lines, whatever the environment says.
        """
        self._use.actors = dict(actors)
        if as_json and not self._json:
            self._json = True
            if self._bar is not None:
                self._bar.stop()
                self._bar = None

    def add(self, row: Row) -> None:
        """Count one finished row."""
        self._sources.add(row["source"])
        self._rows += 1
        self._not_ok += row["outcome"] != "ok"
        if row.get("error_code"):
            self._codes[row["error_code"]] += 1
        self._use.add(row)
        now = time.monotonic()
        due = now - self._last_line > _LINE_EVERY_S
        if due:
            self._last_line = now
            self._use.report(now)
        if self._json:
            if due:
                self._event("progress", {})
        elif self._bar is not None:
            self._update_bar()
        elif self._each:
            self._print(_told(row))
        elif due:
            self._print(f"{self._troubles()}, {self._pace()}{self._use.told()}")

    def step(self, stage: str, step: int, steps: int) -> None:
        """Show what is being done to the present photo; only the bar has room for it."""
        if self._bar is not None:
            self._bar.update(self._task, stage=f"{stage} {step}/{steps}")

    def _per_second(self) -> float:
        return len(self._sources) / max(time.monotonic() - self._started, 1e-3)

    def _left_s(self) -> float:
        return (self._total - len(self._sources)) / max(self._per_second(), 1e-9)

    def _pace(self) -> str:
        """How fast it goes and how long that will take."""
        return f"{self._per_second():.2f} {self._unit}/s, {_span(self._left_s())} left"

    def _troubles(self) -> str:
        codes = ", ".join(f"{number} {code}" for code, number in self._codes.most_common(3))
        return f"{self._not_ok} not ok" + (f" ({codes})" if codes else "")

    def _print(self, text: str) -> None:
        print(f"[{len(self._sources)}/{self._total}] {text}", file=self._stream, flush=True)

    def _event(self, event: str, more: dict[str, Any]) -> None:
        record = {
            "event": event,
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "unit": self._unit,
            "done": len(self._sources),
            "total": self._total,
            "ok_rows": self._rows - self._not_ok,
            "not_ok": dict(self._codes),
            "rate_per_s": round(self._per_second(), 4),
            "left_s": round(self._left_s(), 1),
            "stages": self._use.record(),
            "bottleneck": self._use.bottleneck(),
        }
        print(json.dumps({**record, **more}), file=self._stream, flush=True)

    def _update_bar(self) -> None:
        busiest = self._use.bottleneck()
        self._bar.update(
            self._task,
            completed=len(self._sources),
            not_ok=self._not_ok,
            rate=f"{self._per_second():.2f} {self._unit}/s",
            **({"stage": f"busiest: {busiest}"} if busiest else {}),
        )

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


class _StageUse:
    """How busy the actors of each stage are, by the timings of the rows that are finished.

    Attributes:
        actors: of each stage; stages without are not shown.
    """

    def __init__(self) -> None:
        self.actors: dict[str, int] = {}
        self._busy_s: Counter[str] = Counter()
        self._shares: dict[str, float] = {}
        self._since = time.monotonic()

    def add(self, row: Row) -> None:
        """Count a row's seconds in each stage."""
        if not row.get("resumed"):  # those tell of an earlier run
            self._busy_s.update(row.get("timings_s") or {})

    def report(self, now: float) -> None:
        """Work out the shares since the last report, and begin anew."""
        seconds = max(now - self._since, 1e-3)
        self._shares = {
            stage: self._busy_s[stage] / (number * seconds) for stage, number in self.actors.items()
        }
        self._busy_s.clear()
        self._since = now

    def record(self) -> dict[str, dict[str, float]]:
        """Actors and busy share, 0 to 1, of each stage at the last report."""
        return {
            stage: {"actors": self.actors[stage], "busy_share": round(share, 3)}
            for stage, share in self._shares.items()
        }

    def bottleneck(self) -> str | None:
        """The busiest stage; None before the first report."""
        return max(self._shares, key=lambda stage: self._shares[stage], default=None)

    def told(self) -> str:
        """What a line says of it."""
        stage = self.bottleneck()
        if stage is None:
            return ""
        return f", busiest {stage} ({self._shares[stage]:.0%} of {self.actors[stage]})"


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
