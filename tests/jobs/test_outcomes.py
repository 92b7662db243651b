import json
from pathlib import Path

import pytest

from jobs import manifest
from jobs.gallery import gallery
from jobs.outcomes import NOT_REACHED, exit_code, incomplete, settle, totals
from pipeline.errors import UsageError
from pipeline.stage import Row
from pipeline.storage import locate

GOOD: Row = {
    "source": "a.jpg",
    "id": "1",
    "outcome": "ok",
    "timings_s": {"Load": 0.5, "LowRes": 2.0},
    "scores": {"psnr_db": 20.0, "unknown": None},
    "seed": 3,
}
BAD: Row = {
    "source": "<b>.jpg",
    "outcome": "rejected",
    "error_code": "no_face",
    "error_message": "no <face>",
    "error_stage": "Prepare",
}


def test_every_input_gets_one_outcome_in_the_order_of_the_inputs() -> None:
    rows = settle([BAD, GOOD], ["a.jpg", "gone.jpg", "<b>.jpg"])
    assert [row["source"] for row in rows] == ["a.jpg", "gone.jpg", "<b>.jpg"]
    assert [row["outcome"] for row in rows] == ["ok", "failed", "rejected"]
    assert rows[1]["error_code"] == "crashed"
    assert exit_code(rows) == 1
    assert exit_code(rows[:1]) == 0


def test_faces_that_are_missing_or_come_twice() -> None:
    faces = [{**GOOD, "id": f"1-{i}", "face_index": i, "face_count": 3} for i in range(2)]
    again = {**faces[1], "resumed": True}
    assert incomplete([*faces, BAD], ["a.jpg", "<b>.jpg", "c.jpg"]) == ["a.jpg", "c.jpg"]
    rows = settle([*faces, again], ["a.jpg"])
    assert {row.get("id") for row in rows} == {"1-0", "1-1", None}
    assert sorted(row["outcome"] for row in rows) == ["failed", "ok", "ok"]
    assert [row.get("resumed") for row in rows if row.get("face_index") == 1] == [True]


def test_a_duplicate_shares_what_became_of_its_twin() -> None:
    twins = [
        {"source": "c.jpg", "outcome": "ok", "duplicate_of": "a.jpg", "id": "1"},
        {"source": "d.jpg", "outcome": "ok", "duplicate_of": "<b>.jpg", "id": "2"},
        {"source": "e.jpg", "outcome": "ok", "duplicate_of": "gone.jpg", "id": "3"},
    ]
    sources = ["a.jpg", "<b>.jpg", "gone.jpg", "c.jpg", "d.jpg", "e.jpg"]
    rows = {row["source"]: row for row in settle([GOOD, BAD, *twins], sources)}
    assert rows["c.jpg"]["outcome"] == "ok"
    assert (rows["d.jpg"]["outcome"], rows["d.jpg"]["error_code"]) == ("rejected", "no_face")
    assert (rows["e.jpg"]["outcome"], rows["e.jpg"]["error_code"]) == ("failed", "crashed")
    counted = {name: number for name, number in totals(rows.values()).items() if number}
    assert counted == {"ok": 2, "rejected": 2, "failed": 2, "duplicates": 3}


def test_the_manifest_reads_back_and_merges(tmp_path: Path) -> None:
    root = locate(str(tmp_path))
    assert manifest.read_manifest(root) == []
    first = manifest.manifest_rows(settle([GOOD, BAD], ["a.jpg", "<b>.jpg"]), "hash")
    manifest.write_manifest(root, first)
    assert manifest.read_manifest(root) == first
    assert first[0]["seconds"] == 2.5
    assert first[0]["scores"] == {"psnr_db": 20.0}
    second = manifest.manifest_rows([{**BAD, "outcome": "ok", "id": "9"}], "hash")
    merged = manifest.merged(second, manifest.read_manifest(root))
    assert [(row["source"], row["outcome"]) for row in merged] == [
        ("a.jpg", "ok"),
        ("<b>.jpg", "ok"),
    ]


def test_a_run_that_was_stopped_leaves_earlier_outcomes_alone() -> None:
    earlier = manifest.manifest_rows(settle([GOOD], ["a.jpg"]), "hash")
    stopped = settle([BAD], ["a.jpg", "<b>.jpg", "c.jpg"], NOT_REACHED)
    assert [row["error_code"] for row in stopped] == ["not_reached", "no_face", "not_reached"]
    merged = manifest.merged(manifest.manifest_rows(stopped, "hash"), earlier)
    outcomes = {row["source"]: row["outcome"] for row in merged}
    assert outcomes == {"a.jpg": "ok", "<b>.jpg": "rejected", "c.jpg": "failed"}


def test_a_damaged_manifest_is_named(tmp_path: Path) -> None:
    (tmp_path / "manifest.parquet").write_bytes(b"PAR1 and nothing else")
    with pytest.raises(UsageError, match=r"manifest\.parquet is damaged"):
        manifest.read_manifest(locate(str(tmp_path)))


def test_retries_are_counted_where_they_were_made_and_thresholds_everywhere() -> None:
    passed = {**GOOD, "tries": 1, "below_threshold": False}
    weak = {**GOOD, "tries": 3, "below_threshold": True}
    count = totals([GOOD, passed, weak, {**passed, "tries": 2}, {**weak, "resumed": True}, BAD])
    assert (count["retried"], count["below_threshold"]) == (2, 2)


def test_failures_are_listed_one_json_object_a_line(tmp_path: Path) -> None:
    manifest.write_failed(locate(str(tmp_path)), [GOOD, {**BAD, "error_trace": "Trace\nback"}])
    (line,) = (tmp_path / "failed.jsonl").read_text().splitlines()
    assert json.loads(line)["error_trace"] == "Trace\nback"


def test_the_gallery_shows_everything_and_trusts_no_name() -> None:
    two = {**GOOD, "id": "5-1", "face_index": 1, "face_count": 2, "source": 'x"><script>.jpg'}
    twin = {"source": "c.jpg", "outcome": "ok", "duplicate_of": "a.jpg", "id": "1"}
    weak = {"tries": 3, "below_threshold": True}
    page = gallery(manifest.manifest_rows([GOOD, {**two, **weak}, BAD, twin], "hash"))
    assert page.count("<mark>below the threshold, best of 3</mark>") == 1
    assert "<script" not in page
    assert "<face>" not in page
    assert "no &lt;face&gt; (no_face)" in page
    assert "2 avatars" in page
    assert 'src="5-1/turntable.webp"' in page
    assert "face 2 of 2" in page
    assert "<td>c.jpg</td><td>a.jpg</td>" in page
    assert page.count("<img") == page.count('loading="lazy"') == 6
