"""From the sequences of a dataset to columns of `Examples`: orbits, and portraits of the views."""

from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipeline.cameras import azimuth_distance_deg
from pipeline.diffusion.latents import Autoencoder, encode
from pipeline.digital_human.dataset import HeadDataset, Sequence
from pipeline.digital_human.photo import augment_portrait
from pipeline.images import Bytes, resize, to_signed
from pipeline.portrait.alpha import on_white
from pipeline.portrait.framing import frame_render
from pipeline.training.examples import Columns, Floats
from pipeline.training.heads import FRONT_DEG
from pipeline.training.identity_loss import face_transform

Embed = Callable[[Bytes, Floats], Floats]
Row = dict[str, npt.ArrayLike]
_SEED = 0
"""Of the camera errors."""


def load_orbits(dataset: HeadDataset, places: range, size_px: int) -> Columns:
    """The column ``orbit`` of the sequences at these places of the dataset's split."""
    ring = dataset.options.ring()
    orbits = (dataset.load(dataset.sequences[place], ring) for place in places)
    return _columns({"orbit": _orbit(one, size_px)} for one in orbits)


def load_subjects(
    dataset: HeadDataset,
    places: range,
    size_px: int,
    embed: Embed,
    copies: int = 2,
    mirrored: bool = False,
    without: tuple[str, ...] = (),
) -> Columns:
    """Load orbits and make portraits of every random view and, twice, of the front view.

    They are framed as `Prepare` frames photos, upright and at one distance; what is left to learn
    is how a portrait's side and light differ from the views, not how it is tilted.

    Args:
        dataset: the digital humans.
        places: of the sequences in the dataset's split.
        size_px: side of all images.
        embed: face embedding [512] of an RGB image and its five landmarks [5, 2] in pixels.
        copies: portraits made of each random view, each with its own camera errors.
        mirrored: also load each sequence as a mirror shows it, a person of its own.
        without: accessories whose wearers are left out.

    Returns:
        All columns of `Examples` that need no other network; none if everybody is left out.
    """
    rows = []
    views = [*dataset.options.ring(), *dataset.options.random()]
    for place in places:
        loaded = dataset.load(dataset.sequences[place], views)
        if loaded.labels["accessory"] in without:
            continue
        rng = np.random.default_rng((_SEED, dataset.sequences[place]))
        people = (loaded, loaded.mirrored()) if mirrored else (loaded,)
        for turn, one in enumerate(people):
            known: Row = {"number": place * len(people) + turn, "orbit": _orbit(one, size_px)}
            rows.append(known | _faces(one) | _portraits(one, size_px, embed, copies, rng))
    return _columns(rows)


def encode_all(vae: Autoencoder, images: Bytes) -> Tensor:
    """Latents [S, V, C, h, w] of images [S, V, P, P, 3], one subject at a time."""
    with torch.no_grad():
        encoded = [encode(vae, to_signed(subject).to(vae.device)) for subject in images]
    return torch.stack(encoded).float().cpu().contiguous()  # not channels last


def _columns(rows: Iterable[Row]) -> Columns:
    people = list(rows)
    names = people[0] if people else ()
    return {name: torch.from_numpy(np.stack([one[name] for one in people])) for name in names}


def _orbit(loaded: Sequence, size_px: int) -> Bytes:
    return resize(on_white(loaded.views[loaded.ring()]), size_px)


def _faces(loaded: Sequence) -> Row:
    """Where the face of each orbit view is, and whether it can be seen."""
    ring = loaded.ring()
    size_px = loaded.views.shape[1]
    faces = np.stack([face_transform(points, size_px) for points in loaded.landmarks[ring]])
    in_front = azimuth_distance_deg(loaded.azimuth_deg[ring], 0) <= FRONT_DEG
    return {"faces": faces, "shows_face": in_front & loaded.landmark_visible[ring].all(1)}


def _portraits(
    loaded: Sequence, size_px: int, embed: Embed, copies: int, rng: np.random.Generator
) -> Row:
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
    return {
        "portraits": resize(np.stack(images), size_px),
        "identity": np.stack(identities),
        "azimuth_deg": loaded.azimuth_deg[chosen],
        "elevation_deg": loaded.elevation_deg[chosen],
    }
