import numpy as np
import pytest
import torch
from tiny_diffusion import tiny_vae
from transformers import CLIPVisionModelWithProjection

from pipeline.cameras import orbit_azimuths_deg
from pipeline.diffusion.conditions import clip_pixels
from pipeline.diffusion.edm import PAPER_MIX, PURE_NOISE
from pipeline.diffusion.loading import load_pipeline
from pipeline.errors import UsageError
from pipeline.images import to_signed
from pipeline.training.diffusion import DiffusionPart
from pipeline.training.diffusion_presets import DiffusionConfig
from pipeline.training.examples import Columns, Examples, portraits_of
from pipeline.training.image_encoder import TOKEN_DIM, ImageEncoderPart
from pipeline.training.lowres_views import FirstStage, imitate_lowres
from pipeline.training.subjects import encode_all

SIZE_PX = 32


def discs(count: int) -> Columns:
    """Coloured discs, with all that a stage may want: the colour is who, the size is the view."""
    rng = np.random.default_rng(0)
    line = np.linspace(-1, 1, SIZE_PX)
    radius = np.hypot(*np.meshgrid(line, line))
    colors = rng.integers(0, 200, (count, 1, 1, 1, 3))
    sizes = np.linspace(0.4, 0.8, 8)[None, :, None, None]
    orbit = np.where((radius < sizes)[..., None], colors, 255).astype(np.uint8)
    identity = rng.normal(size=(count, 9, 512)).astype(np.float32)
    portraits = np.concatenate([orbit, orbit[:, :1]], 1)
    lowres = imitate_lowres(orbit, SIZE_PX // 2, np.arange(count), count)
    arrays = {
        "number": np.arange(count),
        "orbit": orbit,
        "lowres": lowres,
        "portraits": portraits,
        "identity": identity / np.linalg.norm(identity, axis=-1, keepdims=True),
        "azimuth_deg": np.zeros((count, 9), np.float32),
        "elevation_deg": np.zeros((count, 9), np.float32),
        "faces": np.tile(np.eye(2, 3, dtype=np.float32), (count, 8, 1, 1)),
        "shows_face": np.tile(np.arange(8) % 7 < 2, (count, 1)),
    }
    return {name: torch.from_numpy(array) for name, array in arrays.items()} | {
        "view_latents": encode_all(tiny_vae(), orbit),
        "portrait_latents": encode_all(tiny_vae(), portraits),
        "lowres_latents": encode_all(tiny_vae(), lowres),
    }


def people(count: int, **changed: torch.Tensor) -> Examples:
    return Examples([discs(count) | changed], orbit_azimuths_deg(8))


def part(mix=PURE_NOISE, channels=(32, 64), start_from=None) -> DiffusionPart:
    config = DiffusionConfig(
        size_px=SIZE_PX, channels=channels, heads=(1, 2), mix=mix, batch_views=16
    )
    return DiffusionPart(people(4), people(2), tiny_vae(), config, start_from)


@pytest.fixture(scope="module")
def lowres() -> DiffusionPart:
    return part()


def test_same_step_same_batch_and_another_step_another(lowres):
    first, again, other = lowres.batch(0, 3), lowres.batch(0, 3), lowres.batch(0, 4)
    assert torch.equal(first.views, again.views)
    assert not torch.equal(first.views, other.views)


def test_every_eighth_batch_holds_full_orbits(lowres):
    assert [lowres.batch(0, step).views.shape[:2] for step in (6, 7)] == [(4, 4), (2, 8)]


def test_a_view_keeps_its_azimuth(lowres):
    batch = lowres.batch(0, 0)
    orbits = lowres.people.pick("view_latents", range(4))
    for subject in range(len(batch.views)):
        indices = (batch.azimuth_deg[subject] / 45).long()
        assert any(torch.equal(batch.views[subject], orbit[indices]) for orbit in orbits)


@pytest.mark.parametrize("mix", [PURE_NOISE, PAPER_MIX])
def test_it_learns_and_what_it_exports_is_what_it_learnt(tmp_path, mix):
    stage = part(mix)
    torch.manual_seed(0)
    model = stage.build_model()
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
    losses = []
    for step in range(24):
        torch.manual_seed(step % 2)
        terms = stage.loss(model, stage.batch(0, step % 2))
        optimizer.zero_grad()
        terms["loss"].backward()
        optimizer.step()
        losses.append(float(terms["loss"].detach()))
    assert np.mean(losses[-4:]) < 0.7 * np.mean(losses[:4])
    scores = stage.evaluate(model.eval())
    assert all(np.isfinite(value) for value in scores.values())

    stage.export(model, tmp_path / "stage")
    stage.vae.save_pretrained(tmp_path / "vae")
    (tmp_path / "stage").rename(tmp_path / ("highres" if mix.lowres_weight else "lowres"))
    loaded = load_pipeline(tmp_path, "highres" if mix.lowres_weight else "lowres", "cpu")
    portraits = portraits_of(stage.held_out, np.array([0]), np.array([0]))
    expected = stage.pipeline(model.float()).encode_conditions(portraits)
    torch.testing.assert_close(loaded.encode_conditions(portraits).tokens, expected.tokens)
    assert loaded.config.lowres_weight == mix.lowres_weight


@pytest.mark.parametrize(("mix", "folder"), [(PURE_NOISE, "lowres"), (PAPER_MIX, "highres")])
def test_training_starts_from_another_models_weights(tmp_path, mix, folder):
    torch.manual_seed(0)
    first = part(mix).build_model()
    part(mix).export(first, tmp_path / folder)
    part(mix).vae.save_pretrained(tmp_path / "vae")
    torch.manual_seed(1)
    second = part(mix, start_from=tmp_path).build_model()
    for name, weight in second.state_dict().items():
        assert torch.equal(weight, first.state_dict()[name].to(weight.dtype)), name
    with pytest.raises(UsageError, match="other sizes than the unet in training: "):
        part(mix, channels=(32, 32), start_from=tmp_path).build_model()


def test_an_image_encoder_is_trained_alone_and_the_stage_starts_with_it(tmp_path):
    heads = ImageEncoderPart(people(4), people(2), tiny_vae(), batch_size=8)
    torch.manual_seed(0)
    model = heads.build_model()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    losses = []
    for step in range(20):
        loss = heads.loss(model, heads.batch(0, step))["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-4:]) < 0.7 * np.mean(losses[:4])
    with torch.no_grad():
        assert np.isfinite(heads.evaluate(model.eval())["psnr"])
    images = heads.batch(0, 0).images
    heads.export(model, tmp_path)
    stage = DiffusionPart(
        people(2), people(2), tiny_vae(), part().config, image_encoder=tmp_path
    ).build_model()
    tokens = stage.tokens(portraits_of(people(2), np.array([0, 1]), np.array([0, 1])))
    assert tokens.shape == (2, 2, TOKEN_DIM)
    learnt = CLIPVisionModelWithProjection.from_pretrained(tmp_path, torch_dtype=torch.float32)
    with torch.no_grad():
        embeds = learnt(clip_pixels(images, 64)).image_embeds
    assert float(embeds.std()) == pytest.approx(1, abs=0.05)
    assert torch.equal(
        stage.image_encoder.visual_projection.weight, learnt.visual_projection.weight
    )


def test_imitated_low_resolution_is_repeatable_and_softer_than_the_views():
    orbit, numbers = discs(3)["orbit"].numpy(), np.arange(3)
    imitated = imitate_lowres(orbit, SIZE_PX // 2, numbers, 3)
    again = [imitate_lowres(orbit[i:], SIZE_PX // 2, numbers[i:], 3) for i in range(3)]
    assert all(np.array_equal(imitated[i:], one) for i, one in enumerate(again))
    edges = np.abs(np.diff(orbit.astype(int), axis=3)).max()
    assert np.abs(np.diff(imitated.astype(int), axis=3)).max() < edges
    assert 2 < np.abs(imitated.astype(int) - orbit).mean() < 40


def test_the_second_stage_draws_every_kind_of_low_resolution_views():
    kinds = [discs(4)["lowres_latents"], torch.randn((4, 8, 4, 4, 4))]
    config = DiffusionConfig(
        size_px=SIZE_PX, channels=(32, 64), heads=(1, 2), mix=PAPER_MIX, batch_views=16
    )
    both = people(4, lowres_latents=torch.cat(kinds, 1))
    stage = DiffusionPart(both, people(2), tiny_vae(), config)
    batches = [stage.batch(0, step) for step in range(4)]
    drawn = [latents for batch in batches for latents in batch.lowres[:, 0]]
    seen = {
        number
        for latents in drawn
        for number, kind in enumerate(kinds)
        if any(torch.equal(latents, one) for one in kind.flatten(0, 1))
    }
    assert seen == {0, 1}


def test_the_second_stage_is_told_how_good_the_views_are_that_it_is_given():
    stage = part(PAPER_MIX)
    given, truth = (to_signed(discs(2)[name].numpy()) for name in ("lowres", "orbit"))
    expected = -10 * ((given - truth) / 2).square().mean((2, 3, 4)).log10().mean()
    scores = stage.evaluate(stage.build_model().eval())
    assert scores["psnr_given"] == pytest.approx(float(expected), abs=1e-4)


def test_the_first_stage_makes_the_same_views_of_a_person_in_any_shard(lowres):
    torch.manual_seed(0)
    first = FirstStage(lowres.pipeline(lowres.build_model().eval()), SIZE_PX, steps=1)
    views = first.views(people(4))
    tail = Examples(
        [{name: column[2:] for name, column in discs(4).items()}], orbit_azimuths_deg(8)
    )
    assert np.abs(first.views(tail).astype(int) - views[2:]).max() <= 1
    assert not np.array_equal(views[0], views[1])
