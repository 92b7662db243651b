"""OpenCLIP's image half, by its own names, as transformers' `CLIPVisionModelWithProjection`."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from pipeline.published.checkpoint_files import Origin, Published

CLIP_PREFIX = "conditioner.embedders.0.open_clip.model.visual."
_HEAD_CHANNELS = 80
"""Of ViT-H/14; a file does not say it."""
_OUTER = {
    "vision_model.embeddings.class_embedding": "class_embedding",
    "vision_model.embeddings.patch_embedding.weight": "conv1.weight",
    "vision_model.embeddings.position_embedding.weight": "positional_embedding",
    "vision_model.pre_layrnorm.weight": "ln_pre.weight",
    "vision_model.pre_layrnorm.bias": "ln_pre.bias",
    "vision_model.post_layernorm.weight": "ln_post.weight",
    "vision_model.post_layernorm.bias": "ln_post.bias",
}
_LAYER = {
    "self_attn.out_proj": "attn.out_proj",
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}
_JOINED = {"self_attn.q_proj": 0, "self_attn.k_proj": 1, "self_attn.v_proj": 2}


def clip_config(file: Published) -> dict[str, Any]:
    """The arguments of `CLIPVisionConfig` for the image encoder in a file.

    Raises:
        ModelNotFound: it holds none.
    """
    width, _, _, patch_px = file.shape(CLIP_PREFIX + "conv1.weight")
    places = file.shape(CLIP_PREFIX + "positional_embedding")[0] - 1
    return {
        "hidden_size": width,
        "intermediate_size": file.shape(f"{CLIP_PREFIX}transformer.resblocks.0.mlp.c_fc.weight")[0],
        "projection_dim": file.shape(CLIP_PREFIX + "proj")[1],
        "num_hidden_layers": file.count(CLIP_PREFIX + "transformer.resblocks.{}.ln_1.weight"),
        "num_attention_heads": width // _HEAD_CHANNELS,
        "image_size": round(places**0.5) * patch_px,
        "patch_size": patch_px,
        "hidden_act": "gelu",
    }


def clip_origin(name: str) -> Origin:
    """Where a tensor of the image encoder comes from."""
    if name == "visual_projection.weight":
        return Origin(CLIP_PREFIX + "proj", Tensor.t)
    if name in _OUTER:
        return Origin(CLIP_PREFIX + _OUTER[name])
    number, _, inside = name.removeprefix("vision_model.encoder.layers.").partition(".")
    layer = f"{CLIP_PREFIX}transformer.resblocks.{number}."
    module, kind = inside.rsplit(".", 1)
    if module in _JOINED:
        return Origin(f"{layer}attn.in_proj_{kind}", _third(_JOINED[module]))
    return Origin(f"{layer}{_LAYER[module]}.{kind}")


def _third(number: int) -> Callable[[Tensor], Tensor]:
    """Queries, keys and values stand above each other in one published tensor."""
    return lambda tensor: tensor.chunk(3)[number]
