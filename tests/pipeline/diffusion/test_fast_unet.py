import pytest
import torch
from tiny_diffusion import tiny_pipeline, tiny_unet

from pipeline.diffusion.fast_unet import FoldedTokens


@pytest.mark.parametrize("tokens", [1, 2, 5])
def test_folded_tokens_give_what_attention_to_them_gives(tokens):
    unet = tiny_unet()
    generator = torch.Generator().manual_seed(0)
    given = 3 * torch.randn((2, tokens, 32), generator=generator)
    sample = torch.randn((2, 3, 8, 4, 4), generator=generator)
    rest = torch.tensor([0.3, 0.3]), torch.zeros(2, 3), torch.tensor([[0.0, 90, 180]] * 2)

    def call(what: torch.Tensor) -> torch.Tensor:
        return unet(sample, rest[0], what, rest[1], rest[2])

    with torch.no_grad():
        expected = call(given)
        folded = FoldedTokens(unet, given)
        with folded.used():
            torch.testing.assert_close(call(folded.stand_in), expected, atol=1e-4, rtol=1e-4)
        assert (call(given + 1) - expected).abs().max() > 1e-3
        assert torch.equal(call(given), expected)


def test_a_pipeline_in_bfloat16_makes_nearly_the_same_views():
    from test_pipeline import run

    expected = run(tiny_pipeline(), 1)
    half = tiny_pipeline()
    for name in ("unet", "image_encoder", "identity_projection"):
        torch.nn.Module.to(getattr(half, name), torch.bfloat16)
    made = run(half, 1)
    assert made.dtype == torch.float32
    assert 0 < (made - expected).abs().mean() < 0.05
