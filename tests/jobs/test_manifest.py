import itertools
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import jobs.compaction
from jobs import manifest
from jobs.compaction import compact
from jobs.manifest import Stamp, Writer
from jobs.summary import COLUMNS, summarise
from pipeline.errors import ProcessingError, UsageError
from pipeline.stage import Row
from pipeline.storage import Location, locate

STAMP = Stamp(run="first", recipe="k", model_hash="m")
GOOD: Row = {
    "source": "a.jpg",
    "id": "1",
    "outcome": "ok",
    "timings_s": {"Load": 0.5, "LowRes": 2.0},
    "scores": {"psnr_db": 20.0, "unknown": None},
    "seed": 3,
}


@pytest.fixture
def root(tmp_path: Path) -> Location:
    return locate(str(tmp_path))


def _write(root: Location, rows: list[Row], stamp: Stamp = STAMP) -> None:
    with Writer(root, stamp) as writer:
        for row in rows:
            writer.add({"outcome": "ok", **row})


def _plain(root: Location) -> list[Row]:
    """As a user reads it."""
    table = pq.read_table(Path(root.path, manifest.FOLDER))
    return table.to_pylist(maps_as_pydicts="strict")


def _current(root: Location, column: str = "id") -> dict[str, object]:
    rows = manifest.load(root, [column]).rows.to_pylist()
    assert len({(row["source"], row["face_index"]) for row in rows}) == len(rows)
    return {f"{row['source']}{row['face_index'] or ''}": row[column] for row in rows}


def test_rows_read_back_as_one_dataset(root: Location) -> None:
    assert manifest.load(root).rows.num_rows == 0
    _write(root, [GOOD])
    _write(root, [{**GOOD, "source": "b.jpg"}])
    first, second = _plain(root)
    assert (first["source"], second["source"]) == ("a.jpg", "b.jpg")
    assert first["finished"] < second["finished"]
    assert (first["seconds"], first["scores"]) == (2.5, {"psnr_db": 20.0})
    assert (first["run"], first["recipe"], first["model_hash"]) == ("first", "k", "m")


def test_the_newest_row_counts(root: Location) -> None:
    _write(root, [{"source": "a", "id": "old"}, {"source": "b", "id": "b"}])
    _write(root, [{"source": "a", "id": "new"}])
    assert _current(root) == {"a": "new", "b": "b"}
    snapshot = manifest.load(root)
    with Writer(root, STAMP, after_us=snapshot.newest_us() + 10**12) as writer:
        writer.add({"source": "b", "id": "of a fast clock", "outcome": "ok"})
    _write(root, [{"source": "a", "id": "newest"}])
    assert _current(root) == {"a": "newest", "b": "of a fast clock"}


def test_a_photo_that_changed_loses_the_faces_it_no_longer_has(root: Location) -> None:
    _write(
        root, [{"source": "a", "face_index": i, "face_count": 3, "id": f"{i}"} for i in range(3)]
    )
    assert _current(root) == {"a": "0", "a1": "1", "a2": "2"}
    _write(root, [{"source": "a", "face_index": 0, "face_count": 2, "id": "new"}])
    assert _current(root) == {"a": "new", "a1": "1"}, "the second is still to come"
    _write(root, [{"source": "a", "outcome": "rejected"}])
    assert _current(root, "outcome") == {"a": "rejected"}


def test_finished_rows_are_written_while_the_run_goes_on(root: Location) -> None:
    writer = Writer(root, STAMP, flush_s=0)
    writer.add(GOOD)
    assert _current(root) == {"a.jpg": "1"}, "nothing of it is lost if the driver is killed now"
    slow = Writer(root, STAMP, flush_s=3600)
    slow.add({**GOOD, "source": "b"})
    assert len(manifest.list_parts(root)) == 1
    slow.flush()
    slow.flush()
    assert len(manifest.list_parts(root)) == 2


def test_rows_wait_for_a_store_that_is_away(
    root: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, calls = Location.write, itertools.count()

    def away_twice(self: Location, data: bytes) -> None:
        if next(calls) < 2:
            raise OSError(28, "No space left on device")
        write(self, data)

    monkeypatch.setattr(Location, "write", away_twice)
    writer = Writer(root, STAMP, flush_s=0)
    for name in "abc":
        writer.add({**GOOD, "source": name})
    assert set(_current(root)) == {"a", "b", "c"}
    monkeypatch.setattr(manifest, "_MOST_UNWRITTEN", 1)
    monkeypatch.setattr(
        Location, "write", lambda self, data: (_ for _ in ()).throw(OSError("full"))
    )
    with pytest.raises(ProcessingError, match=r"1 outcomes cannot be written .* full"):
        writer.add({**GOOD, "source": "d"})


def test_compaction_leaves_one_part_with_one_row_each(root: Location) -> None:
    for number in range(5):
        _write(root, [{"source": f"{i}", "id": f"{number}"} for i in range(number + 1)])
    before = _current(root)
    compact(root, "all")
    assert len(manifest.list_parts(root)) == 1
    assert len(_plain(root)) == 5
    assert _current(root) == before
    (name,) = os.listdir(Path(root.path, manifest.FOLDER))
    compact(root, "all")
    assert os.listdir(Path(root.path, manifest.FOLDER)) == [name], "it is left alone"


def test_large_parts_are_left_alone_unless_rows_in_them_are_old(
    root: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs.compaction, "_SMALL_ROWS", 3)
    monkeypatch.setattr(jobs.compaction, "_PART_ROWS", 3)
    _write(root, [{"source": name, "id": name} for name in "abc"])
    (large,) = manifest.list_parts(root)
    for name in "de":
        _write(root, [{"source": name, "id": name}])
    compact(root, "all")
    assert large in manifest.list_parts(root)
    assert len(manifest.list_parts(root)) == 2
    _write(root, [{"source": "a", "id": "new"}])
    compact(root, "all")
    assert large not in manifest.list_parts(root)
    assert _current(root) == {"a": "new", "b": "b", "c": "c", "d": "d", "e": "e"}
    assert len(_plain(root)) == 5


@pytest.mark.parametrize("point", range(4))
def test_compaction_may_be_killed_anywhere(
    root: Location, monkeypatch: pytest.MonkeyPatch, point: int
) -> None:
    for number in range(3):
        _write(root, [{"source": "a", "id": f"{number}"}, {"source": f"b{number}", "id": "b"}])
    before = _current(root)
    steps = itertools.count()
    for name in ("write", "delete"):
        method = getattr(Location, name)

        def step(self: Location, *data: bytes, method: object = method) -> None:
            if next(steps) == point:
                raise KeyboardInterrupt
            method(self, *data)

        monkeypatch.setattr(Location, name, step)
    with pytest.raises(KeyboardInterrupt):
        compact(root, "all")
    assert _current(root) == before
    compact(root, "all")
    assert _current(root) == before
    assert len(_plain(root)) == 4


def test_runs_side_by_side_leave_each_others_parts_alone(root: Location) -> None:
    mine, other = (Stamp(run=tag, recipe="k", model_hash="m", tag=tag) for tag in ("1of2", "2of2"))
    for name in "ab":
        _write(root, [{"source": name, "id": name}], mine)
        _write(root, [{"source": name.upper(), "id": name.upper()}], other)
    compact(root, "1of2")
    names = [place.path.rpartition("/")[2] for place, _ in manifest.list_parts(root)]
    assert [name.split("-")[1] for name in names] == ["1of2", "2of2", "2of2"]
    assert set(_current(root)) == {"a", "b", "A", "B"}


def test_an_avatar_found_made_by_another_photo_is_its_duplicate(root: Location) -> None:
    _write(root, [{"source": "a", "id": "1"}, {"source": "b", "id": "2"}])
    _write(root, [{"source": "c", "id": "1", "resumed": True}, {"source": "a", "id": "1"}])
    compact(root, "all")
    assert _current(root, "duplicate_of") == {"a": "c", "b": None, "c": None}


def test_a_damaged_part_is_named(root: Location) -> None:
    root.child(manifest.FOLDER, "part-x.parquet").write(b"PAR1 and nothing else")
    with pytest.raises(UsageError, match=r"part-x\.parquet is damaged"):
        manifest.load(root)


def test_totals_tell_this_run_from_earlier_ones(root: Location) -> None:
    weak = {"tries": 3, "below_threshold": True}
    _write(root, [{"source": "old"}, {"source": "old and weak", **weak}])
    rows = [
        {"source": "new", "tries": 1, "below_threshold": False},
        {"source": "weak", **weak},
        {"source": "found", "resumed": True},
        {"source": "twin", "duplicate_of": "new"},
        {"source": "bad", "outcome": "rejected", "error_code": "no_face"},
        {"source": "bad twin", "outcome": "rejected", "error_code": "no_face", "duplicate_of": "b"},
        {"source": "bug", "outcome": "failed", "error_code": "processing"},
    ]
    _write(root, rows, Stamp(run="second", recipe="k", model_hash="m"))
    summary = summarise(manifest.load(root, COLUMNS).rows, "second", 1.0)
    assert summary.totals == {
        "ok": 6,
        "rejected": 2,
        "failed": 1,
        "resumed": 3,
        "duplicates": 1,
        "retried": 1,
        "below_threshold": 2,
    }
    assert summary.reasons == {"rejected": {"no_face": 2}, "failed": {"processing": 1}}
    assert summary.exit_code == 1
    nothing = summarise(pa.table(manifest.load(root, COLUMNS).rows.slice(0, 0)), "x", 0.0)
    assert (nothing.totals["ok"], nothing.exit_code) == (0, 0)
