"""Differences between published networks and ours that weights can absorb exactly.

Our pipeline feeds every model alike. Where published weights learnt from other inputs, the first
linear layer that meets them is changed so that it answers ours as it answered theirs. Changed
tensors are float32, so that folding rounds nothing away.
"""

import torch
from diffusers.models.embeddings import get_timestep_embedding
from torch import Tensor

from pipeline.published.checkpoint_files import State

AESTHETIC_SCORE = 6.0
"""What the release's first time id, a predicted aesthetic score, is fixed to; its code names it."""
SVD_FRAME_RATE_ID, SVD_MOTION_BUCKET = 6.0, 127.0
"""The first two time ids of Stable Video Diffusion, frames a second less one and amount of motion,
at the values it is usually called with."""
_TIME_WEIGHT, _TIME_BIAS = "add_embedding.linear_1.weight", "add_embedding.linear_1.bias"


def scale_condition_latents(state: State, scaling_factor: float) -> None:
    """Let a U-Net that learnt from unscaled condition latents take scaled ones.

    Args:
        state: of an `OrbitUNet`; the second half of ``conv_in``'s channels is divided.
        scaling_factor: of the autoencoder.
    """
    weight = state["conv_in.weight"].float().clone()
    weight[:, weight.shape[1] // 2 :] /= scaling_factor
    state["conv_in.weight"] = weight


def fix_time_ids(state: State, features: Tensor) -> None:
    """Fix the first time ids of a U-Net, whatever it is told instead.

    Args:
        state: of an `OrbitUNet`; what ``features`` contribute goes into the first layer's bias,
            and the columns that took them become zero.
        features: [N] float32, what stood in the first N columns for these ids.
    """
    weight = state[_TIME_WEIGHT].float().clone()
    columns = weight[:, : len(features)]
    state[_TIME_BIAS] = state[_TIME_BIAS].float() + columns @ features
    weight[:, : len(features)] = 0
    state[_TIME_WEIGHT] = weight


def take_unit_identity(state: State) -> None:
    """Let an MLP that learnt from unit embeddings take ours, whose elements have unit variance.

    Args:
        state: of an `IdentityProjection`.
    """
    weight = state["layers.0.weight"].float()
    state["layers.0.weight"] = weight / weight.shape[1] ** 0.5


def aesthetic_features(score: float, size: int) -> Tensor:
    """The release's features of an aesthetic score: itself, then sinusoids of a hundred times it.

    Args:
        score: about 1 to 10.
        size: of one time id's features, even. The sinusoids are one fewer, which is odd: the last
            one is zero.

    Returns:
        [size] float32.
    """
    return torch.cat([torch.tensor([score]), time_features(100 * score, size - 1)])


def time_features(value: float, size: int) -> Tensor:
    """The U-Net's features of a time id: cosines, then sines, [size] float32."""
    features: Tensor = get_timestep_embedding(
        torch.tensor([value]), size, flip_sin_to_cos=True, downscale_freq_shift=0
    )
    return features[0]
