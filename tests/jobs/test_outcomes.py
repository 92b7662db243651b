from jobs.outcomes import Ledger, incomplete
from pipeline.stage import Row

GOOD: Row = {"source": "a.jpg", "id": "1", "outcome": "ok", "face_index": 0, "face_count": 1}
BAD: Row = {
    "source": "b.jpg",
    "outcome": "rejected",
    "error_code": "no_face",
    "error_message": "no face",
    "error_stage": "Prepare",
}


def _settled(given: list[str], finished: list[Row]) -> list[Row]:
    """What the manifest gets of a wave."""
    facts = {"source_bytes": 7, "input": {"address": "x"}}
    ledger = Ledger([{"source": source, **facts} for source in given])
    return [row for row in finished if ledger.add(row)] + list(ledger.close())


def test_a_photo_without_a_row_took_its_worker_down() -> None:
    rows = _settled(["a.jpg", "gone.jpg", "b.jpg"], [BAD, GOOD])
    assert rows[:2] == [BAD, GOOD]
    (gone,) = rows[2:]
    assert (gone["source"], gone["outcome"], gone["error_code"]) == (
        "gone.jpg",
        "failed",
        "crashed",
    )
    assert gone["source_bytes"] == 7
    assert "input" not in gone


def test_faces_that_are_missing_or_come_twice() -> None:
    faces = [{**GOOD, "id": f"1-{i}", "face_index": i, "face_count": 3} for i in (0, 2)]
    again = {**faces[1], "resumed": True}
    rows = _settled(["a.jpg"], [*faces, again])
    assert [(row["face_index"], row["outcome"]) for row in rows] == [
        (0, "ok"),
        (2, "ok"),
        (2, "ok"),
        (1, "failed"),
    ]
    assert rows[-1]["face_count"] == 3
    assert incomplete([*faces, BAD], ["a.jpg", "b.jpg", "c.jpg"]) == ["a.jpg", "c.jpg"]


def test_a_duplicate_shares_what_became_of_its_twin() -> None:
    twins = [
        {"source": name, "outcome": "ok", "duplicate_of": owner}
        for name, owner in (("c", "a.jpg"), ("d", "b.jpg"), ("e", "gone.jpg"), ("f", "two.jpg"))
    ]
    two = [{**GOOD, "source": "two.jpg", "face_index": i, "face_count": 2} for i in range(2)]
    two[0] |= {"outcome": "failed", "error_code": "processing"}
    given = ["a.jpg", "b.jpg", "gone.jpg", "two.jpg", "c", "d", "e", "f"]
    rows = {row["source"]: row for row in _settled(given, [*twins, GOOD, BAD, *two])}
    assert rows["c"]["outcome"] == "ok"
    assert (rows["d"]["outcome"], rows["d"]["error_code"]) == ("rejected", "no_face")
    assert (rows["e"]["outcome"], rows["e"]["error_code"]) == ("failed", "crashed")
    assert (rows["f"]["outcome"], rows["f"]["error_code"]) == ("failed", "processing")
