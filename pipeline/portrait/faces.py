"""Finding faces and telling whose they are, through insightface's model zoo on local files.

A face pack is a folder with an SCRFD detector and an ArcFace network as ONNX: ours, or
insightface's buffalo_l or antelopev2 where a user has them and their licence. insightface is only
ever given paths of existing files, so it never downloads.
"""

import contextlib
import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.errors import ModelNotFound
from pipeline.model_config import IDENTITY_FOLDER
from pipeline.portrait import alignment
from pipeline.portrait.alignment import (
    ARCFACE_SIZE_PX,
    ARCFACE_TEMPLATE,
    Floats,
    arcface_crop,
)
from pipeline.portrait.onnx_sessions import load_errors, session_options

Image = npt.NDArray[np.uint8]
Looks = tuple[tuple[int, bool], ...]

FACE_FOLDER = "face"
"""Subfolder of a model folder with its own face pack."""
MIN_SCORE = 0.5
"""A photo whose surest face scores less shows none."""
_SURE_SCORE = 0.3
"""Candidates down to this score are looked at again, up close."""
_SAME_FACE_IOU = 0.35
_LEVELS = ((640, 1.0), (320, 1.25), (160, 1.7))
"""(canvas side in px, border factor): fine for small faces, coarse with room for huge ones."""
_UNUSED_MODELS = ("1k3d68", "2d106det", "genderage")
_CLOSE_UP_PX = 224
_CLOSE_UPS = ((96, False), (96, True), (72, False), (72, True), (120, False), (120, True))
"""(face size in px, mirrored) of the second looks."""
_LANDMARK_LOOKS = ((46, False), (46, True), (54, False), (54, True), (62, False), (62, True))
"""The same for the landmarks: the sizes that the detector was trained on most."""
_MAX_CANDIDATES = 32
_HOPELESS_SCORE = 0.25
"""Mean score of the first two looks below which the others are spared."""
_LEAST_SHARE_OF_PHOTO = 0.07
"""The surest face of a photo covers at least this share of its longer side."""
_MAIN_SCORE_SHARE = 0.9
"""The subject of a photo has at least this share of the best score in it."""
_COMPANION_SCORE, _COMPANION_SCORE_SHARE, _COMPANION_SIZE_SHARE = 0.4, 0.6, 0.45
"""Its companions have at least this score, and these shares of its score and size: people who
pose together are seen alike, chance patterns are mostly small."""


@dataclass(frozen=True)
class Face:
    """A face in a photo.

    Attributes:
        box: [4] left, top, right, bottom, pixels.
        landmarks: [5, 2] pixels, order of `alignment.ARCFACE_TEMPLATE`.
        score: 0 to 1.
    """

    box: Floats
    landmarks: Floats
    score: float

    @property
    def size_px(self) -> float:
        """Side of the square with the box's area."""
        return float(np.sqrt((self.box[2:] - self.box[:2]).clip(0).prod()))


class FaceEmbedder:
    """The ArcFace network of a face pack.

    Args:
        folder: with its ONNX file.
        threads: onnxruntime threads.

    Raises:
        ModelNotFound: the folder has none.
    """

    def __init__(self, folder: str | Path, threads: int = 1) -> None:
        self._recogniser = _load_models(Path(folder), ("recognition",), threads)["recognition"]

    def embed(self, rgb: Image, landmarks: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """The identity of the face with these [5, 2] landmarks: [512] float32 of unit length."""
        return _embed(self._recogniser, rgb, landmarks)


class PortraitEmbedder(FaceEmbedder):
    """An ArcFace network that has learnt to be shown a portrait as it is, hair and all."""

    def embed(self, rgb: Image, landmarks: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """The identity of the portrait: [512] float32 of unit length; landmarks do not count."""
        # bilinear without antialiasing, as the release shrank its portraits in training
        small = cv2.resize(rgb, (ARCFACE_SIZE_PX,) * 2, interpolation=cv2.INTER_LINEAR)
        return _unit(self._recogniser.get_feat(small[..., ::-1].copy()))


class FacePack:
    """A detector and an ArcFace network.

    Args:
        folder: with their ONNX files.
        threads: onnxruntime threads.

    Raises:
        ModelNotFound: the folder lacks one of the two.
    """

    def __init__(self, folder: str | Path, threads: int = 1) -> None:
        models = _load_models(Path(folder), ("detection", "recognition"), threads)
        self._detector, self._recogniser = models["detection"], models["recognition"]

    def find(self, rgb: Image, min_score: float = MIN_SCORE) -> list[Face]:
        """Find the people who pose, with faces from a tenth of the photo to more than all of it.

        Args:
            rgb: [H, W, 3] uint8.
            min_score: a photo whose surest face scores less shows none.

        Returns:
            Faces from left to right.
        """
        candidates = suppress_repeats(self._find_at(rgb, _LEVELS))[:_MAX_CANDIDATES]
        checked = suppress_repeats([self._look_closer(rgb, face) for face in candidates])
        least_px = _LEAST_SHARE_OF_PHOTO * max(rgb.shape[:2])
        subjects = [face for face in checked if face.size_px >= least_px]
        best = max(subjects, key=lambda face: face.score, default=None)
        if best is None or best.score < min_score:
            return []
        sure = [self._straighten(rgb, face) for face in checked if _is_like(face, best)]
        return sorted(sure, key=lambda face: float(face.box[0] + face.box[2]))

    def embed(self, rgb: Image, landmarks: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """The identity of the face with these [5, 2] landmarks: [512] float32 of unit length."""
        return _embed(self._recogniser, rgb, landmarks)

    def _find_at(self, rgb: Image, levels: tuple[tuple[int, float], ...]) -> list[Face]:
        found = []
        for canvas_px, border in levels:
            fit = canvas_px / border / max(rgb.shape[:2])
            scale = min(fit, 3.0)
            centre = np.array([rgb.shape[1], rgb.shape[0]]) / 2
            shift = canvas_px / 2 - scale * centre
            to_canvas = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
            found += self._detect(rgb, to_canvas, canvas_px)
        return found

    def _straighten(self, rgb: Image, face: Face) -> Face:
        """Look once more, now that the landmarks say how the face is turned."""
        again = self._look_closer(rgb, face, _LANDMARK_LOOKS)
        found_again = again.score > _SURE_SCORE
        return replace(again, score=face.score) if found_again else face

    def _look_closer(self, rgb: Image, face: Face, looks_px: Looks = _CLOSE_UPS) -> Face:
        """Detect again upright, at several sizes and mirrored; average what agrees.

        A face is found every time, a chance pattern is not: the score is the mean over all looks.
        """
        looks: list[Face] = []
        for number, (face_px, mirrored) in enumerate(looks_px):
            found = self._detect(rgb, _close_up(face, face_px, mirrored), _CLOSE_UP_PX)
            found = [other for other in found if box_iou(other.box, face.box) > 0.35]
            if found:
                looks.append(max(found, key=lambda other: other.score))
            if number == 1 and sum(look.score for look in looks) < _HOPELESS_SCORE * 2:
                return replace(face, score=0.5 * sum(look.score for look in looks))
        weights = np.array([look.score for look in looks])
        return Face(
            np.average([look.box for look in looks], 0, weights),
            np.median([look.landmarks for look in looks], 0),
            float(weights.sum() / len(looks_px)),
        )

    def _detect(self, rgb: Image, to_canvas: Floats, canvas_px: int) -> list[Face]:
        canvas = alignment.warp(rgb, to_canvas, (canvas_px, canvas_px), border=None)
        boxes, landmarks = self._detector.detect(
            canvas[..., ::-1].copy(), input_size=(canvas_px, canvas_px), det_thresh=_SURE_SCORE
        )
        from_canvas = alignment.invert(to_canvas)
        area = float(np.linalg.det(from_canvas[:, :2]))
        scale = float(np.sqrt(abs(area)))
        faces = []
        for box, points in zip(boxes, landmarks, strict=True):
            centre = alignment.apply(from_canvas, [(box[:2] + box[2:4]) / 2])[0]
            half = (box[2:4] - box[:2]) / 2 * scale
            ordered = points if area > 0 else points[alignment.MIRRORED_ORDER]
            moved = alignment.apply(from_canvas, ordered)
            faces.append(Face(np.concatenate([centre - half, centre + half]), moved, float(box[4])))
        return faces


def pack_files(folder: Path) -> dict[str, Path]:
    """The files of a face pack that are used, by what they are for.

    Raises:
        ModelNotFound: the folder lacks a detector or an ArcFace network, or one cannot be loaded.
    """
    models = _load_models(folder, ("detection", "recognition"), 1)
    return {task: folder / Path(models[task].model_file).name for task in sorted(models) if task}


def face_networks(
    model: Path,
    face_pack: Path | None,
    threads: int,
    identity_input: Literal["face", "portrait"] = "face",
) -> tuple[FacePack, FacePack | FaceEmbedder]:
    """What finds the faces, and what tells whose they are.

    A foreign pack only finds them: identities come from the model's own ArcFace network, with
    which its diffusion stages were trained, and from the pack only if the model brings none.

    Args:
        model: model folder.
        face_pack: folder with another detector and ArcFace network; None takes the model's.
        threads: onnxruntime threads.
        identity_input: what the model's identity network sees, see `ModelConfig`.

    Raises:
        ModelNotFound: a network is missing or damaged.
    """
    own = model / FACE_FOLDER
    pack = FacePack(face_pack or own, threads)
    if identity_input == "portrait":
        return pack, PortraitEmbedder(model / IDENTITY_FOLDER, threads)
    foreign = face_pack is not None and own.is_dir()
    return pack, FaceEmbedder(own, threads) if foreign else pack


def _is_like(face: Face, best: Face) -> bool:
    least_score = max(_COMPANION_SCORE, _COMPANION_SCORE_SHARE * best.score)
    return face.score >= least_score and face.size_px >= _COMPANION_SIZE_SHARE * best.size_px


def _close_up(face: Face, face_px: float, mirrored: bool) -> Floats:
    """[2, 3] transform that puts a face upright in the middle of a close-up canvas."""
    upright = alignment.similarity(face.landmarks, ARCFACE_TEMPLATE)
    turn = upright[:, :2] / np.sqrt(np.linalg.det(upright[:, :2]))
    turn = turn * (face_px / max(face.size_px, 1.0))
    if mirrored:
        turn = np.diag([-1.0, 1.0]) @ turn
    centre = (face.box[:2] + face.box[2:]) / 2
    return np.concatenate([turn, (_CLOSE_UP_PX / 2 - turn @ centre)[:, None]], 1)


def suppress_repeats(faces: list[Face]) -> list[Face]:
    """Keep the best-scored of detections of one face; best first."""
    kept: list[Face] = []
    for face in sorted(faces, key=lambda one: -one.score):
        if all(box_iou(face.box, other.box) < _SAME_FACE_IOU for other in kept):
            kept.append(face)
    return kept


def box_iou(a: Floats, b: Floats) -> float:
    """Intersection over union of two corner boxes, 0 to 1."""
    shared = (np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])).clip(0).prod()
    areas = (a[2:] - a[:2]).clip(0).prod() + (b[2:] - b[:2]).clip(0).prod()
    return float(shared / max(areas - shared, 1e-9))


def largest(faces: list[Face]) -> Face:
    """The face that covers most of the photo, of those that score about as well as the best."""
    least_score = _MAIN_SCORE_SHARE * max(face.score for face in faces)
    return max((one for one in faces if one.score >= least_score), key=lambda one: one.size_px)


def _embed(recogniser: Any, rgb: Image, landmarks: npt.ArrayLike) -> npt.NDArray[np.float32]:
    crop = arcface_crop(rgb, landmarks)
    return _unit(recogniser.get_feat(crop[..., ::-1].copy()))


def _unit(feature: npt.ArrayLike) -> npt.NDArray[np.float32]:
    vector = np.asarray(feature, np.float32).ravel()
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-12), np.float32)


def _load_models(folder: Path, tasks: tuple[str, ...], threads: int) -> dict[str, Any]:
    if not folder.is_dir():
        raise ModelNotFound(f"the face pack {folder} is no folder; give one with ONNX files")
    models: dict[str, Any] = {}
    for path in sorted(folder.glob("*.onnx")):
        if path.stem not in _UNUSED_MODELS and not models.keys() >= set(tasks):
            model = _load(path, threads)
            models.setdefault(getattr(model, "taskname", ""), model)
    missing = [task for task in tasks if task not in models]
    if missing:
        names = ", ".join(sorted(path.name for path in folder.glob("*.onnx"))) or "no ONNX file"
        raise ModelNotFound(
            f"the face pack {folder} has {names} but no network for {' and '.join(missing)}; it "
            "needs an SCRFD detector and a 112x112 ArcFace network, as buffalo_l has"
        )
    return models


def _load(path: Path, threads: int) -> Any:
    """A model of insightface's zoo; its routing is by the network's input and output shapes."""
    from insightface.model_zoo import get_model

    try:
        with _quiet():
            return get_model(
                str(path.resolve()),
                providers=["CPUExecutionProvider"],
                sess_options=session_options(threads),
            )
    except load_errors() as error:
        raise ModelNotFound(f"{path} cannot be loaded ({error}); copy it again") from None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Swallow what insightface prints while it loads."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield
