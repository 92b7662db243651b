import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import toy_avatars
from bad_photos import photo, write_bad_photos

from jobs.cli import main
from pipeline.storage import publishing

TOY = str(Path(toy_avatars.__file__))


@pytest.fixture(autouse=True)
def _toy(monkeypatch: pytest.MonkeyPatch) -> None:
    import jobs.batch

    monkeypatch.setattr(jobs.batch, "build_graph", toy_avatars.graph)
    monkeypatch.setattr(jobs.batch, "build_recipe", toy_avatars.recipe)


def _outcomes(out: Path) -> dict[str, dict[str, object]]:
    rows = pq.read_table(out / "manifest").to_pylist(maps_as_pydicts="strict")
    return {Path(row["source"]).name: row for row in rows}


def test_good_and_bad_photos_have_one_outcome_each(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    expected = write_bad_photos(folder)
    good = photo(folder / "a good one.jpg", 1)
    (folder / "twin.jpg").write_bytes(good.read_bytes())
    assert main(["make", str(folder), "-o", str(out)]) == 1
    rows = _outcomes(out)
    assert {name: row["error_code"] for name, row in rows.items()} == {
        **expected,
        "a good one.jpg": None,
        "twin.jpg": None,
    }
    assert all(rows[name]["outcome"] == "rejected" for name in expected)
    assert all(rows[name]["error_message"] for name in expected)
    assert rows["twin.jpg"]["duplicate_of"] == str(good)
    assert rows["twin.jpg"]["id"] == rows["a good one.jpg"]["id"]
    folders = {path.name for path in out.iterdir() if path.is_dir()}
    assert folders == {"manifest", rows["twin.jpg"]["id"]}
    failed = [json.loads(line) for line in (out / "failed.jsonl").read_text().splitlines()]
    assert sorted(Path(row["source"]).name for row in failed) == sorted(expected)
    assert len(json.loads((out / "run.json").read_text())["stages"]) == 6
    shown = capsys.readouterr()
    assert "Traceback" not in shown.out + shown.err
    assert "5  1 image_too_large, 1 image_too_small, 3 unreadable_image" in shown.out
    assert "text.jpg: rejected: " in shown.err


def test_only_what_is_new_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TOY_LOG", str(tmp_path / "log"))
    out = str(tmp_path / "out")
    first, second = photo(tmp_path / "1.png", 1), photo(tmp_path / "2.png", 2)
    assert main(["make", str(first), "-o", out]) == 0
    before = _outcomes(tmp_path / "out")["1.png"]
    capsys.readouterr()
    assert main(["make", str(first), str(second), "-o", out, "--json"]) == 0
    totals = json.loads(capsys.readouterr().out)["totals"]
    assert (totals["ok"], totals["resumed"]) == (2, 1)
    assert len((tmp_path / "log").read_text().splitlines()) == 2
    assert _outcomes(tmp_path / "out")["1.png"] == before, "its row is not even written again"
    assert main(["make", str(second), "-o", out, "--seed", "4"]) == 0
    assert len((tmp_path / "log").read_text().splitlines()) == 3
    text = tmp_path / "text.jpg"
    text.write_bytes(b"no photo")
    assert main(["make", str(text), "-o", out]) == 1
    assert main(["make", str(second), "-o", out]) == 0
    kept = {"1.png", "2.png", "text.jpg"}
    assert set(_outcomes(tmp_path / "out")) == kept, "earlier inputs keep their rows"
    assert "text.jpg" in (tmp_path / "out" / "failed.jsonl").read_text()


def test_every_face_gets_its_avatar(tmp_path: Path) -> None:
    out = tmp_path / "out"
    main(["make", str(photo(tmp_path / "group.png")), "-o", str(out), "--faces", "all"])
    rows = pq.read_table(out / "manifest").to_pylist()
    assert [row["face_index"] for row in rows] == [0, 1]
    assert all((out / row["id"] / "avatar.json").is_file() for row in rows)


def test_a_killed_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    folder, out, log = tmp_path / "in", tmp_path / "out", tmp_path / "log"
    folder.mkdir()
    for i in range(8):
        photo(folder / f"{i}.png", i)
    environment = {**os.environ, "TOY_LOG": str(log), "TOY_SLEEP_S": "0.3"}
    command = [sys.executable, TOY, "make", str(folder), "-o", str(out)]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    while not log.exists() or len(log.read_text().splitlines()) < 3:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    finished = list(out.glob("*/avatar.json"))
    stamps = {path: path.stat().st_mtime_ns for path in finished}
    assert 2 <= len(finished) < 8
    assert not (out / "index.html").exists()
    done = subprocess.run([*command, "--json"], env=environment, capture_output=True, check=True)
    summary = json.loads(done.stdout)
    assert summary["totals"]["ok"] == 8
    assert summary["totals"]["resumed"] == len(finished)
    assert {path: path.stat().st_mtime_ns for path in finished} == stamps
    assert len(log.read_text().splitlines()) <= 8 + 1, "at most the photo in work is made twice"
    assert len(list(out.glob("*/avatar.json"))) == 8


def test_a_run_that_is_stopped_writes_what_it_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for i in range(3):
        photo(folder / f"{i}.png", i)
    invent, calls = toy_avatars.Invent._invent, []

    def interrupted(self: toy_avatars.Invent, row: dict[str, object]) -> dict[str, object]:
        calls.append(row)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return invent(self, row)

    monkeypatch.setattr(toy_avatars.Invent, "_invent", interrupted)
    assert main(["make", str(folder), "-o", str(out)]) == 130
    codes = {name: row["error_code"] for name, row in _outcomes(out).items()}
    assert codes == {"0.png": None, "1.png": "not_reached", "2.png": "not_reached"}
    assert "run it again to go on" in capsys.readouterr().err
    assert main(["make", str(folder), "-o", str(out)]) == 0
    rows = _outcomes(out)
    assert len({rows[f"{i}.png"]["run"] for i in range(3)}) == 2
    assert [rows[f"{i}.png"]["gaussian_count"] for i in range(3)] == [50, 50, 50]


def test_a_destination_that_cannot_be_written_to_is_told_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TOY_LOG", str(tmp_path / "log"))
    (tmp_path / "file").write_bytes(b"x")
    source = str(photo(tmp_path / "1.png", 1))
    assert main(["make", source, "-o", str(tmp_path / "file")]) == 2
    assert "nothing can be written under" in capsys.readouterr().err
    assert not (tmp_path / "log").exists()


def test_a_destination_that_fills_up_ends_the_run_and_the_next_makes_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    room = 5

    @contextmanager
    def small(*arguments: Any, **options: Any) -> Iterator[Path]:
        nonlocal room
        with publishing(*arguments, **options) as folder:
            yield folder
            room -= 1
            if room < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))

    names, out = [str(photo(tmp_path / f"{i}.png", i)) for i in range(40)], tmp_path / "out"
    monkeypatch.setattr("pipeline.stages.export.publishing", small)
    assert main(["make", *names, "-o", str(out)]) == 1
    told = capsys.readouterr().err
    assert "20 avatars in a row cannot be stored" in told
    assert "No space left on device" in told
    rows = pq.read_table(out / "manifest").to_pylist()
    assert Counter(row["error_code"] for row in rows) == {
        None: 5,
        "destination_unavailable": 20,
        "not_reached": 15,
    }
    room = 1000
    assert main(["make", *names, "-o", str(out)]) == 0
    assert len(list(out.glob("*/avatar.json"))) == 40


def test_mistakes_are_told_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, text in (
        (["make", str(tmp_path / "nowhere"), "-o", str(tmp_path)], "nowhere does not exist"),
        (["make", "-o", str(tmp_path)], "no photos were named"),
        (["generate", str(tmp_path)], "needs photos and a destination"),
        (["render", str(tmp_path / "x"), "-o", "x.png"], "does not exist"),
        (["models", "info", str(tmp_path)], "holds no .safetensors or .onnx"),
        (["maek"], "did you mean make?"),
    ):
        assert main(arguments) == 2
        shown = capsys.readouterr()
        assert text in shown.err
        assert "Traceback" not in shown.err
        assert shown.out == ""


def test_another_format_is_added_to_finished_avatars(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TOY_LOG", str(tmp_path / "log"))
    command = ["make", str(photo(tmp_path / "1.png")), "-o"]
    first, second = tmp_path / "one by one", tmp_path / "at once"
    assert main([*command, str(first)]) == 0
    assert main([*command, str(first), "--formats", "spz, glb"]) == 0
    assert len((tmp_path / "log").read_text().splitlines()) == 1, "the avatar itself is not remade"
    assert _outcomes(first)["1.png"]["resumed"] is True
    assert main([*command, str(second), "--formats", "ply,spz,glb"]) == 0
    for name in ("avatar.ply", "avatar.spz", "avatar.glb"):
        (one,), (other,) = first.glob(f"*/{name}"), second.glob(f"*/{name}")
        assert one.read_bytes() == other.read_bytes()
        assert one.parent.name == other.parent.name
    assert not list(first.glob("*/avatar.splat"))
    (damaged,) = first.glob("*/avatar.ply")
    damaged.write_bytes(b"nothing")
    assert main([*command, str(first), "--formats", "spz"]) == 0
    capsys.readouterr()
    assert main([*command, str(first), "--formats", "splat"]) == 1
    assert "cannot be turned into other formats" in capsys.readouterr().err
    assert main([*command, str(first), "--formats", "obj"]) == 2
    assert "known are .ply, .spz, .splat, .glb" in capsys.readouterr().err


def test_every_face_gets_the_formats(tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ["make", str(photo(tmp_path / "group.png")), "-o", str(out), "--faces", "all"]
    assert main(command) == 0
    assert main([*command, "--formats", "splat"]) == 0
    assert len(list(out.glob("*/avatar.splat"))) == 2
