"""Held-out digital humans as evaluation subjects: a portrait to start from, true views to meet."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from pipeline.cameras import Cameras
from pipeline.digital_human.dataset import HeadDataset, Sequence
from pipeline.errors import UsageError
from pipeline.evaluation.paper_set import check_paper_set, paper_sequences
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
        key: the identity, or "identity/sequence" where the set has several expressions of one.
        photo: [H, W, 4] uint8 straight alpha, the picture that the portrait was cut out of.
        portrait: [H, W, 4] uint8 straight alpha, framed as `Prepare` frames photos.
        portrait_landmarks: [5, 2] pixels in ``portrait``, in ArcFace's order.
        azimuth_deg: of the portrait's camera.
        elevation_deg: of the portrait's camera.
        views: [V, H, W, 3] uint8, the true views on white.
        cameras: of ``views``.
        azimuths_deg: [V], of ``views``.
        landmarks: [V, 5, 2] pixels in ``views``.
        face_visible: [V], whether all five landmarks can be seen.
        front: number of the view that looks straight at the face.
        on_orbit: whether ``views`` are a model's orbit, so that its views can be compared.
        head_scale: size of the head in the cameras' world, in that of the canonical frame.
    """

    key: str
    photo: Pixels
    portrait: Pixels
    portrait_landmarks: Floats
    azimuth_deg: float
    elevation_deg: float
    views: Pixels
    cameras: Cameras
    azimuths_deg: Floats
    landmarks: Floats
    face_visible: npt.NDArray[np.bool_]
    front: int = 0
    on_orbit: bool = True
    head_scale: float = 1.0


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """The subjects of an evaluation; each is loaded when its turn comes.

    Attributes:
        protocol: ``front``, ``photo``, ``paper`` or ``nersemble``.
        condition: which view the portraits are.
        keys: of the subjects.
        views: how many each has.
        size_px: side of the true views.
        load: from a key to its subject; raises `InputError` if that one cannot be used.
    """

    protocol: str
    condition: Condition
    keys: tuple[str, ...]
    views: int
    size_px: int
    load: Callable[[str], Subject]


def digital_humans(dataset: HeadDataset, identities: int, condition: Condition) -> HeldOut:
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
    if condition == "photo" and not dataset.options.random():
        raise UsageError(
            f"{dataset.root.uri} has no random views to start from; render it with "
            "--random-views, or take the front as condition"
        )
    keys = {str(dataset.options.identity_of(number)): number for number in sequences}
    return _held_out(dataset, condition, condition, keys)


def paper_set(dataset: HeadDataset, identities: int) -> HeldOut:
    """The paper's protocol: five expressions of each of ten identities, see `paper_sequences`.

    Args:
        dataset: opened with ``split="test"``.
        identities: how many of the ten, the first ones.

    Raises:
        UsageError: the dataset is not the protocol's, or lacks sequences of it.
        UnreadableSource: it has no orbit at elevation 0.
    """
    sequences = check_paper_set(dataset, paper_sequences(identities))
    keys = {f"{dataset.options.identity_of(number)}/{number}": number for number in sequences}
    return _held_out(dataset, "paper", "front", keys)


def _held_out(
    dataset: HeadDataset, protocol: str, condition: Condition, keys: Mapping[str, int]
) -> HeldOut:
    ring = dataset.options.ring()
    views = [*ring, *(dataset.options.random() if condition == "photo" else [])]
    return HeldOut(
        protocol=protocol,
        condition=condition,
        keys=tuple(keys),
        views=len(ring),
        size_px=dataset.options.size_px,
        load=lambda key: _subject(key, dataset.load(keys[key], views), condition),
    )


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


def _subject(key: str, sequence: Sequence, condition: Condition) -> Subject:
    orbit = sequence.ring()
    portrait = _portrait_index(sequence, condition)
    image, landmarks = frame_render(
        sequence.views[portrait],
        sequence.cameras.cam_to_world[portrait],
        sequence.landmarks[portrait],
    )
    return Subject(
        key=key,
        photo=sequence.views[portrait],
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
