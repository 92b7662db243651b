import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_pipeline import lowres_views, run
from tiny_diffusion import tiny_pipeline, tiny_vae

from pipeline.diffusion.edm import NoiseMix, precondition
from pipeline.diffusion.pipeline import HighResPipeline, LowResPipeline
from pipeline.diffusion.samplers import (
    Sampler,
    ShiftedProcess,
    advance,
    dpm_scheduler,
    edm_scheduler,
    is_stochastic,
    load_sampler,
)
from pipeline.errors import Cancelled
from pipeline.stage import Context

SAMPLERS = {
    "euler": lambda: edm_scheduler(10.0, 0.5),
    "dpm": lambda: dpm_scheduler(10.0, 0.5),
    "sde": lambda: dpm_scheduler(10.0, 0.5, stochastic=True),
}
MEAN, STD, LOWRES = 0.3, 0.7, 0.9


def sample(sampler: Sampler, mix: NoiseMix, steps: int, *, shifts: bool, count: int = 20_000):
    """Run a sampler with the ideal denoiser of z0 ~ N(MEAN, STD^2) and a known j."""
    noise = torch.randn((1, count), generator=torch.Generator().manual_seed(0))
    j = torch.full_like(noise, LOWRES)
    sampler.set_timesteps(steps)
    z = mix(noise, j) * float(sampler.init_noise_sigma)
    process = ShiftedProcess(mix, j)
    if shifts:
        z = process.enter(z, sampler.sigmas[0])
    generators = [torch.Generator().manual_seed(1)]
    for index, timestep in enumerate(sampler.timesteps):
        sigma = sampler.sigmas[index]
        c_skip, c_out, c_in, _ = precondition(sigma)
        scaled = sampler.scale_model_input(z, timestep)
        network_z = (process.network_input(scaled, sigma) if shifts else scaled) / c_in
        spread = (sigma * mix.noise_weight) ** 2
        denoised = (MEAN * spread + STD**2 * (network_z - sigma * mix.lowres_weight * LOWRES)) / (
            spread + STD**2
        )
        predicted = (denoised - c_skip * network_z) / c_out
        if shifts:
            predicted = process.prediction(predicted, sigma)
        z = advance(sampler, predicted, timestep, z, generators)
    return process.leave(z) if shifts else z


@given(st.floats(0.05, 1), st.floats(0, 1), st.sampled_from(["euler", "dpm"]), st.integers(1, 8))
@settings(deadline=None, max_examples=25)
def test_deterministic_samplers_take_the_same_path_with_and_without_the_shift(
    noise_weight, lowres_weight, name, steps
):
    mix = NoiseMix(noise_weight=noise_weight, lowres_weight=lowres_weight)
    plain = sample(SAMPLERS[name](), mix, steps, shifts=False, count=50)
    shifted = sample(SAMPLERS[name](), mix, steps, shifts=True, count=50)
    torch.testing.assert_close(shifted, plain, atol=1e-4, rtol=1e-4)


def test_the_stochastic_sampler_ends_at_the_mean_and_spread_only_with_the_shift():
    mix = NoiseMix(noise_weight=0.4, lowres_weight=0.6)
    right = sample(dpm_scheduler(80, 0.01, stochastic=True), mix, 60, shifts=True)
    assert abs(float(right.mean()) - MEAN) < 0.03
    assert abs(float(right.std()) - STD) < 0.05
    wrong = sample(dpm_scheduler(80, 0.01, stochastic=True), mix, 60, shifts=False)
    assert abs(float(wrong.std()) - STD) > 0.15


@given(st.floats(0.01, 700), st.floats(0.001, 0.9))
@settings(deadline=None)
def test_dpm_has_the_noise_levels_and_the_preconditioning_of_euler(highest, share):
    euler, dpm = edm_scheduler(highest, highest * share), dpm_scheduler(highest, highest * share)
    for sampler in (euler, dpm):
        sampler.set_timesteps(5)
    torch.testing.assert_close(dpm.sigmas, euler.sigmas, atol=0, rtol=1e-4)
    torch.testing.assert_close(dpm.timesteps, euler.timesteps, atol=1e-4, rtol=1e-4)
    assert dpm.init_noise_sigma == pytest.approx(float(euler.init_noise_sigma), rel=1e-4)
    noisy, predicted = torch.tensor([3.0]), torch.tensor([-0.7])
    expected = euler.step(predicted, euler.timesteps[0], noisy).prev_sample
    made = dpm.step(predicted, dpm.timesteps[0], noisy).prev_sample  # its first step is Euler's
    torch.testing.assert_close(made, expected, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("kind", [LowResPipeline, HighResPipeline])
def test_a_batch_of_two_is_two_batches_of_one_with_every_sampler(name, kind):
    pipeline = tiny_pipeline(kind)
    pipeline.register_modules(scheduler=SAMPLERS[name]())
    given_views = kind is HighResPipeline
    both = run(pipeline, 2, **({"lowres_views": lowres_views(2)} if given_views else {}))
    second = run(
        pipeline, 1, first=1, **({"lowres_views": lowres_views(1, 1)} if given_views else {})
    )
    torch.testing.assert_close(both[1:], second, atol=5e-4, rtol=0)


def test_stochastic_steps_draw_from_the_seed():
    pipeline = tiny_pipeline()
    pipeline.register_modules(scheduler=SAMPLERS["sde"]())
    assert torch.equal(run(pipeline, 1), run(pipeline, 1))


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_folder_keeps_its_sampler_and_guidance_interval(tmp_path, name):
    pipeline = tiny_pipeline()
    pipeline.register_modules(scheduler=SAMPLERS[name]())
    pipeline.register_to_config(guidance_interval=(0.6, 4.0))
    expected = run(pipeline, 1)
    pipeline.save_pretrained(tmp_path)
    loaded = LowResPipeline.from_model_folder(tmp_path, vae=tiny_vae())
    assert type(loaded.scheduler) is type(pipeline.scheduler)
    assert is_stochastic(loaded.scheduler) == (name == "sde")
    assert list(loaded.config.guidance_interval) == [0.6, 4.0]
    torch.testing.assert_close(run(loaded, 1), expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"_class_name": "DDIMScheduler"}, "DDIMScheduler"),
        ({"prediction_type": "epsilon"}, "v_prediction"),
        ({"sigma_data": 0.5}, "sigma_data 1"),
    ],
)
def test_samplers_of_other_processes_are_refused(tmp_path, change, message):
    dpm_scheduler(10).save_pretrained(tmp_path)
    path = tmp_path / "scheduler_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(OSError, match=message):
        load_sampler(tmp_path)


def test_guidance_outside_its_interval_is_no_guidance():
    pipeline = tiny_pipeline()
    plain, guided = run(pipeline, 1, guidance=1.0), run(pipeline, 1, guidance=3.0)
    for interval, expected in (((100.0, 200.0), plain), ((0.0, 100.0), guided)):
        pipeline.register_to_config(guidance_interval=interval)
        assert torch.equal(run(pipeline, 1, guidance=3.0), expected)
    rows = []
    pipeline.unet.conv_in.register_forward_hook(lambda m, given, out: rows.append(len(out)))
    pipeline.register_to_config(guidance_interval=(0.0, 10.0))
    run(pipeline, 1, guidance=3.0)
    assert sorted(rows) == [4, 8, 8]  # the first step, at sigma 40, takes half the work


@pytest.mark.parametrize("when", [1, 4])
def test_cancelling_between_steps_and_chunks_leaves_the_pipeline_usable(when):
    pipeline = tiny_pipeline()
    pipeline.register_modules(scheduler=SAMPLERS["dpm"]())
    expected = run(pipeline, 1, decode_views=2)
    seen = []
    context = Context(is_cancelled=lambda: len(seen) >= when)

    def on_step(step: int, steps: int) -> None:
        context.checkpoint("LowRes", step, steps)
        seen.append((step, steps))

    with pytest.raises(Cancelled, match=f"at step {when} of 5"):
        run(pipeline, 1, decode_views=2, on_step=on_step)
    assert torch.equal(run(pipeline, 1, decode_views=2), expected)
    torch.testing.assert_close(run(pipeline, 1), expected, atol=1e-4, rtol=0)
