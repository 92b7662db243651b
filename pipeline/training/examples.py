"""Digital humans as the trainers learn from them, in shards of which only what is drawn is read."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipeline.diffusion.pipeline import Portraits
from pipeline.errors import UsageError
from pipeline.images import resize, to_signed

Columns: TypeAlias = dict[str, Tensor]
Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]


class Examples:
    """S people, numbered from 0, in shards of columns that lie in memory or in mapped files.

    Which columns there are is a matter of the `ExampleSource`. Each has a row a person; an orbit
    has V views, P is the side of all images and [C, h, w] the shape of a latent:

    ``orbit`` [V, P, P, 3] uint8, the orbit's views on white;
    ``portraits`` [K, P, P, 3] uint8, views as a camera would have taken them, on white;
    ``identity`` [K, 512] float32, face embeddings of the portraits;
    ``azimuth_deg``, ``elevation_deg`` [K] float32, of the portraits;
    ``faces`` [V, 2, 3] float32, where the face of each orbit view is, see `face_transform`;
    ``shows_face`` [V] bool, whether it was taken from in front and no landmark is hidden;
    ``number`` [] int64, the place in the dataset, which seeds what is drawn for the person;
    ``view_latents`` [V, C, h, w] and ``portrait_latents`` [K, C, h, w] float32, scaled;
    ``lowres_latents`` [L * V, C, h, w] float32, of L kinds of low-resolution orbits, enlarged;
    ``lowres`` [V, P, P, 3] uint8, the last of these kinds as images.

    Args:
        shards: the columns of some people each; one without columns has nobody in it.
        orbit_azimuths_deg: [V] float32, of the orbit's views.

    Raises:
        UsageError: there is nobody in any shard.
    """

    def __init__(self, shards: Sequence[Mapping[str, Tensor]], orbit_azimuths_deg: Floats) -> None:
        self._shards = [one for one in shards if one]
        if not self._shards:
            raise UsageError("everybody is left out of the training data; render more identities")
        self._ends = np.cumsum([len(next(iter(one.values()))) for one in self._shards])
        self.orbit_azimuths_deg = orbit_azimuths_deg

    def __len__(self) -> int:
        return int(self._ends[-1])

    def shape(self, column: str) -> tuple[int, ...]:
        """What a person has in a column."""
        return tuple(self._shards[0][column].shape[1:])

    def pick(self, column: str, who: npt.ArrayLike, which: npt.ArrayLike | None = None) -> Tensor:
        """Copy some people's part of a column into memory.

        Args:
            column: its name.
            who: [B] the people.
            which: [B] or [B, F] places in the first axis of what each has; None takes all.

        Returns:
            [B, ...] or [B, F, ...].
        """
        rows = [self._row(column, int(one)) for one in np.asarray(who)]
        if which is not None:
            places = torch.as_tensor(which)
            rows = [row[one] for row, one in zip(rows, places, strict=True)]
        return torch.stack(rows)

    def _row(self, column: str, person: int) -> Tensor:
        shard = int(np.searchsorted(self._ends, person, side="right"))
        return self._shards[shard][column][person - int(self._ends[shard])]


def portraits_of(
    people: Examples, who: Indices, which: Indices, size_px: int | None = None
) -> Portraits:
    """The chosen portrait of each chosen person, at the examples' size unless told otherwise."""
    images = people.pick("portraits", who, which).numpy()
    return Portraits(
        to_signed(resize(images, size_px or images.shape[1])),
        people.pick("identity", who, which),
        people.pick("azimuth_deg", who, which),
        people.pick("elevation_deg", who, which),
    )
