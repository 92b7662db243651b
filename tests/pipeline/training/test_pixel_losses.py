"""The losses on decoded views: gradient to the network alone, at low noise alone."""

import numpy as np
import pytest
import torch
from test_diffusion import SIZE_PX, discs, people
from tiny_diffusion import tiny_vae

from pipeline.diffusion.latents import decode
from pipeline.images import to_bytes
from pipeline.training.diffusion import DiffusionPart
from pipeline.training.diffusion_presets import DiffusionConfig, PixelTerms
from pipeline.training.examples import Examples
from pipeline.training.identity import FaceEmbedder
from pipeline.training.pixel_losses import PixelLosses, true_views

HIGH = {"sigma_mean": 6.0, "sigma_std": 0.0}
LOW = {"sigma_mean": -3.0, "sigma_std": 0.0}


@pytest.fixture(scope="module")
def embedder() -> FaceEmbedder:
    torch.manual_seed(0)
    return FaceEmbedder(8).eval().requires_grad_(False)


def part(embedder, pixels: PixelTerms, **noise) -> DiffusionPart:
    config = DiffusionConfig(
        size_px=SIZE_PX, channels=(32, 64), heads=(1, 2), batch_views=16, pixels=pixels, **noise
    )
    return DiffusionPart(people(4), people(2), tiny_vae(), config, identity=embedder)


def decodable() -> Examples:
    """The people as the autoencoder, which has random weights, decodes their latents."""
    with torch.no_grad():
        decoded = [to_bytes(decode(tiny_vae(), orbit)) for orbit in discs(4)["view_latents"]]
    return people(4, orbit=torch.from_numpy(np.stack(decoded)))


def gradient_of_pixel_terms(one: DiffusionPart) -> torch.Tensor:
    """What the terms add to the gradient of the U-Net."""
    torch.manual_seed(0)
    model = one.build_model()
    found = []
    for switched_on in (True, False):
        torch.manual_seed(5)
        batch = one.batch(0, 0)
        if not switched_on:
            batch = type(batch)(**{**vars(batch), "truth": None})
        model.zero_grad()
        one.loss(model, batch)["loss"].backward()
        found.append(torch.cat([p.grad.flatten() for p in model.unet.parameters()]))
    return found[0] - found[1]


def test_the_gradient_reaches_the_unet_and_not_the_frozen_networks(embedder):
    one = part(embedder, PixelTerms(views=16), **LOW)
    assert gradient_of_pixel_terms(one).abs().max() > 1e-6
    frozen = [*one.vae.parameters(), *embedder.parameters()]
    assert all(p.grad is None and not p.requires_grad for p in frozen)


def test_each_term_has_a_gradient_of_its_own(embedder):
    for weights in ((1.0, 0.0), (0.0, 1.0)):
        terms = PixelTerms(views=16, perceptual_weight=weights[0], identity_weight=weights[1])
        assert gradient_of_pixel_terms(part(embedder, terms, **LOW)).abs().max() > 1e-7, weights


def test_above_the_noise_limit_there_is_no_term(embedder):
    one = part(embedder, PixelTerms(views=16), **HIGH)
    assert gradient_of_pixel_terms(one).abs().max() == 0
    torch.manual_seed(0)
    terms = one.loss(one.build_model(), one.batch(0, 0))
    assert set(terms) == {"loss", "latents"}
    assert float(terms["loss"].detach()) == float(terms["latents"])


def test_without_views_to_decode_a_batch_has_none_and_the_loss_is_as_it_was(embedder):
    off, on = (part(embedder, PixelTerms(views=k), **LOW) for k in (0, 16))
    torch.manual_seed(0)
    model = off.build_model()
    assert off.batch(0, 0).truth is None
    losses = []
    for one in (off, on):
        torch.manual_seed(3)
        losses.append(one.loss(model, one.batch(0, 0)))
    assert set(losses[0]) == {"loss"}
    assert float(losses[0]["loss"].detach()) == float(losses[1]["latents"])


def test_true_latents_cost_least_and_the_weight_falls_with_the_noise(embedder):
    truth = true_views(decodable(), np.array([0, 1]), np.array([[0, 1, 2, 3]] * 2))
    latents = discs(4)["view_latents"][:2, :4]
    losses = PixelLosses(tiny_vae(), PixelTerms(views=8, sigma=10.0), None, embedder)
    low, high = torch.tensor([0.0, 0.0]), torch.tensor([3.0, 3.0])
    with torch.no_grad():
        true = losses(latents, truth, low)
        wrong = losses(latents.flip(0), truth, low)
        noisier = losses(latents, truth, high)
    assert set(true.terms) == {"structure", "identity"}
    for name, distance in true.terms.items():
        assert 3 * distance < wrong.terms[name], name
    assert float(noisier.total) == pytest.approx(float(true.total) / 10, rel=1e-5)


def test_only_as_many_views_as_asked_for_are_decoded(embedder):
    truth = true_views(people(4), np.array([0, 1]), np.array([[0, 1, 2, 3]] * 2))
    latents = discs(4)["view_latents"][:2, :4].clone()
    latents.requires_grad_()
    losses = PixelLosses(tiny_vae(), PixelTerms(views=3, identity_weight=0.0), None, None)
    losses(latents, truth, torch.tensor([1.0, 5.0])).total.backward()
    touched = latents.grad.abs().amax((2, 3, 4)) > 0
    assert touched[0].sum() == 3
    assert not touched[1].any()


def test_the_terms_go_down_when_trained(embedder):
    one = part(embedder, PixelTerms(views=8), sigma_mean=0.0, sigma_std=0.3)
    one.people = decodable()
    torch.manual_seed(0)
    model = one.build_model()
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
    sums = []
    for step in range(24):
        torch.manual_seed(step % 2)
        terms = one.loss(model, one.batch(0, step % 2))
        optimizer.zero_grad()
        terms["loss"].backward()
        optimizer.step()
        sums.append(float(terms["structure"] + terms["identity"]))
    assert np.mean(sums[-4:]) < 0.7 * np.mean(sums[:4]), sums
