"""The blocks of diffusers' video U-Net and autoencoder, rewritten for inference on a CPU.

Every tensor keeps one order in memory from end to end: frames, then pixels, then channels. In it
a temporal convolution is a two-dimensional one over frames and pixels (PyTorch's own 3D one on
CPUs takes twice as long), attention over frames is ordinary attention in which every pixel has its
own heads, and everything else works on rows, so that nothing is ever copied into another order.
What is new is changed in place. Results differ from diffusers' in the last bits only.

The classes replace those of diffusers module by module, with the same parameters. They are for
inference: no dropout and no gradients. docs/sampling.md has what each of them brings.
"""

from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.attention import (
    BasicTransformerBlock,
    FeedForward,
    TemporalBasicTransformerBlock,
)
from diffusers.models.attention_processor import Attention
from diffusers.models.resnet import ResnetBlock2D, SpatioTemporalResBlock
from diffusers.models.transformers.transformer_temporal import TransformerSpatioTemporalModel
from diffusers.models.upsampling import Upsample2D
from torch import Tensor, nn

_ROWS = 512
"""Rows of a feed-forward layer at a time, so that its wide inner activations stay in the cache."""
_TRANSPOSED = ((0.0, 0, 1), (0, 1, 1), (1, 1, 0), (1, 0, 0))
"""Which of a kernel's three taps meet the same pixel, for each tap of the transposed kernel."""


def suit_cpu(network: nn.Module) -> None:
    """Suit a network to inference on a CPU: the blocks below, and weights with channels last.

    Its parameters keep their names and values.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            _lay_out(module, torch.channels_last)
        elif isinstance(module, nn.Conv3d):
            _lay_out(module, torch.channels_last_3d)
        elif type(module) is ResnetBlock2D and _is_plain(module):
            module.__class__ = FastResnet
        elif type(module) is SpatioTemporalResBlock and _learns_mix(module):
            module.__class__ = FastSpatioTemporalResnet
        elif type(module) is TransformerSpatioTemporalModel:
            module.__class__ = FastTransformer
        elif type(module) is Upsample2D and module.use_conv:
            FastUpsample.replace(module)


class FastResnet(ResnetBlock2D):  # type: ignore[misc]
    """The spatial residual block, for the settings that the video U-Net has."""

    def forward(self, input_tensor: Tensor, temb: Tensor | None, *_: Any, **__: Any) -> Tensor:
        """Images [N, C, h, w] and time embeddings [N, D] to [N, C', h, w]."""
        hidden: Tensor = self.conv1(F.silu(self.norm1(input_tensor), inplace=True))
        if temb is not None and self.time_emb_proj is not None:
            hidden += self.time_emb_proj(F.silu(temb))[:, :, None, None]
        hidden = self.conv2(F.silu(self.norm2(hidden), inplace=True))
        shortcut = (
            self.conv_shortcut(input_tensor) if self.conv_shortcut is not None else input_tensor
        )
        return hidden.add_(shortcut)


class FastSpatioTemporalResnet(SpatioTemporalResBlock):  # type: ignore[misc]
    """A spatial residual block and a temporal one."""

    def forward(self, hidden_states: Tensor, temb: Tensor, image_only_indicator: Tensor) -> Tensor:
        """Frames [B * F, C, h, w] and time embeddings [B * F, D] to [B * F, C', h, w]."""
        spatial: Tensor = self.spatial_res_block(hidden_states, temb)
        frames = image_only_indicator.shape[-1]
        pixels = (
            torch.unflatten(spatial, 0, (-1, frames)).flatten(3).transpose(1, 2)
        )  # [B, C, F, h * w]
        block = self.temporal_res_block
        hidden = frame_convolution(block.conv1, F.silu(block.norm1(pixels), inplace=True))
        told = block.time_emb_proj(F.silu(temb)).unflatten(0, (-1, frames))
        hidden += told.transpose(1, 2)[..., None]
        hidden = frame_convolution(block.conv2, F.silu(block.norm2(hidden), inplace=True))
        changes = hidden.transpose(1, 2).reshape(spatial.shape)
        return spatial.add_(changes, alpha=1 - float(self.time_mixer.mix_factor.sigmoid()))


class FastUpsample(Upsample2D):  # type: ignore[misc]
    """Enlargement to twice the size and a 3x3 convolution, as one transposed convolution.

    An enlarged pixel repeats, so of the nine products of a 3x3 window only four differ: a 4x4
    kernel of their sums does with 16 products a pixel what took 36.
    """

    transposed: Tensor

    def forward(self, hidden_states: Tensor, output_size: Any = None, *_: Any) -> Tensor:
        """Images [N, C, h, w] to [N, C, 2 h, 2 w], or to ``output_size`` as diffusers does."""
        if output_size is not None:
            enlarged: Tensor = super().forward(hidden_states, output_size)
            return enlarged
        return F.conv_transpose2d(
            hidden_states, self.transposed, self.conv.bias, stride=2, padding=1
        )

    @classmethod
    def replace(cls, module: Upsample2D) -> None:
        """Make one of a module of diffusers'."""
        sums = torch.tensor(_TRANSPOSED)
        kernel = torch.einsum("xi,yj,ocij->coxy", sums, sums, module.conv.weight.detach())
        kernel = kernel.contiguous(memory_format=torch.channels_last)
        module.register_buffer("transposed", kernel, persistent=False)
        module.__class__ = cls


class FastTransformer(TransformerSpatioTemporalModel):  # type: ignore[misc]
    """Attention within each frame, then over the frames."""

    def forward(
        self,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        image_only_indicator: Tensor,
        return_dict: bool = True,
    ) -> tuple[Tensor]:
        """Frames [B * F, C, h, w] to the same; the tokens are [B * F, T, D]."""
        frames, size = image_only_indicator.shape[-1], hidden_states.shape[-2:]
        rows = self.norm(hidden_states).flatten(2).mT  # [B * F, h * w, C]
        rows = self.proj_in(rows)
        index = self.time_proj(torch.arange(frames).repeat(len(rows) // frames))
        told = self.time_pos_embed(index.to(rows.dtype))[:, None]
        for block, temporal in zip(
            self.transformer_blocks, self.temporal_transformer_blocks, strict=True
        ):
            _transform(block, rows, encoder_hidden_states)
            mixed = rows + told
            _transform_over_frames(temporal, mixed, encoder_hidden_states, frames)
            rows = torch.lerp(mixed, rows, float(self.time_mixer.mix_factor.sigmoid()))
        changes = self.proj_out(rows).mT.unflatten(2, size)
        return (changes + hidden_states,)


def frame_convolution(convolution: nn.Conv3d, pixels: Tensor) -> Tensor:
    """A (3, 1, 1) convolution of [B, C, F, h * w], as a two-dimensional one."""
    weight = convolution.weight[..., 0]
    return F.conv2d(pixels, weight, convolution.bias, padding=(weight.shape[2] // 2, 0))


def _transform(block: BasicTransformerBlock, rows: Tensor, tokens: Tensor) -> None:
    """The spatial transformer block on rows [B * F, h * w, C], in place."""
    rows += _attend(block.attn1, block.norm1(rows), rows.shape[:2])
    rows += block.attn2(block.norm2(rows), encoder_hidden_states=tokens)
    _add_feed_forward(block.ff, block.norm3, rows)


def _transform_over_frames(
    block: TemporalBasicTransformerBlock, rows: Tensor, tokens: Tensor, frames: int
) -> None:
    """The temporal transformer block on rows [B * F, h * w, C], in place."""
    _add_feed_forward(block.ff_in, block.norm_in, rows)
    rows += _attend(block.attn1, block.norm1(rows), torch.Size((len(rows) // frames, frames)))
    rows += block.attn2(block.norm2(rows), encoder_hidden_states=tokens)
    _add_feed_forward(block.ff, block.norm3, rows)


def _attend(attention: Attention, rows: Tensor, shape: torch.Size) -> Tensor:
    """Self-attention along the second of two leading dimensions, ``shape``, of the same rows.

    What is left of a row behind them is heads: with ``shape`` [B, F] those of all pixels, which
    thus attend to themselves in other frames.
    """
    head = rows.shape[-1] // attention.heads
    query, key, value = (
        project(rows).view(*shape, -1, head).transpose(1, 2)
        for project in (attention.to_q, attention.to_k, attention.to_v)
    )
    attended = F.scaled_dot_product_attention(query, key, value)
    result: Tensor = attention.to_out[0](attended.transpose(1, 2).reshape(rows.shape))
    return result


def _add_feed_forward(layer: FeedForward, norm: nn.LayerNorm, rows: Tensor) -> None:
    wide, narrow = layer.net[0].proj, layer.net[2]
    weights, biases = wide.weight.chunk(2), wide.bias.chunk(2)
    for part in torch.split(rows.view(-1, rows.shape[-1]), _ROWS):
        given = norm(part)
        value, gate = (F.linear(given, w, b) for w, b in zip(weights, biases, strict=True))
        part += narrow(value.mul_(F.gelu(gate)))


def _is_plain(block: ResnetBlock2D) -> bool:
    settings = block.up, block.down, block.skip_time_act
    return (
        not any(settings)
        and block.time_embedding_norm == "default"
        and block.output_scale_factor == 1
        and isinstance(block.nonlinearity, nn.SiLU)
    )


def _lay_out(convolution: nn.Conv2d | nn.Conv3d, order: torch.memory_format) -> None:
    convolution.weight.data = convolution.weight.data.contiguous(memory_format=order)


def _learns_mix(block: SpatioTemporalResBlock) -> bool:
    """Whether it is of a U-Net; those of a temporal decoder mix the other way round."""
    return bool(block.time_mixer.merge_strategy == "learned_with_images")
