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
from test_diffusion import SIZE_PX, people
from tiny_diffusion import tiny_vae

from pipeline.diffusion.edm import PAPER_MIX
from pipeline.training.autoencoder import AutoencoderPart
from pipeline.training.devices import device_of, to_device
from pipeline.training.diffusion import DiffusionPart
from pipeline.training.diffusion_presets import DiffusionConfig, PixelTerms
from pipeline.training.identity import FaceEmbedder, IdentityPart
from pipeline.training.image_encoder import ImageEncoderPart
from pipeline.training.matting import MattingPart
from pipeline.training.pose import PosePart


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
    return DiffusionPart(people(3), people(2), tiny_vae(), config, identity=FaceEmbedder(8).eval())


PARTS = {
    "identity": lambda: IdentityPart(drawn_views(), drawn_views(), batch_size=4, width=8),
    "matting": lambda: MattingPart(drawn_views(), drawn_views(), batch_size=2, width=4),
    "pose": lambda: PosePart(drawn_views(), drawn_views(), batch_size=2, width=4),
    "image_encoder": lambda: ImageEncoderPart(people(3), people(2), tiny_vae(), 4),
    "lowres": lambda: _diffusion(),
    "highres": lambda: _diffusion(mix=PAPER_MIX),
    "decoded views": lambda: _diffusion(pixels=PixelTerms(views=2, sigma=1e9)),
    "autoencoder": lambda: AutoencoderPart(
        people(3), people(2), (SIZE_PX,), batch_px=2 * SIZE_PX**2
    ),
}


@pytest.mark.parametrize("name", PARTS)
def test_a_loss_is_computed_on_the_models_device(name):
    part = PARTS[name]()
    batch = part.batch(0, 7)
    model = part.build_model().to("meta")
    terms = part.loss(model, to_device(batch, device_of(model)))
    assert terms["loss"].device.type == "meta"
    with pytest.raises((RuntimeError, NotImplementedError), match=r"device|meta"):
        part.loss(model, batch)
