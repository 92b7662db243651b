"""Held-out digital humans as evaluation subjects: a portrait to start from, true views to meet."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from pipeline.cameras import Cameras
from pipeline.digital_human.dataset import HeadDataset, Sequence
from pipeline.errors import UsageError
from pipeline.images import resize
from pipeline.portrait.alpha import on_white
from pipeline.portrait.framing import frame_render

Condition = Literal["front", "photo"]
Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One held-out head.

    Attributes:
        identity_id: whose it is.
        portrait: [H, W, 4] uint8 straight alpha, framed as `Prepare` frames photos.
        portrait_landmarks: [5, 2] pixels in ``portrait``, in ArcFace's order.
        azimuth_deg: of the portrait's camera.
        elevation_deg: of the portrait's camera.
        views: [V, H, W, 3] uint8, the true orbit on white.
        cameras: of ``views``.
        azimuths_deg: [V], of ``views``.
        landmarks: [V, 5, 2] pixels in ``views``.
        face_visible: [V], whether all five landmarks can be seen.
    """

    identity_id: int
    portrait: Pixels
    portrait_landmarks: Floats
    azimuth_deg: float
    elevation_deg: float
    views: Pixels
    cameras: Cameras
    azimuths_deg: Floats
    landmarks: Floats
    face_visible: npt.NDArray[np.bool_]


def held_out_subjects(
    dataset: HeadDataset, identities: int, condition: Condition
) -> Iterator[Subject]:
    """The first sequence of each of the first ``identities`` held-out identities.

    Args:
        dataset: opened with ``split="test"``.
        identities: how many; fewer where the set has fewer.
        condition: the portrait is the ``front`` orbit view or, for ``photo``, the first random
            view that shows the whole face.

    Raises:
        UsageError: the dataset holds no held-out identity, or no random view for ``photo``.
        UnreadableSource: it has no orbit at elevation 0.
    """
    sequences = first_sequences(dataset)[:identities]
    if not sequences:
        raise UsageError("the dataset has no held-out identity; render 10 identities or more")
    photos = dataset.options.random()
    if condition == "photo" and not photos:
        raise UsageError(
            f"{dataset.root.uri} has no random views to start from; render it with "
            "--random-views, or take the front as condition"
        )
    views = [*dataset.options.ring(), *photos]
    for sequence_id in sequences:
        yield _subject(dataset.load(sequence_id, views), condition)


def first_sequences(dataset: HeadDataset) -> list[int]:
    """The first sequence id of each identity, in order."""
    first: dict[int, int] = {}
    for sequence_id in dataset.sequences:
        first.setdefault(dataset.options.identity_of(sequence_id), sequence_id)
    return list(first.values())


def orbit_loader(dataset: HeadDataset, size_px: int) -> tuple[Callable[[int], Pixels], int]:
    """Access to the orbit of each identity of ``dataset``, as `Floors` wants it.

    Returns:
        A function from index to [V, size_px, size_px, 3] uint8 on white, and how many there are.
    """
    sequences, ring = first_sequences(dataset), dataset.options.ring()

    def load(index: int) -> Pixels:
        return resize(on_white(dataset.load(sequences[index], ring).views), size_px)

    return load, len(sequences)


def _subject(sequence: Sequence, condition: Condition) -> Subject:
    orbit = sequence.ring()
    portrait = _portrait_index(sequence, condition)
    image, landmarks = frame_render(
        sequence.views[portrait],
        sequence.cameras.cam_to_world[portrait],
        sequence.landmarks[portrait],
    )
    return Subject(
        identity_id=sequence.identity_id,
        portrait=image,
        portrait_landmarks=landmarks,
        azimuth_deg=float(sequence.azimuth_deg[portrait]),
        elevation_deg=float(sequence.elevation_deg[portrait]),
        views=on_white(sequence.views[orbit]),
        cameras=sequence.cameras[orbit.tolist()],
        azimuths_deg=sequence.azimuth_deg[orbit],
        landmarks=sequence.landmarks[orbit],
        face_visible=np.all(sequence.landmark_visible[orbit], axis=-1),
    )


def _portrait_index(sequence: Sequence, condition: Condition) -> int:
    if condition == "front":
        return int(sequence.ring()[0])
    photos = np.flatnonzero(sequence.kind == "random")
    whole = photos[sequence.landmark_visible[photos].all(-1)]
    return int(whole[0] if len(whole) else photos[0])
