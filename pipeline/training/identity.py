"""Trains an ArcFace network: aligned face crop in, identity as a unit vector out."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.digital_human.photo import over, relight, take_photo
from pipeline.digital_human.photo_backdrop import backdrop
from pipeline.portrait import alignment
from pipeline.portrait.alignment import ARCFACE_SIZE_PX, ARCFACE_TEMPLATE
from pipeline.portrait.framing import warp_straight
from pipeline.training.devices import device_of
from pipeline.training.head_views import HeadView, HeadViews
from pipeline.training.layers import Residual, SpaceToDepth, channels_last, conv, down
from pipeline.training.onnx_export import export_onnx

EMBEDDING_SIZE = 512
SCALE, MARGIN = 24.0, 0.25
"""ArcFace's: logits are SCALE cos(angle + MARGIN) for the true class, SCALE cos(angle) else."""


class FaceEmbedder(nn.Module):
    """Convolutions down to 7 x 7, one weight per place and channel, a linear layer.

    Args:
        width: channels of the finest level.
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        deep = 8 * width
        self.features = nn.Sequential(
            SpaceToDepth(),
            SpaceToDepth(),
            conv(48, width),
            *(Residual(width) for _ in range(2)),
            *down(width, 2 * width),
            *(Residual(2 * width) for _ in range(3)),
            *down(2 * width, 4 * width),
            *(Residual(4 * width) for _ in range(2)),
            conv(4 * width, deep, 1),
        )
        side = ARCFACE_SIZE_PX // 16
        self.places = nn.Parameter(torch.full((deep, side, side), 1 / side**2))
        self.norm = _batch_norm(deep)
        self.project = nn.Linear(deep, EMBEDDING_SIZE, bias=False)
        self.centre = _batch_norm(EMBEDDING_SIZE)

    def forward(self, crops: Tensor) -> Tensor:
        """[B, 3, 112, 112] RGB in -1..1 to [B, 512], not normalised."""
        pooled = (self.features(crops) * self.places).sum((2, 3))
        result: Tensor = self.centre(self.project(self.norm(pooled)))
        return result


class IdentityClassifier(nn.Module):
    """The embedder with the training identities' directions, which are thrown away afterwards.

    Args:
        embedder: the network.
        directions: [classes, 512] that embeddings of a class shall point in, at first.
        keeps_norms: whether batch norms stay as they are, as those of a trained network must,
            whose statistics went into its weights when it was exported.
    """

    def __init__(
        self, embedder: FaceEmbedder, directions: Tensor, keeps_norms: bool = False
    ) -> None:
        super().__init__()
        self.embedder = embedder
        self.directions = nn.Parameter(directions)
        self.keeps_norms = keeps_norms

    def train(self, mode: bool = True) -> Self:
        """Switch to training, or back; norms that are kept stay in evaluation."""
        super().train(mode)
        if self.keeps_norms:
            self.embedder.eval()
        return self

    def forward(self, crops: Tensor, labels: Tensor) -> Tensor:
        """ArcFace logits [B, identities] with the margin on the true class."""
        vectors = F.normalize(self.embedder(crops).float())
        cosines = vectors @ F.normalize(self.directions.float()).T
        angles = cosines.clamp(-1 + 1e-6, 1 - 1e-6).acos()
        margins = MARGIN * F.one_hot(labels, len(self.directions))
        return SCALE * (angles + margins).clamp(max=torch.pi).cos()


@dataclass(frozen=True)
class IdentityBatch:
    """Aligned crops and whose they are.

    Attributes:
        crops: [B, 3, 112, 112] float32 RGB in -1..1.
        labels: [B] int64 numbers of the classes.
    """

    crops: Tensor
    labels: Tensor


class IdentityPart:
    """The ArcFace network as `pipeline.training.loop` trains it.

    Args:
        views: heads to learn from.
        held_out: heads of other people to measure on.
        batch_size: crops a step.
        width: of the network, see `FaceEmbedder`; that of the one to start from counts more.
        classes: what is told apart. ``identity``: people. ``expression``: every expression of
            every person, so that embeddings keep the expression, as the paper's do (3.3).
        start_from: ``arcface.onnx`` whose weights come first; None starts anew.
    """

    def __init__(
        self,
        views: HeadViews,
        held_out: HeadViews,
        batch_size: int = 64,
        width: int = 32,
        classes: Literal["identity", "expression"] = "identity",
        start_from: Path | None = None,
    ) -> None:
        self.views, self.held_out = views, held_out
        self.batch_size, self.width = batch_size, width
        self.classes, self.start_from = classes, start_from

    def build_model(self) -> nn.Module:
        """A fresh embedder with its classifier, or a trained one with classes where it sees them.

        Raises:
            ModelNotFound: the network to start from is not there, or is none of this kind.
        """
        if self.start_from is None:
            embedder = FaceEmbedder(self.width)
            directions = torch.randn(self._class_count, EMBEDDING_SIZE) * 0.05
            return channels_last(IdentityClassifier(embedder, directions))
        from pipeline.training.identity_loss import load_identity

        embedder = load_identity(self.start_from).requires_grad_(True)
        directions = self._class_means(embedder)
        return channels_last(IdentityClassifier(embedder, directions, keeps_norms=True))

    @property
    def _class_count(self) -> int:
        by_identity = self.classes == "identity"
        return len(self.views.identities if by_identity else self.views.expressions)

    def _class_means(self, embedder: FaceEmbedder) -> Tensor:
        """The mean embedding of each class, [classes, 512], from one crop of each sequence."""
        rng = np.random.default_rng(0)
        sums = torch.zeros(self._class_count, EMBEDDING_SIZE)
        for first in range(0, len(self.views.sequences), self.batch_size):
            last = min(first + self.batch_size, len(self.views.sequences))
            seen = [self.views.frontal(one) for one in range(first, last)]
            batch = _batch(seen, rng, self.classes)
            with torch.no_grad():
                sums.index_add_(0, batch.labels, F.normalize(embedder(batch.crops)))
        return F.normalize(sums)

    def batch(self, seed: int, step: int) -> IdentityBatch:
        """The crops of a step."""
        rng = np.random.default_rng((seed, step))
        drawn = [self.views.draw(rng) for _ in range(self.batch_size)]
        return _batch(drawn, rng, self.classes)

    def loss(self, model: nn.Module, batch: IdentityBatch) -> Mapping[str, Tensor]:
        """Cross entropy of the ArcFace logits."""
        crops = batch.crops.contiguous(memory_format=torch.channels_last)
        logits = model(crops, batch.labels)
        loss = F.cross_entropy(logits, batch.labels)
        right = (logits.argmax(1) == batch.labels).float().mean()
        return {"loss": loss, "accuracy": right.detach()}

    def evaluate(self, model: nn.Module) -> Mapping[str, float]:
        """How well two photos of one held-out person are told from photos of two.

        And, where the classes are expressions, those of one expression from those of two of the
        same person.
        """
        assert isinstance(model, IdentityClassifier)
        rng = np.random.default_rng(12345)
        drawn = [self.held_out.draw(rng) for _ in range(256)]
        batch = _batch(drawn, rng, "identity")
        crops = batch.crops.to(device_of(model))
        with torch.no_grad():
            vectors = F.normalize(model.embedder(crops).float())
        cosines = (vectors @ vectors.T).float().cpu()
        people = batch.labels.numpy()
        scores = verification_scores(cosines.numpy(), people)
        if self.classes == "expression":
            expressions = np.array([view.expression for view in drawn])
            told = verification_scores(cosines.numpy(), expressions, people)
            scores["expression_auc"] = told["verification_auc"]
        return scores

    def export(self, model: nn.Module, out: Path) -> None:
        """Write ``arcface.onnx``."""
        assert isinstance(model, IdentityClassifier)
        example = torch.zeros(1, 3, ARCFACE_SIZE_PX, ARCFACE_SIZE_PX)
        path = out / "arcface.onnx"
        export_onnx(model.embedder, example, path, ["crops"], ["identity"], any_batch=True)


def draw_crop(view: HeadView, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """A photo-mode head as the detector's landmarks would crop it: [112, 112, 3] uint8."""
    errors = rng.normal(0, rng.uniform(0.2, 2.0), (5, 2))
    to_crop = alignment.similarity(view.landmarks, ARCFACE_TEMPLATE + errors)
    size = (ARCFACE_SIZE_PX, ARCFACE_SIZE_PX)
    head = relight(warp_straight(view.rgba, to_crop, ARCFACE_SIZE_PX), rng)
    is_cut_out = rng.random() < 0.4
    behind = np.full((*size, 3), 255, np.uint8) if is_cut_out else backdrop(*size, rng)
    crop = take_photo(over(head, behind), rng, float(rng.uniform(0.2, 1.0)))
    return np.ascontiguousarray(crop[:, ::-1]) if rng.random() < 0.5 else crop


def verification_scores(
    cosines: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int64],
    within: npt.NDArray[np.int64] | None = None,
) -> dict[str, float]:
    """Mean cosines of equal and different pairs, and the chance that an equal pair's is higher.

    Args:
        cosines: [N, N] of all pairs.
        labels: [N] identities.
        within: [N] groups; only pairs within one are compared. None compares all.
    """
    above = np.triu(np.ones_like(cosines, bool), 1)
    if within is not None:
        above &= within[:, None] == within
    same = labels[:, None] == labels
    equal, different = cosines[above & same], np.sort(cosines[above & ~same])
    area = np.searchsorted(different, equal).mean() / len(different)
    return {
        "cosine_same": float(equal.mean()),
        "cosine_different": float(different.mean()),
        "verification_auc": float(area),
    }


def _batch(views: list[HeadView], rng: np.random.Generator, classes: str) -> IdentityBatch:
    crops = np.stack([draw_crop(view, rng) for view in views]).transpose(0, 3, 1, 2)
    return IdentityBatch(
        crops=(torch.from_numpy(crops.copy()).float() - 127.5) / 127.5,
        labels=torch.tensor([getattr(view, classes) for view in views]),
    )


def _batch_norm(channels: int) -> nn.BatchNorm1d:
    norm = nn.BatchNorm1d(channels)
    norm.num_batches_tracked = None  # an integer cannot take part in averaged weights
    return norm
