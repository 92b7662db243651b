"""Photos by calibrated cameras round a real head, as an evaluation subject.

A photo becomes a true view by a cut to a square round the principal point and by matting; the
world's origin is put into the head, and the front camera to azimuth 0. Image axes are x right, y
down, poses world-to-camera with OpenCV's axes.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.cameras import Cameras
from pipeline.errors import NoFaceFound
from pipeline.evaluation.keypoints import Find, triangulate
from pipeline.evaluation.subjects import Subject
from pipeline.portrait import alignment
from pipeline.portrait.alpha import on_white
from pipeline.portrait.framing import frame, portrait_transform
from pipeline.portrait.pose import MEAN_LANDMARKS, HeadPose

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]

MEDIAN_DISTANCE = 1.5
"""Of the cameras from the head, world units, as in the paper's release."""


@dataclass(frozen=True, kw_only=True)
class Rig:
    """The calibrated cameras of one participant.

    Attributes:
        serials: names of the V cameras, ascending.
        front: place of the one in front of the face.
        world_to_cam: [V, 4, 4].
        intrinsics: [3, 3], shared by all.
        calibrated_height_px: of the images that they are for, whatever that of the photos.
        color_matrices: [V] matrices [3, n], see `correct_colors`.
    """

    serials: tuple[str, ...]
    front: int
    world_to_cam: Floats
    intrinsics: Floats
    calibrated_height_px: int
    color_matrices: tuple[Floats, ...]

    @property
    def cameras(self) -> Cameras:
        """The cameras of `square` images, in the rig's own world."""
        half_tangent = self.calibrated_height_px / 2 / self.intrinsics[1, 1]
        poses = np.linalg.inv(self.world_to_cam)
        return Cameras(poses.astype(np.float32), float(np.degrees(2 * np.arctan(half_tangent))))


@dataclass(frozen=True, kw_only=True)
class HeadFrame:
    """Where the head is in a rig's world.

    Attributes:
        centre: [3], of the head.
        axes: [3, 3], columns are the head's left, up and front.
        size: of the head, in that of the canonical frame.
    """

    centre: Floats
    axes: Floats
    size: float


def square(image: Pixels, rig: Rig, size_px: int) -> Pixels:
    """Cut a square as high as the image out of it, round the principal point.

    Args:
        image: [H, W, 3] uint8, of any resolution.
        rig: whose camera took it.
        size_px: side of the result.

    Returns:
        [size_px, size_px, 4] uint8 straight alpha, transparent outside the image.
    """
    per_calibrated_px = image.shape[0] / rig.calibrated_height_px
    focal_x, focal_y = np.diag(rig.intrinsics)[:2] * per_calibrated_px
    centre = rig.intrinsics[:2, 2] * per_calibrated_px
    focal_px = focal_y * size_px / image.shape[0]
    scale = np.array([focal_px / focal_x, focal_px / focal_y])
    transform = np.column_stack([np.diag(scale), size_px / 2 - scale * centre])
    opaque = np.full((*image.shape[:2], 1), 255, np.uint8)
    rgba = np.concatenate([image, opaque], -1)
    cut = alignment.warp(rgba, transform, (size_px, size_px))
    return np.where(cut[..., 3:] == 255, cut, 0).astype(np.uint8)


def find_head(landmarks: Floats, rig: Rig) -> HeadFrame:
    """Put the canonical frame where the head is: the front camera is at azimuth 0.

    Args:
        landmarks: [5, 3] in the rig's world, in ArcFace's order.
        rig: the cameras, which stand upright and look from more than one side.
    """
    poses = np.asarray(np.linalg.inv(rig.world_to_cam), np.float64)
    front = poses[rig.front, :3, 3]
    up = _up(poses)
    mean, usual = landmarks.mean(0), MEAN_LANDMARKS.astype(np.float64)
    size = float(np.sqrt(((landmarks - mean) ** 2).sum() / ((usual - usual.mean(0)) ** 2).sum()))
    # the landmarks are in front of the head's centre by as much as the mean head's are
    centre = mean - size * _axes(front - mean, up) @ usual.mean(0)
    return HeadFrame(centre=centre, axes=_axes(front - centre, up), size=size)


def centred(cameras: Cameras, head: HeadFrame) -> tuple[Cameras, float]:
    """Move the world's origin into the head, and its scale to `MEDIAN_DISTANCE`.

    Returns:
        The cameras in the new world, and the size of the head in it.
    """
    places = (cameras.cam_to_world[:, :3, 3] - head.centre) @ head.axes
    scale = MEDIAN_DISTANCE / float(np.median(np.linalg.norm(places, axis=1)))
    poses = np.repeat(np.eye(4)[None], len(cameras), 0)
    poses[:, :3, :3] = head.axes.T @ cameras.cam_to_world[:, :3, :3]
    poses[:, :3, 3] = scale * places
    return Cameras(poses.astype(np.float32), cameras.fov_y_deg), scale * head.size


@dataclass(frozen=True)
class Networks:
    """What a filmed moment is prepared with, as a photo is.

    Attributes:
        find: landmark detector.
        estimate: from an image [H, W, 3] uint8 and landmarks to pose and better landmarks.
        cut_out: from a framed head [S, S, 4] uint8 to the same with the alpha of the bust.
    """

    find: Find
    estimate: Callable[[Pixels, Floats], tuple[HeadPose, Floats]]
    cut_out: Callable[[Pixels], Pixels]


def make_subject(
    key: str, squares: Pixels, rig: Rig, networks: Networks, portrait_px: int
) -> Subject:
    """A subject of one moment's views.

    Args:
        key: of the subject.
        squares: [V, S, S, 4] uint8, as `square` makes them, colours corrected.
        rig: whose cameras took them.
        networks: the model's.
        portrait_px: side of the portrait.

    Raises:
        NoFaceFound: the front view or all others show none.
    """
    found = [networks.find(on_white(one)) for one in squares]
    seen = [view for view, points in enumerate(found) if points is not None]
    front = found[rig.front]
    if front is None or len(seen) < 2:
        raise NoFaceFound(
            f"{key}: no face was found in the front view or in all others; leave the sequence out"
        )
    landmarks = np.zeros((len(squares), 5, 2), np.float32)
    landmarks[seen] = [found[view] for view in seen]
    in_space = triangulate(rig.cameras[seen], landmarks[seen], squares.shape[1])
    cameras, head_scale = centred(rig.cameras, find_head(in_space, rig))
    pose, in_view = networks.estimate(on_white(squares[rig.front]), front)
    portrait = networks.cut_out(frame(squares[rig.front], pose, portrait_px))
    in_portrait = alignment.apply(portrait_transform(pose, portrait_px), in_view)
    places = cameras.cam_to_world[:, :3, 3]
    return Subject(
        key=key,
        photo=squares[rig.front],
        portrait=portrait,
        portrait_landmarks=in_portrait.astype(np.float32),
        azimuth_deg=pose.yaw_deg,
        elevation_deg=pose.elevation_deg,
        views=np.stack([on_white(networks.cut_out(one)) for one in squares]),
        cameras=cameras,
        azimuths_deg=np.degrees(np.arctan2(places[:, 0], places[:, 2])).astype(np.float32) % 360,
        landmarks=landmarks,
        face_visible=np.isin(np.arange(len(squares)), seen),
        front=rig.front,
        on_orbit=False,
        head_scale=head_scale,
    )


def _up(poses: Floats) -> Floats:
    """The direction that is level in no camera [V, 4, 4]: they look down, but do not roll."""
    upright: Floats = np.linalg.svd(poses[:, :3, 0])[2][-1]
    return upright if upright @ poses[:, :3, 1].mean(0) < 0 else -upright


def _axes(towards_front: Floats, up: Floats) -> Floats:
    """[3, 3] whose columns are left, up and front: level, and facing that way."""
    ahead = towards_front - (towards_front @ up) * up
    ahead = ahead / np.linalg.norm(ahead)
    return np.column_stack([np.cross(up, ahead), up, ahead])
