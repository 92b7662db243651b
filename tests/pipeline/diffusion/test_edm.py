import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.diffusion.edm import PAPER_MIX, NoiseMix, precondition, triangular_guidance
from pipeline.diffusion.samplers import edm_scheduler

levels = st.floats(0.01, 700)


@given(levels)
def test_preconditioned_parts_have_unit_variance(sigma):
    c_skip, c_out, c_in, c_noise = precondition(torch.tensor(sigma, dtype=torch.float64))
    assert abs(c_in**2 * (1 + sigma**2) - 1) < 1e-9
    assert abs((1 - c_skip) ** 2 + (c_skip * sigma) ** 2 - c_out**2) < 1e-9
    assert abs((4 * c_noise).exp() - sigma) < 1e-6 * sigma


@given(levels)
def test_scheduler_denoises_as_the_preconditioning_says(sigma):
    c_skip, c_out, _, _ = precondition(torch.tensor(sigma, dtype=torch.float64))
    scheduler = edm_scheduler(sigma_max=sigma + 1, sigma_min=sigma / 2)
    scheduler.set_timesteps(4)
    scheduler.sigmas[0] = sigma
    noisy, predicted = torch.tensor([3.0]), torch.tensor([-0.7])
    step = scheduler.step(predicted, scheduler.timesteps[0], noisy)
    expected = c_skip * noisy + c_out * predicted
    torch.testing.assert_close(
        step.pred_original_sample.double(), expected.double(), atol=1e-4, rtol=1e-4
    )


def test_deterministic_sampler_reaches_the_mean_of_a_mixed_noise_process():
    """With z0 ~ N(mu, s^2) and j known, the ideal denoiser is linear; the ODE must end near z0."""
    generator = torch.Generator().manual_seed(0)
    mean, std, lowres = 0.3, 0.7, 0.9
    mix = NoiseMix(noise_weight=0.4, lowres_weight=0.6)
    scheduler = edm_scheduler(sigma_max=80.0, sigma_min=0.002)
    scheduler.set_timesteps(60)
    noise = torch.randn(20_000, generator=generator)
    z = mix(noise, torch.full_like(noise, lowres)) * scheduler.init_noise_sigma
    for index, timestep in enumerate(scheduler.timesteps):
        sigma = scheduler.sigmas[index]
        scheduler.scale_model_input(z, timestep)
        spread = (sigma * mix.noise_weight) ** 2
        denoised = (mean * spread + std**2 * (z - sigma * mix.lowres_weight * lowres)) / (
            spread + std**2
        )
        c_skip, c_out, _, _ = precondition(sigma)
        z = scheduler.step((denoised - c_skip * z) / c_out, timestep, z).prev_sample
    assert abs(float(z.mean()) - mean) < 0.03
    assert abs(float(z.std()) - std) < 0.05


def test_paper_mix_is_equation_2():
    mixed = PAPER_MIX(torch.tensor([1.0]), torch.tensor([10.0]))
    torch.testing.assert_close(mixed, torch.tensor([6.4]))


@given(st.floats(-60, 60), st.floats(1, 4))
def test_guidance_is_weakest_at_the_portrait_and_strongest_behind(portrait_deg, peak):
    portrait = torch.tensor([portrait_deg])
    views = torch.tensor([[portrait_deg % 360, (portrait_deg + 180) % 360, portrait_deg + 90]])
    scale = triangular_guidance(views, portrait, peak)
    expected = torch.tensor([[1.0, peak, (1 + peak) / 2]])
    torch.testing.assert_close(scale, expected, atol=1e-3, rtol=0)
