"""Digital humans for the Gaussian network: read when they are wanted, remembered while they fit.

A full grid decoded is 0.26 MB a view of 256 px, 57 GB for 2,270 sequences of 96: too much to hold.
Decoding costs 2 ms a view (docs/log.md), so what does not fit is decoded again.
"""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipeline.cameras import Cameras, azimuth_distance_deg
from pipeline.digital_human.dataset import HeadDataset
from pipeline.errors import UsageError
from pipeline.images import resize
from pipeline.portrait.alpha import on_white

INPUT_VIEWS = 4
FRONT_DEG = 30.0
"""Largest azimuth, either way, at which a view is compared by the identity network."""
CACHE_BYTES = 4 * 2**30


class SeenView(NamedTuple):
    """One view of a digital human, as training compares it.

    Attributes:
        image: [P, P, 4] uint8, colour on white and alpha.
        cam_to_world: [4, 4] float32.
        fov_y_deg: of its camera.
        landmarks: [5, 2] float32 pixels in ArcFace's order.
        shows_face: whether it was taken within `FRONT_DEG` and no landmark is hidden.
    """

    image: npt.NDArray[np.uint8]
    cam_to_world: npt.NDArray[np.float32]
    fov_y_deg: float
    landmarks: npt.NDArray[np.float32]
    shows_face: bool


class Heads:
    """The sequences of a dataset at one size, numbered from 0; views of an orbit come first.

    Args:
        dataset: the digital humans.
        size_px: side of the images.
        limit: sequences used, the first ones.
        cache_bytes: of decoded images that are remembered; the longest unused go first.

    Attributes:
        orbit_views: views of the ring at elevation 0, evenly spaced.
        view_count: views of every sequence.

    Raises:
        UsageError: there is no sequence, or the orbit cannot be seen in views a quarter turn apart.
        UnreadableSource: there is no orbit at elevation 0.
    """

    def __init__(
        self,
        dataset: HeadDataset,
        size_px: int,
        limit: int | None = None,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        ring = dataset.options.ring()
        if dataset.options.azimuths != "even" or len(ring) % INPUT_VIEWS:
            raise UsageError(
                f"{dataset.root.uri} has {len(ring)} {dataset.options.azimuths} views a ring; the "
                f"Gaussian network needs even ones, a multiple of {INPUT_VIEWS}"
            )
        self.sequences = dataset.sequences[:limit]
        if not self.sequences:
            raise UsageError(
                f"{dataset.root.uri} lacks people to train on or to judge by; render 10 identities "
                "or more, every tenth is held out"
            )
        self.dataset, self.size_px = dataset, size_px
        self.orbit_views, self.view_count = len(ring), dataset.options.views
        self._order = ring + [one for one in range(self.view_count) if one not in ring]
        self._room = max(1, cache_bytes // (4 * size_px**2))
        self._seen: OrderedDict[tuple[int, int], SeenView] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.sequences)

    def views(self, head: int, numbers: Sequence[int]) -> list[SeenView]:
        """Some views of a head, in this order; several threads may ask at once.

        Raises:
            UnreadableSource: the sequence is damaged.
        """
        with self._lock:
            seen = {one: self._seen[head, one] for one in numbers if (head, one) in self._seen}
        if missing := [one for one in numbers if one not in seen]:
            seen |= zip(missing, self._read(head, missing), strict=True)
        with self._lock:
            for number, view in seen.items():
                self._seen[head, number] = view
                self._seen.move_to_end((head, number))
            while len(self._seen) > self._room:
                self._seen.popitem(last=False)
        return [seen[number] for number in numbers]

    def _read(self, head: int, numbers: list[int]) -> list[SeenView]:
        loaded = self.dataset.load(self.sequences[head], [self._order[one] for one in numbers])
        images = np.concatenate([on_white(loaded.views), loaded.views[..., 3:]], -1)
        near = azimuth_distance_deg(loaded.azimuth_deg, 0) <= FRONT_DEG
        shows_face = near & loaded.landmark_visible.all(1)
        landmarks = loaded.landmarks * (self.size_px / images.shape[1])
        columns = (resize(images, self.size_px), loaded.cameras.cam_to_world, landmarks, shows_face)
        return [
            SeenView(image, pose, loaded.cameras.fov_y_deg, points, bool(face))
            for image, pose, points, face in zip(*columns, strict=True)
        ]


def cameras_of(views: Sequence[SeenView]) -> Cameras:
    """The cameras of views of one head."""
    return Cameras(np.stack([one.cam_to_world for one in views]), views[0].fov_y_deg)


def images_of(views: Sequence[SeenView]) -> Tensor:
    """[len(views), 4, P, P] float32 in [0, 1]: colour on white and alpha."""
    stacked = np.stack([one.image for one in views])
    return torch.from_numpy(stacked).permute(0, 3, 1, 2).float() / 255
