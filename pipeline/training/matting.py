"""Trains the matting network on photo-mode heads framed as real photos are framed."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.digital_human.photo import photograph
from pipeline.portrait.alignment import similarity
from pipeline.portrait.framing import warp_straight
from pipeline.portrait.matting import network_input
from pipeline.portrait.pose import project_mean_landmarks
from pipeline.training.devices import device_of, to_device
from pipeline.training.head_views import HeadView, HeadViews
from pipeline.training.layers import channels_last
from pipeline.training.matting_network import MATTING_SIZE_PX, MattingNetwork, MattingOutput
from pipeline.training.onnx_export import export_onnx

Image = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class MattingBatch:
    """Framed photos and the true alpha.

    Attributes:
        images: [B, 4, S, S] float32, see `MattingNetwork.forward`.
        alphas: [B, 1, S, S] float32 in 0..1.
    """

    images: Tensor
    alphas: Tensor


class MattingPart:
    """The matting network as `pipeline.training.loop` trains it.

    Args:
        views: heads to learn from.
        held_out: heads of other people to measure on.
        batch_size: portraits a step.
        width: of the network, see `MattingNetwork`.
    """

    def __init__(
        self, views: HeadViews, held_out: HeadViews, batch_size: int = 16, width: int = 20
    ) -> None:
        self.views, self.held_out = views, held_out
        self.batch_size, self.width = batch_size, width

    def build_model(self) -> nn.Module:
        """A fresh network."""
        return channels_last(MattingNetwork(self.width))

    def batch(self, seed: int, step: int) -> MattingBatch:
        """The portraits of a step."""
        rng = np.random.default_rng((seed, step))
        return _batch([self.views.draw(rng) for _ in range(self.batch_size)], rng)

    def loss(self, model: nn.Module, batch: MattingBatch) -> Mapping[str, Tensor]:
        """Cross entropy, absolute error and absolute error of the edges."""
        logits = model(batch.images.contiguous(memory_format=torch.channels_last)).float()
        alpha = logits.sigmoid()
        terms = {
            "entropy": F.binary_cross_entropy_with_logits(logits, batch.alphas),
            "absolute": (alpha - batch.alphas).abs().mean(),
            "edges": sum(
                ((alpha - batch.alphas).diff(dim=axis).abs().mean() for axis in (2, 3)),
                torch.zeros(()),
            ),
        }
        return {"loss": terms["entropy"] + terms["absolute"] + terms["edges"], **terms}

    def evaluate(self, model: nn.Module) -> Mapping[str, float]:
        """Mean absolute error and intersection over union on people never trained on."""
        rng = np.random.default_rng(12345)
        drawn = _batch([self.held_out.draw(rng) for _ in range(96)], rng)
        batch = to_device(drawn, device_of(model))
        with torch.no_grad():
            parts = [model(part) for part in torch.split(batch.images, 16)]
        alpha = torch.cat(parts).float().sigmoid()
        found, true = alpha > 0.5, batch.alphas > 0.5
        union = (found | true).sum((1, 2, 3)).clamp(min=1)
        return {
            "mean_absolute_error": (alpha - batch.alphas).abs().mean().item(),
            "intersection_over_union": ((found & true).sum((1, 2, 3)) / union).mean().item(),
        }

    def export(self, model: nn.Module, out: Path) -> None:
        """Write ``matting.onnx``."""
        assert isinstance(model, MattingNetwork)
        example = torch.zeros(1, 4, MATTING_SIZE_PX, MATTING_SIZE_PX)
        export_onnx(MattingOutput(model), example, out / "matting.onnx", ["images"], ["alpha"])


def draw_portrait(view: HeadView, rng: np.random.Generator) -> tuple[Image, Image]:
    """A framed photo and its true cut-out.

    Args:
        view: a view with a face.
        rng: source of every choice.

    Returns:
        Photo [S, S, 4] uint8, transparent outside what the camera saw; the bust's alpha
        [S, S] uint8.
    """
    head = warp_straight(view.rgba, _framing_with_errors(view, rng), MATTING_SIZE_PX)
    if rng.random() < 0.5:
        head = np.ascontiguousarray(head[:, ::-1])
    photo = photograph(head, rng)
    seen = _picture_area(rng)
    return np.concatenate([photo, seen[..., None]], 2), np.minimum(head[..., 3], seen)


def _framing_with_errors(view: HeadView, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """The transform that framing would choose from landmarks and a pose that are both off."""
    angles = np.array([view.azimuth_deg, view.elevation_deg]) + rng.normal(0, 5, 2)
    target = project_mean_landmarks(angles) * MATTING_SIZE_PX
    target += rng.normal(0, 0.008 * MATTING_SIZE_PX, target.shape)
    transform = similarity(view.landmarks, target)
    scale = np.exp(rng.normal(0, 0.03))
    centre = np.full(2, MATTING_SIZE_PX / 2)
    transform *= scale
    transform[:, 2] += (1 - scale) * centre + rng.normal(0, 0.012 * MATTING_SIZE_PX, 2)
    return transform


def _picture_area(rng: np.random.Generator) -> Image:
    """Which part of the frame the photo covers: all of it, or not some borders of it."""
    area = np.full((MATTING_SIZE_PX, MATTING_SIZE_PX), 255, np.uint8)
    if rng.random() < 0.35:
        reach = (0.25, 0.3, 0.3, 0.3)  # top, bottom, left, right: largest missing share
        cuts = (MATTING_SIZE_PX * rng.uniform(0, reach) * (rng.random(4) < 0.5)).astype(int)
        area[: cuts[0]] = 0
        area[MATTING_SIZE_PX - cuts[1] :] = 0
        area[:, : cuts[2]] = 0
        area[:, MATTING_SIZE_PX - cuts[3] :] = 0
    return area


def _batch(views: list[HeadView], rng: np.random.Generator) -> MattingBatch:
    portraits = [draw_portrait(view, rng) for view in views]
    images = np.concatenate([network_input(photo) for photo, _ in portraits])
    alphas = np.stack([alpha for _, alpha in portraits])[:, None]
    return MattingBatch(torch.from_numpy(images), torch.from_numpy(alphas).float() / 255)
