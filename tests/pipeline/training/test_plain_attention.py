import torch
from tiny_diffusion import tiny_unet

from pipeline.training.plain_attention import attend_plainly


def test_a_network_that_attends_plainly_has_the_same_outputs_and_gradients():
    fused, plain = tiny_unet(), tiny_unet()
    attend_plainly(plain)
    torch.manual_seed(0)
    given = (
        torch.randn(2, 4, 8, 4, 4),
        torch.randn(2),
        torch.randn(2, 2, 32),
        torch.randn(2, 3),
        torch.tensor([[0.0, 90.0, 180.0, 270.0]]).expand(2, -1),
    )
    outputs = [network(*given) for network in (fused, plain)]
    torch.testing.assert_close(*outputs, atol=1e-5, rtol=1e-4)
    for output in outputs:
        output.square().mean().backward()
    for (name, one), other in zip(fused.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, atol=1e-6, rtol=1e-3, msg=name)
