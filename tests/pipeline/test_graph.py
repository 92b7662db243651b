from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import GraphError, ModelNotFound, UsageError
from pipeline.graph import (
    GraphOptions,
    build_graph,
    build_recipe,
    check_columns,
    describe,
    needed_after,
    trim,
)
from pipeline.local import Claims, run_local
from pipeline.model_config import ModelConfig
from pipeline.recipe import Recipe
from pipeline.stage import Context, Resources, Row, Stage


class Read(Stage):
    name, inputs, outputs = "Read", ("source",), ("image",)

    def process(self, rows: Sequence[Row], context: Context) -> list[Row]:
        return [{**row, "image": row["source"].encode()} for row in rows]


class Measure(Stage):
    name, inputs, outputs = "Measure", ("image",), ("pixels", "size")
    resources = Resources(cpus=2, gpus=0.5, memory_gb=3)
    device = None

    def setup(self, device: str) -> None:
        self.device = device

    def process(self, rows: Sequence[Row], context: Context) -> list[Row]:
        return [
            {**row, "pixels": np.frombuffer(row["image"], np.uint8), "size": len(row["image"])}
            for row in rows
        ]


def test_stages_that_fit_pass_and_others_are_named() -> None:
    check_columns([Read(), Measure()])
    with pytest.raises(GraphError, match="Measure reads 'image', which only the later stage Read"):
        check_columns([Measure(), Read()])
    with pytest.raises(GraphError, match="Measure reads 'image', which no stage writes"):
        check_columns([Measure()])
    check_columns([Measure()], given=("image",))


def test_the_plan_says_what_each_stage_needs() -> None:
    lines = describe([Read(), Measure()]).splitlines()
    assert lines[0].split() == ["stage", "batch", "CPUs", "GPUs", "GiB", "reads", "writes"]
    assert lines[2].split() == ["Measure", "1", "2", "0.5", "3", "image", "pixels,", "size"]


def test_arrays_stay_only_as_long_as_a_stage_reads_them() -> None:
    needed = needed_after([Read(), Measure()])
    assert needed == [frozenset({"image"}), frozenset()]
    row = {"image": b"x", "pixels": np.ones(3), "size": 1, "scores": {"a": 1}}
    assert set(trim(row, needed[0])) == {"image", "size", "scores"}
    assert set(trim({**row, "outcome": "rejected"}, needed[0])) == {"size", "scores", "outcome"}


def test_the_local_loop_runs_the_stages_in_order() -> None:
    stages = [Read(), Measure()]
    rows = list(run_local(stages, [{"source": "abc"}, {"source": "de"}]))
    assert [(row["size"], row["outcome"]) for row in rows] == [(3, "ok"), (2, "ok")]
    assert all("image" not in row and "pixels" not in row for row in rows)
    assert list(rows[0]["timings_s"]) == ["Read", "Measure"]


def test_only_stages_that_want_a_gpu_get_one() -> None:
    measure = Measure()
    list(run_local([Read(), measure], [], device="cuda"))
    assert measure.device is None, "nothing is loaded before there is work"
    list(run_local([Read(), measure], [{"source": "done", "outcome": "ok"}], device="cuda"))
    assert measure.device is None
    list(run_local([Read(), measure], [{"source": "a"}], device="cuda"))
    assert measure.device == "cuda"


def test_the_first_claim_wins() -> None:
    claims = Claims()
    assert [claims("k", "a"), claims("k", "b"), claims("l", "b")] == ["a", "a", "b"]


def test_options_out_of_range_are_refused_before_the_model_is_read() -> None:
    with pytest.raises(UsageError, match="turntable-frames is 0"):
        build_recipe(GraphOptions(turntable_frames=0))
    with pytest.raises(UsageError, match="seed is -1; it must be 0 to "):
        build_recipe(GraphOptions(seed=-1))


def test_a_threshold_is_in_the_recipe_only_if_it_is_given() -> None:
    plain = build_recipe(GraphOptions()).options
    assert not {"min_identity", "tries"} & set(plain)
    given = build_recipe(GraphOptions(min_identity=0.5)).options
    assert given == {**plain, "min_identity": 0.5, "tries": 3}
    assert build_recipe(GraphOptions(min_identity=0.5, tries=7)).options["tries"] == 7
    with pytest.raises(UsageError, match="tries is 4 but min-identity is not given"):
        build_recipe(GraphOptions(tries=4))
    with pytest.raises(UsageError, match="min-identity is 60; it must be -1 to 1"):
        build_recipe(GraphOptions(min_identity=60))
    with pytest.raises(UsageError, match="tries is 1; it must be 2 to 100"):
        build_recipe(GraphOptions(min_identity=0.5, tries=1))


def test_a_model_without_a_part_is_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    for part in ("face", "matting", "vae", "lowres"):
        (tmp_path / part).mkdir()
    (tmp_path / "vae" / "weights.safetensors").write_bytes(b"x")
    ModelConfig().save(tmp_path)
    with pytest.raises(ModelNotFound, match="lacks highres; train"):
        build_graph(GraphOptions(model=tmp_path), "out", Recipe(model_hash="m"))
    (tmp_path / "highres").mkdir()
    assert len(build_graph(GraphOptions(model=tmp_path), "out", Recipe(model_hash="m"))) == 7
