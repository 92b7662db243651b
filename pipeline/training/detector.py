"""Trains the face detector on pictures of photo-mode heads."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.training.detector_network import (
    ANCHOR_UNITS,
    STRIDES,
    FaceDetector,
    Predictions,
    ScrfdOutputs,
)
from pipeline.training.devices import device_of, to_device
from pipeline.training.head_views import HeadViews
from pipeline.training.layers import channels_last
from pipeline.training.mosaic import Mosaic, draw_mosaic, vary
from pipeline.training.onnx_export import export_onnx
from pipeline.training.replays import Replays

Floats = npt.NDArray[np.float32]

SCALE_REACH = 0.8
"""A face is learnt by anchors within this many octaves of its size."""
CENTRE_REACH = 0.22
"""... whose cell is within this share of the face's size from its centre."""
REPLAY_STEPS = (23, 71)
"""Pictures are used again, mirrored or in other light, this many steps later."""


@dataclass(frozen=True)
class DetectorBatch:
    """Images and what each anchor should say; A anchors in the order of `Predictions`.

    Attributes:
        images: [B, 3, S, S] float32, RGB normalised as insightface does.
        face: [B, A] bool.
        weight: [B, A] of the score's loss, 0 where ignored.
        boxes: [B, A, 4] target distances in strides.
        landmarks: [B, A, 10] target offsets in strides.
        size: [B, A] face size in strides, 1 where there is none.
    """

    images: Tensor
    face: Tensor
    weight: Tensor
    boxes: Tensor
    landmarks: Tensor
    size: Tensor


class DetectorPart:
    """The detector as `pipeline.training.loop` trains it.

    Args:
        views: heads to learn from.
        held_out: heads of other people to measure on.
        size_px: side of the training pictures, a multiple of 32.
        batch_size: pictures a step.
        width: of the network, see `FaceDetector`.
    """

    def __init__(
        self,
        views: HeadViews,
        held_out: HeadViews,
        size_px: int = 192,
        batch_size: int = 16,
        width: int = 32,
    ) -> None:
        self.views, self.held_out = views, held_out
        self.size_px, self.batch_size, self.width = size_px, batch_size, width
        self.anchors = anchor_grid(size_px)
        self._replays = Replays(lambda rng: self._mosaic(self.views, rng), REPLAY_STEPS)

    def build_model(self) -> nn.Module:
        """A fresh detector."""
        model: nn.Module = FaceDetector(self.width)
        return channels_last(model)

    def batch(self, seed: int, step: int) -> DetectorBatch:
        """The pictures and targets of a step: some new ones, some seen before and changed."""
        rng = np.random.default_rng((seed, step))
        fresh, again = self._replays.of_step(seed, step, self.batch_size)
        return self._targets([*fresh, *(vary(mosaic, rng) for mosaic in again)])

    def loss(self, model: nn.Module, batch: DetectorBatch) -> Mapping[str, Tensor]:
        """Quality focal loss on scores, generalised IoU on boxes, smooth L1 on landmarks."""
        predicted: Predictions = model(batch.images.contiguous(memory_format=torch.channels_last))
        count = batch.face.sum().clamp(min=1)
        boxes, wanted = predicted.boxes[batch.face], batch.boxes[batch.face]
        overlap, generalised = box_overlap(boxes, wanted)
        quality = torch.zeros_like(predicted.logits)
        quality[batch.face] = overlap.detach().clamp(min=0.3)
        score = predicted.logits.sigmoid()
        focal = (quality - score).abs() ** 2 * F.binary_cross_entropy_with_logits(
            predicted.logits, quality, reduction="none"
        )
        error = (predicted.landmarks - batch.landmarks)[batch.face]
        error = error / batch.size[batch.face][:, None]
        terms = {
            "score": (focal * batch.weight).sum() / count,
            "box": (1 - generalised).sum() / count,
            "landmarks": F.smooth_l1_loss(
                error, torch.zeros_like(error), beta=0.05, reduction="sum"
            )
            / (10 * count),
        }
        return {"loss": terms["score"] + terms["box"] + 8 * terms["landmarks"], **terms}

    def evaluate(self, model: nn.Module) -> Mapping[str, float]:
        """Recall, false alarms and landmark error on pictures of people never trained on."""
        rng = np.random.default_rng(12345)
        mosaics = [self._mosaic(self.held_out, rng) for _ in range(64)]
        batch = self._targets(mosaics)
        with torch.no_grad():
            predicted: Predictions = to_device(model(batch.images.to(device_of(model))), "cpu")
        found = faces = alarms = 0
        errors: list[float] = []
        for index, mosaic in enumerate(mosaics):
            scores, boxes, landmarks = self._decode(predicted, index, threshold=0.5)
            faces += len(mosaic.boxes)
            alarms += _false_alarms(boxes, np.concatenate([mosaic.boxes, mosaic.ignored]))
            for box, points in zip(mosaic.boxes, mosaic.landmarks, strict=True):
                overlaps = iou(boxes, box)
                if len(scores) and overlaps.max() > 0.5:
                    found += 1
                    distance = np.linalg.norm(landmarks[overlaps.argmax()] - points, axis=1)
                    errors.append(float(distance.mean() / np.sqrt((box[2:] - box[:2]).prod())))
        return {
            "recall": found / max(faces, 1),
            "false_alarms_per_picture": alarms / len(mosaics),
            "landmark_error_of_face_size": float(np.mean(errors)) if errors else float("nan"),
        }

    def export(self, model: nn.Module, out: Path) -> None:
        """Write ``detector.onnx``, for any picture whose sides are multiples of 32."""
        assert isinstance(model, FaceDetector)
        names = [f"{kind}_{s}" for kind in ("score", "bbox", "kps") for s in STRIDES]
        example = torch.zeros(1, 3, 320, 320)
        wrapped = ScrfdOutputs(model)
        export_onnx(wrapped, example, out / "detector.onnx", ["images"], names, any_size=True)

    def _mosaic(self, views: HeadViews, rng: np.random.Generator) -> Mosaic:
        return draw_mosaic(views, self.size_px, rng)

    def _targets(self, mosaics: list[Mosaic]) -> DetectorBatch:
        images = np.stack([mosaic.rgb for mosaic in mosaics]).transpose(0, 3, 1, 2)
        targets = [assign(mosaic, self.anchors) for mosaic in mosaics]
        stacked = {
            name: torch.from_numpy(np.stack([t[name] for t in targets])) for name in targets[0]
        }
        normalised = (torch.from_numpy(images).float() - 127.5) / 128
        return DetectorBatch(images=normalised, **stacked)

    def _decode(
        self, predicted: Predictions, index: int, threshold: float
    ) -> tuple[Floats, Floats, Floats]:
        score = predicted.logits[index].sigmoid().float().numpy()
        keep = np.flatnonzero(score > threshold)
        keep = keep[np.argsort(-score[keep])]
        centre, stride = self.anchors[keep, :2], self.anchors[keep, 2:3]
        distance = predicted.boxes[index].float().numpy()[keep] * stride
        boxes = np.concatenate([centre - distance[:, :2], centre + distance[:, 2:]], 1)
        offsets = predicted.landmarks[index].float().numpy()[keep].reshape(-1, 5, 2)
        landmarks = (centre[:, None] + offsets * stride[:, None]).astype(np.float32)
        best = _suppress(boxes)
        return score[keep][best], boxes[best], landmarks[best]


def anchor_grid(size_px: int) -> Floats:
    """Anchors of a square picture, [A, 4]: centre x, y, stride and side in pixels.

    As in SCRFD the centre of a cell is its upper left corner.
    """
    rows = []
    for stride in STRIDES:
        cells = np.arange(0, size_px, stride)
        y, x, unit = np.meshgrid(cells, cells, ANCHOR_UNITS, indexing="ij")
        level = np.stack([x, y, np.full_like(x, stride, dtype=np.float64), unit * stride], -1)
        rows.append(level.reshape(-1, 4))
    return np.concatenate(rows).astype(np.float32)


def assign(mosaic: Mosaic, anchors: Floats) -> dict[str, Floats | npt.NDArray[np.bool_]]:
    """Give each face to the anchors near its centre and size; smaller faces win ties.

    Returns:
        The per-anchor fields of `DetectorBatch` for one picture.
    """
    count = len(anchors)
    owner = np.full(count, -1)
    weight = np.ones(count, np.float32)
    for box in mosaic.ignored:
        weight[_inside(anchors, box)] = 0
    sizes = np.sqrt((mosaic.boxes[:, 2:] - mosaic.boxes[:, :2]).prod(1))
    for index in np.argsort(-sizes):
        box = mosaic.boxes[index]
        octaves = abs(np.log2(anchors[:, 3] / sizes[index]))
        reach = np.maximum(CENTRE_REACH * sizes[index], 0.75 * anchors[:, 2])
        offset = abs(anchors[:, :2] - (box[:2] + box[2:]) / 2).max(1)
        nearest = octaves <= max(SCALE_REACH, octaves.min() + 0.01)
        owner[nearest & (offset <= reach)] = index
        weight[_inside(anchors, box) & (owner < 0) & nearest & (offset <= 1.6 * reach)] = 0
    face = owner >= 0
    weight[face] = 1
    chosen = owner.clip(0)
    boxes: Floats = np.zeros((count, 4), np.float32)
    landmarks: Floats = np.zeros((count, 10), np.float32)
    size: Floats = np.ones(count, np.float32)
    if len(mosaic.boxes):
        centre, stride = anchors[:, :2], anchors[:, 2:3]
        near, far = centre - mosaic.boxes[chosen, :2], mosaic.boxes[chosen, 2:] - centre
        boxes = (np.concatenate([near, far], 1) / stride).astype(np.float32)
        offsets = mosaic.landmarks[chosen] - centre[:, None]
        landmarks = (offsets.reshape(-1, 10) / stride).astype(np.float32)
        size = (sizes[chosen] / anchors[:, 2]).astype(np.float32)
    return {"face": face, "weight": weight, "boxes": boxes, "landmarks": landmarks, "size": size}


def box_overlap(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """IoU and generalised IoU of boxes given as distances from one point, [N, 4] each: [N], [N]."""

    def area(box: Tensor) -> Tensor:
        return (box[:, :2] + box[:, 2:]).clamp(min=1e-4).prod(1)

    shared = (torch.minimum(a[:, :2], b[:, :2]) + torch.minimum(a[:, 2:], b[:, 2:])).clamp(min=0)
    intersection = shared.prod(1)
    union = area(a) + area(b) - intersection
    hull = area(torch.maximum(a, b))
    overlap = intersection / union
    return overlap, overlap - (hull - union) / hull


def iou(boxes: Floats, box: Floats) -> Floats:
    """IoU of [N, 4] corner boxes with one box, [N]."""
    sides = (np.minimum(boxes[:, 2:], box[2:]) - np.maximum(boxes[:, :2], box[:2])).clip(0)
    shared = sides.prod(1)
    areas = (boxes[:, 2:] - boxes[:, :2]).clip(0).prod(1)
    return np.asarray(shared / (areas + (box[2:] - box[:2]).prod() - shared + 1e-6))


def _inside(anchors: Floats, box: Floats) -> npt.NDArray[np.bool_]:
    return np.asarray(((anchors[:, :2] >= box[:2]) & (anchors[:, :2] <= box[2:])).all(1))


def _suppress(boxes: Floats, limit: float = 0.4) -> list[int]:
    kept: list[int] = []
    for index, box in enumerate(boxes):
        if not kept or iou(boxes[kept], box).max() <= limit:
            kept.append(index)
    return kept


def _false_alarms(boxes: Floats, known: Floats) -> int:
    return sum(not len(known) or float(iou(known, box).max()) < 0.3 for box in boxes)
