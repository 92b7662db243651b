import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import toy_avatars
from bad_photos import photo, write_bad_photos
from ray import cloudpickle

from jobs.cli import main

pytestmark = [
    pytest.mark.filterwarnings(r"ignore::DeprecationWarning:ray\..*"),  # its own calls
    pytest.mark.filterwarnings("ignore:The minimum number of concurrent actors:UserWarning"),
]
cloudpickle.register_pickle_by_value(toy_avatars)  # workers cannot import a test module


@pytest.fixture(autouse=True)
def _toy(monkeypatch: pytest.MonkeyPatch) -> None:
    import jobs.batch

    monkeypatch.setattr(jobs.batch, "build_graph", toy_avatars.graph)
    monkeypatch.setattr(jobs.batch, "build_recipe", toy_avatars.recipe)


def _artefacts(out: Path) -> dict[str, object]:
    """The content of every avatar's files, the record without its timings."""
    files: dict[str, object] = {}
    for path in sorted(out.glob("*/*")):
        if path.parent.name == "manifest":
            continue
        name = str(path.relative_to(out))
        files[name] = path.read_bytes()
        if path.name == "avatar.json":
            files[name] = {**json.loads(path.read_text()), "timings_s": None}
    return files


def _outcomes(out: Path) -> list[tuple[object, ...]]:
    """The manifest, sorted: Ray finishes in any order."""
    columns = ["source", "id", "outcome", "error_code", "error_message", "error_stage", "scores"]
    rows = pq.read_table(out / "manifest").to_pylist()
    return sorted(
        (tuple(row[column] for column in columns) for row in rows), key=lambda row: row[0]
    )


@pytest.mark.usefixtures("ray_cluster")
def test_ray_makes_the_same_bytes_as_the_local_loop(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    write_bad_photos(folder)
    for i in range(3):
        photo(folder / f"{i}.png", i)
    (folder / "twin.png").write_bytes((folder / "1.png").read_bytes())
    with tarfile.open(folder / "shard.tar", "w") as tar:
        tar.add(photo(tmp_path / "in a tar.png", 8), "deep/8.png")
    rows = [photo(tmp_path / "in a table.png", i).read_bytes() for i in (9, 1)]
    pq.write_table(pa.table({"image": rows}), folder / "rows.parquet")
    local, remote = tmp_path / "local", tmp_path / "remote"
    assert main(["make", str(folder), "-o", str(local)]) == 1
    assert main(["generate", str(folder), str(remote)]) == 1
    assert len(_artefacts(local)) == (3 + 1 + 1) * 5
    assert _artefacts(remote) == _artefacts(local)
    assert _outcomes(remote) == _outcomes(local)
    assert "Traceback" not in "".join(capsys.readouterr())


def test_ray_is_not_even_started_when_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import jobs.generate

    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    photo(folder / "1.png", 1)
    (folder / "bad.jpg").write_bytes(b"no photo")
    assert main(["make", str(folder), "-o", str(out)]) == 1
    page = (out / "index.html").stat().st_mtime_ns
    monkeypatch.delattr(jobs.generate, "_on_ray")
    capsys.readouterr()
    assert main(["generate", str(folder), str(out), "--json"]) == 1
    totals = json.loads(capsys.readouterr().out)["totals"]
    assert (totals["ok"], totals["resumed"], totals["rejected"]) == (1, 1, 1)
    assert (out / "index.html").stat().st_mtime_ns == page
    (folder / "bad.jpg").unlink()
    assert main(["generate", str(folder), str(out), "--shard", "1/1"]) == 0
    assert main(["generate", str(folder), str(out), "--shard", "2/1"]) == 2
    assert "give a part and their number" in capsys.readouterr().err


@pytest.mark.usefixtures("ray_cluster")
def test_a_killed_job_goes_on_where_it_stopped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out, log = tmp_path / "in", tmp_path / "out", tmp_path / "log"
    folder.mkdir()
    for i in range(12):
        photo(folder / f"{i}.png", i)
    environment = {**os.environ, "TOY_LOG": str(log), "TOY_SLEEP_S": "1"}
    command = [sys.executable, str(toy_avatars.__file__), "generate", str(folder), str(out)]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    while len(list(out.glob("*/avatar.json"))) < 2:
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    finished = list(out.glob("*/avatar.json"))
    stamps = {path: path.stat().st_mtime_ns for path in finished}
    assert len(finished) < 12
    assert main(["generate", str(folder), str(out), "--json"]) == 0
    totals = json.loads(capsys.readouterr().out)["totals"]
    assert totals["ok"] == 12
    assert totals["resumed"] >= len(finished)
    assert {path: path.stat().st_mtime_ns for path in finished} == stamps
    assert len(list(out.glob("*/avatar.json"))) == 12


@pytest.mark.usefixtures("ray_cluster")
def test_a_job_that_is_given_up_still_leaves_a_manifest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, out = photo(tmp_path / "1.png", 1), tmp_path / "out"
    (tmp_path / "text.jpg").write_bytes(b"no photo")
    fatal = ["--seed", str(toy_avatars.FATAL_SEED), "--max-crashed", "0"]
    command = ["generate", str(good), str(tmp_path / "text.jpg"), str(out)]
    assert main([*command, *fatal]) == 1
    assert "the job was given up" in (shown := "".join(capsys.readouterr()))
    assert "Traceback" not in shown
    codes = {Path(str(row[0])).name: row[3] for row in _outcomes(out)}
    assert codes["1.png"] == "not_reached"
    assert main(command) == 1
    codes = {Path(str(row[0])).name: row[3] for row in _outcomes(out)}
    assert codes == {"1.png": None, "text.jpg": "unreadable_image"}
