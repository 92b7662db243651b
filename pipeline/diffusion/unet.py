"""The orbit U-Net: diffusers' video U-Net told where on the orbit each frame stands.

Stable Video Diffusion knows a frame only by its index. Here every frame has an azimuth: it
replaces the index inside the temporal attention (in units of the orbit's step, so a full even
orbit gives exactly the indices 0..F-1) and, where the config asks for it, enters every residual
block through the time embedding. The network can then be trained on a few of the orbit's views at
a time, which costs a quarter, and asked for any azimuth. Weights that learnt one order of frames
and nothing else, such as the paper's release, keep the index: ``azimuth_index`` is False for them.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from diffusers import UNetSpatioTemporalConditionModel
from diffusers.configuration_utils import register_to_config
from diffusers.models.embeddings import TimestepEmbedding
from diffusers.models.resnet import SpatioTemporalResBlock
from diffusers.models.transformers.transformer_temporal import TransformerSpatioTemporalModel
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

_HARMONICS = 8


class OrbitUNet(UNetSpatioTemporalConditionModel):  # type: ignore[misc]
    """`UNetSpatioTemporalConditionModel` with an azimuth for each frame.

    Args:
        azimuth_embedding: add an embedding of the azimuth to the time embedding of every residual
            block. False for weights made without it, such as the paper's release.
        azimuth_index: a frame's index in the temporal attention is its azimuth. False: it is its
            place in the call, and the caller must keep to the order of the training.
        orbit_views: views of a full orbit; 360 degrees divided by it is one frame index.
        sample_size: side of the latents.
        in_channels: noisy latents and condition latents together.
        out_channels: of the latents.
        block_out_channels: multiples of 32, one entry a level; attention on all but the last.
        addition_time_embed_dim: sinusoids for each added time id.
        projection_class_embeddings_input_dim: those of all ids together.
        layers_per_block: residual blocks a level.
        cross_attention_dim: of the condition tokens.
        num_attention_heads: for each level.
        norm_num_groups: of every group norm. Stable Video Diffusion's 32 leave a narrow network
            two channels a group: nearly an instance norm, which erases the colour of large areas.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        azimuth_embedding: bool = True,
        azimuth_index: bool = True,
        orbit_views: int = 16,
        sample_size: int = 32,
        in_channels: int = 8,
        out_channels: int = 4,
        block_out_channels: tuple[int, ...] = (320, 640, 1280, 1280),
        addition_time_embed_dim: int = 256,
        projection_class_embeddings_input_dim: int = 768,
        layers_per_block: int = 2,
        cross_attention_dim: int = 1024,
        num_attention_heads: tuple[int, ...] = (5, 10, 20, 20),
        norm_num_groups: int = 32,
    ) -> None:
        attention_levels = len(block_out_channels) - 1
        super().__init__(
            sample_size=sample_size,
            in_channels=in_channels,
            out_channels=out_channels,
            down_block_types=("CrossAttnDownBlockSpatioTemporal",) * attention_levels
            + ("DownBlockSpatioTemporal",),
            up_block_types=("UpBlockSpatioTemporal",)
            + ("CrossAttnUpBlockSpatioTemporal",) * attention_levels,
            block_out_channels=block_out_channels,
            addition_time_embed_dim=addition_time_embed_dim,
            projection_class_embeddings_input_dim=projection_class_embeddings_input_dim,
            layers_per_block=layers_per_block,
            cross_attention_dim=cross_attention_dim,
            num_attention_heads=num_attention_heads,
            num_frames=orbit_views,
        )
        for module in self.modules():
            if isinstance(module, nn.GroupNorm):
                module.num_groups = norm_num_groups
        self.azimuth_mlp: TimestepEmbedding | None = None
        if azimuth_embedding:
            self.azimuth_mlp = TimestepEmbedding(2 * _HARMONICS, block_out_channels[0] * 4)
            nn.init.zeros_(self.azimuth_mlp.linear_2.weight)
            nn.init.zeros_(self.azimuth_mlp.linear_2.bias)
        self._frame_index: Tensor | None = None
        self._frame_embedding: Tensor | None = None
        self._tell_blocks_the_azimuth()

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor,
        encoder_hidden_states: Tensor,
        added_time_ids: Tensor,
        azimuth_deg: Tensor,
    ) -> Tensor:
        """Predict the preconditioned output for F views of B subjects.

        Args:
            sample: [B, F, in_channels, h, w] scaled noisy latents with the condition latents.
            timestep: [B], a quarter of the logarithm of sigma.
            encoder_hidden_states: [B, T, cross_attention_dim] condition tokens.
            added_time_ids: [B, K].
            azimuth_deg: [B, F], in [0, 360).

        Returns:
            [B, F, out_channels, h, w].
        """
        azimuths = azimuth_deg.flatten()
        self._frame_index = azimuths * (self.config.orbit_views / 360.0)
        if self.azimuth_mlp is not None:
            self._frame_embedding = self.azimuth_mlp(circular_features(azimuths).to(sample.dtype))
        result: Tensor = super().forward(
            sample, timestep, encoder_hidden_states, added_time_ids, return_dict=False
        )[0]
        self._frame_index = self._frame_embedding = None
        return result

    def checkpoint_activations(self) -> None:
        """Keep only the inputs of residual blocks and transformers for the backward pass.

        Diffusers' own gradient checkpointing leaves out the temporal transformer blocks, which
        then hold most of what is kept: 19.2 GiB of 512 px views where 3.5 would do (16 views in
        bfloat16 through Stable Video Diffusion's network).
        """
        self.enable_gradient_checkpointing(self._recomputed)
        for module in self.modules():
            if isinstance(module, TransformerSpatioTemporalModel):
                module.gradient_checkpointing = False  # its blocks are inside what is recomputed
                module.forward = partial(self._recomputed, module.forward)

    def _recomputed(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """The result of a block, which is run again, with the same azimuths, when it is needed."""
        if not torch.is_grad_enabled():
            return function(*args, **kwargs)
        told = self._frame_index, self._frame_embedding

        def run(*args: Any, **kwargs: Any) -> Any:
            now = self._frame_index, self._frame_embedding
            self._frame_index, self._frame_embedding = told
            try:
                return function(*args, **kwargs)
            finally:
                self._frame_index, self._frame_embedding = now

        return checkpoint(run, *args, use_reentrant=False, **kwargs)

    def _tell_blocks_the_azimuth(self) -> None:
        for module in self.modules():
            if isinstance(module, TransformerSpatioTemporalModel) and self.config.azimuth_index:
                module.time_proj.register_forward_pre_hook(self._replace_index)
            elif isinstance(module, SpatioTemporalResBlock):
                module.register_forward_pre_hook(self._add_embedding)

    def _replace_index(self, module: nn.Module, args: tuple[Tensor]) -> tuple[Tensor]:
        return args if self._frame_index is None else (self._frame_index,)

    def _add_embedding(self, module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        if self._frame_embedding is None:
            return args
        hidden, time_embedding, *rest = args
        return (hidden, time_embedding + self._frame_embedding.to(time_embedding.dtype), *rest)


def circular_features(azimuth_deg: Tensor) -> Tensor:
    """Sines and cosines of the first harmonics, so that 0 and 360 degrees are one: [N] to [N, 16].

    Args:
        azimuth_deg: [N], degrees.
    """
    orders = torch.arange(1, _HARMONICS + 1, device=azimuth_deg.device)
    angles = torch.deg2rad(azimuth_deg.float())[:, None] * orders
    return torch.cat([angles.cos(), angles.sin()], -1)
