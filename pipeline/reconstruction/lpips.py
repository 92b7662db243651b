"""LPIPS: how unlike two images are to VGG16, weighted by what people find unlike.

Zhang et al. 2018. Neither torchvision's VGG16 nor the linear layers of the ``lpips`` package are
shipped: their files are the user's. Torchmetrics and ``lpips`` have the same network, but need
torchvision and fetch weights themselves when it is built.
"""

from collections.abc import Sequence
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.errors import ModelNotFound

SIZE_PX = 256
"""Side at which images are compared."""
_STAGES = ((64, 64), (128, 128), (256,) * 3, (512,) * 3, (512,) * 3)
"""Channels of VGG16's convolutions; a stage ends before the next pooling."""
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
"""Mean and deviation of ImageNet for images in [-1, 1], not in [0, 1] as torchvision has them."""


class Lpips(nn.Module):
    """The frozen network; its parameters are named as in the files that it is loaded from."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels, self.ends = 3, list[int]()
        for number, stage in enumerate(_STAGES):
            layers += [nn.MaxPool2d(2)] if number else []
            for wide in stage:
                layers += [nn.Conv2d(channels, wide, 3, padding=1), nn.ReLU()]
                channels = wide
            self.ends.append(len(layers))
        self.features = nn.Sequential(*layers)
        for number, stage in enumerate(_STAGES):
            linear = nn.Conv2d(stage[-1], 1, 1, bias=False)
            self.add_module(f"lin{number}", linear)
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
        if x.shape[-2:] != (SIZE_PX, SIZE_PX):
            x = functional.interpolate(x, (SIZE_PX, SIZE_PX), mode="bilinear", align_corners=False)
        x = (2 * x - 1 - self.shift) / self.scale
        total = x.new_zeros(len(images))
        for number, (start, end) in enumerate(zip([0, *self.ends], self.ends, strict=False)):
            x = self.features[start:end](x)
            unit = x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10)
            first, second = unit.chunk(2)
            linear = self.get_submodule(f"lin{number}")
            total = total + linear((first - second).square()).mean((1, 2, 3))
        return total


def load_lpips(files: Sequence[Path]) -> Lpips:
    """LPIPS with weights from files, whichever holds which of them.

    Args:
        files: ``.safetensors``, or ``.pth`` of tensors alone: torchvision's VGG16
            (``features.0.weight`` and so on; its classifier is left out) and the linear layers of
            LPIPS 0.1 (``lin0.model.1.weight`` to ``lin4.model.1.weight``).

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
    model = Lpips()
    try:
        model.load_state_dict(named)
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip()
        raise ModelNotFound(
            f"{' and '.join(map(str, files))} are not VGG16 and the linear layers of LPIPS: {first}"
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
