"""Attention as two products and a softmax, which a CPU trains faster than the fused kernel in bf16.

The sequences of an orbit are short: 4 or 16 frames, 64 or 256 pixels, two tokens. PyTorch's fused
kernel takes a fifth of a step for them on CPUs, most of it backward; docs/log.md has the numbers.
"""

from typing import Any

import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn


class PlainAttention:
    """An attention processor for training on a CPU."""

    def __call__(
        self,
        attention: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        **_: Any,
    ) -> Tensor:
        """Attend: [N, S, C] to the same, by itself or by tokens [N, T, D]."""
        known = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        query, key, value = (
            project(rows).unflatten(-1, (attention.heads, -1)).transpose(1, 2)
            for project, rows in (
                (attention.to_q, hidden_states),
                (attention.to_k, known),
                (attention.to_v, known),
            )
        )
        scores = (query * attention.scale) @ key.mT
        attended = torch.softmax(scores, -1).to(value.dtype) @ value
        result: Tensor = attention.to_out[0](attended.transpose(1, 2).flatten(2))
        return result


def attend_plainly(network: nn.Module) -> None:
    """Let all attention layers of a network be `PlainAttention`."""
    for module in network.modules():
        if isinstance(module, Attention):
            module.set_processor(PlainAttention())
