"""Digital humans as arrays in memory: the views and the portraits that the parts learn from."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipeline.cameras import azimuth_distance_deg
from pipeline.diffusion.latents import Autoencoder, encode
from pipeline.diffusion.pipeline import Portraits
from pipeline.digital_human.dataset import HeadDataset, Sequence
from pipeline.digital_human.photo import augment_portrait
from pipeline.errors import UsageError
from pipeline.images import Bytes, resize, to_signed
from pipeline.portrait.alpha import on_white
from pipeline.portrait.framing import frame_render
from pipeline.training.heads import FRONT_DEG
from pipeline.training.identity_loss import face_transform

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Subjects:
    """S sequences of digital humans.

    Attributes:
        orbit: [S, V, P, P, 3] uint8, the orbit's views on white.
        portraits: [S, K, P, P, 3] uint8, views as a camera would have taken them, on white.
        identity: [S, K, 512] float32 face embeddings of the portraits.
        azimuth_deg: [S, K] float32, of the portraits.
        elevation_deg: [S, K] float32, of the portraits.
        orbit_azimuths_deg: [V] float32, of the orbit's views.
        faces: [S, V, 2, 3] float32, where the face of each orbit view is, see `face_transform`.
        shows_face: [S, V] bool, whether it was taken from in front and no landmark is hidden.
    """

    orbit: Bytes
    portraits: Bytes
    identity: Floats
    azimuth_deg: Floats
    elevation_deg: Floats
    orbit_azimuths_deg: Floats
    faces: Floats
    shows_face: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.orbit)


def load_orbits(dataset: HeadDataset, size_px: int, limit: int | None = None) -> Bytes:
    """The orbit views of a dataset on white, [S, V, size_px, size_px, 3] uint8."""
    ring = dataset.options.ring()
    loaded = (dataset.load(one, ring) for one in _chosen(dataset, limit))
    return np.stack([_orbit(one, size_px) for one in loaded])


def load_subjects(
    dataset: HeadDataset,
    size_px: int,
    embed: Callable[[Bytes, Floats], Floats],
    copies: int = 2,
    limit: int | None = None,
    mirrored: bool = False,
    without: tuple[str, ...] = (),
    seed: int = 0,
) -> Subjects:
    """Load orbits and make portraits of every random view and, twice, of the front view.

    They are framed as `Prepare` frames photos, upright and at one distance; what is left to learn
    is how a portrait's side and light differ from the views, not how it is tilted.

    Args:
        dataset: the digital humans.
        size_px: side of all images.
        embed: face embedding [512] of an RGB image and its five landmarks [5, 2] in pixels.
        copies: portraits made of each random view, each with its own camera errors.
        limit: sequences to load.
        mirrored: also load each sequence as a mirror shows it, a subject of its own.
        without: accessories whose wearers are left out.
        seed: of the camera errors.
    """
    rows = []
    views = [*dataset.options.ring(), *dataset.options.random()]
    for sequence in _chosen(dataset, limit):
        loaded = dataset.load(sequence, views)
        if loaded.labels["accessory"] in without:
            continue
        rng = np.random.default_rng((seed, int(sequence)))
        for one in (loaded, loaded.mirrored()) if mirrored else (loaded,):
            portraits = _portraits(one, size_px, embed, copies, rng)
            rows.append((_orbit(one, size_px), *portraits, *_faces(one)))
    orbit, images, identity, azimuth_deg, elevation_deg, faces, shows_face = (
        np.stack(column) for column in zip(*rows, strict=True)
    )
    return Subjects(
        orbit,
        images,
        identity,
        azimuth_deg,
        elevation_deg,
        dataset.options.azimuths_deg,
        faces,
        shows_face,
    )


def portraits_of(
    subjects: Subjects,
    who: npt.NDArray[np.int64],
    which: npt.NDArray[np.int64],
    size_px: int | None = None,
) -> Portraits:
    """The chosen portrait of each chosen subject, at the subjects' size unless told otherwise."""
    images = subjects.portraits[who, which]
    return Portraits(
        to_signed(resize(images, size_px or images.shape[1])),
        torch.from_numpy(subjects.identity[who, which]),
        torch.from_numpy(subjects.azimuth_deg[who, which]),
        torch.from_numpy(subjects.elevation_deg[who, which]),
    )


def encode_all(vae: Autoencoder, images: Bytes) -> Tensor:
    """Latents [S, V, C, h, w] of images [S, V, P, P, 3], one subject at a time."""
    with torch.no_grad():
        return torch.stack([encode(vae, to_signed(subject)).float() for subject in images])


def _chosen(dataset: HeadDataset, limit: int | None) -> list[int]:
    """The first sequences of the dataset's split.

    Raises:
        UsageError: there is none.
    """
    if not dataset.sequences:
        raise UsageError(
            f"{dataset.root.uri} lacks people to train on or to judge by; render 10 identities or "
            "more, every tenth is held out"
        )
    return dataset.sequences[:limit]


def _orbit(loaded: Sequence, size_px: int) -> Bytes:
    return resize(on_white(loaded.views[loaded.ring()]), size_px)


def _faces(loaded: Sequence) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Where the face of each orbit view is, and whether it can be seen."""
    ring = loaded.ring()
    size_px = loaded.views.shape[1]
    faces = np.stack([face_transform(points, size_px) for points in loaded.landmarks[ring]])
    in_front = azimuth_distance_deg(loaded.azimuth_deg[ring], 0) <= FRONT_DEG
    return faces, in_front & loaded.landmark_visible[ring].all(1)


def _portraits(
    loaded: Sequence,
    size_px: int,
    embed: Callable[[Bytes, Floats], Floats],
    copies: int,
    rng: np.random.Generator,
) -> tuple[Bytes, Floats, Floats, Floats]:
    front = loaded.ring()[0]
    chosen = [*np.flatnonzero(loaded.kind == "random"), front, front] * copies
    images, identities = [], []
    for index in chosen:
        framed, landmarks = frame_render(
            loaded.views[index], loaded.cameras.cam_to_world[index], loaded.landmarks[index]
        )
        photo = on_white(augment_portrait(framed, rng))
        identities.append(embed(photo, landmarks))
        images.append(photo)
    return (
        resize(np.stack(images), size_px),
        np.stack(identities),
        loaded.azimuth_deg[chosen],
        loaded.elevation_deg[chosen],
    )
