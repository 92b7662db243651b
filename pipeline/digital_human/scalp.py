"""Where head hair grows."""

import numpy as np
import numpy.typing as npt

from pipeline.digital_human.identity import Identity
from pipeline.digital_human.kernels.mesh import noise

Array = npt.NDArray[np.float64]

AZIMUTHS_DEG = np.array([0, 18, 38, 52, 62, 72, 80, 92, 104, 118, 140, 165, 180], float)
HAIRLINE_DEG = np.array([40, 39.5, 36, 26, 12, -3, -3, 2, 4, -12, -27, -35, -37], float)
"""Elevation of the hairline about the skull's centre, by azimuth from the face's front."""


def scalp_cover(
    identity: Identity, azimuth_deg: Array, elevation_deg: Array, points: Array
) -> Array:
    """Hair density in [0, 1] at template points [N, 3] with given skull angles [N]."""
    rng = np.random.default_rng(identity.hair_seed + 5)
    male = identity.sex == "male"
    line = HAIRLINE_DEG.copy()
    line[:3] += rng.normal() * 2.5
    if male and identity.age_group != "child":
        line[6] = -12
    if male and identity.age > 0.5:
        years = min(1.0, (identity.age - 0.45) * 2.2)
        line[1:4] += np.array([2, 10, 8]) * years * rng.uniform(0.3, 1.2)
        line[0] += rng.uniform(0, 6)
    receding = identity.hair_style == "receding"
    if receding:
        line[:5] = [88, 88, 86, 60, 26]
    ragged = np.interp(azimuth_deg, AZIMUTHS_DEG, line)
    ragged += 2.0 * noise(points, 9, int(rng.integers(99)), 2)
    cover: Array = np.clip((elevation_deg - ragged) / 3.0 + 0.5, 0, 1)
    if receding:
        cover = cover * np.clip((8.25 - points[:, 1]) / 0.18 + 0.5, 0, 1)
    return cover
