"""Prepared examples: the same batches as from memory, made once, whole or not at all."""

import os
import resource
import shutil
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_diffusion import tiny_vae
from tiny_heads import write_heads
from tiny_model import VIEWS, write_model

from pipeline.diffusion.edm import PAPER_MIX
from pipeline.errors import UnreadableSource, UsageError
from pipeline.training import example_shards
from pipeline.training.autoencoder import AutoencoderPart
from pipeline.training.diffusion import Batch, DiffusionPart
from pipeline.training.diffusion_presets import DiffusionConfig, PixelTerms
from pipeline.training.example_maker import ExampleMaker
from pipeline.training.example_shards import open_examples, prepare
from pipeline.training.example_source import ExampleSource
from pipeline.training.examples import Examples
from pipeline.training.stages import stage_examples

SIZE_PX = 32
PEOPLE = 18  # a shard of 16 and one of 2
CONFIG = DiffusionConfig(
    size_px=SIZE_PX,
    mix=PAPER_MIX,
    batch_views=8,
    views=2,
    mirrored=True,
    pixels=PixelTerms(views=2),
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("heads")
    write_heads(folder, tuple(range(PEOPLE + 2)), SIZE_PX, views_per_ring=VIEWS)
    return folder


@pytest.fixture
def orbits(data: Path) -> ExampleSource:
    return ExampleSource(data=str(data), size_px=SIZE_PX)


def tensors(batch: Batch) -> list[torch.Tensor]:
    truth = [batch.truth.images, batch.truth.faces, torch.from_numpy(batch.truth.shows_face)]
    latents = [batch.views, batch.lowres, batch.portrait_latents, batch.azimuth_deg]
    return [*latents, *vars(batch.portraits).values(), *truth]


def test_batches_from_shards_are_those_from_one_array_in_memory(data, model, tmp_path):
    sources = stage_examples(str(data), model, CONFIG)
    kept, whole = [], []
    for source in sources:
        kept.append(open_examples(prepare(source, tmp_path)))
        dataset = source.dataset()
        columns = ExampleMaker(source, dataset).make(range(len(dataset)))
        whole.append(Examples([columns], dataset.options.azimuths_deg))
    assert (len(kept[0]), len(kept[1])) == (2 * PEOPLE, 2)
    first, second = (DiffusionPart(*sets, tiny_vae(), CONFIG) for sets in (kept, whole))
    for step in (0, 1, 7):
        pairs = zip(tensors(first.batch(5, step)), tensors(second.batch(5, step)), strict=True)
        assert all(torch.equal(one, other) for one, other in pairs), step
    for column in ("portraits", "orbit", "lowres"):
        one, other = (sets[1].pick(column, [0, 1]) for sets in (kept, whole))
        assert torch.equal(one, other), column


def test_shards_that_are_there_are_not_made_again(orbits, tmp_path):
    def killed(make, numbers):
        assert numbers == [0, 1]
        make(numbers[0])
        yield numbers[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(orbits, tmp_path, killed)
    (folder,) = tmp_path.iterdir()
    with pytest.raises(UsageError, match=r"incomplete on this machine \(1 of 2 shards"):
        open_examples(folder)
    before = (folder / "00000.safetensors").stat().st_mtime_ns
    assert prepare(orbits, tmp_path) == folder
    assert len(open_examples(folder)) == PEOPLE
    assert (folder / "00000.safetensors").stat().st_mtime_ns == before
    prepare(orbits, tmp_path, lambda make, numbers: pytest.fail(f"made {numbers} again"))


@pytest.mark.parametrize(
    "damage", [lambda old: old[:-1], lambda old: bytes(len(old)), lambda _: b""]
)
def test_a_damaged_shard_is_noticed_and_made_anew(orbits, tmp_path, damage):
    folder = prepare(orbits, tmp_path)
    shard = folder / "00001.safetensors"
    whole = shard.read_bytes()
    shard.write_bytes(damage(whole))
    with pytest.raises(UsageError, match="1 of 2 shards are missing or damaged"):
        open_examples(folder)
    first = (folder / "00000.safetensors").stat().st_mtime_ns
    assert prepare(orbits, tmp_path) == folder
    assert shard.read_bytes() == whole
    assert (folder / "00000.safetensors").stat().st_mtime_ns == first


def test_what_killed_runs_left_half_written_goes_after_some_hours(orbits, tmp_path):
    folder = prepare(orbits, tmp_path)
    old, new = folder / ".00000.safetensors.a", folder / ".00000.safetensors.b"
    for leftover in (old, new):
        leftover.touch()
    os.utime(old, (0, 0))
    prepare(orbits, tmp_path)
    assert (old.exists(), new.exists()) == (False, True)


def test_other_data_options_or_weights_make_another_set(data, model, tmp_path):
    source = stage_examples(str(data), model, CONFIG)[1]
    folders = {prepare(source, tmp_path)}
    for changed in ({"size_px": 16}, {"second_stage": False}, {"copies": 2}):
        folders.add(prepare(replace(source, **changed), tmp_path))
    copy = Path(shutil.copytree(model, tmp_path / "model"))
    assert prepare(replace(source, model=copy), tmp_path) in folders
    for part in ("vae", "face", "lowres"):
        (copy / part / "changed.json").write_text("{}")
        folders.add(prepare(replace(source, model=copy), tmp_path))
    grown = shutil.copytree(data, tmp_path / "grown")
    there = replace(source, data=str(grown))
    folders.add(prepare(there, tmp_path))
    write_heads(grown, (29,), SIZE_PX, views_per_ring=VIEWS)
    folders.add(prepare(there, tmp_path))
    assert len(folders) == 9


def test_a_cache_that_cannot_be_written_is_refused(orbits, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"nothing can be written under .*/file/"):
        prepare(orbits, tmp_path / "file")


def test_a_disk_that_fills_up_is_told_and_what_is_there_stays(orbits, tmp_path, monkeypatch):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(UsageError, match=r"00000.safetensors cannot be written \(File too la"):
            prepare(orbits, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(example_shards.shutil, "disk_usage", lambda _: usage(1000))
    with pytest.raises(
        UsageError, match=r"1 shards that are left take about 0.0 GB and .* --cache"
    ):
        prepare(orbits, tmp_path)
    monkeypatch.undo()
    first = next(tmp_path.rglob("00000.safetensors"))
    before = first.stat().st_mtime_ns
    assert len(open_examples(prepare(orbits, tmp_path))) == PEOPLE
    assert first.stat().st_mtime_ns == before


def test_data_without_anybody_is_refused(data, model, tmp_path):
    source = replace(stage_examples(str(data), model, CONFIG)[1], without=("",))
    with pytest.raises(UsageError, match="everybody is left out of the training data"):
        open_examples(prepare(source, tmp_path))
    with pytest.raises(UnreadableSource, match="render one with"):
        prepare(ExampleSource(data=str(tmp_path), size_px=SIZE_PX), tmp_path)
    write_heads(tmp_path / "few", (0, 1), SIZE_PX)
    with pytest.raises(UsageError, match="lacks people to train on or to judge by"):
        prepare(ExampleSource(data=str(tmp_path / "few"), size_px=SIZE_PX, held_out=True), tmp_path)


def test_the_autoencoder_learns_from_every_view_of_an_orbit(orbits, tmp_path):
    sets = [
        open_examples(prepare(one, tmp_path)) for one in (orbits, replace(orbits, held_out=True))
    ]
    assert (len(sets[0]), len(sets[1]), sets[0].shape("orbit")[0]) == (PEOPLE, 2, VIEWS)
    part = AutoencoderPart(*sets, sizes_px=(SIZE_PX, 16), batch_px=6 * SIZE_PX**2)
    assert part.batch(0, 0).shape == (6, 3, SIZE_PX, SIZE_PX)
    assert torch.equal(part.batch(0, 1), part.batch(0, 1))
