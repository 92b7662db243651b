"""The command line with small stages, some of which do what a bad file makes native code do.

    python -m benchmarks.survival_graph generate photos/ avatars/

Photos are really loaded, decoded and exported, see `tests.jobs.toy_avatars`. A file that begins
with `SEGFAULT` brings its worker down, one that begins with `HANG` never returns. Every avatar
whose making begins is noted in the folder ``SURVIVAL_NOTES``, each process in a file of its own.
"""

import ctypes
import os
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import jobs.batch
from jobs.cli import main
from pipeline.graph import GraphOptions
from pipeline.recipe import Recipe
from pipeline.stage import Context, Row, Stage
from tests.jobs import toy_avatars

SEGFAULT, HANG = b"segfault ", b"hang "
NOTES = "SURVIVAL_NOTES"


class Decode(toy_avatars.Decode):
    """The real decoder, with two faults."""

    def process(self, rows: Sequence[Row], context: Context) -> list[Row]:
        """Decode the rows, or do as the file says."""
        for row in rows:
            if row["image"].startswith(SEGFAULT):
                ctypes.string_at(0)
            if row["image"].startswith(HANG):
                threading.Event().wait()
        return super().process(rows, context)


class Invent(toy_avatars.Invent):
    """Notes that it begins."""

    inputs = (*toy_avatars.Invent.inputs, "id")

    def __init__(self, notes: str) -> None:
        self.notes = notes

    def process(self, rows: Sequence[Row], context: Context) -> list[Row]:
        """Put the ids down and go on."""
        for row in rows:
            line = f"{time.monotonic():.4f} {row['id']}\n"
            with Path(self.notes, str(os.getpid())).open("a") as stream:
                stream.write(line)
        return super().process(rows, context)


def graph(options: GraphOptions, destination: str, recipe: Recipe) -> list[Stage]:
    """The toy graph with the two stages in it."""
    own = {"Decode": Decode(1), "Invent": Invent(os.environ[NOTES])}
    stages = toy_avatars.graph(options, destination, recipe)
    return [own.get(stage.name, stage) for stage in stages]


if __name__ == "__main__":
    from benchmarks import survival_graph  # workers find the stages by that name

    jobs.batch.build_graph = survival_graph.graph
    jobs.batch.build_recipe = toy_avatars.recipe
    sys.exit(main())
