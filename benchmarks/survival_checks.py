"""Inputs with poison among them, and what must hold of a run's output whatever was killed."""

import json
import random
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from benchmarks.survival_graph import HANG, SEGFAULT
from jobs import gallery, manifest
from pipeline.avatar_folder import FILES, RECORD
from pipeline.storage import locate
from tests.jobs.bad_photos import photo, write_bad_photos

POISON_SHARE = 0.3
_POLL_S = 0.05
_OTHERS = (manifest.FOLDER, gallery.FOLDER)


@dataclass(frozen=True)
class Inputs:
    """A folder of photos and the error code that each must get; None is an avatar.

    Attributes:
        folder: the photos.
        codes: by file name.
    """

    folder: Path
    codes: dict[str, str | None]

    @property
    def good(self) -> int:
        """How many become avatars."""
        return sum(code is None for code in self.codes.values())


LETHAL: dict[str, tuple[bytes, str]] = {
    "segfault.jpg": (SEGFAULT, "crashed"),
    "hang.jpg": (HANG, "timed_out"),
}
"""What brings its worker down, and the code it gets."""


def write_inputs(
    folder: Path, count: int, seed: int = 0, lethal: Sequence[str] = tuple(LETHAL)
) -> Inputs:
    """Write ``count`` different inputs, `POISON_SHARE` of them bad, in a random order.

    Among the bad ones are one of each of the ``lethal`` ones.
    """
    folder.mkdir()
    rng = random.Random(seed)
    poison = round(count * POISON_SHARE)
    kinds: list[tuple[str, bytes, str]] = [(name, *LETHAL[name]) for name in lethal]
    while len(kinds) < poison:
        codes = write_bad_photos(folder)
        for name, code in codes.items():
            content = (folder / name).read_bytes()
            # bytes behind the end make each of a kind another file; an empty one stays empty
            kinds.append((name, content + str(len(kinds)).encode() if content else b"", code))
            (folder / name).unlink()
    numbers = list(range(count))
    rng.shuffle(numbers)
    found: dict[str, str | None] = {}
    for number, (name, content, code) in zip(numbers, kinds[:poison], strict=False):
        (folder / f"{number:05}-{name}").write_bytes(content)
        found[f"{number:05}-{name}"] = code
    for number in numbers[poison:]:
        found[photo(folder / f"{number:05}.png", number).name] = None
    return Inputs(folder, found)


def outcomes(out: Path) -> dict[str, str | None]:
    """The error code of each input in the manifest.

    Raises:
        AssertionError: an input has two rows.
    """
    table = manifest.load(locate(str(out)), ["source", "outcome", "error_code"]).rows
    rows = table.select(["source", "outcome", "error_code"]).to_pylist()
    counted = Counter(Path(row["source"]).name for row in rows)
    twice = [name for name, times in counted.items() if times > 1]
    assert not twice, f"more than one outcome: {twice}"
    assert all((row["outcome"] == "ok") == (row["error_code"] is None) for row in rows)
    return {Path(row["source"]).name: row["error_code"] for row in rows}


def check_outcomes(inputs: Inputs, out: Path) -> None:
    """Hold the manifest against what each input must get."""
    found = outcomes(out)
    wrong = {
        name: (code, found.get(name, "no outcome"))
        for name, code in inputs.codes.items()
        if found.get(name, "no outcome") != code
    }
    assert not wrong, f"wanted and found: {wrong}"
    assert found.keys() == inputs.codes.keys()


def artefacts(out: Path) -> dict[str, object]:
    """The content of all avatars' files, the records without their timings."""
    files: dict[str, object] = {}
    for record in published(out):
        for path in (out / record).iterdir():
            files[f"{record}/{path.name}"] = path.read_bytes()
            if path.name == RECORD:
                content = {**json.loads(path.read_text()), "timings_s": None}
                files[f"{record}/{path.name}"] = content
    return files


def published(out: Path) -> set[str]:
    """The ids of the avatars that are there."""
    return {path.parent.name for path in out.glob(f"*/{RECORD}")}


@dataclass
class Notes:
    """Which avatars were begun, and when: `time.monotonic` seconds and ids.

    Attributes:
        folder: where the workers write them.
    """

    folder: Path

    def begun(self) -> list[tuple[float, str]]:
        """All beginnings so far, by time."""
        lines = [line for path in self.folder.iterdir() for line in path.read_text().splitlines()]
        pairs = (line.split() for line in lines)
        return sorted((float(moment), avatar) for moment, avatar in pairs)

    def redone(self) -> int:
        """How many were begun again."""
        begun = self.begun()
        return len(begun) - len({avatar for _, avatar in begun})


@dataclass
class Moment:
    """What was finished and what was in flight when something was killed and was gone."""

    at_s: float
    finished: set[str]
    in_flight: set[str]


def check_work(notes: Notes, moments: list[Moment]) -> int:
    """Make sure that nothing finished is made again, and the rest no oftener than it was killed.

    Returns:
        How many avatars were begun again.
    """
    begun = notes.begun()
    for moment in moments:
        again = {avatar for at_s, avatar in begun if at_s > moment.at_s} & moment.finished
        assert not again, f"made again though they were finished: {sorted(again)}"
    for avatar, times in Counter(avatar for _, avatar in begun).items():
        allowed = 1 + sum(avatar in moment.in_flight for moment in moments)
        assert times <= allowed, f"{avatar} was begun {times} times, {allowed} would do"
    return notes.redone()


@dataclass
class Watcher:
    """Looks at the output all the time: what is visible must be whole.

    Attributes:
        out: the destination.
        seen: how many looks there were.
        broken: what was not whole.
    """

    out: Path
    seen: int = 0
    broken: set[str] = field(default_factory=set)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self._stop.set()
        assert self._thread is not None
        self._thread.join()
        self._look()
        if error[0] is None:
            assert self.seen, "the watcher never looked"
            assert not self.broken, f"half-written: {sorted(self.broken)}"

    def _watch(self) -> None:
        while not self._stop.wait(_POLL_S):
            self._look()

    def _look(self) -> None:
        if not self.out.is_dir():
            return
        self.seen += 1
        for folder in self.out.iterdir():
            if folder.is_dir() and folder.name not in _OTHERS and folder.name[0] != ".":
                names = {path.name for path in folder.iterdir()}
                if names != set(FILES):
                    self.broken.add(f"{folder.name}: {sorted(names)}")
