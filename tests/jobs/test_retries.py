"""Avatars below a threshold are made again, locally and on Ray, and after a kill."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import toy_avatars
from bad_photos import photo
from PIL import Image
from ray import cloudpickle

from jobs.cli import main

pytestmark = [
    pytest.mark.filterwarnings(r"ignore::DeprecationWarning:ray\..*"),  # its own calls
    pytest.mark.filterwarnings("ignore:The minimum number of concurrent actors:UserWarning"),
]
cloudpickle.register_pickle_by_value(toy_avatars)  # workers cannot import a test module

MIN, TRIES = 0.9, 3
RETRY = ["--min-identity", str(MIN), "--tries", str(TRIES)]


@pytest.fixture(autouse=True)
def log(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    import jobs.batch

    monkeypatch.setattr(jobs.batch, "build_graph", toy_avatars.graph)
    monkeypatch.setattr(jobs.batch, "build_recipe", toy_avatars.recipe)
    monkeypatch.setenv("TOY_LOG", str(tmp_path / "log"))
    return tmp_path / "log"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    for i in range(6):
        photo(folder / f"{i}.png", i)
    return folder


def _expected(source: Path, face: int = 0) -> dict[str, object]:
    """What must become of a photo, from all its likenesses."""
    with Image.open(source) as image:
        colour = np.asarray(image)[0, 0]
    likenesses = [toy_avatars.likeness(colour, face, seed) for seed in range(TRIES)]
    good = [seed for seed, one in enumerate(likenesses) if one >= MIN]
    tries = good[0] + 1 if good else TRIES
    seed = int(np.argmax(likenesses[:tries]))
    return {"seed": seed, "tries": tries, "below_threshold": not good, "outcome": "ok"}


def _rows(out: Path) -> list[dict[str, object]]:
    return pq.read_table(out / "manifest").to_pylist(maps_as_pydicts="strict")


def _files(out: Path) -> dict[str, object]:
    """The content of every avatar's files, the record without its timings."""
    avatars = [p for p in out.glob("*/*") if p.parent.name != "manifest"]
    files: dict[str, object] = {str(p.relative_to(out)): p.read_bytes() for p in avatars}
    for path in out.glob("*/avatar.json"):
        record = json.loads(path.read_text())
        files[str(path.relative_to(out))] = {**record, "timings_s": None}
    return files


def _lines(log: Path) -> int:
    return len(log.read_text().splitlines())


def _check(rows: list[dict[str, object]], out: Path) -> int:
    """Compare a manifest and the records with what must be; return how many tries there were."""
    for row in rows:
        expected = _expected(Path(str(row["source"])), int(str(row["face_index"])))
        assert {name: row[name] for name in expected} == expected
        record = json.loads((out / str(row["id"]) / "avatar.json").read_text())
        shared = ("seed", "tries", "below_threshold", "scores", "gaussian_count")
        assert {name: record[name] for name in shared} == {name: row[name] for name in shared}
    return sum(int(str(row["tries"])) for row in rows)


def test_the_best_of_the_tries_stays(
    photos: Path, tmp_path: Path, log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["make", str(photos), "-o", str(out), *RETRY]) == 0
    shown = capsys.readouterr().out
    rows = _rows(out)
    assert len(rows) == len(list(out.glob("*/avatar.json"))) == 6
    made = _check(rows, out)
    assert _lines(log) == made
    weak = [row for row in rows if row["below_threshold"]]
    retried = [row for row in rows if int(str(row["tries"])) > 1]
    assert 0 < len(weak) < len(retried) < 6, "the photos are such that all cases occur"
    assert f"retried {len(retried):>12}  {len(weak)} below the threshold" in shown
    assert (out / "index.html").read_text().count("<mark>") == len(weak)
    assert main(["make", str(photos), "-o", str(out), *RETRY]) == 0
    assert _lines(log) == made, "a finished run is not taken up again"
    assert _rows(out) == rows


def test_a_try_is_the_avatar_of_its_seed(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    main(["make", str(photos), "-o", str(out), *RETRY])
    row = max(_rows(out), key=lambda row: int(str(row["seed"])))
    assert row["seed"] in (1, 2)
    main(["make", str(row["source"]), "-o", str(tmp_path / "one"), "--seed", str(row["seed"])])
    (single,) = (tmp_path / "one").glob("*/avatar.ply")
    assert single.read_bytes() == (out / str(row["id"]) / "avatar.ply").read_bytes()
    assert single.parent.name != row["id"]


def test_only_the_faces_below_the_threshold_are_made_again(
    photos: Path, tmp_path: Path, log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    command = ["make", str(photos), "-o", str(out), "--faces", "all", *RETRY, "--json"]
    assert main(command) == 0
    totals = json.loads(capsys.readouterr().out)["totals"]
    assert (totals["ok"], totals["resumed"]) == (12, 0)
    rows = _rows(out)
    assert len(rows) == 12
    assert _check(rows, out) == _lines(log)
    assert totals["retried"] == sum(int(str(row["tries"])) > 1 for row in rows)


def test_a_killed_run_loses_no_try(photos: Path, tmp_path: Path, log: Path) -> None:
    whole, out = tmp_path / "whole", tmp_path / "out"
    assert main(["make", str(photos), "-o", str(whole), *RETRY]) == 0
    made = _lines(log)
    log.unlink()
    program = [sys.executable, str(toy_avatars.__file__)]
    command = [*program, "make", str(photos), "-o", str(out), *RETRY]
    environment = {**os.environ, "TOY_SLEEP_S": "0.3"}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    while not log.exists() or _lines(log) < 8:  # two of the second pass
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert 8 <= _lines(log) < made
    assert main(["make", str(photos), "-o", str(out), *RETRY]) == 0
    assert _lines(log) <= made + 1, "at most the photo in work is made twice"
    assert _check(_rows(out), out) == made
    assert _files(out) == _files(whole)


@pytest.mark.usefixtures("ray_cluster")
def test_ray_tries_again_as_the_local_loop_does(photos: Path, tmp_path: Path) -> None:
    (photos / "twin.png").write_bytes((photos / "0.png").read_bytes())
    local, remote = tmp_path / "local", tmp_path / "remote"
    twice = ["--min-identity", str(MIN), "--tries", "2"]  # each pass starts the workers anew
    assert main(["make", str(photos), "-o", str(local), *twice]) == 0
    assert main(["generate", str(photos), str(remote), *twice]) == 0
    assert _files(remote) == _files(local)
    rows = _rows(remote)
    assert len(rows) == 7
    assert [row["duplicate_of"] for row in rows].count(str(photos / "0.png")) == 1
    assert {row["tries"] for row in rows if row["duplicate_of"] is None} == {1, 2}


@pytest.mark.usefixtures("ray_cluster")
def test_a_try_that_kills_its_worker_leaves_the_one_before(tmp_path: Path) -> None:
    source, out = photo(tmp_path / "1.png", 1), tmp_path / "out"
    first = str(toy_avatars.FATAL_SEED - 1)
    threshold = ["--seed", first, "--min-identity", "1", "--tries", "2"]
    assert main(["generate", str(source), str(out), *threshold]) == 0
    (row,) = _rows(out)
    assert (row["outcome"], row["seed"], row["tries"]) == ("ok", int(first), 1)
    assert row["below_threshold"] is True
    assert (out / str(row["id"]) / "avatar.json").is_file()
