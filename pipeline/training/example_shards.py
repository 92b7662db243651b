"""Training examples in files: made once, read by every worker and every later run.

A folder named after everything that its examples depend on holds ``examples.json``, which says what
that is, and safetensors files of the people of up to 16 sequences each. A file appears whole or not
at all, so a preparation that was killed goes on; readers map the files and share their pages.
"""

import json
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from pipeline.digital_human.dataset import HeadDataset
from pipeline.errors import UsageError
from pipeline.storage import check_writable, locate
from pipeline.training.example_maker import ExampleMaker
from pipeline.training.example_source import ExampleSource, key_of
from pipeline.training.examples import Columns, Examples

SEQUENCES_A_SHARD = 16
"""A multiple of the people whom the first stage draws at a time, so that shards change nothing."""
DESCRIPTION = "examples.json"
_STALE_S = 6 * 3600.0

Make = Callable[[int], None]
Execute = Callable[[Make, list[int]], Iterable[int]]
"""Makes the shards of these numbers, in any order, and yields the number of each that is made."""


def one_by_one(make: Make, numbers: list[int]) -> Iterator[int]:
    """Make shards in this process."""
    for number in numbers:
        make(number)
        yield number


def prepare(source: ExampleSource, cache: Path, execute: Execute = one_by_one) -> Path:
    """Make the shards that are missing or damaged.

    Args:
        source: what the examples are made from.
        cache: folder for any number of sets; one that all workers see.
        execute: where the shards are made.

    Returns:
        The folder of the set, in ``cache``.

    Raises:
        UsageError: nothing can be written, the disk is too small, or there is nobody to learn from.
        ModelNotFound: the model folder lacks a part that the examples need.
        UnreadableSource: there is no dataset, or a sequence is damaged.
    """
    dataset = source.dataset()
    made_of = source.made_of(dataset)
    folder = cache / key_of(made_of)
    check_writable(locate(str(folder)))
    _remove_stale(folder)
    count = -(-len(dataset) // SEQUENCES_A_SHARD)
    # listed, not looked up: network disks remember for a while that a file is not there
    there = {path.name for path in folder.iterdir()}
    missing = [
        number
        for number in range(count)
        if _shard(folder, number).name not in there or _read(folder, number) is None
    ]
    if missing or DESCRIPTION not in there:
        _describe(folder, dataset, count, made_of)
    make = _MakeShard(ExampleMaker(source, dataset), folder)
    for done, number in enumerate(execute(make, missing) if missing else (), 1):
        _check_room(folder, number, len(missing) - done)
    return folder


def open_examples(folder: Path) -> Examples:
    """The examples of a set that `prepare` has made.

    Raises:
        UsageError: a shard is missing or damaged here, or there is nobody to learn from.
    """
    try:
        described = json.loads((folder / DESCRIPTION).read_text())
    except (OSError, ValueError) as error:
        raise _incomplete(folder, f"{DESCRIPTION} cannot be read: {error}") from error
    shards = [_read(folder, number) for number in range(described["shards"])]
    whole = [one for one in shards if one is not None]
    if len(whole) < len(shards):
        lost = len(shards) - len(whole)
        raise _incomplete(folder, f"{lost} of {len(shards)} shards are missing or damaged")
    return Examples(whole, np.array(described["orbit_azimuths_deg"], np.float32))


@dataclass(frozen=True)
class _MakeShard:
    """Makes one shard; can be sent to other processes."""

    maker: ExampleMaker
    folder: Path

    def __call__(self, number: int) -> None:
        first = number * SEQUENCES_A_SHARD
        last = min(first + SEQUENCES_A_SHARD, len(self.maker.dataset))
        columns = self.maker.make(range(first, last))
        _write(_shard(self.folder, number), save(columns))


def _shard(folder: Path, number: int) -> Path:
    return folder / f"{number:05d}.safetensors"


def _read(folder: Path, number: int) -> Columns | None:
    """The columns of a shard, mapped: only what is looked at is read. None if it is not whole."""
    try:
        with safe_open(_shard(folder, number), "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError):
        return None


def _describe(folder: Path, dataset: HeadDataset, shards: int, made_of: dict[str, Any]) -> None:
    azimuths_deg = dataset.options.azimuths_deg.tolist()
    text = {"shards": shards, "orbit_azimuths_deg": azimuths_deg, "made_of": made_of}
    _write(folder / DESCRIPTION, json.dumps(text, indent=2).encode() + b"\n")


def _write(path: Path, data: bytes) -> None:
    try:
        locate(str(path)).write(data)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written ({error.strerror}); make room, or give --cache a folder on "
            "another disk. What is there stays"
        ) from error


def _check_room(folder: Path, number: int, left: int) -> None:
    """Stop early where the disk is going to be full."""
    try:
        wanted = left * _shard(folder, number).stat().st_size
    except FileNotFoundError as error:
        raise _incomplete(folder, f"shard {number} was written where it cannot be seen") from error
    free = shutil.disk_usage(folder).free
    if wanted > free:
        raise UsageError(
            f"the {left} shards that are left take about {wanted / 1e9:.1f} GB and {folder} has "
            f"{free / 1e9:.1f} GB of room; make room, or give --cache a folder on another disk"
        )


def _remove_stale(folder: Path) -> None:
    """Delete what runs killed more than six hours ago left half-written."""
    for leftover in folder.glob(".*"):
        with suppress(FileNotFoundError):
            if time.time() - leftover.stat().st_mtime > _STALE_S:
                leftover.unlink()


def _incomplete(folder: Path, what: str) -> UsageError:
    return UsageError(
        f"the training examples in {folder} are incomplete on this machine ({what}); run again, "
        "with a --cache that all machines share"
    )
