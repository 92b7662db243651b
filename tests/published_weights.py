"""Synthetic checkpoints in the exact naming of the published ones, at any width.

The rules below give each tensor's name and shape as the release's files have them; they were
compared with the modules of its code at full size. The numbers depend on a tensor's name alone, so
that what its code makes of the same numbers could be recorded (`release_outputs.json`).
"""

import zlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Widths of the release's networks; the defaults are the published ones."""

    unet_width: int = 320
    unet_levels: tuple[int, ...] = (1, 2, 4, 4)
    unet_layers: int = 2
    context: int = 1024
    added: int = 768
    vae_width: int = 128
    vae_levels: tuple[int, ...] = (1, 2, 4, 4)
    vae_layers: int = 2
    clip_width: int = 1280
    clip_layers: int = 32
    clip_patch_px: int = 14
    clip_px: int = 224
    identity_width: int = 64
    identity_blocks: tuple[tuple[int, int], ...] = ((1, 3), (2, 4), (4, 14), (8, 3))
    identity_dim: int = 512


FULL = Sizes()
TINY = Sizes(
    unet_width=64,
    unet_levels=(1, 2),
    unet_layers=1,
    context=32,
    added=96,
    vae_width=32,
    vae_levels=(1, 2),
    vae_layers=1,
    clip_width=80,
    clip_layers=1,
    clip_patch_px=16,
    clip_px=32,
    identity_width=16,
    identity_blocks=((1, 1), (2, 1), (3, 1), (4, 2)),
    identity_dim=48,
)
TEXT_WIDTH = 8


def stage_shapes(sizes: Sizes) -> Shapes:
    """All tensors of low_stage.pt or high_stage.pt; of what is left out, a few."""
    token, visual = sizes.context, "conditioner.embedders.0.open_clip.model."
    shapes = unet_shapes(sizes, "model.diffusion_model.")
    shapes |= vae_shapes(sizes, "first_stage_model.")
    shapes |= vae_shapes(sizes, "conditioner.embedders.3.encoder.")
    shapes |= clip_shapes(sizes, visual + "visual.")
    shapes |= identity_shapes(sizes, "conditioner.embedders.5.id_model.")
    shapes |= identity_shapes(sizes, "id_model.")
    for number, width in enumerate((sizes.identity_dim, token, token)):
        shapes |= _pair(f"conditioner.embedders.5.mlp.{2 * number}", token, width)
    shapes |= {
        visual + "positional_embedding": (77, TEXT_WIDTH),
        visual + "text_projection": (TEXT_WIDTH, token),
        visual + "logit_scale": (),
        visual + "token_embedding.weight": (9, TEXT_WIDTH),
        **_norm(visual + "ln_final", TEXT_WIDTH),
        "conditioner.embedders.1.aesthetic_model.visual.conv1.weight": (4, 3, 2, 2),
        **_pair("conditioner.embedders.1.aesthetic_mlp.layers.0", 4, 4),
        "lpips.net.slice1.0.weight": (4, 3, 3, 3),
        "lpips.lin0.model.1.weight": (1, 4, 1, 1),
    }
    return shapes


def unet_shapes(sizes: Sizes, prefix: str) -> Shapes:
    base, layers, emb = sizes.unet_width, sizes.unet_layers, 4 * sizes.unet_width
    last = len(sizes.unet_levels) - 1
    shapes = _pair("time_embed.0", emb, base) | _pair("time_embed.2", emb, emb)
    shapes |= _pair("label_emb.0.0", emb, sizes.added) | _pair("label_emb.0.2", emb, emb)
    shapes |= _pair("input_blocks.0.0", base, 8, 3, 3)
    skips, width, number = [base], base, 1
    for level, factor in enumerate(sizes.unet_levels):
        for _ in range(layers):
            shapes |= _res_block(f"input_blocks.{number}.0", width, factor * base, emb)
            width = factor * base
            if level < last:
                shapes |= _transformer(f"input_blocks.{number}.1", width, sizes.context)
            skips.append(width)
            number += 1
        if level < last:
            shapes |= _pair(f"input_blocks.{number}.0.op", width, width, 3, 3)
            skips.append(width)
            number += 1
    shapes |= _res_block("middle_block.0", width, width, emb)
    shapes |= _transformer("middle_block.1", width, sizes.context)
    shapes |= _res_block("middle_block.2", width, width, emb)
    number = 0
    for level in range(last, -1, -1):
        for layer in range(layers + 1):
            block, out = f"output_blocks.{number}", sizes.unet_levels[level] * base
            shapes |= _res_block(f"{block}.0", width + skips.pop(), out, emb)
            width = out
            if level < last:
                shapes |= _transformer(f"{block}.1", width, sizes.context)
            if level and layer == layers:
                shapes |= _pair(f"{block}.{1 + (level < last)}.conv", width, width, 3, 3)
            number += 1
    shapes |= _norm("out.0", base) | _pair("out.2", 4, base, 3, 3)
    return {prefix + name: shape for name, shape in shapes.items()}


def vae_shapes(sizes: Sizes, prefix: str) -> Shapes:
    widths = [sizes.vae_width * factor for factor in sizes.vae_levels]
    shapes = _pair("encoder.conv_in", widths[0], 3, 3, 3)
    width = widths[0]
    for level, out in enumerate(widths):
        for layer in range(sizes.vae_layers):
            shapes |= _vae_block(f"encoder.down.{level}.block.{layer}", width, out)
            width = out
        if level < len(widths) - 1:
            shapes |= _pair(f"encoder.down.{level}.downsample.conv", width, width, 3, 3)
    shapes |= _vae_middle("encoder.mid", width) | _vae_middle("decoder.mid", width)
    shapes |= _norm("encoder.norm_out", width) | _pair("encoder.conv_out", 8, width, 3, 3)
    shapes |= _pair("quant_conv", 8, 8, 1, 1) | _pair("post_quant_conv", 4, 4, 1, 1)
    shapes |= _pair("decoder.conv_in", width, 4, 3, 3)
    for level in range(len(widths) - 1, -1, -1):
        for layer in range(sizes.vae_layers + 1):
            shapes |= _vae_block(f"decoder.up.{level}.block.{layer}", width, widths[level])
            width = widths[level]
        if level:
            shapes |= _pair(f"decoder.up.{level}.upsample.conv", width, width, 3, 3)
    shapes |= _norm("decoder.norm_out", width) | _pair("decoder.conv_out", 3, width, 3, 3)
    return {prefix + name: shape for name, shape in shapes.items()}


def clip_shapes(sizes: Sizes, prefix: str) -> Shapes:
    width, patch = sizes.clip_width, sizes.clip_patch_px
    shapes: Shapes = {
        "class_embedding": (width,),
        "positional_embedding": ((sizes.clip_px // patch) ** 2 + 1, width),
        "proj": (width, sizes.context),
        "conv1.weight": (width, 3, patch, patch),
        **_norm("ln_pre", width),
        **_norm("ln_post", width),
    }
    for number in range(sizes.clip_layers):
        block = f"transformer.resblocks.{number}"
        shapes |= _norm(f"{block}.ln_1", width) | _norm(f"{block}.ln_2", width)
        shapes |= {
            f"{block}.attn.in_proj_weight": (3 * width, width),
            f"{block}.attn.in_proj_bias": (3 * width,),
        }
        shapes |= _pair(f"{block}.attn.out_proj", width, width)
        shapes |= _pair(f"{block}.mlp.c_fc", 4 * width, width)
        shapes |= _pair(f"{block}.mlp.c_proj", width, 4 * width)
    return {prefix + name: shape for name, shape in shapes.items()}


def identity_shapes(sizes: Sizes, prefix: str = "") -> Shapes:
    width = sizes.identity_width
    shapes: Shapes = {"input_layer.0.weight": (width, 3, 3, 3), "input_layer.2.weight": (width,)}
    shapes |= _batch_norm("input_layer.1", width)
    number = 0
    for factor, blocks in sizes.identity_blocks:
        for _ in range(blocks):
            out, block = factor * sizes.identity_width, f"body.{number}"
            if out != width:
                shapes[f"{block}.shortcut_layer.0.weight"] = (out, width, 1, 1)
                shapes |= _batch_norm(f"{block}.shortcut_layer.1", out)
            shapes |= _batch_norm(f"{block}.res_layer.0", width)
            shapes[f"{block}.res_layer.1.weight"] = (out, width, 3, 3)
            shapes[f"{block}.res_layer.2.weight"] = (out,)
            shapes[f"{block}.res_layer.3.weight"] = (out, out, 3, 3)
            shapes |= _batch_norm(f"{block}.res_layer.4", out)
            shapes[f"{block}.res_layer.5.fc1.weight"] = (out // 16, out, 1, 1)
            shapes[f"{block}.res_layer.5.fc2.weight"] = (out, out // 16, 1, 1)
            width, number = out, number + 1
    shapes |= _batch_norm("output_layer.0", width)
    shapes |= _pair("output_layer.3", sizes.identity_dim, width * 49)
    shapes |= _batch_norm("output_layer.4", sizes.identity_dim)
    return {prefix + name: shape for name, shape in shapes.items()}


def numbers(shapes: Shapes) -> dict[str, torch.Tensor]:
    """Tensors whose numbers depend on their names; both autoencoders of a file have the same."""
    return {name: _tensor(_family(name), shape) for name, shape in shapes.items()}


@cache
def stage_numbers(sizes: Sizes = TINY) -> dict[str, torch.Tensor]:
    """Those of a whole stage's file."""
    return numbers(stage_shapes(sizes))


def write_stage_file(path: Path, sizes: Sizes = TINY, **changed: Any) -> Path:
    """A file as DeepSpeed writes it; ``changed`` replaces tensors, or removes them with None."""
    tensors = stage_numbers(sizes) | changed
    module = {f"module.{name}": one for name, one in tensors.items() if one is not None}
    torch.save({"module": module, "global_steps": 1000, "ds_version": "0.1"}, path)
    return path


def given() -> dict[str, torch.Tensor]:
    """The inputs for which the release's outputs with `TINY` numbers were recorded."""
    shapes = {
        "crop": (1, 3, 112, 112),
        "pixels": (1, 3, 32, 32),
        "image": (1, 3, 32, 32),
        "latents": (4, 4, 16, 16),
        "lowres_latents": (4, 4, 16, 16),
    }
    drawn = {name: _tensor(f"given {name}", shape) for name, shape in shapes.items()}
    return {
        name: one * np.sqrt(np.prod(one.shape[1:]))
        if "latents" in name or name == "pixels"
        else (one * np.sqrt(np.prod(one.shape[1:]))).sigmoid()
        for name, one in drawn.items()
    }


def _family(name: str) -> str:
    name = name.replace("conditioner.embedders.3.encoder.", "first_stage_model.")
    return name.removeprefix("conditioner.embedders.5.id_model.").removeprefix("id_model.")


def _tensor(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    if name.endswith("num_batches_tracked"):
        return torch.tensor(7)
    drawn = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape)
    values = torch.as_tensor(drawn, dtype=torch.float32).reshape(shape)
    if name.endswith("running_var"):
        return 1 + 0.2 * values.tanh()
    if len(shape) < 2:
        is_scale = name.endswith("weight")
        return values * 0.1 + float(is_scale)
    return values / np.sqrt(np.prod(shape[1:]))


def _pair(name: str, *shape: int) -> Shapes:
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def _norm(name: str, width: int) -> Shapes:
    return _pair(name, width)


def _batch_norm(name: str, width: int) -> Shapes:
    running = {f"{name}.running_mean": (width,), f"{name}.running_var": (width,)}
    return _norm(name, width) | running | {f"{name}.num_batches_tracked": ()}


def _res_block(name: str, width: int, out: int, emb: int) -> Shapes:
    shapes = _half_block(name, width, out, emb, (3, 3))
    shapes |= _half_block(f"{name}.time_stack", out, out, emb, (3, 1, 1))
    if width != out:
        shapes |= _pair(f"{name}.skip_connection", out, width, 1, 1)
    return shapes | {f"{name}.time_mixer.mix_factor": (1,)}


def _half_block(name: str, width: int, out: int, emb: int, kernel: tuple[int, ...]) -> Shapes:
    shapes = _norm(f"{name}.in_layers.0", width) | _norm(f"{name}.out_layers.0", out)
    shapes |= _pair(f"{name}.in_layers.2", out, width, *kernel)
    shapes |= _pair(f"{name}.out_layers.3", out, out, *kernel)
    return shapes | _pair(f"{name}.emb_layers.1", out, emb)


def _transformer(name: str, width: int, context: int) -> Shapes:
    shapes = _norm(f"{name}.norm", width)
    shapes |= _pair(f"{name}.proj_in", width, width) | _pair(f"{name}.proj_out", width, width)
    shapes |= _pair(f"{name}.time_pos_embed.0", 4 * width, width)
    shapes |= _pair(f"{name}.time_pos_embed.2", width, 4 * width)
    shapes[f"{name}.time_mixer.mix_factor"] = (1,)
    for block in (f"{name}.transformer_blocks.0", f"{name}.time_stack.0"):
        for number in (1, 2, 3):
            shapes |= _norm(f"{block}.norm{number}", width)
        for attention, keys in (("attn1", width), ("attn2", context)):
            shapes[f"{block}.{attention}.to_q.weight"] = (width, width)
            shapes[f"{block}.{attention}.to_k.weight"] = (width, keys)
            shapes[f"{block}.{attention}.to_v.weight"] = (width, keys)
            shapes |= _pair(f"{block}.{attention}.to_out.0", width, width)
        shapes |= _feed_forward(f"{block}.ff", width)
    shapes |= _norm(f"{name}.time_stack.0.norm_in", width)
    return shapes | _feed_forward(f"{name}.time_stack.0.ff_in", width)


def _feed_forward(name: str, width: int) -> Shapes:
    return _pair(f"{name}.net.0.proj", 8 * width, width) | _pair(f"{name}.net.2", width, 4 * width)


def _vae_block(name: str, width: int, out: int) -> Shapes:
    shapes = _norm(f"{name}.norm1", width) | _norm(f"{name}.norm2", out)
    shapes |= _pair(f"{name}.conv1", out, width, 3, 3) | _pair(f"{name}.conv2", out, out, 3, 3)
    return shapes | (_pair(f"{name}.nin_shortcut", out, width, 1, 1) if width != out else {})


def _vae_middle(name: str, width: int) -> Shapes:
    shapes = _vae_block(f"{name}.block_1", width, width)
    shapes |= _vae_block(f"{name}.block_2", width, width) | _norm(f"{name}.attn_1.norm", width)
    for part in ("q", "k", "v", "proj_out"):
        shapes |= _pair(f"{name}.attn_1.{part}", width, width, 1, 1)
    return shapes
