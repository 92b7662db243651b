"""All metrics of one subject's views against the ground truth."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from pipeline.evaluation.metrics import head_mask, psnr, ssim

Floats = npt.NDArray[np.float64]
Views = npt.NDArray[np.uint8]
Landmarks = npt.NDArray[np.float32]
Embed = Callable[[Views, Landmarks], npt.NDArray[np.float32]]
"""From an image [H, W, 3] uint8 and its five landmarks [5, 2] in pixels to a unit vector."""

METRICS = ("psnr_db", "psnr_head_db", "ssim", "csim")
"""Metric names, in the order of the report; higher is better for each."""


@dataclass(frozen=True)
class ViewScores:
    """One number for each view, NaN where a metric is not defined.

    Attributes:
        psnr_db: [V], whole image.
        psnr_head_db: [V], where either image is not white.
        ssim: [V].
        csim: [V], cosine of face embeddings; NaN where the true view shows no whole face.
    """

    psnr_db: Floats
    psnr_head_db: Floats
    ssim: Floats
    csim: Floats

    def means(self) -> dict[str, float]:
        """Each metric's mean over the views that have one, NaN if none has."""
        return {name: _mean_known(getattr(self, name)) for name in METRICS}

    def without(self, views: npt.NDArray[np.bool_]) -> Self:
        """The same scores with NaN for the views [V] that are to be left out."""
        return type(self)(*(np.where(views, np.nan, getattr(self, name)) for name in METRICS))


def score_views(
    images: Views,
    targets: Views,
    landmarks: Landmarks,
    face_visible: npt.NDArray[np.bool_],
    embed: Embed | None = None,
) -> ViewScores:
    """Compare a subject's views with the true ones.

    Args:
        images: [V, H, W, 3] uint8 on white.
        targets: [V, H, W, 3] uint8 on white.
        landmarks: [V, 5, 2] pixels in ``targets``, in ArcFace's order.
        face_visible: [V], whether all landmarks can be seen.
        embed: face embedder for CSIM; without one CSIM is NaN.
    """
    pairs = list(zip(images, targets, strict=True))
    return ViewScores(
        psnr_db=np.array([psnr(image, target) for image, target in pairs]),
        psnr_head_db=np.array([psnr(i, t, head_mask(i, t)) for i, t in pairs]),
        ssim=np.array([ssim(image, target) for image, target in pairs]),
        csim=_csim(images, targets, landmarks, face_visible, embed),
    )


def _csim(
    images: Views,
    targets: Views,
    landmarks: Landmarks,
    face_visible: npt.NDArray[np.bool_],
    embed: Embed | None,
) -> Floats:
    """Both views are cropped where the true one has its face, so a displaced face costs."""
    cosines = np.full(len(images), np.nan)
    if embed is not None:
        for k in np.flatnonzero(face_visible):
            cosines[k] = embed(images[k], landmarks[k]) @ embed(targets[k], landmarks[k])
    return cosines


def _mean_known(values: Floats) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
