import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_arcface import write_arcface
from tiny_heads import write_heads

from jobs.evaluate import EvaluateOptions, evaluate, evaluate_stages
from pipeline.errors import ModelNotFound, UnreadableSource, UsageError
from pipeline.evaluation.metrics import PSNR_CEILING_DB
from pipeline.evaluation.paper_set import paper_sequences
from pipeline.evaluation.report import BEGIN, END
from pipeline.images import resize
from pipeline.model_config import ModelConfig
from pipeline.model_folder import resolve_model
from pipeline.portrait.alpha import on_white
from pipeline.portrait.faces import FACE_FOLDER
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
        assert row["identity"].shape in ((48,), (512,))
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
    ModelConfig().save(folder)
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
    assert "| avatar | 48 |" in (out / "report.md").read_text()
    assert "| avatar | 48 |" in readme.read_text()
    assert "<td>avatar</td><td>48</td>" in (out / "report.html").read_text()
    assert found["labels"]["19"] == {"portrait_yaw": "from the front"}
    with Image.open(out / "sheet.png") as picture:
        assert picture.width == 130 + 17 * 96
    assert len(lines) == 2


def test_photo_condition_starts_from_another_view(data: Path, model: Path, tmp_path: Path) -> None:
    front = evaluate_stages(options(data, model, tmp_path / "a"), STAGES, print)
    photo = evaluate_stages(options(data, model, tmp_path / "b", protocol="photo"), STAGES, print)
    assert "photo view" in (tmp_path / "b" / "report.md").read_text()
    assert front["summary"][1]["psnr_db"] != photo["summary"][1]["psnr_db"]


def test_an_estimated_camera_starts_from_the_picture_alone(
    data: Path, model: Path, tmp_path: Path
) -> None:
    class Guess(Stage):
        """Takes the picture for the portrait, and its camera to be in front."""

        name = "Prepare"
        inputs = ("image",)
        outputs = ("portrait", "identity", "yaw_deg", "elevation_deg")

        def process(self, rows: Sequence[Row], context: Context) -> list[Row]:
            portraits = [np.array(Image.open(BytesIO(row["image"]))) for row in rows]
            identity = np.eye(1, 48, dtype=np.float32)[0]
            known = {"identity": identity, "yaw_deg": 0.0, "elevation_deg": 0.0}
            return [
                {**row, **known, "portrait": one} for row, one in zip(rows, portraits, strict=True)
            ]

    wanted = options(data, model, tmp_path / "a", camera="estimated")
    found = evaluate_stages(wanted, (Guess(), *STAGES), print)
    assert found["setup"]["camera"] == "estimated"
    assert "its camera estimated" in (tmp_path / "a" / "report.md").read_text()
    known = evaluate_stages(options(data, model, tmp_path / "b"), STAGES, print)
    assert known["setup"]["camera"] == "known"
    # the balls' front views need no framing
    assert found["summary"][1]["psnr_db"] == known["summary"][1]["psnr_db"]


def test_failures_are_told_and_never_averaged(data: Path, model: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"the first failed: LowRes: ZeroDivisionError: thirt"):
        evaluate_stages(options(data, model, tmp_path, seed=13), STAGES, print)


def test_what_is_missing_is_named(data: Path, model: Path, tmp_path: Path) -> None:
    with pytest.raises(UnreadableSource, match="heads render"):
        evaluate_stages(options(tmp_path, model, tmp_path), STAGES, print)
    ModelConfig().save(tmp_path)
    write_arcface(tmp_path / "evaluator" / "arcface.onnx")
    with pytest.raises(ModelNotFound, match=r"the face pack .*face is no folder"):
        evaluate_stages(options(data, tmp_path, tmp_path), STAGES, print)
    with pytest.raises(UsageError, match="identities is 0"):
        evaluate_stages(replace(options(data, model, tmp_path), identities=0), STAGES, print)
    note = tmp_path / "note.md"
    note.write_text("no place for a table")
    with pytest.raises(UsageError, match="add both"):
        evaluate_stages(options(data, model, tmp_path, documents=(note,)), STAGES, print)


def test_another_orbit_than_the_data_has_is_refused(data: Path, tmp_path: Path) -> None:
    write_arcface(tmp_path / "face" / "arcface.onnx")
    ModelConfig(azimuths_deg=(0.0, 90.0, 180.0, 270.0)).save(tmp_path)
    with pytest.raises(UsageError, match=r"holds them at \[0\.0, 22\.5"):
        evaluate(options(data, tmp_path, tmp_path))


def test_metrics_without_a_network_are_empty_and_say_why(
    data: Path, model: Path, tmp_path: Path
) -> None:
    with_evaluator = options(data, model, tmp_path, evaluator=tmp_path / "none")
    found = evaluate_stages(with_evaluator, STAGES, print)
    assert set(found["unavailable"]) == {"lpips_vgg", "lpips_alex", "dreamsim", "csim", "csim_raw"}
    for row in found["summary"]:
        for metric in found["unavailable"]:
            assert row[metric]["mean"] is None
            assert row[metric]["coverage"] == 0


@pytest.fixture(scope="module")
def paper_heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two people of the paper's test set, and one to draw floors from."""
    folder = tmp_path_factory.mktemp("paper")
    return write_heads(folder, (0, *HELD_OUT), 24, appearances=10)


def test_the_papers_protocol_counts_people_not_expressions(
    paper_heads: Path, model: Path, tmp_path: Path
) -> None:
    paper = options(paper_heads, model, tmp_path, protocol="paper")
    found = evaluate_stages(paper, STAGES, print)
    keys = [f"{number // 10}/{number}" for number in paper_sequences(2)]
    assert list(found["by_identity"]) == keys
    assert found["subjects"] == 2
    assert found["setup"]["protocol"] == "paper"
    assert found["setup"]["condition"] == "front"
    views = next(row for row in found["summary"] if row["name"] == "views")
    assert views["psnr_db"]["subjects"] == 2
    of_people = [
        np.mean([found["by_identity"][key]["views @48"]["psnr_db"] for key in keys[k : k + 5]])
        for k in (0, 5)
    ]
    assert views["psnr_db"]["mean"] == pytest.approx(np.mean(of_people), abs=1e-5)
    deviation = np.std(of_people, ddof=1)
    assert views["psnr_db"]["standard_deviation"] == pytest.approx(deviation, abs=1e-5)
    assert views["psnr_db"]["standard_error"] == pytest.approx(deviation / 2**0.5, abs=1e-5)


def test_the_papers_protocol_wants_its_own_heads(data: Path, model: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="appearances is 1; the paper's test set has appear"):
        evaluate_stages(options(data, model, tmp_path, protocol="paper"), STAGES, print)
    lacking = write_heads(tmp_path / "heads", (9,), 24, appearances=10)
    with pytest.raises(UsageError, match=r"lacks 5 of the 10 sequences .* --protocol paper"):
        evaluate_stages(options(lacking, model, tmp_path, protocol="paper"), STAGES, print)


def test_a_test_set_without_training_people_leaves_the_portrait_copy(
    model: Path, data: Path, tmp_path: Path
) -> None:
    only_test = write_heads(tmp_path / "heads", (9,), SIZE_PX, appearances=10)
    alone = options(only_test, model, tmp_path / "a", protocol="paper")
    alone = replace(alone, identities=1)
    found = evaluate_stages(alone, STAGES, print)
    assert {row["name"] for row in found["summary"] if row["is_floor"]} == {"portrait copy"}
    assert found["setup"]["training_identities"] == 0
    beside = replace(alone, output=tmp_path / "b", floors=str(data))
    found = evaluate_stages(beside, STAGES, print)
    assert len({row["name"] for row in found["summary"] if row["is_floor"]}) == 3
    assert found["setup"]["training_identities"] == len(TRAINING)


def test_other_methods_start_from_our_portraits_and_are_scored_beside_us(
    data: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A method that paints the portrait in every view, at the size of the true ones."""
    start = tmp_path / "start"
    assert evaluate(options(data, model, tmp_path, export=start)) == 0
    assert "2 subjects" in capsys.readouterr().out
    for portrait in start.glob("*/portrait.png"):
        with Image.open(portrait) as image:
            for view in range(16):
                image.save(portrait.with_name(f"{view:02d}.png"))
    found = evaluate_stages(
        options(data, model, tmp_path, renders=(f"flat={start}",)), STAGES, print
    )
    rows = {(row["name"], row["size_px"]): row for row in found["summary"]}
    flat, copied = rows["flat", SIZE_PX], rows["portrait copy", SIZE_PX]
    assert flat["is_baseline"]
    assert not copied["is_baseline"]
    assert flat["psnr_db_by_azimuth"][1:] == copied["psnr_db_by_azimuth"][1:]
    assert flat["psnr_db_by_azimuth"][0] == pytest.approx(PSNR_CEILING_DB, abs=0.01)
    assert flat["psnr_db"]["coverage"] == 1
    assert copied["psnr_db"]["coverage"] == pytest.approx(15 / 16)


def test_what_shows_no_face_is_not_aligned_and_has_no_numbers(
    data: Path, model: Path, tmp_path: Path
) -> None:
    """The detector is the shipped one, which takes no ball for a face."""
    ModelConfig().save(tmp_path)
    shutil.copytree(model / "evaluator", tmp_path / "evaluator")
    shutil.copytree(resolve_model(None) / FACE_FOLDER, tmp_path / FACE_FOLDER)
    found = evaluate_stages(options(data, tmp_path, tmp_path, align=True), STAGES, print)
    by_alignment = {}
    for row in found["summary"]:
        by_alignment.setdefault(row["alignment"], []).append(row)
    assert [row["name"] for row in by_alignment["2d"]] == ["low-res views", "views", "avatar"]
    assert [row["name"] for row in by_alignment["3d"]] == ["avatar"]
    for row in (*by_alignment["2d"], *by_alignment["3d"]):
        assert row["psnr_db"] == {
            "mean": None,
            "standard_error": None,
            "standard_deviation": None,
            "subjects": 0,
            "coverage": 0.0,
        }
