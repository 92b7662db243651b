"""The Gaussian part with a network small enough for a test."""

from pathlib import Path

from pipeline.digital_human.dataset import HeadDataset
from pipeline.training.gaussian_presets import GaussianConfig
from pipeline.training.gaussians import GaussianPart
from pipeline.training.heads import Heads

SIZE_PX = 32
SMALL = {
    "input_px": SIZE_PX,
    "down_channels": (32, 32),
    "down_attention": (False, True),
    "up_channels": (32,),
    "up_attention": (True,),
    "layers": 1,
    "heads": 4,
    "positions": "ray",
}


def small_part(data: Path | str, part=GaussianPart, size_px: int = SIZE_PX, **config):
    """The part on a dataset of `tiny_heads`, two heads a step unless told otherwise."""
    train, test = (Heads(HeadDataset(str(data), split), size_px) for split in ("train", "test"))
    return part(train, test, GaussianConfig(**{"batch_heads": 2} | config), network=SMALL)
