from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from pipeline.memory_plan import (
    StageMemory,
    gpu_levels,
    gpu_shares,
    model_memory,
    model_reconstruct_gb,
    paper_memory,
    peak_bytes,
    plan_stage,
)
from pipeline.model_folder import EMBEDDED, components

MEMORY = StageMemory(
    stage="lowres",
    views=16,
    weights_gb={"unet": 3.0, "vae": 0.4, "image_encoder": 1.2},
    unet_gb=0.3,
    decode_gb=0.25,
    guided=True,
)


def test_the_peak_counts_what_lives_at_a_time():
    def call() -> torch.Tensor:
        first = torch.empty(1000, device="meta")
        second = first + 1
        del first
        third = second * 2  # two of 4000 bytes at a time
        return third.view(10, 100)[2:]

    assert peak_bytes(call) == 8000
    attention = torch.empty(1, 2, 500, 16, device="meta")
    assert peak_bytes(lambda: F.scaled_dot_product_attention(*[attention] * 3)) == 4 * 16_000


def test_activations_of_a_batch_are_those_of_its_avatars():
    from tiny_diffusion import tiny_unet

    unet = tiny_unet().to("meta")

    def peak(batch: int) -> int:
        with torch.device("meta"):
            sample, tokens = torch.empty(batch, 4, 8, 16, 16), torch.empty(batch, 2, 32)
            rest = torch.empty(batch), torch.empty(batch, 3), torch.empty(batch, 4)
            return peak_bytes(lambda: unet(sample, rest[0], tokens, rest[1], rest[2]))

    assert peak(6) == pytest.approx(3 * peak(2), rel=0.02)
    assert peak(1) <= peak(2) / 2


@given(st.floats(1, 100), st.floats(1, 100))
def test_a_plan_fits_and_more_memory_never_hurts(first_gb, second_gb):
    less, more = (plan_stage(MEMORY, gb) for gb in sorted((first_gb, second_gb)))
    assert less.batch == 0 or less.peak_gb <= min(first_gb, second_gb)
    assert (less.batch == 0) >= (more.batch == 0)
    assert less.offload >= more.offload


def test_offload_is_for_gpus_that_are_too_small_without():
    assert not plan_stage(MEMORY, 24).offload
    assert plan_stage(MEMORY, 5).offload
    nothing = plan_stage(MEMORY, 3)
    assert (nothing.batch, nothing.peak_gb) == (0, MEMORY.peak_gb(1, 1, offload=True))
    assert replace(MEMORY, guided=False).peak_gb(20, 1) < MEMORY.peak_gb(20, 1)


def test_the_embedded_weights_weigh_what_their_files_weigh():
    stages = {memory.stage: memory for memory in model_memory(EMBEDDED)}
    on_disk = {part.name: part.size_bytes for part in components(EMBEDDED)}
    for name, memory in stages.items():
        half = sum(gb for part, gb in memory.weights_gb.items() if part != "vae")
        assert half == pytest.approx(on_disk[name] / 1e9, rel=0.02)


def test_shares_of_a_gpu_let_one_of_each_stage_fit() -> None:
    levels = gpu_levels(model_memory(EMBEDDED), model_reconstruct_gb(EMBEDDED))
    shares = gpu_shares(levels, 24)
    assert list(shares) == ["LowRes", "HighRes", "Reconstruct"]
    assert 0.99 < sum(shares.values()) <= 1
    needed = levels[0]
    assert all(shares[name] * 24 > needed[name] for name in shares)
    assert sum(gpu_shares(levels, 1).values()) > 1, "too small a GPU is no one's"
    assert model_reconstruct_gb(EMBEDDED, tuned=True) > needed["Reconstruct"]


def test_less_memory_makes_stages_frugal_before_it_makes_them_impossible() -> None:
    levels = gpu_levels([MEMORY, replace(MEMORY, stage="highres", decode_gb=1.0)], 3.0)
    assert sum(levels[0].values()) > sum(levels[1].values()) > sum(levels[-1].values())
    for level in levels[:2]:
        shares = gpu_shares(levels, sum(level.values()))
        assert shares["HighRes"] == pytest.approx(level["HighRes"] / sum(level.values()), abs=0.002)


def test_the_papers_weights_weigh_what_was_published():
    for memory in paper_memory():
        assert memory.weights_gb["unet"] == pytest.approx(3.05, abs=0.01)
        assert memory.weights_gb["image_encoder"] == pytest.approx(1.26, abs=0.01)
