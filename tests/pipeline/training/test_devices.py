"""Parts train and are judged on another device than the CPU, where their batches are drawn.

The other device is torch's "meta", which has shapes and no numbers: an operation that mixes its
tensors with those of the CPU is refused, as it would be with those of a GPU.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pytest
import torch
from drawn_heads import drawn_views
from test_diffusion import SIZE_PX, subjects
from tiny_diffusion import tiny_vae
from tiny_heads import write_heads

from pipeline.diffusion.edm import PAPER_MIX
from pipeline.training.autoencoder import AutoencoderPart
from pipeline.training.devices import device_of, to_device
from pipeline.training.diffusion import DiffusionPart
from pipeline.training.diffusion_presets import DiffusionConfig, PixelTerms
from pipeline.training.identity import FaceEmbedder, IdentityPart
from pipeline.training.image_encoder import ImageEncoderPart
from pipeline.training.matting import MattingPart


class Pair(NamedTuple):
    first: torch.Tensor
    second: list[torch.Tensor]


@dataclass(frozen=True)
class Nested:
    pair: Pair
    by_name: dict[str, torch.Tensor]
    cameras: tuple[np.ndarray, ...]
    missing: None = None


def test_every_tensor_of_a_batch_moves_and_the_rest_stays():
    batch = Nested(Pair(torch.zeros(2), [torch.ones(1)]), {"a": torch.ones(3)}, (np.eye(4),), None)
    moved = to_device(batch, "meta")
    found = [moved.pair.first, *moved.pair.second, moved.by_name["a"]]
    assert [one.device.type for one in found] == ["meta"] * 3
    assert isinstance(moved.pair, Pair)
    assert moved.cameras[0] is batch.cameras[0]
    assert batch.pair.first.device.type == "cpu"


def _diffusion(**changes):
    config = DiffusionConfig(
        size_px=SIZE_PX, channels=(32, 64), heads=(1, 2), batch_views=16, **changes
    )
    return DiffusionPart(
        subjects(3), subjects(2), tiny_vae(), config, identity=FaceEmbedder(8).eval()
    )


PARTS = {
    "identity": lambda _: IdentityPart(drawn_views(), drawn_views(), batch_size=4, width=8),
    "matting": lambda _: MattingPart(drawn_views(), drawn_views(), batch_size=2, width=4),
    "image_encoder": lambda _: ImageEncoderPart(subjects(3), subjects(2), tiny_vae(), 4),
    "lowres": lambda _: _diffusion(),
    "highres": lambda _: _diffusion(mix=PAPER_MIX),
    "decoded views": lambda _: _diffusion(pixels=PixelTerms(views=2, sigma=1e9)),
    "autoencoder": lambda data: AutoencoderPart(
        str(write_heads(data, (0, 9), 32)), (32,), batch_px=2 * 32 * 32
    ),
}


@pytest.mark.parametrize("name", PARTS)
def test_a_loss_is_computed_on_the_models_device(name, tmp_path):
    part = PARTS[name](tmp_path)
    batch = part.batch(0, 7)
    model = part.build_model().to("meta")
    terms = part.loss(model, to_device(batch, device_of(model)))
    assert terms["loss"].device.type == "meta"
    with pytest.raises((RuntimeError, NotImplementedError), match=r"device|meta"):
        part.loss(model, batch)
