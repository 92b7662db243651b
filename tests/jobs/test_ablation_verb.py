import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_evaluate import SIZE_PX, STAGES, Ball
from tiny_arcface import write_arcface
from tiny_evaluation import tiny_evaluation
from tiny_heads import write_heads

from jobs import ablations
from jobs.cli import main
from jobs.evaluation_files import write_evaluation
from pipeline.errors import UsageError
from pipeline.model_config import ModelConfig, StageConfig
from pipeline.stage import Context, Row


def evaluated(folder: Path, **changes: object) -> Path:
    """The output folder of an evaluation."""
    folder.mkdir()
    Image.new("RGB", (8, 8)).save(folder / "sheet.png")
    write_evaluation(folder, tiny_evaluation(**changes))
    return folder


def write_model(folder: Path, guidance: float = 1.0, highres: bool = True) -> Path:
    """A model folder with files where the graph looks for them."""
    for part in ("face", "evaluator"):
        write_arcface(folder / part / "arcface.onnx")
    for part in ("vae", "lowres", "matting", *(["highres"] if highres else [])):
        (folder / part).mkdir()
    ModelConfig(
        lowres=StageConfig(size_px=16, steps=2, guidance=guidance),
        highres=StageConfig(size_px=32, steps=2, guidance=guidance) if highres else None,
    ).save(folder)
    return folder


def test_evaluations_that_are_there_are_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    full = evaluated(tmp_path / "full")
    without = evaluated(tmp_path / "without", offset_db=-3.0, model_hash="def")
    out = tmp_path / "out"
    command = ["evaluate", "ablations", f"no-ID={without}", "--model", str(full)]
    assert main([*command, "--data", "heads", "-o", str(out)]) == 0
    said = capsys.readouterr().out
    assert "| no-ID | -3.00 +- 0.00, holds |" in said
    assert said.strip() in (out / "ablations.md").read_text()
    assert main([*command, "--data", "heads", "-o", str(out), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads((out / "ablations.json").read_text())
    assert found["products"]["avatar"][1]["model_hash"] == "def"


class SmallBall(Ball):
    """What the toy avatar is without its per-subject optimisation."""

    def process(self, rows: list[Row], context: Context) -> list[Row]:
        made = super().process(rows, context)
        shrunk = np.array([1, 1, 1, 1, 0.5, 0.5, 0.5, *[1] * 7], np.float32)
        return [{**row, "gaussians": row["gaussians"] * shrunk} for row in made]


def test_variants_are_evaluated_on_the_same_people(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_heads(tmp_path / "heads", (0, 1, 9, 19, 29), SIZE_PX)
    model = write_model(tmp_path / "model")
    fitted = {"full": STAGES, "no-fit": (*STAGES[:2], SmallBall())}
    monkeypatch.setattr(
        ablations, "stages_of", lambda model, variant, seed: fitted[variant or "full"]
    )
    command = ["evaluate", "ablations", "no-fit", "--model", str(model), "--data", str(data)]
    out = tmp_path / "out"
    assert main([*command, "-o", str(out), "--identities", "3", "--json"]) == 0
    done = capsys.readouterr()
    found = json.loads(done.out)
    assert "no-fit: identity 19: " in done.err
    assert found["people"] == 3
    full, without = found["products"]["avatar"]
    assert full["psnr_db"]["mean"] > without["psnr_db"]["mean"]
    assert without["psnr_db"]["ordering"].startswith("holds")
    assert found["products"]["views"][1]["psnr_db"]["difference"]["mean"] == 0
    rows = json.loads((out / "no-fit" / "evaluation.json").read_text())["summary"]
    assert not [row for row in rows if row["name"] == "nearest identity"], "floors cost time"


def test_each_variant_leaves_out_what_it_says(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model", guidance=2.0)
    assert ablations.free_variants(model) == ["no-fit", "no-highres", "no-guidance"]

    def stages(variant: str | None) -> dict[str, object]:
        return {stage.name: stage for stage in ablations.stages_of(model, variant, seed=0)}

    full = stages(None)
    assert list(full) == ["LowRes", "HighRes", "Reconstruct"]
    assert stages("no-fit")["Reconstruct"].config == replace(full["Reconstruct"].config, steps=0)
    one_stage = stages("no-highres")
    assert list(one_stage) == ["LowRes", "Reconstruct"]
    assert one_stage["LowRes"].outputs == ("views",)
    for name in ("LowRes", "HighRes"):
        assert stages("no-guidance")[name].config == replace(full[name].config, guidance=1.0)


def test_variants_without_an_effect_are_neither_offered_nor_taken(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model", highres=False)
    assert ablations.free_variants(model) == ["no-fit"]
    with pytest.raises(UsageError, match="no second stage, so no-highres would change nothing"):
        ablations.stages_of(model, "no-highres", seed=0)
    with pytest.raises(UsageError, match="no guidance, so no-guidance would change nothing"):
        ablations.stages_of(model, "no-guidance", seed=0)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (["nofit"], "'nofit' is neither NAME=FOLDER nor one of no-fit, no-highres"),
        (["no-fit", "no-fit"], "'no-fit' cannot be the name of a row"),
        (["full=x"], "'full' cannot be the name of a row"),
        (["../a=x"], "'../a' cannot be the name of a row"),
        (["a=none"], "none is not a folder"),
    ],
)
def test_mistakes_are_told_before_anything_runs(
    rows: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_heads(tmp_path / "heads", (0, 9), SIZE_PX)
    model = write_model(tmp_path / "model")
    options = ["--model", str(model), "--data", str(data), "-o", str(tmp_path / "out")]
    assert main(["evaluate", "ablations", *rows, *options]) == 2
    done = capsys.readouterr()
    assert said in done.err
    assert "identity" not in done.err
