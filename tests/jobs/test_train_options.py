"""What `headsplat train` makes of its options, before anything is trained."""

from pathlib import Path

import pytest

from jobs.train import Source, TrainRun
from pipeline.errors import UsageError
from pipeline.model_config import ModelConfig
from pipeline.training.diffusion_presets import PAPER_OPTIONS, StageChoices


def run(part: str, model: Path, **source: object) -> TrainRun:
    return TrainRun(part=part, source=Source(data="heads", model=model, **source))


@pytest.mark.parametrize(
    ("part", "source", "reason"),
    [
        ("lowres", {"preset": "big"}, "preset 'big' is none of embedded, paper"),
        ("gaussians", {"preset": "paper"}, "preset 'paper' is none of embedded, tiny, small, big"),
        (
            "matting",
            {"choices": StageChoices(ablate=("identity",))},
            "--pixel-sigma are for lowres",
        ),
        ("detector", {"classes": "expression"}, "--classes is for identity; detector has no class"),
        ("lowres", {"choices": StageChoices(ablate=("x",))}, "ablation 'x' is none of identity"),
        ("matting", {"start_from": Path("m")}, "identity, lowres, highres can"),
        ("highres", {"preset": "paper"}, "headsplat models import and give --start-from"),
    ],
)
def test_options_of_other_parts_are_refused(part, source, reason, tmp_path):
    with pytest.raises(UsageError, match=reason):
        run(part, tmp_path, **source)


def test_a_new_folder_says_what_its_first_part_will_be(tmp_path):
    run("matting", tmp_path / "a").write_index()
    assert ModelConfig.load(tmp_path / "a") == ModelConfig()
    run("lowres", tmp_path / "b", preset="paper", start_from=tmp_path).write_index()
    paper = ModelConfig.load(tmp_path / "b")
    assert (paper.preset, paper.lowres.size_px, paper.highres.size_px) == ("paper", 256, 512)
    with pytest.raises(UsageError, match="tells of views of 256 px and lowres would have 64 px"):
        run("lowres", tmp_path / "b").write_index()


def test_the_single_stage_of_an_ablation_has_the_size_of_the_second(tmp_path):
    ModelConfig().save(tmp_path)
    ablated = run("lowres", tmp_path, choices=StageChoices(ablate=("two-stage",)))
    ablated.write_index()
    index = ModelConfig.load(tmp_path)
    assert (index.lowres.size_px, index.highres) == (128, None)
    ablated.write_index()
    with pytest.raises(UsageError, match="tells of no such stage and highres would have 128 px"):
        run("highres", tmp_path).write_index()
    (tmp_path / "highres").mkdir()
    with pytest.raises(UsageError, match="has a second stage already"):
        ablated.write_index()


def test_each_preset_has_its_pace(tmp_path):
    assert run("lowres", tmp_path, preset="paper", start_from=tmp_path).pace.learning_rate == 1e-5
    assert PAPER_OPTIONS.last_share == 0.1
    embedded = run("lowres", tmp_path).pace
    assert (embedded.steps, embedded.learning_rate, embedded.last_share) == (60_000, 8e-4, 0.01)
    assert run("gaussians", tmp_path, preset="big").pace.one_cycle
    assert run("identity", tmp_path, start_from=tmp_path).pace.learning_rate == 1e-4
    assert run("identity", tmp_path).pace.learning_rate == 2e-3
