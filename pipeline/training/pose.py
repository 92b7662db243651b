"""Trains the pose network on photo-mode heads in crops that are framed badly."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.digital_human.photo import photograph, take_photo
from pipeline.portrait import alignment
from pipeline.portrait.alignment import Floats
from pipeline.portrait.framing import warp_straight
from pipeline.portrait.pose_network import (
    CROP_PX,
    CROP_SHARE,
    Sight,
    crop_of,
    crop_transform,
    network_input,
    to_half_widths,
)
from pipeline.training.devices import device_of, to_device
from pipeline.training.head_views import HeadView, HeadViews
from pipeline.training.layers import channels_last
from pipeline.training.onnx_export import export_onnx
from pipeline.training.pose_network import PoseRegressor
from pipeline.training.replays import Replays

Image = npt.NDArray[np.uint8]

PHOTO_PX = 224
"""Side of the framed photos that crops are taken from."""
REPLAY_STEPS = (23, 71, 131)
"""A photo is cropped again, otherwise, this many steps later."""
_LANDMARK_WEIGHT = 0.4
"""Of each of the ten coordinates, beside 1 for each number of the pose."""


@dataclass(frozen=True)
class PoseBatch:
    """Crops and what there is to say of them.

    Attributes:
        images: [B, 3, 128, 128] float32, see `network_input`.
        outputs: [B, 16] float32, see `Sight.to_outputs`.
    """

    images: Tensor
    outputs: Tensor


@dataclass(frozen=True)
class Photo:
    """A photo framed as it should be.

    Attributes:
        rgb: [224, 224, 3] uint8.
        sight: the truth of its crop.
    """

    rgb: Image
    sight: Sight


class PosePart:
    """The pose network as `pipeline.training.loop` trains it.

    Args:
        views: heads to learn from.
        held_out: heads of other people to measure on.
        batch_size: crops a step.
        width: of the network, see `PoseRegressor`.
    """

    def __init__(
        self, views: HeadViews, held_out: HeadViews, batch_size: int = 32, width: int = 24
    ) -> None:
        self.views, self.held_out = views, held_out
        self.batch_size, self.width = batch_size, width
        self._replays = Replays(lambda rng: draw_photo(views.draw(rng), rng), REPLAY_STEPS)

    def build_model(self) -> nn.Module:
        """A fresh network."""
        return channels_last(PoseRegressor(self.width))

    def batch(self, seed: int, step: int) -> PoseBatch:
        """The crops of a step."""
        rng = np.random.default_rng((seed, step))
        fresh, again = self._replays.of_step(seed, step, self.batch_size)
        return _batch([*fresh, *again], rng)

    def loss(self, model: nn.Module, batch: PoseBatch) -> Mapping[str, Tensor]:
        """Smooth absolute errors of the pose and of the landmarks."""
        answers = model(batch.images.contiguous(memory_format=torch.channels_last)).float()
        errors = F.smooth_l1_loss(answers, batch.outputs, beta=0.1, reduction="none").mean(0)
        terms = {"pose": errors[:6].sum(), "landmarks": errors[6:].sum()}
        return {"loss": terms["pose"] + _LANDMARK_WEIGHT * terms["landmarks"], **terms}

    def evaluate(self, model: nn.Module) -> Mapping[str, float]:
        """Mean absolute errors on people never trained on, after one look.

        Those of framing and landmarks are distances in widths of the portrait.
        """
        rng = np.random.default_rng(12345)
        photos = [draw_photo(self.held_out.draw(rng), rng) for _ in range(512)]
        batch = _batch(photos, rng)
        with torch.no_grad():
            images = to_device(batch, device_of(model)).images
            answers = torch.cat([model(part) for part in torch.split(images, 32)])
        found = [Sight.from_outputs(one) for one in answers.float().cpu().numpy()]
        true = [Sight.from_outputs(one) for one in batch.outputs.numpy()]
        pairs = list(zip(found, true, strict=True))
        return {
            "yaw_error_deg": float(np.mean([abs(a.yaw_deg - b.yaw_deg) for a, b in pairs])),
            "elevation_error_deg": float(
                np.mean([abs(a.elevation_deg - b.elevation_deg) for a, b in pairs])
            ),
            "framing_error": float(np.mean([_framing_error(a, b) for a, b in pairs])),
            "landmark_error": float(np.mean([_landmark_error(a, b) for a, b in pairs])),
        }

    def export(self, model: nn.Module, out: Path) -> None:
        """Write ``pose.onnx``."""
        example = torch.zeros(2, 3, CROP_PX, CROP_PX)
        export_onnx(model, example, out / "pose.onnx", ["images"], ["pose"], any_batch=True)


def draw_photo(view: HeadView, rng: np.random.Generator) -> Photo:
    """A well framed photo of the head, mirrored half of the time."""
    head = warp_straight(view.rgba, view.to_portrait * PHOTO_PX, PHOTO_PX)
    points = to_half_widths(alignment.apply(crop_transform(view.to_portrait), view.landmarks))
    sight = Sight(view.azimuth_deg, view.elevation_deg, (1 + 0j, 0j), points)
    if rng.random() < 0.5:
        head, sight = np.ascontiguousarray(head[:, ::-1]), sight.mirrored()
    return Photo(photograph(head, rng), sight)


def draw_crop(photo: Photo, rng: np.random.Generator) -> tuple[Image, Sight]:
    """A crop of a photo whose framing is off, and what there is to say of it.

    Returns:
        [128, 128, 3] uint8, and the truth.
    """
    turn, centre = framing = _error(rng)
    crop = take_photo(crop_of(photo.rgb, misframed(framing)), rng, 0.3)
    points = photo.sight.landmarks @ [1, 1j] / turn + centre
    landmarks = np.stack([points.real, points.imag], 1)
    return _end_somewhere(crop, rng), replace(photo.sight, framing=framing, landmarks=landmarks)


def misframed(framing: tuple[complex, complex]) -> Floats:
    """[2, 3] from a `Photo`'s pixels to those of a crop that ``framing`` would put right."""
    turn, centre = 1 / framing[0], framing[1]
    linear = np.array([[turn.real, -turn.imag], [turn.imag, turn.real]])
    middle, half = np.array([centre.real, centre.imag]), CROP_PX / 2
    well_framed = crop_transform(np.array([[1, 0, 0], [0, 1, 0]]) / PHOTO_PX)
    shift = linear @ (well_framed[:, 2] - half) + half * (1 + middle)
    return np.concatenate([linear @ well_framed[:, :2], shift[:, None]], 1)


def _error(rng: np.random.Generator) -> tuple[complex, complex]:
    """How a framing is off, by much or by little: what undoes it, see `Sight.framing`."""
    size = rng.choice((0.25, 1.0))
    turn = np.exp(size * complex(rng.normal(0, 0.12), rng.normal(0, np.radians(8))))
    return complex(turn), size * complex(*rng.normal(0, 0.14, 2))


def _end_somewhere(photo: Image, rng: np.random.Generator) -> Image:
    """Let the photo end before the crop does, at some borders, and its edge continue."""
    if rng.random() < 0.7:
        return photo
    top, bottom, left, right = (CROP_PX * rng.uniform(0, 0.25, 4) * (rng.random(4) < 0.4)).astype(
        int
    )
    seen = photo[top : CROP_PX - bottom, left : CROP_PX - right]
    return np.asarray(
        cv2.copyMakeBorder(seen, top, bottom, left, right, cv2.BORDER_REPLICATE), np.uint8
    )


def _batch(photos: list[Photo], rng: np.random.Generator) -> PoseBatch:
    crops, sights = zip(*(draw_crop(photo, rng) for photo in photos), strict=True)
    outputs = np.stack([sight.to_outputs() for sight in sights])
    return PoseBatch(torch.from_numpy(network_input(np.stack(crops))), torch.from_numpy(outputs))


def _framing_error(a: Sight, b: Sight) -> float:
    """Mean distance of a crop's corners, framed by one and by the other."""
    corners = np.array([1 + 1j, 1 - 1j, -1 + 1j, -1 - 1j])
    (turn, centre), (true_turn, true_centre) = a.framing, b.framing
    framed = turn * (corners / true_turn + true_centre - centre)
    return float(abs(framed - corners).mean() * CROP_SHARE / 2)


def _landmark_error(a: Sight, b: Sight) -> float:
    return float(np.linalg.norm(a.landmarks - b.landmarks, axis=1).mean() * CROP_SHARE / 2)
