"""What can be had without a generative model: floors that any model has to beat.

Three guesses of a held-out head's orbit views. They see the training identities; two of them see
the subject's front view too.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Views = npt.NDArray[np.uint8]

NEAREST_IDENTITY = "nearest identity"
PORTRAIT_COPY = "portrait copy"
FLOORS = (NEAREST_IDENTITY, "mean image", PORTRAIT_COPY)
"""Names, in the order of the report."""


class Floors:
    """The floors of one training set at one image size.

    The set is read through once; only front views and one sum stay in memory.

    Args:
        load_views: the orbit views [V, H, W, 3] uint8 of the training identity of an index, front
            view first.
        identities: how many there are.

    Raises:
        ValueError: there is no training identity.
    """

    def __init__(self, load_views: Callable[[int], Views], identities: int) -> None:
        if identities < 1:
            raise ValueError("floors need at least one training identity, got none")
        self._load_views = load_views
        fronts = []
        total: npt.NDArray[np.int64] | int = 0
        for index in range(identities):
            views = load_views(index)
            fronts.append(views[0])
            total = total + views.astype(np.int64)
        self._fronts = np.stack(fronts)
        self.mean_image: Views = np.round(np.asarray(total) / identities).astype(np.uint8)

    def __len__(self) -> int:
        return len(self._fronts)

    def nearest_identity(self, front: Views) -> Views:
        """The views [V, H, W, 3] of the identity whose front view has the least squared error.

        Args:
            front: [H, W, 3] uint8, the subject's own front view (azimuth and elevation 0), even
                where the model saw another view: that favours the floor.
        """
        wanted = front.astype(np.int32)
        errors = [float(np.mean((candidate - wanted) ** 2)) for candidate in self._fronts]
        return self._load_views(int(np.argmin(errors)))

    def guesses(self, front: Views, portrait: Views) -> dict[str, Views]:
        """Every floor's views [V, H, W, 3] of one subject, keyed and ordered as `FLOORS`."""
        guessed = (
            self.nearest_identity(front),
            self.mean_image,
            portrait_copy(portrait, len(self.mean_image)),
        )
        return dict(zip(FLOORS, guessed, strict=True))


def portrait_copy(portrait: Views, views: int) -> Views:
    """The portrait [H, W, 3] uint8 in place of every view: the floor that needs no training set."""
    return np.repeat(portrait[None], views, 0)
