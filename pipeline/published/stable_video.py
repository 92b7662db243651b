"""The video U-Net of Stability's generative-models, by its own names, as our `OrbitUNet`.

Their module numbers all blocks of a half in one row; diffusers counts levels and layers. The
tensors are the same, in the same shapes.
"""

from typing import Any

from pipeline.errors import ModelNotFound
from pipeline.published.checkpoint_files import Origin, Published

UNET_PREFIX = "model.diffusion_model."
_HEAD_CHANNELS = 64
_TIME_IDS = 3
_OUTER = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_MIDDLE = {"resnets.0": "0", "attentions.0": "1", "resnets.1": "2"}
_INNER = {
    "spatial_res_block.": "",
    "temporal_res_block.": "time_stack.",
    "norm1.": "in_layers.0.",
    "conv1.": "in_layers.2.",
    "time_emb_proj.": "emb_layers.1.",
    "norm2.": "out_layers.0.",
    "conv2.": "out_layers.3.",
    "conv_shortcut.": "skip_connection.",
}
_ATTENTION = {
    "temporal_transformer_blocks.": "time_stack.",
    "time_pos_embed.linear_1.": "time_pos_embed.0.",
    "time_pos_embed.linear_2.": "time_pos_embed.2.",
}


def unet_config(file: Published, sample_size: int) -> dict[str, Any]:
    """The arguments of `OrbitUNet` for the U-Net in a file, read from the shapes of its tensors.

    Args:
        file: with names under `UNET_PREFIX`.
        sample_size: side of the latents.

    Raises:
        ModelNotFound: it holds no such network.
    """
    block = UNET_PREFIX + "input_blocks.{}.0."
    blocks = _blocks(file)
    downs = [number for number in range(blocks) if block.format(number) + "op.weight" in file]
    if not downs:
        raise ModelNotFound(
            f"{file.path} holds no video U-Net under {UNET_PREFIX}; give low_stage.pt or "
            "high_stage.pt as they were published"
        )
    layers = downs[0] - 1
    firsts = [1, *(number + 1 for number in downs)]
    widths = [file.shape(block.format(n) + "out_layers.3.weight")[0] for n in firsts]
    out_channels = file.shape(UNET_PREFIX + "out.2.weight")[0]
    added = file.shape(UNET_PREFIX + "label_emb.0.0.weight")[1]
    attention = f"{UNET_PREFIX}input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"
    return {
        "azimuth_embedding": False,
        "azimuth_index": False,
        "sample_size": sample_size,
        "in_channels": file.shape(UNET_PREFIX + "input_blocks.0.0.weight")[1],
        "out_channels": out_channels,
        "block_out_channels": tuple(widths),
        "addition_time_embed_dim": added // _TIME_IDS,
        "projection_class_embeddings_input_dim": added,
        "layers_per_block": layers,
        "cross_attention_dim": file.shape(attention)[1],
        "num_attention_heads": tuple(width // _HEAD_CHANNELS for width in widths),
    }


def unet_origin(name: str, layers: int) -> Origin:
    """Where a tensor of an `OrbitUNet` with so many layers a block comes from."""
    return Origin(UNET_PREFIX + _published_name(name, layers))


def _published_name(name: str, layers: int) -> str:
    module, kind = name.rsplit(".", 1)
    if module in _OUTER:
        return f"{_OUTER[module]}.{kind}"
    half, *parts = name.split(".")
    if half == "mid_block":
        place, inside = ".".join(parts[:2]), ".".join(parts[2:])
        return f"middle_block.{_MIDDLE[place]}.{_inside(parts[0], inside)}"
    block, part, layer = int(parts[0]), parts[1], int(parts[2])
    inside = _inside(part, ".".join(parts[3:]))
    first = block * (layers + 1)
    if half == "down_blocks":
        if part == "downsamplers":
            return f"input_blocks.{first + layers + 1}.0.{inside.replace('conv', 'op')}"
        return f"input_blocks.{first + 1 + layer}.{int(part == 'attentions')}.{inside}"
    if part == "upsamplers":  # comes last in its block, and the first level has no attention
        return f"output_blocks.{first + layers}.{1 if block == 0 else 2}.{inside}"
    return f"output_blocks.{first + layer}.{int(part == 'attentions')}.{inside}"


def _inside(part: str, name: str) -> str:
    table = {"resnets": _INNER, "attentions": _ATTENTION}.get(part, {})
    for ours, theirs in table.items():
        name = name.replace(ours, theirs)
    return name


def _blocks(file: Published) -> int:
    number = 0
    while any(
        f"{UNET_PREFIX}input_blocks.{number}.0.{first}" in file
        for first in ("weight", "op.weight", "in_layers.0.weight")
    ):
        number += 1
    return number
