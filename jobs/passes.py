"""The passes of a run: all photos, then again those whose avatars are below the threshold."""

from collections.abc import Callable, Generator, Iterator, Sequence

import numpy as np

from jobs.listing import Listing
from jobs.outcomes import Ledger
from jobs.progress import Progress
from pipeline.stage import Row, Stage
from pipeline.tries import wants_retry

Execute = Callable[[Sequence[Stage], list[Row], Progress], Iterator[Row]]
"""Runs the stages over the rows and yields finished rows, reporting steps if it can."""
WAVE_ROWS = 25_000
"""How many photos are given to the executor at a time, so that a driver holds the rows of so many
and no more: Ray keeps some kB of each task until the wave is over. Between two waves the actor
pools start anew and the last rows of the first drain, which takes about a minute with weights to
load. That is under 1 % while a wave takes more than 6,000 s: at 10 s an avatar and GPU, up to 40
GPUs a driver. More are better shared by several drivers, each with a ``--shard``, than by one."""


def run_passes(
    stages: Sequence[Stage],
    listing: Listing,
    todo: np.ndarray,
    execute: Execute,
    tries: int,
    wave_rows: int,
) -> Generator[Row]:
    """Run the stages over photos, and again over those that want another try.

    The stages find in the avatars' records which try it is, see `pipeline.tries`.

    Args:
        stages: the graph.
        listing: the photos.
        todo: which of them, by number.
        execute: the executor; it is not called if there is nothing to do.
        tries: most tries an avatar gets; 1 makes it one pass.
        wave_rows: see `WAVE_ROWS`.

    Yields:
        Rows with their outcome, at least one for each photo. An avatar that was tried again comes
        once more, after what it was before. A try that fails leaves no row: the avatar of the try
        before stands.
    """
    for number in range(tries):
        if not len(todo):
            return
        again: list[np.ndarray] = []
        with Progress(len(todo), unit="retries" if number else "photos") as progress:
            for wave in np.array_split(todo, range(wave_rows, len(todo), wave_rows)):
                weak = yield from _run_wave(
                    stages, listing.rows(wave), execute, progress, tries, first=number == 0
                )
                again.append(wave[weak])
        todo = np.concatenate(again)


def _run_wave(
    stages: Sequence[Stage],
    rows: list[Row],
    execute: Execute,
    progress: Progress,
    tries: int,
    *,
    first: bool,
) -> Generator[Row, None, np.ndarray]:
    """Yield the rows of one wave; return which photos want another try."""
    ledger = Ledger(rows)
    weak: set[str] = set()
    for row in execute(stages, rows, progress):
        progress.add(row)
        if wants_retry(row, tries):
            weak.add(row["source"])
        made = row["outcome"] == "ok" and not row.get("resumed")
        if ledger.add(row) and (first or made):
            yield row
    if first:
        yield from ledger.close()
    return np.array([row["source"] in weak for row in rows], bool)
