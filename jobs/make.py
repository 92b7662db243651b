"""``headsplat make``: a few photos, in this process."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from jobs.options import AvatarOptions, graph_options
from jobs.progress import Progress
from pipeline.stage import Row, Stage


@dataclass(frozen=True, kw_only=True)
class MakeOptions(AvatarOptions):
    """Make avatars of a few photos.

    Example: headsplat make me.jpg friends/*.png -o avatars --faces all

    Attributes:
        photos: photos, folders of photos, .tar and .parquet files, globs or URIs.
        output: folder or URI for the avatars; what is there already is not made again.
    """

    photos: tyro.conf.Positional[tuple[str, ...]]
    output: Annotated[str, tyro.conf.arg(aliases=["-o"])]


def make(options: MakeOptions) -> int:
    """Run the graph over the photos one after the other; return the exit code."""
    from jobs.batch import Batch, run_batch

    batch = Batch(
        addresses=options.photos,
        destination=options.output,
        options=graph_options(options),
        as_json=options.json,
    )
    return run_batch(batch, _execute)


def _execute(stages: Sequence[Stage], rows: list[Row], progress: Progress) -> Iterator[Row]:
    from pipeline.local import Claims, best_device, run_local
    from pipeline.stage import Context

    context = Context(report=progress.step, claim=Claims())
    return run_local(stages, rows, context, best_device())
