"""The surface of the mean face, in the frame that portraits are brought to.

Its eyes, nose and mouth are where `pipeline.portrait.pose` has the mean landmarks. Portraits are
framed as the training cameras saw heads, so one that is laid onto it has its eyes about on the
eyes.
"""

from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file, save_file

SHIPPED = Path(__file__).with_suffix(".safetensors")
"""The digital humans' mean face, made by ``headsplat heads average``."""


@dataclass(frozen=True)
class MeanFace:
    """Points on a face, in the canonical frame.

    Attributes:
        points: [N, 3] float32, world units.
        normals: [N, 3] float32 unit vectors, outwards.
        spacings: [N] float32, mean distance of neighbours on the surface, world units.
    """

    points: npt.NDArray[np.float32]
    normals: npt.NDArray[np.float32]
    spacings: npt.NDArray[np.float32]

    @classmethod
    def load(cls, file: Path) -> Self:
        """Read what `save` wrote."""
        return cls(**load_file(file))

    def save(self, file: Path) -> None:
        """Write a safetensors file."""
        save_file(asdict(self), file)


@cache
def mean_face() -> MeanFace:
    """The one that ships with headsplat."""
    return MeanFace.load(SHIPPED)
