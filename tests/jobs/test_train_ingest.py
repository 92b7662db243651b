"""Training examples made by Ray Data: the same bytes, lost workers replaced, mistakes told."""

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_heads import write_heads
from tiny_model import VIEWS, write_model

from jobs.cli import main
from jobs.train_ingest import over_cluster
from pipeline.errors import UnreadableSource
from pipeline.training.example_shards import prepare
from pipeline.training.example_source import ExampleSource

pytestmark = pytest.mark.filterwarnings(r"ignore::DeprecationWarning:ray\..*")  # its own calls


@pytest.fixture
def source(tmp_path: Path) -> ExampleSource:
    data = write_heads(tmp_path / "heads", tuple(range(20)), 32, views_per_ring=VIEWS)
    return ExampleSource(data=str(data), size_px=32, model=write_model(tmp_path / "model"))


@pytest.fixture
def one_thread():
    """Workers have one thread: sums are added up in another order else."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster", "one_thread")
def test_two_workers_of_which_one_is_killed_make_what_one_process_makes(source, tmp_path):
    marker = tmp_path / "died"

    def execute(make, numbers):
        def dies_once(number):
            if number == 1 and not marker.exists():
                marker.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            make(number)

        return over_cluster(2, 0, 1)(dies_once, numbers)

    second = replace(source, second_stage=True)
    there = prepare(second, tmp_path / "there", execute)
    assert marker.exists()
    here = prepare(second, tmp_path / "here")
    assert len(files(here)) == 3
    assert files(here) == files(there)


@pytest.mark.usefixtures("ray_cluster")
def test_a_damaged_sequence_is_told_and_the_shards_of_others_stay(source, tmp_path):
    views = sorted((tmp_path / "heads" / "views").iterdir())
    views[-2].write_bytes(b"not a table")
    with pytest.raises(UnreadableSource, match=f"{views[-2].name} cannot be read"):
        prepare(source, tmp_path / "cache", over_cluster(1, 0, 1))
    (folder,) = (tmp_path / "cache").iterdir()
    assert sorted(files(folder)) == ["00000.safetensors", "examples.json"]


@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_a_part_is_trained_on_workers_and_goes_on_without_preparing_again(source, tmp_path, capsys):
    cache, out = tmp_path / "cache", tmp_path / "model"
    command = ["train", "image_encoder", "--data", source.data, "--out", str(out), "--steps"]
    assert main([*command, "1", "--cache", str(cache), "--workers", "2", "--gpus", "0"]) == 0
    told = capsys.readouterr()
    assert "psnr" in told.out
    assert f"MB in {cache}" in told.err
    made = {path: path.stat().st_mtime_ns for path in cache.rglob("*.*")}
    assert len(made) == 5
    assert main([*command, "2", "--cache", str(cache)]) == 0
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*.*")} == made
    assert torch.load(out / "training/image_encoder/checkpoint.pt")["step"] == 2


@pytest.mark.parametrize(
    ("part", "cache", "reason"),
    [
        ("lowres", "s3://bucket/cache", "--cache is s3://bucket/cache; workers map its files"),
        ("matting", "cache", "--cache is for autoencoder, image_encoder, lowres, highres; mat"),
    ],
)
def test_a_cache_without_use_is_refused(part, cache, reason, tmp_path, capsys):
    given = ["train", part, "--data", "x", "--out", str(tmp_path), "--cache", cache]
    assert main(given) == 2
    assert reason in capsys.readouterr().err
