"""LPIPS: how unlike two images are to VGG16 or AlexNet, weighted by what people find unlike.

Zhang et al. 2018. Neither torchvision's networks nor the linear layers of the ``lpips`` package are
shipped: their files are the user's. Torchmetrics and ``lpips`` have the same networks, but need
torchvision and fetch weights themselves when they are built.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.errors import ModelNotFound

Trunk = Literal["vgg", "alex"]
SIZE_PX = 256
"""Side at which training compares images."""
_VGG_STAGES = ((64, 64), (128, 128), (256,) * 3, (512,) * 3, (512,) * 3)
"""Channels of VGG16's convolutions; each stage but the first begins with a pooling."""
_NAMES = {"vgg": "VGG16", "alex": "AlexNet"}
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
"""Mean and deviation of ImageNet for images in [-1, 1], not in [0, 1] as torchvision has them."""


def _vgg16() -> list[list[nn.Module]]:
    stages: list[list[nn.Module]] = []
    channels = 3
    for number, wide in enumerate(_VGG_STAGES):
        stage: list[nn.Module] = [nn.MaxPool2d(2)] if number else []
        for width in wide:
            stage += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = width
        stages.append(stage)
    return stages


def _alexnet() -> list[list[nn.Module]]:
    return [
        [nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU()],
        [nn.MaxPool2d(3, 2), nn.Conv2d(64, 192, 5, padding=2), nn.ReLU()],
        [nn.MaxPool2d(3, 2), nn.Conv2d(192, 384, 3, padding=1), nn.ReLU()],
        [nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()],
        [nn.Conv2d(256, 256, 3, padding=1), nn.ReLU()],
    ]


class Lpips(nn.Module):
    """The frozen network; its parameters are named as in the files that it is loaded from.

    Args:
        trunk: whose features are compared.
        size_px: side at which they are; images of another are resampled, bilinearly.
    """

    def __init__(self, trunk: Trunk = "vgg", size_px: int = SIZE_PX) -> None:
        super().__init__()
        self.size_px = size_px
        stages = _vgg16() if trunk == "vgg" else _alexnet()
        self.features = nn.Sequential(*(layer for stage in stages for layer in stage))
        self.ends: list[int] = []
        for number, stage in enumerate(stages):
            self.ends.append(sum(map(len, stages[: number + 1])))
            last = stage[-2]
            assert isinstance(last, nn.Conv2d)
            self.add_module(f"lin{number}", nn.Conv2d(last.out_channels, 1, 1, bias=False))
        self.register_buffer("shift", torch.tensor(_SHIFT)[:, None, None], persistent=False)
        self.register_buffer("scale", torch.tensor(_SCALE)[:, None, None], persistent=False)
        self.shift: Tensor
        self.scale: Tensor
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor, targets: Tensor) -> Tensor:
        """Distances of image pairs, with gradients to both.

        Args:
            images: [B, 3, H, W] in [0, 1].
            targets: the same shape.

        Returns:
            [B], 0 where the images are equal.
        """
        x = torch.cat([images, targets])
        size = (self.size_px, self.size_px)
        if x.shape[-2:] != size:
            x = functional.interpolate(x, size, mode="bilinear", align_corners=False)
        x = (2 * x - 1 - self.shift) / self.scale
        total = x.new_zeros(len(images))
        for number, (start, end) in enumerate(zip([0, *self.ends], self.ends, strict=False)):
            x = self.features[start:end](x)
            unit = x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10)
            first, second = unit.chunk(2)
            linear = self.get_submodule(f"lin{number}")
            total = total + linear((first - second).square()).mean((1, 2, 3))
        return total


def load_lpips(files: Sequence[Path], trunk: Trunk = "vgg", size_px: int = SIZE_PX) -> Lpips:
    """LPIPS with weights from files, whichever holds which of them.

    Args:
        files: ``.safetensors``, or ``.pth`` of tensors alone: torchvision's VGG16 or AlexNet
            (``features.0.weight`` and so on; its classifier is left out) and the linear layers of
            LPIPS 0.1 for it (``lin0.model.1.weight`` to ``lin4.model.1.weight``).
        trunk: which of the two.
        size_px: side at which images are compared.

    Raises:
        ModelNotFound: a file cannot be read, or together they lack weights, hold others, or hold
            some of another shape.
    """
    weights: dict[str, Tensor] = {}
    for file in files:
        weights |= _read(file)
    named = {
        name.replace(".model.1.", "."): value.float()
        for name, value in weights.items()
        if not name.startswith("classifier.")
    }
    model = Lpips(trunk, size_px)
    try:
        model.load_state_dict(named)
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip()
        raise ModelNotFound(
            f"{' and '.join(map(str, files))} are not {_NAMES[trunk]} and the linear layers of "
            f"LPIPS for it: {first}"
        ) from error
    return model


def _read(file: Path) -> dict[str, Tensor]:
    try:
        if file.suffix == ".safetensors":
            return safetensors.torch.load_file(file)  # type: ignore[no-any-return]
        loaded: dict[str, Tensor] = torch.load(file, map_location="cpu", weights_only=True)
        return dict(loaded)
    except Exception as error:  # what torch's unpickler raises depends on the damage
        raise ModelNotFound(f"{file} is no file of LPIPS weights: {error}") from error
