"""NeRSemble v2 as a test set: photos of real heads by 16 calibrated cameras in front.

Kirschstein et al. 2023. Nothing of it is shipped: access is by request, see docs/evaluation.md.
This reads the layout in which its own tool downloads it:

    030/calibration/camera_params.json      poses, and intrinsics for images 3208 px high
    030/calibration/color_calibration.json  a matrix for each camera
    030/sequences/SEQUENCE/images/cam_SERIAL.mp4
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.errors import BackendUnavailable, UnreadableSource, UsageError
from pipeline.evaluation.color_calibration import correct_colors
from pipeline.evaluation.rig import Networks, Rig, make_subject, square
from pipeline.evaluation.subjects import HeldOut, Subject

Pixels = npt.NDArray[np.uint8]

FRONT_SERIAL = "222200037"
"""The camera in front of the face, which NeRSemble's benchmark trains on."""
CALIBRATED_HEIGHT_PX = 3208
CAMERAS = 16
SEQUENCES = ("EMO-1-shout+laugh", "EMO-4-disgust+happy")
SUBJECTS = 14
VIEW_PX = 512


def nersemble(folder: Path, subjects: int, networks: Networks, portrait_px: int) -> HeldOut:
    """`SEQUENCES` of the first ``subjects`` participants that have them, the middle frame of each.

    Args:
        folder: with a folder for each participant.
        subjects: how many participants.
        networks: what prepares them.
        portrait_px: side of the portraits, which are the front camera's views.

    Raises:
        UsageError: no participant has both sequences.
        UnreadableSource: a participant lacks a camera or the front one.
        BackendUnavailable: PyAV is not installed.
    """
    _check_video()
    complete = [one for one in _participants(folder) if all(_videos(one, s) for s in SEQUENCES)]
    if not complete:
        raise UsageError(
            f"no participant in {folder} has {' and '.join(SEQUENCES)}; download both, e.g. "
            "nersemble-data download FOLDER --sequence " + SEQUENCES[0]
        )
    chosen = complete[:subjects]
    read = cache(read_rig)
    for participant in chosen:
        for sequence in SEQUENCES:
            _check_cameras(read(participant), participant, sequence)

    def load(key: str) -> Subject:
        number, _, sequence = key.partition("/")
        participant = folder / number
        rig = read(participant)
        squares = np.stack(_squares(participant, sequence, rig))
        return make_subject(key, squares, rig, networks, portrait_px)

    return HeldOut(
        protocol="nersemble",
        condition="front",
        keys=tuple(f"{one.name}/{sequence}" for one in chosen for sequence in SEQUENCES),
        views=CAMERAS,
        size_px=VIEW_PX,
        load=load,
    )


def read_rig(participant: Path) -> Rig:
    """The calibration of a participant.

    Raises:
        UnreadableSource: a file is missing or damaged, or the front camera is not in it.
    """
    cameras = _json(participant / "calibration" / "camera_params.json")
    colors = _json(participant / "calibration" / "color_calibration.json")
    try:
        serials = tuple(sorted(cameras["world_2_cam"]))
        rig = Rig(
            serials=serials,
            front=serials.index(FRONT_SERIAL),
            world_to_cam=np.array([cameras["world_2_cam"][s] for s in serials], np.float64),
            intrinsics=np.array(cameras["intrinsics"], np.float64),
            calibrated_height_px=CALIBRATED_HEIGHT_PX,
            color_matrices=tuple(np.array(colors[s], np.float64) for s in serials),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UnreadableSource(f"the calibration in {participant} is damaged: {error}") from error
    if len(serials) != CAMERAS:
        raise UnreadableSource(
            f"{participant} is calibrated for {len(serials)} cameras; it must be {CAMERAS}"
        )
    return rig


def _participants(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise UnreadableSource(f"{folder} is no folder; give the one NeRSemble was downloaded to")
    return sorted(one for one in folder.iterdir() if one.name.isdigit() and one.is_dir())


def _videos(participant: Path, sequence: str) -> list[Path]:
    return sorted((participant / "sequences" / sequence / "images").glob("cam_*.mp4"))


def _check_cameras(rig: Rig, participant: Path, sequence: str) -> None:
    there = {video.stem.removeprefix("cam_") for video in _videos(participant, sequence)}
    missing = [serial for serial in rig.serials if serial not in there]
    if missing:
        raise UnreadableSource(
            f"{participant.name}/{sequence} lacks the videos of cameras {', '.join(missing)}; "
            f"download all {CAMERAS}"
        )


def _squares(participant: Path, sequence: str, rig: Rig) -> list[Pixels]:
    folder = participant / "sequences" / sequence / "images"
    videos = [folder / f"cam_{serial}.mp4" for serial in rig.serials]
    number = _frames(videos[rig.front]) // 2
    squares = []
    for video, matrix in zip(videos, rig.color_matrices, strict=True):
        cut = square(_frame(video, number), rig, VIEW_PX)
        rgb = np.where(cut[..., 3:] > 0, correct_colors(cut[..., :3], matrix), 0).astype(np.uint8)
        squares.append(np.concatenate([rgb, cut[..., 3:]], -1))
    return squares


def _frames(video: Path) -> int:
    import av

    try:
        with av.open(str(video)) as container:
            return sum(1 for _ in container.demux(video=0)) - 1  # the last packet flushes
    except (av.FFmpegError, IndexError) as error:
        raise UnreadableSource(f"{video} cannot be read: {error}") from error


def _frame(video: Path, number: int) -> Pixels:
    """Frame ``number``, [H, W, 3] uint8."""
    import av

    try:
        with av.open(str(video)) as container:
            container.streams.video[0].thread_type = "AUTO"
            for place, frame_ in enumerate(container.decode(video=0)):
                if place == number:
                    return np.asarray(frame_.to_ndarray(format="rgb24"))
    except (av.FFmpegError, IndexError) as error:
        raise UnreadableSource(f"{video} cannot be read: {error}") from error
    raise UnreadableSource(f"{video} has no frame {number}; download it again")


def _check_video() -> None:
    try:
        import av  # noqa: F401
    except ImportError as error:
        raise BackendUnavailable(
            "NeRSemble's videos need PyAV, which is not installed; run pip install "
            "'headsplat[video]'"
        ) from error


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise UnreadableSource(f"{file} cannot be read: {error}") from error
