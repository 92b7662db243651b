"""Bringing heads into line by their landmarks before they are compared.

Methods place heads differently, and what is displaced scores badly whatever it looks like.
Landmarks of truth and candidate, both found by the same detector, say by which similarity they
differ: in the plane, one of the front view, applied to all views alike; in space, one without a
turn, of landmarks triangulated with the true cameras, after which an avatar is rendered again. One
for each view would hide wrong poses.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from pipeline.cameras import Cameras
from pipeline.gaussians import Gaussians
from pipeline.portrait.alignment import similarity, warp
from pipeline.portrait.faces import FacePack, largest
from pipeline.portrait.pose_network import PoseEstimator

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]
Find = Callable[[Pixels], Floats | None]
"""From an image [H, W, 3] uint8 to its face's five landmarks [5, 2] in pixels, if it shows one."""
_WHITE = (255, 255, 255)


def finder(pack: FacePack, estimate: PoseEstimator | None = None) -> Find:
    """The detector of a face pack, as `Find` wants it; of several faces it takes the main one.

    Args:
        pack: whose detector it is.
        estimate: what corrects its landmarks.
    """

    def find(image: Pixels) -> Floats | None:
        faces = pack.find(image)
        if not faces:
            return None
        landmarks = largest(faces).landmarks
        return landmarks if estimate is None else estimate(image, landmarks)[1]

    return find


@dataclass(frozen=True)
class Placement:
    """A map of space that keeps directions: ``x -> scale * x + shift``.

    Attributes:
        scale: positive.
        shift: [3] float64, world units.
    """

    scale: float
    shift: Floats

    def apply(self, points: npt.ArrayLike) -> Floats:
        """Map points [N, 3]."""
        return self.scale * np.asarray(points, np.float64) + self.shift

    def move(self, gaussians: Gaussians) -> Gaussians:
        """Map Gaussians on the CPU: their places and sizes."""
        means = self.apply(gaussians.means.numpy()).astype(np.float32)
        scales = gaussians.scales * self.scale
        return replace(gaussians, means=torch.from_numpy(means), scales=scales)


def fit_placement(source: npt.ArrayLike, target: npt.ArrayLike) -> Placement:
    """The placement that gives points the centre and the spread of others.

    It does not turn them: five landmarks lie nearly in a plane, so a few pixels of the detector's
    error turned avatars by ten degrees; and what is round both heads is the same canonical frame.

    Args:
        source: [N, 3] points, not all equal.
        target: [N, 3] points.
    """
    x, y = np.asarray(source, np.float64), np.asarray(target, np.float64)
    scale = float(np.linalg.norm(y - y.mean(0)) / np.linalg.norm(x - x.mean(0)))
    return Placement(scale, y.mean(0) - scale * x.mean(0))


def triangulate(cameras: Cameras, pixels: npt.ArrayLike, size_px: int) -> Floats:
    """The points that V cameras see at these pixels, by linear least squares.

    Args:
        cameras: V >= 2 of them, not all at one place.
        pixels: [V, N, 2], x right, y down.
        size_px: side of the images.

    Returns:
        [N, 3] world units.
    """
    intrinsics = cameras.intrinsics(size_px).astype(np.float64)
    projections = intrinsics @ cameras.world_to_cam[:, :3]  # [V, 3, 4]
    seen = np.asarray(pixels, np.float64)
    # each pixel coordinate u gives one equation: (P[axis] - u P[2]) X = 0
    equations = projections[:, None, :2] - seen[..., None] * projections[:, None, 2:]
    rows = equations.swapaxes(0, 1).reshape(seen.shape[1], -1, 4)
    rows /= np.linalg.norm(rows[..., :3], axis=-1, keepdims=True)
    return np.stack([np.linalg.lstsq(one[:, :3], -one[:, 3], rcond=None)[0] for one in rows])


def aligned_in_the_plane(images: Pixels, targets: Pixels, front: int, find: Find) -> Pixels | None:
    """All views, moved by the similarity that takes the front view's landmarks to the true ones.

    Args:
        images: [V, H, W, 3] uint8 on white.
        targets: the same of the truth.
        front: number of the front view.
        find: landmark detector.

    Returns:
        [V, H, W, 3] uint8 on white; None if no face is found in one of the front views.
    """
    found, wanted = find(images[front]), find(targets[front])
    if found is None or wanted is None:
        return None
    transform = similarity(found, wanted)
    size = (images.shape[2], images.shape[1])
    return np.stack([warp(image, transform, size, _WHITE) for image in images])


def alignment_in_space(
    images: Pixels, targets: Pixels, cameras: Cameras, find: Find
) -> Placement | None:
    """The placement that takes a candidate's landmarks in space to the true ones.

    Args:
        images: [V, H, W, 3] uint8, renders of the candidate.
        targets: the same of the truth.
        cameras: V cameras, of both.
        find: landmark detector.

    Returns:
        None if fewer than two views show a face in both.
    """
    seen, found, wanted = [], [], []
    for view, (image, target) in enumerate(zip(images, targets, strict=True)):
        here, there = find(image), find(target)
        if here is not None and there is not None:
            seen.append(view)
            found.append(here)
            wanted.append(there)
    if len(seen) < 2:
        return None
    size_px = images.shape[1]
    return fit_placement(*(triangulate(cameras[seen], one, size_px) for one in (found, wanted)))
