"""A small single-shot face detector with the outputs of insightface's SCRFD models."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.training.layers import Residual, SpaceToDepth, conv, down

STRIDES = (8, 16, 32)
ANCHOR_UNITS = (2.0, 4.0)
"""Side of the two anchors of a cell, in strides: 16 and 32 px at stride 8, up to 128 and 256."""

_NORM_GROUPS = 8


class Predictions(NamedTuple):
    """Per anchor, all levels concatenated; anchors run over level, row, column, anchor.

    Attributes:
        logits: [B, A] of being a face.
        boxes: [B, A, 4] distances to left, top, right, bottom, in strides.
        landmarks: [B, A, 10] offsets x, y of the five landmarks, in strides.
    """

    logits: Tensor
    boxes: Tensor
    landmarks: Tensor


class FaceDetector(nn.Module):
    """Convolutional backbone, top-down feature pyramid and one head shared by all levels.

    Args:
        width: channels of the finest level.
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        wide, head = 2 * width, width * 3 // 2
        self.stem = nn.Sequential(
            SpaceToDepth(), SpaceToDepth(), conv(48, width), conv(width, width)
        )
        self.level8 = nn.Sequential(*down(width, width), Residual(width), Residual(width))
        self.level16 = nn.Sequential(*down(width, wide), Residual(wide), Residual(wide))
        self.level32 = nn.Sequential(*down(wide, wide), Residual(wide))
        self.lateral = nn.ModuleList([nn.Conv2d(c, head, 1) for c in (width, wide, wide)])
        self.smooth = nn.ModuleList([conv(head, head) for _ in STRIDES])
        self.tower = nn.Sequential(*(_head_layer(head) for _ in range(2)))
        self.predict = nn.Conv2d(head, len(ANCHOR_UNITS) * 15, 3, padding=1)
        self.register_buffer("units", torch.tensor(ANCHOR_UNITS)[:, None], persistent=False)
        self.units: Tensor
        nn.init.normal_(self.predict.weight, std=0.01)
        start = torch.zeros(len(ANCHOR_UNITS), 15)
        start[:, 0], start[:, 1:5] = -4.0, 0.5
        self.predict.bias = nn.Parameter(start.flatten())

    def forward(self, images: Tensor) -> Predictions:
        """Predict for [B, 3, H, W] RGB in about -1..1; H and W are multiples of 32."""
        levels = self.levels(images)
        joined = [torch.cat(parts, 1) for parts in zip(*levels, strict=True)]
        return Predictions(joined[0].squeeze(-1), joined[1], joined[2])

    def levels(self, images: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Logits [B, A_l, 1], boxes [B, A_l, 4] and landmarks [B, A_l, 10] of each stride."""
        at8 = self.level8(self.stem(images))
        at16 = self.level16(at8)
        at32 = self.level32(at16)
        lateral = [conv(x) for conv, x in zip(self.lateral, (at8, at16, at32), strict=True)]
        merged16 = lateral[1] + F.interpolate(lateral[2], scale_factor=2.0, mode="nearest")
        merged8 = lateral[0] + F.interpolate(merged16, scale_factor=2.0, mode="nearest")
        pyramid = (merged8, merged16, lateral[2])
        return [self._head(s(x)) for s, x in zip(self.smooth, pyramid, strict=True)]

    def _head(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        raw = self.predict(self.tower(features)).float()
        raw = raw.permute(0, 2, 3, 1).flatten(1).unflatten(1, (-1, len(ANCHOR_UNITS), 15))
        logits, offsets = raw[..., :1], raw[..., 1:] * self.units
        return logits.flatten(1, 2), offsets[..., :4].flatten(1, 2), offsets[..., 4:].flatten(1, 2)


class ScrfdOutputs(nn.Module):
    """The detector with the nine outputs that insightface's SCRFD class reads."""

    def __init__(self, detector: FaceDetector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Scores of the three strides, then their boxes, then their landmarks."""
        logits, boxes, landmarks = zip(*self.detector.levels(images), strict=True)
        return (*(x.sigmoid() for x in logits), *boxes, *landmarks)


def _head_layer(channels: int) -> nn.Sequential:
    """A 3x3 convolution whose norm keeps no statistics: the levels that share it differ in them."""
    convolution = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
    return nn.Sequential(convolution, nn.GroupNorm(_NORM_GROUPS, channels), nn.ReLU())
