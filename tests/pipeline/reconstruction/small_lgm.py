"""LGM's network: on the meta device, small, and of full size with cheap weights."""

import math
from typing import Any

import torch

from pipeline.reconstruction.lgm import LargeGaussianModel

SMALL: dict[str, Any] = {
    "input_px": 16,
    "down_channels": (32, 64),
    "down_attention": (False, True),
    "up_channels": (64,),
    "up_attention": (True,),
    "layers": 1,
    "heads": 4,
}


def on_meta(config: dict[str, Any]) -> LargeGaussianModel:
    """The network without memory for its weights."""
    with torch.device("meta"):
        return LargeGaussianModel(**config)


def small_lgm(**changes: object) -> LargeGaussianModel:
    """A network of two levels, the same each time."""
    torch.manual_seed(0)
    return LargeGaussianModel(**{**SMALL, **changes}).eval()


def large_lgm(config: dict[str, Any]) -> LargeGaussianModel:
    """A network of any size within seconds: all its weights are cut from the same noise."""
    model = on_meta(config)
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    most = max(shape.numel() for shape in shapes.values())
    noise = torch.randn(most, generator=torch.Generator().manual_seed(0))
    weights = {
        name: noise[: shape.numel()].reshape(shape) / math.sqrt(shape[1:].numel())
        for name, shape in shapes.items()
    }
    model.load_state_dict(weights, assign=True)
    return model.eval()
