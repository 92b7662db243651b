"""What all sequences of a dataset have in common, and the order of their views."""

from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from pipeline.cameras import ORBIT_VIEWS, RELEASE_AZIMUTHS_DEG, orbit_azimuths_deg
from pipeline.digital_human.looks import LOOKS
from pipeline.errors import UnreadableSource, UsageError

AZIMUTHS = ("even", "release")
PAPER_ELEVATIONS_DEG = (-10.0, 0.0, 10.0, 20.0, 30.0, 40.0)
IDENTITIES_PER_SEED = 1_000_000
MAX_SAMPLES = 8
SAME_ANGLE_DEG = 0.01
"""Angles closer than this name the same ring or view."""


@dataclass(frozen=True, kw_only=True)
class DatasetOptions:
    """How the heads of a dataset are rendered; the defaults are the paper's grid.

    A sequence is one person in one appearance. Its views are the grid, ring by ring in the order
    of ``elevations_deg`` and from the face's front towards its left, and then the random ones.

    Attributes:
        size_px: side of the square images, 16 to 1024.
        samples: supersampling per side, 1 to 8.
        appearances: sequences per identity.
        elevations_deg: a ring of views at each, in (-90, 90), distinct; may be empty.
        azimuths: ``even``, or ``release`` for the uneven ones of the authors' release.
        views_per_ring: 16 for ``release``.
        random_views: views at random cameras in front, as photos are taken.
        seed: another seed gives other people.
        ground_truth: also store depth, normals and parts.
        look: one of `looks.LOOKS`.

    Raises:
        UsageError: a value is out of range, or two contradict.
    """

    size_px: int = 256
    samples: int = 3
    appearances: int = 10
    elevations_deg: tuple[float, ...] = PAPER_ELEVATIONS_DEG
    azimuths: str = "even"
    views_per_ring: int = ORBIT_VIEWS
    random_views: int = 0
    seed: int = 0
    ground_truth: bool = False
    look: str = "natural"

    def __post_init__(self) -> None:
        for name, low, high in (
            ("size_px", 16, 1024),
            ("samples", 1, MAX_SAMPLES),
            ("appearances", 1, 1_000),
            ("views_per_ring", 1, 720),
            ("random_views", 0, 10_000),
            ("seed", 0, 1_000_000),
        ):
            if not low <= getattr(self, name) <= high:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be {low} to {high}")
        if self.look not in LOOKS:
            raise UsageError(f"look {self.look!r} is none of {', '.join(LOOKS)}")
        self._check_grid()

    def _check_grid(self) -> None:
        for elevation in self.elevations_deg:
            if not -90 < elevation < 90:
                raise UsageError(
                    f"elevation {elevation:g} is outside -90 to 90 degrees; choose one within"
                )
        rounded = {round(elevation / SAME_ANGLE_DEG) for elevation in self.elevations_deg}
        if len(rounded) < len(self.elevations_deg):
            raise UsageError(f"elevations {_listed(self.elevations_deg)} repeat; give each once")
        if self.azimuths not in AZIMUTHS:
            raise UsageError(f"azimuths {self.azimuths!r} is none of {', '.join(AZIMUTHS)}")
        if self.azimuths == "release" and self.views_per_ring != len(RELEASE_AZIMUTHS_DEG):
            raise UsageError(
                f"the release's azimuths are {len(RELEASE_AZIMUTHS_DEG)} a ring, not "
                f"{self.views_per_ring}; give that number of views per ring, or even azimuths"
            )
        if not self.views:
            raise UsageError("there are no views: give elevations, random views or both")

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Undo `to_json`.

        Raises:
            TypeError: a field is missing or unknown.
            UsageError: a value is out of range.
        """
        return cls(**{**values, "elevations_deg": tuple(values["elevations_deg"])})

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return {**asdict(self), "elevations_deg": [float(e) for e in self.elevations_deg]}

    @property
    def azimuths_deg(self) -> npt.NDArray[np.float32]:
        """The azimuths of each ring, [views_per_ring] float32 in [0, 360), ascending from 0."""
        if self.azimuths == "release":
            return np.array(RELEASE_AZIMUTHS_DEG, np.float32)
        return orbit_azimuths_deg(self.views_per_ring)

    @property
    def grid_views(self) -> int:
        """Views of a sequence that lie on the rings."""
        return len(self.elevations_deg) * self.views_per_ring

    @property
    def views(self) -> int:
        """All views of a sequence."""
        return self.grid_views + self.random_views

    def ring(self, elevation_deg: float = 0.0) -> list[int]:
        """Numbers of the views in the ring at this elevation, in azimuth order.

        Raises:
            UnreadableSource: there is no such ring.
        """
        for place, elevation in enumerate(self.elevations_deg):
            if abs(elevation - elevation_deg) < SAME_ANGLE_DEG:
                first = place * self.views_per_ring
                return list(range(first, first + self.views_per_ring))
        raise no_ring(elevation_deg, self.elevations_deg)

    @property
    def level_deg(self) -> float | None:
        """Elevation of the ring that is nearest to the height of the face; None without rings."""
        return min(self.elevations_deg, key=abs, default=None)

    @property
    def front(self) -> int:
        """Number of the view that looks straightest into the face; a random one without rings."""
        return 0 if self.level_deg is None else self.ring(self.level_deg)[0]

    def random(self) -> list[int]:
        """Numbers of the views at random cameras."""
        return list(range(self.grid_views, self.views))

    def identity_of(self, sequence_id: int) -> int:
        """The identity that a sequence shows."""
        return sequence_id // self.appearances

    def appearance_of(self, sequence_id: int) -> int:
        """The appearance number within the identity."""
        return sequence_id % self.appearances

    def identity_seed(self, identity_id: int) -> int:
        """What `sample_identity` makes the identity of; different seeds never share a person."""
        return self.seed * IDENTITIES_PER_SEED + identity_id


def no_ring(elevation_deg: float, elevations_deg: npt.ArrayLike) -> UnreadableSource:
    """The error for a ring that is not there; it names those that are."""
    there = np.unique(np.asarray(elevations_deg, np.float64).round(2))
    rings = f"rings are at {_listed(there)} degrees" if len(there) else "there are no rings"
    return UnreadableSource(
        f"the dataset has no ring of views at elevation {elevation_deg:g}: {rings}; render one "
        f"with --elevations {elevation_deg:g}"
    )


def _listed(angles: npt.ArrayLike) -> str:
    return ", ".join(f"{angle:g}" for angle in np.asarray(angles).tolist())
