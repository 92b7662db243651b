"""Gradient checkpointing: the same gradients from less memory, temporal blocks included."""

import copy

import torch
from tiny_diffusion import tiny_unet

from pipeline.diffusion.unet import OrbitUNet


def gradients_and_saved_bytes(unet: OrbitUNet) -> tuple[dict[str, torch.Tensor], int]:
    """Of two calls before one backward pass, as no stale azimuth may come into it."""
    generator = torch.Generator().manual_seed(0)
    sample = torch.randn((1, 4, 8, 16, 16), generator=generator)
    tokens = torch.randn((1, 2, 32), generator=generator)
    own = {one.data_ptr() for one in unet.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.data_ptr() not in own:
            kept[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda one: one):
        total = sum(
            unet(
                sample,
                torch.tensor([0.3]),
                tokens,
                torch.tensor([[10.0, 0.0, 0.02]]),
                torch.tensor([[0.0, 90.0, 180.0, 270.0]]) + shift,
            )
            .square()
            .mean()
            for shift in (0.0, 45.0)
        )
    unet.zero_grad()
    total.backward()
    return {name: one.grad.clone() for name, one in unet.named_parameters()}, sum(kept.values())


def test_gradients_are_those_without_it_and_less_is_kept_than_diffusers_keeps():
    unet = tiny_unet().train()
    plain, plain_bytes = gradients_and_saved_bytes(unet)
    theirs = copy.deepcopy(unet)
    theirs.enable_gradient_checkpointing()
    _, their_bytes = gradients_and_saved_bytes(theirs)
    unet.checkpoint_activations()
    ours, our_bytes = gradients_and_saved_bytes(copy.deepcopy(unet))  # as the average is copied
    for name, gradient in plain.items():
        torch.testing.assert_close(ours[name], gradient, msg=name)
    assert plain["azimuth_mlp.linear_1.weight"].abs().max() > 0
    assert our_bytes < 0.5 * their_bytes < 0.5 * plain_bytes, (our_bytes, their_bytes, plain_bytes)
