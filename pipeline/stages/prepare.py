"""The first stage with a network: bytes of a photo to framed, matted portraits with a camera."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from pipeline.errors import ImageTooSmall, NoFaceFound, UsageError
from pipeline.portrait import alignment
from pipeline.portrait.alpha import on_white
from pipeline.portrait.decode import Photo, decode
from pipeline.portrait.faces import (
    MIN_SCORE,
    Face,
    FaceEmbedder,
    FacePack,
    face_networks,
    largest,
)
from pipeline.portrait.framing import frame, portrait_transform
from pipeline.portrait.matting import Matting
from pipeline.portrait.pose_network import PoseEstimator
from pipeline.stage import Context, Resources, Row, Stage

Image = npt.NDArray[np.uint8]

MIN_FACE_PX = 24.0
"""Side of the smallest face that is taken, in pixels of the original photo."""
MATTING_FILE = "matting/matting.onnx"


@dataclass(frozen=True, kw_only=True)
class PrepareConfig:
    """What Prepare needs to know.

    Attributes:
        model: model folder with ``face/``, ``matting/`` and, if it has one, ``pose/``.
        size_px: side of the portraits.
        faces: ``largest`` takes one face of a photo, ``all`` every one, left to right.
        face_pack: folder with another detector and ArcFace network, see `face_networks`.
        identity_input: what the model's identity network sees, see `ModelConfig`.
        threads: onnxruntime threads.
    """

    model: Path
    size_px: int = 256
    faces: Literal["largest", "all"] = "largest"
    face_pack: Path | None = None
    identity_input: Literal["face", "portrait"] = "face"
    threads: int = 1

    def __post_init__(self) -> None:
        if not 32 <= self.size_px <= 2048:
            raise UsageError(f"size_px is {self.size_px}; it must be 32 to 2048")
        if self.faces not in ("largest", "all"):
            raise UsageError(f"faces is {self.faces!r}; it must be 'largest' or 'all'")


class Prepare(Stage):
    """Decode, find faces, estimate the camera, frame the head, cut it out, embed its identity.

    Args:
        config: see `PrepareConfig`.
    """

    name: ClassVar[str] = "Prepare"
    inputs: ClassVar[tuple[str, ...]] = ("image",)
    outputs: ClassVar[tuple[str, ...]] = (
        "portrait",
        "identity",
        "yaw_deg",
        "elevation_deg",
        "face_index",
        "face_count",
        "face_box",
    )
    resources = Resources(cpus=1.0, memory_gb=2.0)

    def __init__(self, config: PrepareConfig) -> None:
        self.config = config
        self._pack: FacePack | None = None
        self._embedder: FacePack | FaceEmbedder | None = None
        self._matting: Matting | None = None
        self._pose: PoseEstimator | None = None

    def setup(self, device: str) -> None:
        """Load the face pack and the matting network; both run on the CPU whatever ``device``.

        Raises:
            ModelNotFound: a network is missing or damaged.
        """
        self._pack, self._embedder = face_networks(
            self.config.model,
            self.config.face_pack,
            self.config.threads,
            self.config.identity_input,
        )
        self._matting = Matting(self.config.model / MATTING_FILE, self.config.threads)
        self._pose = PoseEstimator(self.config.model, self.config.threads)

    def process(self, rows: Sequence[Row], context: Context) -> list[Row]:
        """Make one row of each face that is taken.

        Raises:
            InputError: the image cannot be used or shows no face.
        """
        return [result for row in rows for result in self._prepare(row, context)]

    def _prepare(self, row: Row, context: Context) -> list[Row]:
        assert self._pack is not None, "setup was not called"
        context.checkpoint(self.name, 0, 2)
        photo = decode(row["image"])
        rgb = on_white(photo.rgba)
        faces = _usable(self._pack.find(rgb), photo)
        context.checkpoint(self.name, 1, 2)
        chosen = faces if self.config.faces == "all" else [largest(faces)]
        return [
            {
                **row,
                **self._portrait(photo, rgb, face),
                "face_index": index,
                "face_count": len(chosen),
            }
            for index, face in enumerate(chosen)
        ]

    def _portrait(self, photo: Photo, rgb: Image, face: Face) -> Row:
        assert self._embedder is not None, "setup was not called"
        assert self._matting is not None, "setup was not called"
        assert self._pose is not None, "setup was not called"
        pose, in_photo = self._pose(rgb, face.landmarks)
        framed = frame(photo.rgba, pose, self.config.size_px)
        portrait = self._matting.cut_out(framed, photo.has_alpha)
        in_portrait = portrait_transform(pose, self.config.size_px)
        landmarks = alignment.apply(in_portrait, in_photo)
        # the diffusion stages learnt from identities of cut-out heads on white
        identity = self._embedder.embed(on_white(portrait), landmarks)
        return {
            "portrait": portrait,
            "identity": identity,
            "yaw_deg": round(pose.yaw_deg, 3),
            "elevation_deg": round(pose.elevation_deg, 3),
            "face_box": _original_box(photo, face),
        }


def _usable(faces: list[Face], photo: Photo) -> list[Face]:
    """The faces with enough pixels; left to right.

    Raises:
        NoFaceFound: there is none.
        ImageTooSmall: all are too small.
    """
    if not faces:
        raise NoFaceFound(
            f"no face scored {MIN_SCORE} or more in the {photo.width_px}x{photo.height_px} photo; "
            "give one with a face seen from the front or side, in focus and not covered"
        )
    usable = [face for face in faces if face.size_px * photo.original_per_work_px >= MIN_FACE_PX]
    if not usable:
        size_px = largest(faces).size_px * photo.original_per_work_px
        raise ImageTooSmall(
            f"the largest face is {size_px:.0f} px wide; it needs {MIN_FACE_PX:.0f}, and a good "
            "avatar 100 or more; give a closer photo"
        )
    return usable


def _original_box(photo: Photo, face: Face) -> npt.NDArray[np.float32]:
    """[4] float32: left, top, right, bottom in pixels of the upright original."""
    return np.asarray(face.box * photo.original_per_work_px, np.float32).round(1)
