import pytest
import torch
from diffusers import AutoencoderKLTemporalDecoder
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.upsampling import Upsample2D
from tiny_diffusion import tiny_unet, tiny_vae

from pipeline.diffusion.cpu_blocks import (
    FastResnet,
    FastSpatioTemporalResnet,
    FastTransformer,
    FastUpsample,
    suit_cpu,
)
from pipeline.diffusion.latents import decode, encode


def unet_arguments(subjects: int, size_px: int) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    return (
        torch.randn((subjects, 4, 8, size_px, size_px), generator=generator),
        torch.full((subjects,), 0.3),
        torch.randn((subjects, 2, 32), generator=generator),
        torch.rand((subjects, 3), generator=generator),
        torch.tensor([[0.0, 90, 180, 270]] * subjects),
    )


@pytest.mark.parametrize(("subjects", "size_px"), [(1, 32), (2, 8), (3, 6)])
@pytest.mark.parametrize("layers", [1, 2])
def test_a_unet_suited_to_a_cpu_computes_the_same(subjects, size_px, layers):
    plain, fast = tiny_unet(layers_per_block=layers), tiny_unet(layers_per_block=layers)
    with torch.no_grad():  # the mix of space and time starts at one half, where mistakes cancel
        for name, parameter in plain.named_parameters():
            if "mix_factor" in name:
                parameter.fill_(1.5)
    fast.load_state_dict(plain.state_dict())
    suit_cpu(fast)
    kinds = {type(module) for module in fast.modules()}
    assert {FastResnet, FastSpatioTemporalResnet, FastTransformer, FastUpsample} <= kinds
    arguments = unet_arguments(subjects, size_px)
    with torch.no_grad():
        torch.testing.assert_close(fast(*arguments), plain(*arguments), atol=1e-4, rtol=1e-4)
    assert fast.state_dict().keys() == plain.state_dict().keys()


def test_an_input_stays_as_it_was():
    fast = tiny_unet()
    suit_cpu(fast)
    arguments = unet_arguments(2, 8)
    before = [argument.clone() for argument in arguments]
    with torch.no_grad():
        fast(*arguments)
    for now, then in zip(arguments, before, strict=True):
        assert torch.equal(now, then)


def test_an_autoencoder_suited_to_a_cpu_computes_the_same():
    plain, fast = tiny_vae(), tiny_vae()
    fast.load_state_dict(plain.state_dict())
    suit_cpu(fast)
    assert FastResnet in {type(module) for module in fast.modules()}
    images = torch.rand((2, 3, 32, 32), generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        latents = encode(plain, images)
        torch.testing.assert_close(encode(fast, images), latents, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(
            decode(fast, latents), decode(plain, latents), atol=1e-5, rtol=1e-4
        )


def test_a_temporal_decoder_keeps_its_own_way_of_mixing():
    torch.manual_seed(0)
    decoder = AutoencoderKLTemporalDecoder(
        block_out_channels=(32,), down_block_types=("DownEncoderBlock2D",), layers_per_block=1
    ).eval()
    latents = torch.randn(2, 4, 8, 8)
    with torch.no_grad():
        expected = decode(decoder, latents)
        suit_cpu(decoder)
        torch.testing.assert_close(decode(decoder, latents), expected, atol=1e-4, rtol=1e-4)


def test_enlargement_to_another_size_than_twice_is_diffusers_own():
    layer = Upsample2D(8, use_conv=True)
    images = torch.rand(2, 8, 4, 4)
    with torch.no_grad():
        doubled, larger = layer(images), layer(images, (7, 7))
        FastUpsample.replace(layer)
        torch.testing.assert_close(layer(images), doubled, atol=1e-5, rtol=1e-4)
        assert torch.equal(layer(images, (7, 7)), larger)


def test_blocks_of_other_kinds_stay_as_they_are():
    block = ResnetBlock2D(in_channels=32, temb_channels=32, time_embedding_norm="scale_shift")
    suit_cpu(block)
    assert type(block) is ResnetBlock2D
