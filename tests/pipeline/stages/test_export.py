import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.avatar_folder import FILES
from pipeline.errors import Cancelled
from pipeline.recipe import Recipe
from pipeline.stage import Context, Row, run_stage
from pipeline.stages.export import Export, ExportConfig, source_name

RECIPE = Recipe(model_hash="0123456789abcdef", seed=3)


@pytest.fixture
def row() -> Row:
    rng = np.random.default_rng(0)
    gaussians = np.zeros((300, 14), np.float32)
    gaussians[:, :3] = rng.normal(0, 0.2, (300, 3))
    gaussians[:, 3] = 0.9
    gaussians[:, 4:7] = 0.05
    gaussians[:, 7] = 1
    gaussians[:, 11:] = rng.random((300, 3))
    gaussians[gaussians[:, 0] > 0, 11:] = (1, 0, 0)  # the subject's left is red
    return {
        "id": "abc",
        "source": "/photos/me & you.jpg",
        "image_sha256": "00",
        "seed": 3,
        "portrait": rng.integers(0, 255, (64, 64, 4), np.uint8),
        "views": rng.integers(0, 255, (16, 32, 32, 3), np.uint8),
        "gaussians": gaussians,
        "yaw_deg": np.float32(12.5),
        "timings_s": {"Prepare": 0.5},
    }


def _export(folder: Path, row: Row) -> Row:
    config = ExportConfig(
        destination=str(folder), recipe=RECIPE, turntable_frames=4, turntable_px=64
    )
    stage = Export(config)
    stage.setup("cpu")
    return run_stage(stage, [row])[0]


def test_a_folder_holds_everything_and_nothing_is_left_beside_it(tmp_path: Path, row: Row) -> None:
    result = _export(tmp_path, row)
    assert result.get("outcome") is None, result
    assert sorted(path.name for path in (tmp_path / "abc").iterdir()) == sorted(FILES)
    assert not list((tmp_path / ".partial").iterdir())
    record = json.loads((tmp_path / "abc" / "avatar.json").read_text())
    assert record["source"] == "me & you.jpg"
    assert (record["seed"], record["model_hash"]) == (3, RECIPE.model_hash)
    assert record["yaw_deg"] == 12.5
    assert record["timings_s"] == {"Prepare": 0.5}
    assert np.shape(record["views"]["cam_to_world"]) == (16, 4, 4)


def test_the_pictures_show_the_avatar(tmp_path: Path, row: Row) -> None:
    _export(tmp_path, row)
    with Image.open(tmp_path / "abc" / "portrait.png") as portrait:
        np.testing.assert_array_equal(np.asarray(portrait), row["portrait"])
    with Image.open(tmp_path / "abc" / "views.webp") as views:
        assert views.size == (128, 128)
    with Image.open(tmp_path / "abc" / "turntable.webp") as turn:
        assert (turn.size, getattr(turn, "n_frames", 1)) == ((64, 64), 4)
        front = np.asarray(turn.convert("RGB")).astype(int)
    redness = front[..., 0] - front[..., 1]
    # the subject's left is at the right of a picture taken from the front
    assert redness[:, 36:44].mean() > redness[:, 20:28].mean() + 40


def test_the_same_row_gives_the_same_bytes(tmp_path: Path, row: Row) -> None:
    _export(tmp_path / "one", row)
    _export(tmp_path / "two", {**row, "timings_s": {"Prepare": 9.0}})
    for name in FILES:
        one, two = ((tmp_path / run / "abc" / name).read_bytes() for run in ("one", "two"))
        if name == "avatar.json":
            records = [json.loads(data) for data in (one, two)]
            assert records[0].pop("timings_s") != records[1].pop("timings_s")
            assert records[0] == records[1]
        else:
            assert one == two, name


def test_a_failure_leaves_nothing_behind(tmp_path: Path, row: Row) -> None:
    row["gaussians"][7, 2] = np.nan
    result = _export(tmp_path, row)
    assert (result["outcome"], result["error_stage"]) == ("failed", "Export")
    assert not (tmp_path / "abc").exists()


def test_the_better_try_stays_and_every_try_is_counted(tmp_path: Path, row: Row) -> None:
    results = []
    for number, cosine in enumerate((0.3, 0.2, 0.4)):
        verdict = {"scores": {"identity_cosine": cosine}, "below_threshold": True}
        tried = {**row, **verdict, "seed": 3 + number, "tries": number + 1}
        tried["gaussians"] = row["gaussians"][number:]
        results.append(_export(tmp_path, tried))
        record = json.loads((tmp_path / "abc" / "avatar.json").read_text())
        kept = {name: results[-1][name] for name in ("seed", "tries", "scores", "gaussian_count")}
        assert {name: record[name] for name in kept} == kept
        folder = {path.name for path in (tmp_path / "abc").iterdir()}
        assert folder == set(FILES)
    assert [(result["seed"], result["tries"]) for result in results] == [(3, 1), (3, 2), (5, 3)]
    assert [result["gaussian_count"] for result in results] == [300, 300, 298]


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("/photos/me.jpg", "me.jpg"),
        ("s3://bucket/a/b c.png?region=eu-west-1", "b c.png"),
        ("me.jpg", "me.jpg"),
        ("C:\\photos\\me.jpg", "me.jpg"),
    ],
)
def test_a_source_is_recorded_by_its_name_only(source: str, name: str) -> None:
    assert source_name(source) == name


def test_a_sheet_shows_the_views_row_by_row() -> None:
    from pipeline.pictures import contact_sheet, webp

    views = np.stack([np.full((8, 8, 3), 10 * i, np.uint8) for i in range(6)])
    sheet = contact_sheet(views)
    assert sheet.shape == (16, 32, 3)
    assert [sheet[4, 8 * i + 4, 0] for i in range(4)] == [0, 10, 20, 30]
    assert [sheet[12, 8 * i + 4, 0] for i in range(4)] == [40, 50, 255, 255]
    assert Image.open(io.BytesIO(webp(sheet))).size == (32, 16)


def test_what_is_cancelled_at_the_last_moment_is_not_written(tmp_path: Path, row: Row) -> None:
    asked = 0

    def at_last() -> bool:
        nonlocal asked
        asked += 1
        return asked == 2

    stage = Export(ExportConfig(destination=str(tmp_path), recipe=RECIPE, turntable_frames=4))
    with pytest.raises(Cancelled):
        run_stage(stage, [row], Context(is_cancelled=at_last))
    assert list(tmp_path.iterdir()) == []
