import pytest
import torch
from tiny_diffusion import tiny_pipeline, tiny_portraits, tiny_vae

from pipeline.diffusion.pipeline import HighResPipeline, LowResPipeline, OrbitPipeline

ORBIT = torch.tensor([0.0, 90.0, 180.0, 270.0])


def run(pipeline: OrbitPipeline, count: int, first: int = 0, guidance: float = 2.0, **extra):
    portraits = tiny_portraits(4)
    chosen = slice(first, first + count)
    subset = type(portraits)(
        portraits.images[chosen],
        portraits.identity[chosen],
        portraits.azimuth_deg[chosen],
        portraits.elevation_deg[chosen],
    )
    generators = [torch.Generator().manual_seed(first + i) for i in range(count)]
    return pipeline(subset, ORBIT, steps=3, guidance=guidance, generators=generators, **extra)


def lowres_views(count: int, first: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(9)
    views = torch.rand((4, 4, 3, 16, 16), generator=generator) * 2 - 1
    return views[first : first + count]


def test_views_are_finite_images():
    views = run(tiny_pipeline(), 2)
    assert views.shape == (2, 4, 3, 32, 32)
    assert views.abs().max() <= 1


def test_batch_of_two_is_two_batches_of_one():
    pipeline = tiny_pipeline()
    both = run(pipeline, 2)
    torch.testing.assert_close(both[1:], run(pipeline, 1, first=1), atol=2e-4, rtol=0)


def test_same_seed_same_bytes():
    pipeline = tiny_pipeline()
    assert torch.equal(run(pipeline, 1), run(pipeline, 1))


def test_guidance_of_one_ignores_the_unconditional_branch():
    pipeline = tiny_pipeline()
    plain = run(pipeline, 1, guidance=1.0)
    assert not torch.allclose(plain, run(pipeline, 1, guidance=3.0), atol=1e-3)


def test_second_stage_follows_the_low_resolution_views():
    pipeline = tiny_pipeline(HighResPipeline)
    one = run(pipeline, 1, lowres_views=lowres_views(1))
    other = run(pipeline, 1, lowres_views=lowres_views(1, first=1))
    assert (one - other).abs().max() > 0.01


@pytest.mark.parametrize(
    ("kind", "views"), [(LowResPipeline, lowres_views(1)), (HighResPipeline, None)]
)
def test_low_resolution_views_belong_to_the_second_stage_only(kind, views):
    with pytest.raises(ValueError, match="second stage"):
        run(tiny_pipeline(kind), 1, lowres_views=views)


@pytest.mark.parametrize("kind", [LowResPipeline, HighResPipeline])
def test_saved_and_loaded_pipeline_gives_the_same_views(tmp_path, kind):
    pipeline = tiny_pipeline(kind)
    extra = {"lowres_views": lowres_views(1)} if kind is HighResPipeline else {}
    expected = run(pipeline, 1, **extra)
    pipeline.save_pretrained(tmp_path)
    loaded = kind.from_model_folder(tmp_path, vae=tiny_vae())
    torch.testing.assert_close(run(loaded, 1, **extra), expected)
    assert loaded.config.lowres_weight == pipeline.config.lowres_weight


def test_every_step_is_reported():
    steps = []
    run(tiny_pipeline(), 1, on_step=lambda step, total: steps.append((step, total)))
    assert steps == [(0, 4), (1, 4), (2, 4), (3, 4)]  # three of denoising, one of decoding
