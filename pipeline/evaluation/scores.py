"""All metrics of one subject's views against the ground truth."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Self

import numpy as np
import numpy.typing as npt

from pipeline.evaluation.metrics import SSIM_LEAST_PX, face_box, head_mask, psnr, ssim

Floats = npt.NDArray[np.float64]
Views = npt.NDArray[np.uint8]
Landmarks = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Embed = Callable[[Views, Landmarks], npt.NDArray[np.float32]]
"""From an image [H, W, 3] uint8 and its five landmarks [5, 2] in pixels to a unit vector."""
Distance = Callable[[Views, Views], Floats]
"""From images and targets, both [V, H, W, 3] uint8, to distances [V]."""

METRICS = (
    "psnr_db", "psnr_head_db", "psnr_face_db", "ssim", "ssim_face",
    "lpips_vgg", "lpips_alex", "dreamsim", "csim", "csim_raw",
)  # fmt: skip
"""Metric names, in the order of the report."""
LOWER_IS_BETTER = ("lpips_vgg", "lpips_alex", "dreamsim")
"""The distances among them; of the others, more is better."""


def _unscored() -> Floats:
    return np.array(np.nan)


@dataclass(frozen=True, kw_only=True)
class ViewScores:
    """One number for each view, NaN where a metric is not defined; NaN throughout if left out.

    Attributes:
        psnr_db: [V], whole image.
        psnr_head_db: [V], where either image is not white.
        psnr_face_db: [V], in a square round the true face; NaN where the true view shows no
            whole one, as for all that look at a face.
        ssim: [V].
        ssim_face: [V], in that square; NaN also where it is smaller than SSIM's window.
        lpips_vgg, lpips_alex, dreamsim: [V], distances.
        csim: [V], cosine of face embeddings, both images aligned by the true landmarks.
        csim_raw: [V], cosine of embeddings of the whole images, the back of the head included.
    """

    psnr_db: Floats
    psnr_head_db: Floats = field(default_factory=_unscored)
    psnr_face_db: Floats = field(default_factory=_unscored)
    ssim: Floats = field(default_factory=_unscored)
    ssim_face: Floats = field(default_factory=_unscored)
    lpips_vgg: Floats = field(default_factory=_unscored)
    lpips_alex: Floats = field(default_factory=_unscored)
    dreamsim: Floats = field(default_factory=_unscored)
    csim: Floats = field(default_factory=_unscored)
    csim_raw: Floats = field(default_factory=_unscored)

    def __post_init__(self) -> None:
        for one in fields(self):
            values = np.broadcast_to(getattr(self, one.name), self.psnr_db.shape)
            object.__setattr__(self, one.name, values)

    @classmethod
    def none(cls, views: int) -> Self:
        """No number for any of so many views."""
        return cls(psnr_db=np.full(views, np.nan))

    def means(self) -> dict[str, float]:
        """Each metric's mean over the views that have one, NaN if none has."""
        return {name: _mean_known(getattr(self, name)) for name in METRICS}

    def without(self, views: Mask) -> Self:
        """The same scores with NaN for the views [V] that are to be left out."""
        return type(self)(
            **{name: np.where(views, np.nan, getattr(self, name)) for name in METRICS}
        )


@dataclass(frozen=True, kw_only=True)
class Backbones:
    """The networks that some metrics need; a metric without its network has no numbers.

    Attributes:
        embed: face embedder for CSIM, of the face that the landmarks show.
        embed_raw: the same of the whole image.
        distances: by metric, ``lpips_vgg`` and so on.
    """

    embed: Embed | None = None
    embed_raw: Embed | None = None
    distances: Mapping[str, Distance] = field(default_factory=dict)


def score_views(
    images: Views,
    targets: Views,
    landmarks: Landmarks,
    face_visible: Mask,
    backbones: Backbones | None = None,
) -> ViewScores:
    """Compare a subject's views with the true ones.

    Args:
        images: [V, H, W, 3] uint8 on white.
        targets: [V, H, W, 3] uint8 on white.
        landmarks: [V, 5, 2] pixels in ``targets``, in ArcFace's order.
        face_visible: [V], whether all landmarks can be seen.
        backbones: networks for LPIPS, DreamSim and CSIM.
    """
    backbones = backbones or Backbones()
    pairs = list(zip(images, targets, strict=True))
    everywhere = np.ones_like(face_visible)
    faces = _faces(images, targets, landmarks, face_visible)
    return ViewScores(
        psnr_db=np.array([psnr(image, target) for image, target in pairs]),
        psnr_head_db=np.array([psnr(i, t, head_mask(i, t)) for i, t in pairs]),
        psnr_face_db=np.array([psnr(*face) if face else np.nan for face in faces]),
        ssim=np.array([ssim(image, target) for image, target in pairs]),
        ssim_face=np.array([_ssim_of_face(face) for face in faces]),
        csim=_csim(images, targets, landmarks, face_visible, backbones.embed),
        csim_raw=_csim(images, targets, landmarks, everywhere, backbones.embed_raw),
        **{name: of(images, targets) for name, of in backbones.distances.items()},
    )


def _faces(
    images: Views, targets: Views, landmarks: Landmarks, face_visible: Mask
) -> list[tuple[Views, Views] | None]:
    """The square round the true face of both images of each view; None where there is no face."""
    boxes = [face_box(points, images.shape[1]) for points in landmarks]
    return [
        (images[view][box], targets[view][box]) if face_visible[view] else None
        for view, box in enumerate(boxes)
    ]


def _ssim_of_face(face: tuple[Views, Views] | None) -> float:
    if face is None or min(face[0].shape[:2]) < SSIM_LEAST_PX:
        return float("nan")
    return ssim(*face)


def _csim(
    images: Views, targets: Views, landmarks: Landmarks, views: Mask, embed: Embed | None
) -> Floats:
    """Both views are cropped where the true one has its face, so a displaced face costs."""
    cosines = np.full(len(images), np.nan)
    if embed is not None:
        for k in np.flatnonzero(views):
            cosines[k] = embed(images[k], landmarks[k]) @ embed(targets[k], landmarks[k])
    return cosines


def _mean_known(values: Floats) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
