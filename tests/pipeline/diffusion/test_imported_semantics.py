"""What a stage's folder may say about weights that were not made here."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_pipeline import ORBIT, lowres_views
from tiny_diffusion import tiny_pipeline, tiny_portraits, tiny_unet, tiny_vae

from pipeline.cameras import RELEASE_AZIMUTHS_DEG
from pipeline.diffusion.conditions import IdentityProjection
from pipeline.diffusion.edm import frame_order, linear_guidance
from pipeline.diffusion.pipeline import HighResPipeline, LowResPipeline, OrbitPipeline, Portraits
from pipeline.diffusion.unet import OrbitUNet

RELEASE = torch.tensor(RELEASE_AZIMUTHS_DEG)


def unet_input(tokens: torch.Tensor, time_ids: torch.Tensor) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    sample = torch.randn((1, 4, 8, 4, 4), generator=generator)
    return sample, torch.zeros(1), tokens, time_ids, ORBIT[None]


def released(kind: type[OrbitPipeline], **settings: str) -> OrbitPipeline:
    """A pipeline whose network only knows an order of frames."""
    plain = tiny_pipeline(kind)
    unet = tiny_unet(azimuth_embedding=False, azimuth_index=False)
    modules = {**plain.components, "unet": unet}
    return kind(**modules, **settings)


def seen_from(azimuth_deg: float) -> Portraits:
    one = tiny_portraits(1)
    return Portraits(one.images, one.identity, torch.tensor([azimuth_deg]), one.elevation_deg)


@given(st.floats(-180, 180))
def test_the_order_begins_beside_the_portrait_and_goes_once_round(azimuth_deg):
    (order,) = frame_order(RELEASE, torch.tensor([azimuth_deg]))
    apart = ((RELEASE - azimuth_deg + 180) % 360 - 180).abs()
    assert apart[order[0]] == apart.min()
    assert torch.equal((order - order[0]) % 16, torch.arange(16))


def test_linear_guidance_is_the_video_models_ramp():
    scale = linear_guidance(RELEASE.expand(2, -1), torch.zeros(2), 2.5)
    torch.testing.assert_close(scale, torch.linspace(1, 2.5, 16).expand(2, -1))


def test_without_azimuths_the_index_is_the_place_in_the_call():
    unet = tiny_unet(azimuth_embedding=False, azimuth_index=False)
    sample, *rest, orbit = unet_input(torch.ones(1, 2, 32), torch.zeros(1, 3))
    with torch.no_grad():
        assert torch.equal(unet(sample, *rest, orbit), unet(sample, *rest, orbit.flip(1)))


@pytest.mark.parametrize("kind", [LowResPipeline, HighResPipeline])
def test_an_orbit_that_starts_at_the_portrait_comes_back_in_orbit_order(kind):
    """A quarter turn of portrait and orbit together changes only where each view is returned."""
    pipeline = released(kind, orbit_start="portrait", guidance_course="linear")
    given = {} if kind is LowResPipeline else {"lowres_views": lowres_views(1)}
    turned = {name: views.roll(1, 1) for name, views in given.items()}

    def run(azimuth_deg: float, **extra: torch.Tensor) -> torch.Tensor:
        # the azimuth is also a time id, which the turn must not change here
        pipeline.unet.add_embedding.linear_1.weight.data[:, :16] = 0
        generators = [torch.Generator().manual_seed(5)]
        portraits = seen_from(azimuth_deg)
        return pipeline(portraits, ORBIT, steps=2, guidance=2.0, generators=generators, **extra)

    front, left = run(10.0, **given), run(100.0, **turned)
    torch.testing.assert_close(left, front.roll(1, 1))
    assert not torch.allclose(left, front, atol=1e-3)


def test_settings_are_kept_in_the_stages_folder(tmp_path):
    made = released(LowResPipeline, orbit_start="portrait", guidance_course="linear")
    made.save_pretrained(tmp_path)
    loaded = LowResPipeline.from_model_folder(tmp_path, vae=tiny_vae())
    assert (loaded.config.orbit_start, loaded.config.guidance_course) == ("portrait", "linear")
    assert not loaded.unet.config.azimuth_index


def test_a_released_identity_token_is_a_plain_relu_network():
    projection = IdentityProjection(16, 32, hidden_layers=2, activation="relu", ends="activation")
    assert [name for name, _ in projection.named_parameters()] == [
        f"layers.{index}.{kind}" for index in (0, 2, 4) for kind in ("weight", "bias")
    ]
    token = projection(torch.randn(3, 16), torch.zeros(3, 1, 32))
    assert token.shape == (3, 1, 32)
    assert float(token.detach().min()) == 0


def test_an_added_identity_token_and_azimuths_change_nothing_before_training():
    """Reference B.5 and B.6: training from a video model starts at the video model."""
    plain = tiny_unet(azimuth_embedding=False, azimuth_index=False)
    plain.add_embedding.linear_1.weight.data[:, :32] = 0  # as imported: no slot but the noise
    told = OrbitUNet.from_config(plain.config, azimuth_embedding=True, azimuth_index=True)
    missing = told.load_state_dict(plain.state_dict(), strict=False).missing_keys
    assert all(name.startswith("azimuth_mlp.") for name in missing)
    image_token = torch.randn((1, 1, 32), generator=torch.Generator().manual_seed(1))
    projection = IdentityProjection(16, 32, ends="residual")
    tokens = torch.cat([image_token, projection(torch.randn(1, 16), image_token)], 1)
    with torch.no_grad():
        alone = plain(*unet_input(image_token, torch.tensor([[0.0, 0.0, 0.02]])))
        joined = told.eval()(*unet_input(tokens, torch.tensor([[-30.0, 15.0, 0.02]])))
    torch.testing.assert_close(joined, alone, atol=1e-6, rtol=0)
