"""A digital human filmed by NeRSemble's rig, in its layout: real videos, detection and matting."""

import json
from pathlib import Path

import av
import numpy as np
import pytest

from pipeline.cameras import look_at_origin
from pipeline.digital_human.expression import sample_appearance
from pipeline.digital_human.identity import sample_identity
from pipeline.digital_human.scene import build_head
from pipeline.errors import UnreadableSource, UsageError
from pipeline.evaluation.keypoints import finder
from pipeline.evaluation.nersemble import CAMERAS, FRONT_SERIAL, SEQUENCES, nersemble
from pipeline.evaluation.rig import Networks
from pipeline.evaluation.subjects import HeldOut
from pipeline.model_folder import resolve_model
from pipeline.portrait.alpha import on_white
from pipeline.portrait.faces import FACE_FOLDER, FacePack
from pipeline.portrait.matting import Matting
from pipeline.portrait.pose import MEAN_LANDMARKS, project_mean_landmarks
from pipeline.portrait.pose_network import PoseEstimator
from pipeline.stages.prepare import MATTING_FILE

RENDERED_PX = 320
TOP, LEFT, HEIGHT, WIDTH = 10, 44, 300, 240
"""Where the sensor lies in the square renders, so that the principal point is not in its middle."""
BACKDROP = 200
METRES, TURN, SHIFT = 0.3, np.array([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]]), [0.2, -1.3, 0.7]
"""From the canonical frame to the rig's: metres, another centre, and the face towards +x."""
AZIMUTHS = [0, 11, 339, 21, 0, 341, 30, 11, 320, 350, 40, 328, 31, 348, 20, 332]
ELEVATIONS = [0, 0, -2, 0, 25, 24, 24, 25, -2, 25, 22, 23, -1, 0, 25, -2]
SERIALS = [FRONT_SERIAL, *(str(222200021 + number) for number in range(CAMERAS - 1))]


@pytest.fixture(scope="module")
def cameras():
    return look_at_origin(AZIMUTHS, ELEVATIONS)


@pytest.fixture(scope="module")
def frames(cameras):
    person = sample_identity(4)
    head = build_head(person, sample_appearance(person, 0, "neutral"), hair_quality=0.5)
    return [head.frame(cameras, view, RENDERED_PX, samples=2) for view in range(CAMERAS)]


@pytest.fixture(scope="module")
def folder(cameras, frames, tmp_path_factory) -> Path:
    """Participant 30 with both sequences; 31 has one of them."""
    root = tmp_path_factory.mktemp("nersemble")
    _calibrate(root / "030", cameras)
    for sequence in SEQUENCES:
        for serial, frame in zip(SERIALS, frames, strict=True):
            _film(root / "030" / "sequences" / sequence, serial, _photo(frame.rgba))
    _film(root / "031" / "sequences" / SEQUENCES[0], FRONT_SERIAL, _photo(frames[0].rgba))
    (root / "readme.txt").touch()
    return root


def _calibrate(participant: Path, cameras) -> None:
    focal = float(cameras.intrinsics(RENDERED_PX)[0, 0, 0])
    scale = 3208 / HEIGHT
    centre = RENDERED_PX / 2 - np.array([LEFT, TOP])
    intrinsics = [[focal * scale, 0, centre[0] * scale], [0, focal * scale, centre[1] * scale]]
    poses = cameras.cam_to_world.astype(np.float64)
    poses[:, :3, :3] = TURN @ poses[:, :3, :3]
    poses[:, :3, 3] = METRES * poses[:, :3, 3] @ TURN.T + SHIFT
    folder = participant / "calibration"
    folder.mkdir(parents=True)
    world_2_cam = dict(zip(SERIALS, np.linalg.inv(poses).tolist(), strict=True))
    (folder / "camera_params.json").write_text(
        json.dumps({"world_2_cam": world_2_cam, "intrinsics": [*intrinsics, [0, 0, 1]]})
    )
    # the films have half the light; five columns are the least after three
    matrix = 2 * np.eye(3, 5)
    (folder / "color_calibration.json").write_text(
        json.dumps(dict.fromkeys(SERIALS, matrix.tolist()))
    )


def _photo(rgba: np.ndarray) -> np.ndarray:
    """What the sensor sees: half the light of the head before a backdrop."""
    alpha = rgba[..., 3:] / 255
    shown = rgba[..., :3] * alpha + BACKDROP * (1 - alpha)
    linear = ((shown / 255 + 0.055) / 1.055) ** 2.4 / 2
    dim = 255 * (1.055 * linear ** (1 / 2.4) - 0.055).clip(0, 1)
    return dim[TOP : TOP + HEIGHT, LEFT : LEFT + WIDTH].round().astype(np.uint8)


def _film(sequence: Path, serial: str, photo: np.ndarray) -> None:
    """Five frames, of which only the middle one shows anybody."""
    path = sequence / "images" / f"cam_{serial}.mp4"
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=24, options={"crf": "8"})
        stream.height, stream.width = photo.shape[:2]
        stream.pix_fmt = "yuv444p"
        for number in range(5):
            shown = photo if number == 2 else np.zeros_like(photo)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(shown, format="rgb24")))
        container.mux(stream.encode())


def held_out(folder: Path, subjects: int = 14) -> HeldOut:
    model = resolve_model(None)
    cut_out = Matting(model / MATTING_FILE).cut_out
    networks = Networks(finder(FacePack(model / FACE_FOLDER)), PoseEstimator(model), cut_out)
    return nersemble(folder, subjects, networks, 128)


@pytest.fixture(scope="module")
def subject(folder):
    return held_out(folder).load(f"030/{SEQUENCES[1]}")


def test_participants_with_both_sequences_are_taken(folder) -> None:
    found = held_out(folder)
    assert found.keys == tuple(f"030/{sequence}" for sequence in SEQUENCES)
    assert (found.protocol, found.views) == ("nersemble", CAMERAS)


def test_the_head_is_in_the_middle_and_the_front_camera_in_front(subject, cameras) -> None:
    order = np.argsort(SERIALS)  # cameras come by ascending serial
    places = subject.cameras.cam_to_world[:, :3, 3]
    distances = np.linalg.norm(places, axis=1)
    assert np.median(distances) == pytest.approx(1.5, abs=1e-4)
    assert subject.azimuths_deg[subject.front] == pytest.approx(0, abs=1e-3)
    # the head's centre and size are known from the mean head's landmarks, not this one's
    wanted = 1.5 / 2 * cameras.cam_to_world[order][:, :3, 3]
    assert places == pytest.approx(wanted, abs=0.06)
    assert subject.head_scale == pytest.approx(1.5 / 2, rel=0.08)


def test_an_avatar_of_canonical_size_fits_the_views(subject) -> None:
    shown = subject.cameras.project(subject.head_scale * MEAN_LANDMARKS, 512)
    off_px = np.linalg.norm(shown - subject.landmarks, axis=-1)[subject.face_visible]
    assert subject.face_visible.sum() >= 12
    assert off_px.mean() < 0.02 * 512


def test_views_are_the_heads_on_white_in_their_own_colours(subject, frames) -> None:
    order = np.argsort(SERIALS)
    for view, camera in enumerate(order):
        wanted = _square(frames[camera].rgba)
        solid = wanted[..., 3] > 250
        kept = (subject.views[view] < 250).any(-1)
        overlap = (kept & solid).sum() / (kept | solid).sum()
        assert overlap > 0.8, SERIALS[camera]
        both = kept & solid
        error = np.abs(subject.views[view].astype(int) - on_white(wanted))[both]
        assert np.median(error) < 6, SERIALS[camera]


def _square(rgba: np.ndarray) -> np.ndarray:
    """The render cut as the views are: as high as the sensor, about the principal point."""
    import cv2

    half = RENDERED_PX // 2 - HEIGHT // 2
    cut = rgba[half : half + HEIGHT, half : half + HEIGHT]
    return cv2.resize(cut, (512, 512), interpolation=cv2.INTER_LINEAR)


def test_the_portrait_is_framed_as_photos_are(subject) -> None:
    assert subject.portrait.shape == (128, 128, 4)
    assert abs(subject.azimuth_deg) < 6
    assert abs(subject.elevation_deg) < 12
    usual = 128 * project_mean_landmarks(np.zeros(2))
    assert subject.portrait_landmarks == pytest.approx(usual, abs=4)
    assert 0.15 < (subject.portrait[..., 3] > 127).mean() < 0.6


def test_what_is_missing_is_named(folder, tmp_path) -> None:
    with pytest.raises(UnreadableSource, match="is no folder"):
        held_out(tmp_path / "nowhere")
    with pytest.raises(UsageError, match=r"no participant in .* has EMO-1-shout\+laugh and EMO-4"):
        held_out(tmp_path)
    for sequence in SEQUENCES:
        images = tmp_path / "007" / "sequences" / sequence / "images"
        images.mkdir(parents=True)
        (images / f"cam_{FRONT_SERIAL}.mp4").touch()
    with pytest.raises(UnreadableSource, match=r"camera_params\.json cannot be read"):
        held_out(tmp_path)
    (tmp_path / "007" / "calibration").symlink_to(folder / "030" / "calibration")
    with pytest.raises(UnreadableSource, match="lacks the videos of cameras 222200021, 222200022"):
        held_out(tmp_path)
    for sequence in SEQUENCES:
        for serial in SERIALS:
            (tmp_path / "007" / "sequences" / sequence / "images" / f"cam_{serial}.mp4").touch()
    with pytest.raises(UnreadableSource, match=r"cam_222200037\.mp4 cannot be read"):
        held_out(tmp_path).load(f"007/{SEQUENCES[0]}")
