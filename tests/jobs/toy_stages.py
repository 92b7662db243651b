"""Small stages that do real arithmetic, for tests of the executors."""

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline.errors import InputError
from pipeline.stage import Context, Resources, Row, Stage


class Parse(Stage):
    """``source`` "7" becomes an array of seven random bytes; anything else is rejected."""

    name = "Parse"
    inputs = ("source",)
    outputs = ("pixels", "number")
    resources = Resources(cpus=1, memory_gb=0.1)

    def process(self, rows: Sequence[Row], context: Context) -> list[Row]:
        return [self._parse(row) for row in rows]

    def _parse(self, row: Row) -> Row:
        if row["source"] == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if not row["source"].isdigit():
            raise InputError(f"{row['source']!r} is not a number")
        number = int(row["source"])
        rng = np.random.default_rng(number)
        return {**row, "number": number, "pixels": rng.integers(0, 255, (number, 3), np.uint8)}


class Scale(Stage):
    """``pixels`` times the weight that ``setup`` loads; 13 is a bug."""

    name = "Scale"
    inputs = ("pixels", "number")
    outputs = ("scaled",)
    resources = Resources(cpus=1, gpus=0.5, memory_gb=0.1)
    batch_size = 2

    def setup(self, device: str) -> None:
        self.weight = np.float32(1 / 3)

    def process(self, rows: Sequence[Row], context: Context) -> list[Row]:
        if any(row["number"] == 13 for row in rows):
            raise ZeroDivisionError("thirteen")
        return [{**row, "scaled": row["pixels"] * self.weight} for row in rows]


class Split(Stage):
    """Numbers over 100 become two rows."""

    name = "Split"
    inputs = ("scaled",)
    outputs = ("half", "part")
    resources = Resources(cpus=1, memory_gb=0.1)

    def process(self, rows: Sequence[Row], context: Context) -> list[Row]:
        return [part for row in rows for part in self._split(row)]

    def _split(self, row: Row) -> list[Row]:
        parts = np.array_split(row["scaled"], 2 if row["number"] > 100 else 1)
        return [{**row, "part": i, "half": part} for i, part in enumerate(parts)]


class Total(Stage):
    """The sum of what is left."""

    name = "Total"
    inputs = ("half",)
    outputs = ("total",)
    resources = Resources(cpus=1, memory_gb=0.1)

    def process(self, rows: Sequence[Row], context: Context) -> list[Row]:
        return [{**row, "total": row["half"].sum(dtype=np.float32)} for row in rows]


class Produce(Stage):
    """Notes each row in a file once that is there, and hands 200 kB on."""

    name = "Produce"
    inputs = ("source",)
    outputs = ("pixels",)
    resources = Resources(cpus=1, memory_gb=0.1)

    def __init__(self, log: Path) -> None:
        self.log = log

    def process(self, rows: Sequence[Row], context: Context) -> list[Row]:
        while not self.log.exists():
            time.sleep(0.02)
        with self.log.open("a") as stream:
            stream.writelines("made\n" for _ in rows)
        return [{**row, "pixels": np.zeros(200_000, np.uint8)} for row in rows]


class Consume(Stage):
    """Takes its time, and counts the rows that were noted before it and are not done yet."""

    name = "Consume"
    inputs = ("pixels",)
    outputs = ("ahead",)
    resources = Resources(cpus=1, memory_gb=0.1)

    def __init__(self, log: Path) -> None:
        self.log = log

    def setup(self, device: str) -> None:
        self.log.touch()  # Ray Data holds nothing back for a stage that is not there yet
        self.done = 0

    def process(self, rows: Sequence[Row], context: Context) -> list[Row]:
        time.sleep(0.1)
        ahead = len(self.log.read_text().splitlines()) - self.done
        self.done += len(rows)
        return [{**row, "ahead": ahead} for row in rows]


def toy_stages() -> list[Stage]:
    return [Parse(), Scale(), Split(), Total()]


class Trouble(Stage):
    """Hangs, crashes, or runs out of memory, as the source says; else passes the row on.

    "nap" sleeps where it sees its deadline, "hang" where it does not, "deaf" in native code that
    holds Python's lock; "segfault" dies; "broken" is a GPU after an illegal access.
    """

    name = "Trouble"
    inputs = ("source",)
    outputs = ("done",)
    resources = Resources(cpus=1, gpus=0.5, memory_gb=0.1)
    batch_size = 4

    def process(self, rows: Sequence[Row], context: Context) -> list[Row]:
        import ctypes

        kinds = {row["source"].partition(" ")[0] for row in rows}
        while "nap" in kinds:
            time.sleep(0.05)
            context.checkpoint(self.name, 1, 2)
        if "hang" in kinds:
            time.sleep(600)
        if "deaf" in kinds:
            ctypes.PyDLL(None).sleep(600)
        if "segfault" in kinds:
            ctypes.string_at(0)
        if "broken" in kinds:
            raise RuntimeError("CUDA error: an illegal memory access was encountered\nmore")
        return [{**row, "done": True} for row in rows]
