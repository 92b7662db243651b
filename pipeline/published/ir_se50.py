"""IR-SE50, the ArcFace network of the paper's release, and its export to ONNX.

A residual network whose blocks weigh their channels (squeeze and excitation), by the names of its
checkpoints: ``input_layer``, ``body``, ``output_layer``.
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.errors import BackendUnavailable
from pipeline.portrait.alignment import ARCFACE_SIZE_PX
from pipeline.published.checkpoint_files import Published

IDENTITY_FILE = "arcface.onnx"
_REDUCTION = 16
_SHRINK = 16


class IrSe(nn.Module):
    """Crops of a head to an embedding.

    Args:
        widths: channels after the input layer and after each block. A block halves the sides if it
            is the first one or changes the channels.
        embedding_dim: of the embedding.
        size_px: side of the crops.
    """

    def __init__(
        self, widths: Sequence[int], embedding_dim: int, size_px: int = ARCFACE_SIZE_PX
    ) -> None:
        super().__init__()
        first, last = widths[0], widths[-1]
        self.input_layer = nn.Sequential(
            nn.Conv2d(3, first, 3, padding=1, bias=False), nn.BatchNorm2d(first), nn.PReLU(first)
        )
        strides = [2] + [1 if a == b else 2 for a, b in pairwise(widths[1:])]
        self.body = nn.Sequential(
            *(_Block(*pair, one) for pair, one in zip(pairwise(widths), strides, strict=True))
        )
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(last),
            nn.Dropout(),
            nn.Flatten(),
            nn.Linear(last * (size_px // _SHRINK) ** 2, embedding_dim),
            nn.BatchNorm1d(embedding_dim),
        )

    def forward(self, crops: Tensor) -> Tensor:
        """[B, 3, 112, 112] RGB in [0, 1] to [B, embedding_dim], not normalised."""
        result: Tensor = self.output_layer(self.body(self.input_layer(crops)))
        return result


class _Block(nn.Module):
    def __init__(self, width: int, width_out: int, stride: int) -> None:
        super().__init__()
        self.shortcut_layer: nn.Module = nn.MaxPool2d(1, stride)
        if width != width_out:
            self.shortcut_layer = nn.Sequential(
                nn.Conv2d(width, width_out, 1, stride, bias=False), nn.BatchNorm2d(width_out)
            )
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(width),
            nn.Conv2d(width, width_out, 3, padding=1, bias=False),
            nn.PReLU(width_out),
            nn.Conv2d(width_out, width_out, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(width_out),
            _ChannelWeights(width_out),
        )

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.res_layer(x) + self.shortcut_layer(x)
        return result


class _ChannelWeights(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(width, width // _REDUCTION, 1, bias=False)
        self.fc2 = nn.Conv2d(width // _REDUCTION, width, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        pooled = x.mean((2, 3), keepdim=True)
        result: Tensor = x * self.fc2(self.fc1(pooled).relu()).sigmoid()
        return result


class _AsInsightfaceFeeds(nn.Module):
    """The network behind insightface's input, pixels in [-1, 1]; this one learnt from [0, 1]."""

    def __init__(self, network: IrSe) -> None:
        super().__init__()
        self.network = network

    def forward(self, crops: Tensor) -> Tensor:
        result: Tensor = self.network(crops * 0.5 + 0.5)
        return result


def ir_se_config(file: Published, prefix: str = "") -> dict[str, Any]:
    """The arguments of `IrSe` for the network in a file.

    Raises:
        ModelNotFound: it holds none.
    """
    blocks = file.count(prefix + "body.{}.res_layer.1.weight")
    deeper = [file.shape(f"{prefix}body.{n}.res_layer.1.weight")[0] for n in range(blocks)]
    return {
        "widths": (file.shape(prefix + "input_layer.0.weight")[0], *deeper),
        "embedding_dim": file.shape(prefix + "output_layer.3.weight")[0],
    }


def export_identity(network: IrSe, path: Path) -> None:
    """Write the network as an ONNX file that insightface's ArcFace model loads and feeds.

    The graph has float32 weights and takes any number of crops.

    Raises:
        BackendUnavailable: the packages that write ONNX files are not installed.
    """
    try:
        import onnx  # noqa: F401 (torch's exporter needs it)

        from pipeline.training.onnx_export import export_onnx
    except ImportError as error:
        raise BackendUnavailable(
            "an identity network is kept as an ONNX file, which needs the package onnx; run "
            "`pip install 'headsplat[train]'`"
        ) from error
    example = torch.zeros(1, 3, ARCFACE_SIZE_PX, ARCFACE_SIZE_PX)
    fed = _AsInsightfaceFeeds(network)
    export_onnx(fed, example, path, ["input"], ["embedding"], any_batch=True, half=False)
