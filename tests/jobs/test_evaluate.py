import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_arcface import write_arcface
from tiny_heads import write_heads

from jobs.evaluate import EvaluateOptions, evaluate, evaluate_stages
from pipeline.errors import ModelNotFound, UnreadableSource, UsageError
from pipeline.evaluation.metrics import PSNR_CEILING_DB
from pipeline.evaluation.report import BEGIN, END
from pipeline.images import resize
from pipeline.model_config import ModelConfig
from pipeline.portrait.alpha import on_white
from pipeline.stage import Context, Row, Stage

SIZE_PX = 48
TRAINING, HELD_OUT = (0, 1, 2), (9, 19)


class Small(Stage):
    """Sixteen copies of the portrait at half size; a portrait from the side is refused."""

    name = "LowRes"
    inputs = ("portrait", "identity", "yaw_deg", "elevation_deg", "seed")
    outputs = ("lowres_views",)

    def process(self, rows: Sequence[Row], context: Context) -> list[Row]:
        return [self._copy(row) for row in rows]

    def _copy(self, row: Row) -> Row:
        assert row["identity"].shape == (48,)
        assert np.linalg.norm(row["identity"]) == pytest.approx(1, abs=1e-5)
        if row["seed"] == 13:
            raise ZeroDivisionError("thirteen")
        half = resize(on_white(row["portrait"])[None], SIZE_PX // 2)
        return {**row, "lowres_views": np.repeat(half, 16, 0)}


class Large(Stage):
    name = "HighRes"
    inputs = ("lowres_views",)
    outputs = ("views",)

    def process(self, rows: Sequence[Row], context: Context) -> list[Row]:
        return [{**row, "views": resize(row["lowres_views"], SIZE_PX)} for row in rows]


class Ball(Stage):
    """One grey Gaussian in the middle."""

    name = "Reconstruct"
    inputs = ("views",)
    outputs = ("gaussians",)

    def process(self, rows: Sequence[Row], context: Context) -> list[Row]:
        ball = np.array([[0, 0, 0, 0.9, 0.3, 0.3, 0.3, 1, 0, 0, 0, 0.5, 0.4, 0.4]], np.float32)
        return [{**row, "gaussians": ball} for row in rows]


STAGES = (Small(), Large(), Ball())


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_heads(tmp_path_factory.mktemp("heads"), (*TRAINING, *HELD_OUT), SIZE_PX)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    write_arcface(folder / "face" / "arcface.onnx")
    write_arcface(folder / "evaluator" / "arcface.onnx")
    return folder


def options(data: Path, model: Path, out: Path, **more: object) -> EvaluateOptions:
    return EvaluateOptions(data=str(data), output=out, model=model, identities=2, **more)


def test_report_of_known_stages(data: Path, model: Path, tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"# A\n{BEGIN}\n{END}\n")
    lines: list[str] = []
    out = tmp_path / "out"
    found = evaluate_stages(options(data, model, out, documents=(readme,)), STAGES, lines.append)
    rows = {(row["name"], row["size_px"]): row for row in found["summary"]}
    half = SIZE_PX // 2
    # The toy views at half size are the portrait copy, which is not scored in front.
    assert rows["portrait copy", half]["psnr_db_by_azimuth"] == [
        None,
        *rows["low-res views", half]["psnr_db_by_azimuth"][1:],
    ]
    blurred_front, *others = rows["views", SIZE_PX]["psnr_db_by_azimuth"]
    assert max(others) < blurred_front < PSNR_CEILING_DB
    front, *others = rows["low-res views", half]["psnr_db_by_azimuth"]
    assert front == pytest.approx(PSNR_CEILING_DB)
    assert max(others) < 30
    assert rows["avatar", SIZE_PX]["psnr_db"]["mean"] > 5
    assert rows["portrait copy", SIZE_PX]["csim"]["mean"] > rows["avatar", SIZE_PX]["csim"]["mean"]
    assert set(found["by_identity"]) == {"9", "19"}
    assert found["setup"]["training_identities"] == len(TRAINING)
    assert 0.05 < found["setup"]["face_coverage"] < 0.6
    assert json.loads((out / "evaluation.json").read_text()) == found
    assert "| **avatar** |" in (out / "report.md").read_text()
    assert "| **avatar** |" in readme.read_text()
    with Image.open(out / "sheet.png") as picture:
        assert picture.width == 130 + 17 * 96
    assert len(lines) == 2


def test_photo_condition_starts_from_another_view(data: Path, model: Path, tmp_path: Path) -> None:
    front = evaluate_stages(options(data, model, tmp_path / "a"), STAGES, print)
    photo = evaluate_stages(options(data, model, tmp_path / "b", condition="photo"), STAGES, print)
    assert "photo view" in (tmp_path / "b" / "report.md").read_text()
    assert front["summary"][1]["psnr_db"] != photo["summary"][1]["psnr_db"]


def test_failures_are_told_and_never_averaged(data: Path, model: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"the first failed in LowRes: ZeroDivisionError: thirt"):
        evaluate_stages(options(data, model, tmp_path, seed=13), STAGES, print)


def test_what_is_missing_is_named(data: Path, model: Path, tmp_path: Path) -> None:
    with pytest.raises(UnreadableSource, match="heads render"):
        evaluate_stages(options(tmp_path, model, tmp_path), STAGES, print)
    (tmp_path / "face").mkdir()
    write_arcface(tmp_path / "face" / "arcface.onnx")
    with pytest.raises(ModelNotFound, match="evaluator"):
        evaluate_stages(options(data, tmp_path, tmp_path), STAGES, print)
    note = tmp_path / "note.md"
    note.write_text("no place for a table")
    with pytest.raises(UsageError, match="add both"):
        evaluate_stages(options(data, model, tmp_path, documents=(note,)), STAGES, print)


def test_another_orbit_than_the_data_has_is_refused(data: Path, tmp_path: Path) -> None:
    write_arcface(tmp_path / "face" / "arcface.onnx")
    ModelConfig(azimuths_deg=(0.0, 90.0, 180.0, 270.0)).save(tmp_path)
    with pytest.raises(UsageError, match=r"holds them at \[0\.0, 22\.5"):
        evaluate(options(data, tmp_path, tmp_path))
