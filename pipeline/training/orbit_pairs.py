"""A torch ``Dataset`` of condition and target: one portrait-like view, and a whole orbit."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from pipeline.cameras import azimuth_distance_deg
from pipeline.digital_human.dataset import HeadDataset
from pipeline.digital_human.sequence import MAX_AZIMUTH_DEG
from pipeline.errors import UsageError
from pipeline.images import resize
from pipeline.portrait.alpha import premultiply, straight


class OrbitPair(NamedTuple):
    """One head; a batch of pairs has a leading B in every field.

    Attributes:
        condition: [4, P, P] uint8 straight RGBA, seen from anywhere in front.
        condition_cam_to_world: [4, 4] float32.
        condition_angles_deg: [2] float32 azimuth in (-180, 180] and elevation.
        orbit: [V, 4, P, P] uint8 straight RGBA, in azimuth order from the front.
        orbit_cam_to_world: [V, 4, 4] float32.
        orbit_azimuths_deg: [V] float32 in [0, 360).
        fov_y_deg: [] float32, of all cameras.
        identity_id, sequence_id: [] int64.
    """

    condition: Tensor
    condition_cam_to_world: Tensor
    condition_angles_deg: Tensor
    orbit: Tensor
    orbit_cam_to_world: Tensor
    orbit_azimuths_deg: Tensor
    fov_y_deg: Tensor
    identity_id: Tensor
    sequence_id: Tensor


class OrbitPairs(Dataset[OrbitPair]):
    """Pairs for training a diffusion stage; only the views of an item are decoded.

    Item k is decided by k and the seed alone, whichever worker loads it. Where the dataset lies
    in an object store, give the DataLoader ``multiprocessing_context="spawn"``: its clients do not
    survive a fork.

    Args:
        address: of the dataset.
        split: ``train``, ``test`` or ``all``.
        elevation_deg: of the ring that is the target.
        size_px: side of the images; None keeps the dataset's.
        draws: items per sequence, each with its own condition view.
        seed: of the condition views.

    Raises:
        UsageError: the split is empty, or no view shows a head from the front.
        UnreadableSource: there is no dataset, or no such ring in it.
    """

    def __init__(
        self,
        address: str,
        split: str = "train",
        *,
        elevation_deg: float = 0.0,
        size_px: int | None = None,
        draws: int = 1,
        seed: int = 0,
    ) -> None:
        self.heads = HeadDataset(address, split)
        self.size_px = size_px or self.heads.options.size_px
        self.draws, self.seed = draws, seed
        self._ring = self.heads.options.ring(elevation_deg)
        self._conditions = _frontal_views(self.heads)
        if not len(self.heads) or not self._conditions:
            lacks = "views of the front" if len(self.heads) else "sequences"
            raise UsageError(f"the {split} split of {address} has no {lacks}; render some first")

    def __len__(self) -> int:
        return len(self.heads) * self.draws

    def __getitem__(self, index: int) -> OrbitPair:
        if not 0 <= index < len(self):  # the old iteration protocol ends on this
            raise IndexError(f"pair {index} is outside 0 to {len(self) - 1}")
        which, draw = divmod(index, self.draws)
        sequence_id = self.heads.sequences[which]
        rng = np.random.default_rng((self.seed, sequence_id, draw))
        chosen = self._conditions[int(rng.integers(len(self._conditions)))]
        loaded = self.heads.load(sequence_id, [chosen, *self._ring])
        images = _resized(loaded.views, self.size_px)
        poses = torch.from_numpy(loaded.cameras.cam_to_world)
        azimuth = (float(loaded.azimuth_deg[0]) + 180) % 360 - 180
        return OrbitPair(
            condition=images[0],
            condition_cam_to_world=poses[0],
            condition_angles_deg=torch.tensor([azimuth, float(loaded.elevation_deg[0])]),
            orbit=images[1:],
            orbit_cam_to_world=poses[1:],
            orbit_azimuths_deg=torch.from_numpy(loaded.azimuth_deg[1:]),
            fov_y_deg=torch.tensor(loaded.cameras.fov_y_deg),
            identity_id=torch.tensor(loaded.identity_id),
            sequence_id=torch.tensor(sequence_id),
        )


def _frontal_views(heads: HeadDataset) -> list[int]:
    """The random views, and those of all rings that are as far in front."""
    options = heads.options
    frontal = azimuth_distance_deg(options.azimuths_deg, 0) <= MAX_AZIMUTH_DEG
    on_rings = np.flatnonzero(np.tile(frontal, len(options.elevations_deg)))
    return [*on_rings.tolist(), *options.random()]


def _resized(views: np.ndarray, size_px: int) -> Tensor:
    """[V, 4, P, P] of views [V, H, W, 4]; averaged premultiplied, so no dark edges come in."""
    if views.shape[1] != size_px:
        views = straight(resize(premultiply(views), size_px))
    return torch.from_numpy(views).permute(0, 3, 1, 2).contiguous()
