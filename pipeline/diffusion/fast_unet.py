"""Cross-attention with less work: an exact rewrite for inference, but for the last bits.

Cross-attention sees two tokens that never change during a generation and are the same for every
pixel and view. Folding the query's and the output's weights into them leaves two thin products of
each pixel with a few numbers a head; the tokens, which diffusers copies once a pixel, are not
copied at all. No class of diffusers is forked: its attention takes a processor. What CPUs get
besides is in `pipeline.diffusion.cpu_blocks`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from diffusers import UNetSpatioTemporalConditionModel
from diffusers.models.attention_processor import Attention
from torch import Tensor


class FoldedCrossAttention:
    """An attention processor for tokens that were known beforehand.

    Args:
        attention: diffusers' layer, with H heads over C channels.
        tokens: [B, T, D] of each subject of the batch.
    """

    def __init__(self, attention: Attention, tokens: Tensor) -> None:
        heads = attention.heads
        key = attention.to_k(tokens).unflatten(-1, (heads, -1))
        value = attention.to_v(tokens).unflatten(-1, (heads, -1))
        query_weight = attention.to_q.weight.unflatten(0, (heads, -1))
        output_weight = attention.to_out[0].weight.unflatten(1, (heads, -1))
        folded_key = torch.einsum("bthd,hdc->bthc", key, query_weight) * attention.scale
        folded_value = torch.einsum("bthd,chd->bthc", value, output_weight)
        self.tokens = tokens.shape[1]
        self.folded_key = folded_key.flatten(1, 2)  # [B, T * H, C]
        self.folded_value = folded_value.flatten(1, 2)  # [B, T * H, C]

    def __call__(self, attention: Attention, hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
        """Attend: [N, S, C] to the same, with N a multiple of B, subject by subject."""
        rows = hidden_states.reshape(len(self.folded_key), -1, hidden_states.shape[-1])
        scores = self.folded_key @ rows.mT  # [B, T * H, rows]: a softmax along rows is vectorised
        weights = torch.softmax(scores.view(len(rows), self.tokens, -1), 1).view_as(scores)
        bias = attention.to_out[0].bias
        return torch.baddbmm(bias, weights.mT, self.folded_value).view_as(hidden_states)


class FoldedTokens:
    """All cross-attention layers of a U-Net, folded for the tokens of one batch.

    Args:
        unet: whose layers.
        tokens: [B, T, D].

    Attributes:
        stand_in: [B, 1, 1], to be given to the U-Net in place of the tokens, inside `used`.
    """

    def __init__(self, unet: UNetSpatioTemporalConditionModel, tokens: Tensor) -> None:
        self.stand_in = tokens[:, :1, :1]
        self._processors = [
            (module, FoldedCrossAttention(module, tokens))
            for module in unet.modules()
            if isinstance(module, Attention) and module.is_cross_attention
        ]

    @contextmanager
    def used(self) -> Iterator[None]:
        """Within it the U-Net attends to these tokens, afterwards to those it is given."""
        before = [module.processor for module, _ in self._processors]
        for module, processor in self._processors:
            module.processor = processor
        try:
            yield
        finally:
            for (module, _), processor in zip(self._processors, before, strict=True):
                module.processor = processor
