"""Training pictures that are used several times: drawing one costs more than learning from it."""

from collections.abc import Callable
from typing import Generic, TypeVar

import numpy as np

Drawn = TypeVar("Drawn")


class Replays(Generic[Drawn]):
    """Pictures by number, of which a step gets some new ones and some of earlier steps.

    What a step gets depends on nothing but seed and step; remembering only saves time.

    Args:
        draw: makes a picture from a random generator.
        ago: how many steps later a picture comes again, and again.
    """

    def __init__(self, draw: Callable[[np.random.Generator], Drawn], ago: tuple[int, ...]) -> None:
        self._draw, self._ago = draw, ago
        self._recent: dict[tuple[int, int], Drawn] = {}

    def of_step(self, seed: int, step: int, count: int) -> tuple[list[Drawn], list[Drawn]]:
        """New pictures and replayed ones, ``count`` in all."""
        fresh = -(-count // (1 + len(self._ago)))
        new = [self._numbered(seed, step * fresh + i, fresh) for i in range(fresh)]
        again = [
            self._numbered(seed, (step - ago) * fresh + i, fresh)
            for ago in self._ago
            for i in range(fresh)
        ]
        return new, again[: count - fresh]

    def _numbered(self, seed: int, number: int, fresh: int) -> Drawn:
        key = (seed, number)
        if key not in self._recent:
            rng = np.random.default_rng((seed, 1, number + 2**40))
            self._recent[key] = self._draw(rng)
            if len(self._recent) > fresh * (1 + max(self._ago, default=0)):
                self._recent.pop(next(iter(self._recent)))
        return self._recent[key]
