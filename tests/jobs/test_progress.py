import io
import json

import pytest

from jobs import progress
from jobs.progress import Progress
from pipeline.stage import Row


@pytest.fixture(autouse=True)
def _every_row_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_LINE_EVERY_S", -1.0)


def _row(number: int, **facts: object) -> Row:
    timings_s = {"Fast": 0.001, "Slow": 1.0}
    return {"source": f"{number}.jpg", "outcome": "ok", "timings_s": timings_s, **facts}


def test_lines_name_errors_rate_and_the_busiest_stage() -> None:
    stream = io.StringIO()
    with Progress(1000, stream) as shown:
        shown.describe({"Fast": 1, "Slow": 3})
        shown.add(_row(1))
        shown.add(_row(2, outcome="failed", error_code="timed_out"))
    last = stream.getvalue().splitlines()[-1]
    assert last.startswith("[2/1000] 1 not ok (1 timed_out), ")
    assert " photos/s, " in last
    assert "busiest Slow (" in last
    assert last.endswith("% of 3)")


def test_json_lines_are_for_machines() -> None:
    stream = io.StringIO()
    with Progress(3, stream) as shown:
        shown.describe({"Fast": 1, "Slow": 3}, as_json=True)
        shown.add(_row(1))
        shown.add(_row(2, outcome="rejected", error_code="no_face"))
        shown.add(_row(3, resumed=True))
    events = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [event["event"] for event in events] == ["progress"] * 3 + ["totals"]
    assert [event["done"] for event in events] == [1, 2, 3, 3]
    assert events[-1]["not_ok"] == {"no_face": 1}
    assert (events[-1]["ok_rows"], events[-1]["total"]) == (2, 3)
    assert events[1]["bottleneck"] == "Slow"
    assert events[1]["stages"]["Slow"]["actors"] == 3
    assert events[1]["stages"]["Slow"]["busy_share"] > events[1]["stages"]["Fast"]["busy_share"] > 0
    assert events[2]["stages"]["Slow"]["busy_share"] == 0, "what is resumed took no time now"


def test_the_environment_asks_for_json_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(progress.LOG_FORMAT, "json")
    stream = io.StringIO()
    with Progress(1, stream) as shown:
        shown.add(_row(1))
    assert all(json.loads(line)["total"] == 1 for line in stream.getvalue().splitlines())
