import json
from pathlib import Path

import pytest

from pipeline.local import Claims
from pipeline.recipe import ID_DIGITS, Recipe
from pipeline.stage import Context, Row, run_stage
from pipeline.stages.load import Load, LoadConfig
from pipeline.stages.split_faces import SplitFaces, SplitFacesConfig

RECIPE = Recipe(model_hash="m", seed=5)


def _load(
    paths: list[Path], destination: Path | None = None, recipe: Recipe = RECIPE, limit: int = 100
) -> list[Row]:
    config = LoadConfig(
        recipe=recipe,
        destination=None if destination is None else str(destination),
        max_bytes=limit,
    )
    return run_stage(
        Load(config), [{"source": str(path)} for path in paths], Context(claim=Claims())
    )


def _photo(folder: Path, name: str, content: bytes) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(content)
    return folder / name


def _finish(destination: Path, avatar_id: str, **facts: object) -> None:
    (destination / avatar_id).mkdir(parents=True)
    (destination / avatar_id / "avatar.json").write_text(json.dumps({"id": avatar_id, **facts}))


def test_a_photo_gets_bytes_seed_and_an_id_of_its_content(tmp_path: Path) -> None:
    a, b = _photo(tmp_path, "a.jpg", b"one"), _photo(tmp_path, "b.jpg", b"two")
    rows = _load([a, b])
    assert [row["image"] for row in rows] == [b"one", b"two"]
    assert rows[0]["seed"] == 5
    assert len(rows[0]["id"]) == ID_DIGITS
    assert rows[0]["id"] != rows[1]["id"]
    moved = _load([_photo(tmp_path / "elsewhere", "c.jpg", b"one")])
    assert moved[0]["id"] == rows[0]["id"]


@pytest.mark.parametrize(
    "other",
    [
        Recipe(model_hash="n", seed=5),
        Recipe(model_hash="m", seed=6),
        Recipe(model_hash="m", seed=5, faces="all"),
        Recipe(model_hash="m", seed=5, options={"turntable_frames": 8}),
    ],
)
def test_whatever_decides_an_avatar_is_in_its_id(other: Recipe) -> None:
    assert other.photo_id("00") != RECIPE.photo_id("00")


def test_bad_files_are_rejected_with_a_reason(tmp_path: Path) -> None:
    empty, large = _photo(tmp_path, "e.jpg", b""), _photo(tmp_path, "l.jpg", bytes(101))
    rows = _load([empty, large, tmp_path / "none.jpg", tmp_path])
    assert [row["outcome"] for row in rows] == ["rejected"] * 4
    codes = ["unreadable_image", "image_too_large", "unreadable_source", "unreadable_source"]
    assert [row["error_code"] for row in rows] == codes
    assert all("error_trace" not in row or row["error_trace"] is None for row in rows)


def test_the_second_of_two_equal_photos_is_a_duplicate(tmp_path: Path) -> None:
    a, b = _photo(tmp_path, "a.jpg", b"same"), _photo(tmp_path, "b.jpg", b"same")
    first, second = _load([a, b])
    assert "outcome" not in first
    assert (second["outcome"], second["duplicate_of"]) == ("ok", str(a))
    assert second["id"] == first["id"]
    assert "image" not in second


def test_a_finished_avatar_is_not_made_again(tmp_path: Path) -> None:
    photo = _photo(tmp_path, "a.jpg", b"one")
    out = tmp_path / "out"
    (row,) = _load([photo], out)
    assert "outcome" not in row
    (out / row["id"]).mkdir(parents=True)
    assert "outcome" not in _load([photo], out)[0], "a folder without avatar.json is not finished"
    (out / row["id"]).rmdir()
    _finish(out, row["id"], scores={"x": 1.0})
    (again,) = _load([photo], out)
    assert (again["outcome"], again["resumed"], again["scores"]) == ("ok", True, {"x": 1.0})


def test_an_avatar_below_the_threshold_goes_on_with_its_next_try(tmp_path: Path) -> None:
    photo, out = _photo(tmp_path, "a.jpg", b"one"), tmp_path / "out"
    recipe = Recipe(model_hash="m", seed=5, options={"min_identity": 0.5, "tries": 3})
    (row,) = _load([photo], out, recipe)
    facts = {"options": dict(recipe.options), "below_threshold": True, "seed": 5}
    _finish(out, row["id"], **facts, tries=2)
    (again,) = _load([photo], out, recipe)
    assert (again["image"], again["seed"], again["tries"]) == (b"one", 7, 2)
    assert (again["id"], again.get("outcome")) == (row["id"], None)
    (out / row["id"] / "avatar.json").write_text(json.dumps({**facts, "tries": 3}))
    (done,) = _load([photo], out, recipe)
    assert (done["outcome"], done["seed"], done["tries"]) == ("ok", 5, 3)
    assert done["below_threshold"] is True
    assert "image" not in done


def test_a_face_below_the_threshold_is_tried_again_and_the_others_are_not(tmp_path: Path) -> None:
    photo, out = _photo(tmp_path, "a.jpg", b"one"), tmp_path / "out"
    options = {"min_identity": 0.5, "tries": 2}
    recipe = Recipe(model_hash="m", seed=5, faces="all", options=options)
    (row,) = _load([photo], out, recipe)
    for face in range(2):
        facts = {"face_index": face, "face_count": 2, "tries": 1, "below_threshold": face == 1}
        _finish(out, f"{row['id']}-{face}", seed=5, options=options, **facts)
    (partly,) = _load([photo], out, recipe)
    assert partly["image"] == b"one"
    faces = [{**partly, "face_index": i, "face_count": 2} for i in range(2)]
    split = run_stage(SplitFaces(SplitFacesConfig(destination=str(out))), faces)
    assert [face.get("outcome") for face in split] == ["ok", None]
    assert [face["seed"] for face in split] == [5, 6]


def test_faces_of_one_photo_resume_one_by_one(tmp_path: Path) -> None:
    photo, out = _photo(tmp_path, "a.jpg", b"one"), tmp_path / "out"
    recipe = Recipe(model_hash="m", faces="all")
    (row,) = _load([photo], out, recipe)
    _finish(out, row["id"] + "-0", face_index=0, face_count=2)
    (partly,) = _load([photo], out, recipe)
    assert "outcome" not in partly
    faces = [{**partly, "face_index": i, "face_count": 2} for i in range(2)]
    split = run_stage(SplitFaces(SplitFacesConfig(destination=str(out))), faces)
    assert [face["id"] for face in split] == [row["id"] + "-0", row["id"] + "-1"]
    assert [face.get("outcome") for face in split] == ["ok", None]
    _finish(out, row["id"] + "-1", face_index=1, face_count=2)
    done = _load([photo], out, recipe)
    assert [(face["outcome"], face["face_index"]) for face in done] == [("ok", 0), ("ok", 1)]
