"""Where the camera stood, as a network sees it that looks at the head and not at five points.

Five landmarks say little of elevation, and a nose that is found a few pixels off turns the yaw by
degrees. The network is shown the head framed by the first estimate; it answers with the camera,
with what the framing still lacks, and with the landmarks.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.model_config import POSE_FOLDER
from pipeline.portrait import alignment
from pipeline.portrait.alignment import Floats
from pipeline.portrait.onnx_sessions import open_session
from pipeline.portrait.pose import (
    MAX_ELEVATION_DEG,
    MAX_YAW_DEG,
    MIN_ELEVATION_DEG,
    HeadPose,
    fit_pose,
)

Image = npt.NDArray[np.uint8]

CROP_PX = 128
CROP_SHARE = 0.7
"""Side of the crop in widths of the portrait, whose middle it is: the head and little else."""
UNITS = np.array([30.0, 15.0, 0.1, 0.1, 0.1, 0.1, *[0.1] * 10])
"""What 1 in each of the network's outputs stands for: degrees of yaw and elevation, logarithm of
scale, radians of roll, then points as half widths of the crop: the portrait's centre and the five
landmarks."""
OUTPUTS = len(UNITS)
MOST_MOVED = 0.1
"""Mean distance, in widths of the portrait, from the detector's landmarks to the network's beyond
which the network does not know what it sees; 0.070 at most on 295 pictures of held-out people."""
_ROUNDS = 2


@dataclass(frozen=True)
class Sight:
    """What there is to say of a crop.

    Attributes:
        yaw_deg: azimuth of the camera.
        elevation_deg: of the camera.
        framing: complex ``(turn, centre)``: a crop's point z, in half widths from its middle, lies
            at ``turn * (z - centre)`` in a crop that is framed as it should be.
        landmarks: [5, 2] in the crop, half widths from its middle, ArcFace's order.
    """

    yaw_deg: float
    elevation_deg: float
    framing: tuple[complex, complex]
    landmarks: Floats

    def mirrored(self) -> "Sight":
        """What there is to say of the crop in a mirror."""
        turn, centre = self.framing
        return Sight(
            -self.yaw_deg,
            self.elevation_deg,
            (turn.conjugate(), -centre.conjugate()),
            self.landmarks[alignment.MIRRORED_ORDER] * (-1, 1),
        )

    def to_outputs(self) -> npt.NDArray[np.float32]:
        """The network's outputs that say this: [16] float32."""
        turn, centre = self.framing
        parts = [self.yaw_deg, self.elevation_deg, np.log(abs(turn)), np.angle(turn)]
        parts += [centre.real, centre.imag, *self.landmarks.ravel()]
        return np.asarray(parts / UNITS, np.float32)

    @classmethod
    def from_outputs(cls, outputs: npt.ArrayLike) -> "Sight":
        """What [16] outputs of the network say."""
        values = np.asarray(outputs, np.float64) * UNITS
        turn = complex(np.exp(complex(values[2], values[3])))
        centre = complex(values[4], values[5])
        return cls(float(values[0]), float(values[1]), (turn, centre), values[6:].reshape(5, 2))


class PoseEstimator:
    """What tells the pose of a face that was found: the model's network, if it has one.

    Args:
        model: model folder.
        threads: onnxruntime threads.

    Raises:
        ModelNotFound: the network is damaged.
    """

    def __init__(self, model: Path, threads: int = 1) -> None:
        folder = model / POSE_FOLDER
        self._network = PoseNetwork(folder / "pose.onnx", threads) if folder.is_dir() else None

    def __call__(self, rgb: Image, landmarks: Floats) -> tuple[HeadPose, Floats]:
        """The pose of the head with these landmarks, and better landmarks.

        Args:
            rgb: [H, W, 3] uint8.
            landmarks: [5, 2] pixels, ArcFace's order.

        Returns:
            The pose, and [5, 2] pixels. Without a network, or if that sees the landmarks elsewhere
            altogether, the pose that `fit_pose` says and the landmarks as they are.
        """
        pose = fit_pose(landmarks)
        if self._network is None:
            return pose, landmarks
        refined, better = self._network.refine(rgb, pose)
        portraits_per_px = np.hypot(*pose.photo_to_portrait[0, :2])
        moved = np.linalg.norm(better - landmarks, axis=1).mean() * portraits_per_px
        return (refined, better) if moved < MOST_MOVED else (pose, landmarks)


class PoseNetwork:
    """The pose network of a model folder.

    Args:
        path: its ONNX file.
        threads: onnxruntime threads.

    Raises:
        ModelNotFound: the file is missing or damaged.
    """

    def __init__(self, path: str | Path, threads: int = 1) -> None:
        self._session = open_session(path, threads)

    def refine(self, rgb: Image, pose: HeadPose) -> tuple[HeadPose, Floats]:
        """Look at a photo's head and correct where its camera stood.

        Args:
            rgb: [H, W, 3] uint8.
            pose: a first estimate, off by 20 degrees of roll or a quarter of the size at most.

        Returns:
            The pose, and the [5, 2] landmarks in photo pixels, ArcFace's order.
        """
        landmarks = np.zeros((5, 2))
        for _ in range(_ROUNDS):
            to_crop = crop_transform(pose.photo_to_portrait)
            sight = self._look(crop_of(rgb, to_crop))
            landmarks = alignment.apply(
                alignment.invert(to_crop), from_half_widths(sight.landmarks)
            )
            pose = corrected(to_crop, sight)
        return pose, landmarks

    def _look(self, crop: Image) -> Sight:
        """Mean of what the network says of the crop and of its mirror image."""
        both = np.stack([crop, crop[:, ::-1]])
        (outputs,) = self._session.run(None, {"images": network_input(both)})
        straight, mirrored = (Sight.from_outputs(one) for one in outputs)
        pair = [straight.to_outputs(), mirrored.mirrored().to_outputs()]
        return Sight.from_outputs(np.mean(pair, 0))


def crop_transform(photo_to_portrait: Floats) -> Floats:
    """[2, 3] from photo pixels to the crop's, of a photo framed like this."""
    scaled = photo_to_portrait * (CROP_PX / CROP_SHARE)
    scaled[:, 2] -= CROP_PX * (1 / CROP_SHARE - 1) / 2
    return np.asarray(scaled, np.float64)


def crop_of(rgb: Image, to_crop: Floats) -> Image:
    """The crop of a photo [H, W, 3] uint8, whose edge continues outwards: [128, 128, 3] uint8."""
    return alignment.warp(rgb, to_crop, (CROP_PX, CROP_PX), border=None)


def network_input(crops: Image) -> npt.NDArray[np.float32]:
    """What the network is fed: [B, 3, 128, 128] float32 in -1..1 from [B, 128, 128, 3] uint8."""
    return np.ascontiguousarray(crops.transpose(0, 3, 1, 2).astype(np.float32) / 127.5 - 1)


def to_half_widths(pixels: npt.ArrayLike) -> Floats:
    """Points [N, 2] of a crop in half widths from its middle."""
    return np.asarray(pixels, np.float64) / (CROP_PX / 2) - 1


def from_half_widths(points: npt.ArrayLike) -> Floats:
    """The opposite of `to_half_widths`."""
    return (np.asarray(points, np.float64) + 1) * (CROP_PX / 2)


def corrected(to_crop: Floats, sight: Sight) -> HeadPose:
    """The pose that the sight of a crop tells.

    Args:
        to_crop: [2, 3] from photo pixels to the crop's.
        sight: of that crop.
    """
    turn, centre = sight.framing
    rotation = np.array([[turn.real, -turn.imag], [turn.imag, turn.real]])
    middle = from_half_widths([centre.real, centre.imag])
    # from the crop to the portrait, whose middle is at 0.5
    linear = rotation * (CROP_SHARE / CROP_PX)
    shift = 0.5 - linear @ middle
    photo_to_portrait = np.concatenate(
        [linear @ to_crop[:, :2], (linear @ to_crop[:, 2] + shift)[:, None]], 1
    )
    return HeadPose(
        yaw_deg=float(np.clip(sight.yaw_deg, -MAX_YAW_DEG, MAX_YAW_DEG)),
        elevation_deg=float(np.clip(sight.elevation_deg, MIN_ELEVATION_DEG, MAX_ELEVATION_DEG)),
        roll_deg=float(-np.degrees(np.arctan2(photo_to_portrait[1, 0], photo_to_portrait[0, 0]))),
        photo_to_portrait=photo_to_portrait,
    )
