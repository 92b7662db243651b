"""The image autoencoder of latent diffusion, by its own names, as diffusers' `AutoencoderKL`.

The paper's release decodes each view by itself with it; Stable Video Diffusion's video decoder is
not in its checkpoints.
"""

import re
from typing import Any

from torch import Tensor

from pipeline.published.checkpoint_files import Origin, Published

VAE_PREFIX = "first_stage_model."
SCALING_FACTOR = 0.18215
_MIDDLE = {"resnets.0.": "block_1.", "attentions.0.": "attn_1.", "resnets.1.": "block_2."}
_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def vae_config(file: Published, prefix: str = VAE_PREFIX) -> dict[str, Any]:
    """The arguments of `AutoencoderKL` for the autoencoder in a file.

    Raises:
        ModelNotFound: it holds none.
    """
    levels = file.count(prefix + "encoder.down.{}.block.0.conv1.weight")
    width = prefix + "encoder.down.{}.block.0.conv1.weight"
    return {
        "in_channels": file.shape(prefix + "encoder.conv_in.weight")[1],
        "out_channels": file.shape(prefix + "decoder.conv_out.weight")[0],
        "latent_channels": file.shape(prefix + "post_quant_conv.weight")[1],
        "down_block_types": ("DownEncoderBlock2D",) * levels,
        "up_block_types": ("UpDecoderBlock2D",) * levels,
        "block_out_channels": tuple(file.shape(width.format(n))[0] for n in range(levels)),
        "layers_per_block": file.count(prefix + "encoder.down.0.block.{}.conv1.weight"),
        "scaling_factor": SCALING_FACTOR,
    }


def vae_origin(name: str, levels: int, prefix: str = VAE_PREFIX) -> Origin:
    """Where a tensor of an `AutoencoderKL` with so many levels comes from."""
    if ".attentions." in name and name.endswith(".weight") and "group_norm" not in name:
        return Origin(prefix + _published_name(name, levels), _linear)
    return Origin(prefix + _published_name(name, levels))


def _published_name(name: str, levels: int) -> str:
    name = name.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
    name = re.sub(r"down_blocks\.(\d+)\.resnets", r"down.\1.block", name)
    name = re.sub(r"down_blocks\.(\d+)\.downsamplers\.0", r"down.\1.downsample", name)
    name = re.sub(r"up_blocks\.(\d+)", lambda found: f"up.{levels - 1 - int(found[1])}", name)
    name = re.sub(r"(up\.\d+)\.resnets", r"\1.block", name)
    name = re.sub(r"(up\.\d+)\.upsamplers\.0", r"\1.upsample", name)
    if "mid_block." not in name:
        return name
    name = name.replace("mid_block.", "mid.")
    for ours, theirs in _MIDDLE.items():
        name = name.replace(ours, theirs)
    if "attn_1." in name:
        for ours, theirs in _ATTENTION.items():
            name = name.replace(ours, theirs)
    return name


def _linear(tensor: Tensor) -> Tensor:
    """The weight of a 1x1 convolution, [C, C, 1, 1], as that of a linear layer."""
    return tensor.squeeze((2, 3))
