"""Presets and choices of the diffusion stages."""

from dataclasses import replace

import pytest
import torch
from published_video_diffusion import write_video_diffusion
from test_diffusion import discs, people
from tiny_diffusion import tiny_vae

from pipeline.diffusion.edm import PAPER_MIX, PURE_NOISE
from pipeline.diffusion.loading import load_pipeline, load_vae
from pipeline.errors import UsageError
from pipeline.published.video_diffusion import video_diffusion_parts
from pipeline.training.diffusion import DiffusionPart
from pipeline.training.diffusion_presets import (
    MODELS,
    PAPER_HIGHRES,
    PAPER_LOWRES,
    PAPER_OPTIONS,
    STAGES,
    DiffusionConfig,
    PixelTerms,
    StageChoices,
    stage_config,
)
from pipeline.training.subjects import encode_all


def test_the_paper_preset_is_trained_as_the_paper_and_its_release_say():
    for config in (PAPER_LOWRES, PAPER_HIGHRES):
        assert (config.sigma_mean, config.sigma_std, config.sigma_max) == (1.0, 1.6, 700.0)
        assert config.checkpointing
        assert 2 <= config.pixels.views <= 4
        assert (config.pixels.perceptual_weight, config.pixels.identity_weight) == (1.0, 1.0)
        assert 1 <= config.pixels.sigma <= 2
    assert (PAPER_LOWRES.size_px, PAPER_HIGHRES.size_px) == (256, 512)
    assert (PAPER_LOWRES.mix, PAPER_HIGHRES.mix) == (PURE_NOISE, PAPER_MIX)
    rates = [PAPER_OPTIONS.rate(PAPER_OPTIONS.warmup_steps, share) for share in (0.0, 1.0)]
    assert rates == pytest.approx([1e-5, 1e-6])


def test_the_embedded_preset_compares_no_pixels_unless_told_to():
    assert all(one.pixels.views == 0 for one in STAGES["embedded"].values())
    chosen = stage_config("embedded", "lowres", StageChoices(decoded_views=3, pixel_sigma=9.0))
    assert (chosen.pixels.views, chosen.pixels.sigma) == (3, 9.0)


@pytest.mark.parametrize("preset", STAGES)
def test_without_choices_a_preset_stays_as_it_is(preset):
    for stage, config in STAGES[preset].items():
        assert stage_config(preset, stage, StageChoices()) == config
        assert getattr(MODELS[preset], stage).size_px == config.size_px


def test_ablations_change_what_they_name():
    plain = STAGES["paper"]["lowres"]
    without = stage_config("paper", "lowres", StageChoices(ablate=("identity",)))
    assert (without.identity_token, without.pixels.identity_weight) == (False, 0.0)
    assert without.pixels.perceptual_weight == plain.pixels.perceptual_weight
    single = stage_config("paper", "lowres", StageChoices(ablate=("two-stage",)))
    assert (single.size_px, single.mix) == (512, PURE_NOISE)
    pair = stage_config("paper", "highres", StageChoices(noise_weight=0.5, lowres_weight=0.5))
    assert (pair.mix.noise_weight, pair.mix.lowres_weight) == (0.5, 0.5)


@pytest.mark.parametrize(
    ("stage", "choices", "reason"),
    [
        ("lowres", {"ablate": ("id",)}, "ablation 'id' is none of identity, two-stage"),
        ("highres", {"ablate": ("two-stage",)}, "'two-stage' leaves no second stage"),
        ("highres", {"noise_weight": 0.5}, "noise-weight is 0.5 and lowres-weight None for highre"),
        ("lowres", {"noise_weight": 0.5, "lowres_weight": 0.5}, "a pair of numbers above 0 for hi"),
        ("lowres", {"decoded_views": -1}, "decoded-views is -1 and pixel-sigma 2;"),
    ],
)
def test_choices_without_meaning_are_refused(stage, choices, reason):
    with pytest.raises(UsageError, match=reason):
        stage_config("embedded", stage, StageChoices(**choices))


def test_a_model_of_any_size_can_be_started_from_as_it_is(tmp_path):
    small = {"size_px": 32, "batch_views": 16}
    config = DiffusionConfig(channels=(32, 64), heads=(1, 2), **small)
    first = DiffusionPart(people(2), people(2), tiny_vae(), config)
    torch.manual_seed(0)
    model = first.build_model()
    first.settings = {"guidance_course": "linear", "orbit_start": "portrait"}
    first.export(model, tmp_path / "lowres")
    first.vae.save_pretrained(tmp_path / "vae")
    config = DiffusionConfig(channels=None, checkpointing=True, train_encoder=False, **small)
    heads = people(2, azimuth_deg=torch.full((2, 9), 100.0))
    second = DiffusionPart(heads, people(2), tiny_vae(), config, tmp_path)
    started = second.build_model()
    assert started.unet.config.block_out_channels == [32, 64]
    assert torch.equal(started.unet.conv_in.weight, model.unet.conv_in.weight.float())
    assert not any(one.requires_grad for one in started.image_encoder.parameters())
    orbit = second.batch(0, 7).azimuth_deg  # begins next to the portrait, as the first one's did
    assert orbit[0].tolist() == [90, 135, 180, 225, 270, 315, 0, 45]
    second.loss(started.train(), second.batch(0, 7))["loss"].backward()
    assert second.pipeline(started).config.orbit_start == "portrait"


def test_an_imported_video_model_is_trained_on_and_exported(tmp_path):
    for one in video_diffusion_parts(write_video_diffusion(tmp_path / "svd"), "lowres"):
        one.write(tmp_path / one.component)
    config = replace(PAPER_LOWRES, size_px=32, batch_views=8, pixels=PixelTerms(views=2, sigma=99))
    vae, columns = load_vae(tmp_path), discs(2)
    latents = {
        f"{kind}_latents": encode_all(vae, columns[images].numpy())
        for kind, images in (("view", "orbit"), ("portrait", "portraits"))
    }
    part = DiffusionPart(people(2, **latents), people(2), vae, config, tmp_path)
    model = part.build_model().train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 1e-2)
    torch.manual_seed(0)
    terms = part.loss(model, part.batch(0, 0))
    assert {"loss", "latents", "structure"} == set(terms)
    terms["loss"].backward()
    assert all(one.grad is None for one in model.image_encoder.parameters())
    optimizer.step()
    part.export(model.eval(), tmp_path / "out" / "lowres")
    part.vae.save_pretrained(tmp_path / "out" / "vae")
    started, learnt = (load_pipeline(one, "lowres", "cpu") for one in (tmp_path, tmp_path / "out"))
    last = [one.identity_projection.layers[-1].weight.abs().max() for one in (started, learnt)]
    assert float(last[0].detach()) == 0 < float(last[1].detach())
    assert learnt.scheduler.config.sigma_max == 700
