"""The passes of a run: all photos, then again those whose avatars are below the threshold."""

from collections.abc import Callable, Iterator, Sequence

from jobs.progress import Progress
from pipeline.stage import Row, Stage
from pipeline.tries import wants_retry

Execute = Callable[[Sequence[Stage], list[Row], Progress], Iterator[Row]]
"""Runs the stages over the rows and yields finished rows, reporting steps if it can."""


def run_passes(
    stages: Sequence[Stage], sources: Sequence[str], execute: Execute, tries: int
) -> Iterator[Row]:
    """Run the stages over all photos, and again over those that want another try.

    The stages find in the avatars' records which try it is, see `pipeline.tries`.

    Args:
        stages: the graph.
        sources: the photos.
        execute: the executor.
        tries: most tries an avatar gets; 1 makes it one pass.

    Yields:
        Finished rows. An avatar that was tried again comes once more, after what it was before. A
        try that fails leaves no row: the avatar of the try before stands.
    """
    live = list(sources)
    for number in range(tries):
        again: dict[str, None] = {}
        with Progress(len(live), unit="retries" if number else "photos") as progress:
            for row in execute(stages, [{"source": source} for source in live], progress):
                progress.add(row)
                if wants_retry(row, tries):
                    again[row["source"]] = None
                if number == 0 or (row["outcome"] == "ok" and not row.get("resumed")):
                    yield row
        live = [source for source in live if source in again]
        if not live:
            return
