"""How long and how fast a part is trained."""

import math
from dataclasses import dataclass

_FIRST_SHARE, _LAST_SHARE = 1 / 25, 1 / 25e4
"""Of the peak, where torch's ``OneCycleLR`` starts and ends."""


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """How long and how fast a part is trained.

    Attributes:
        steps: optimiser steps.
        minutes: upper bound on the time spent over all resumed runs; the learning rate follows
            whichever of steps and minutes is further along.
        learning_rate: peak, after ``warmup_steps``.
        last_share: of the peak, where the learning rate ends.
        one_cycle: the learning rate's course. False: it rises along a line and falls along a cosine
            that begins with the run. True: torch's ``OneCycleLR`` as LGM uses it, which
            rises from 4 % along one cosine and falls to almost nothing along another.
        betas: AdamW's.
        weight_decay: AdamW's.
        warmup_steps: steps of the rise.
        ema_decay: of the averaged weights that are evaluated and exported.
        clip_norm: gradient norm limit.
        seed: of the weights and of every batch.
        checkpoint_minutes: time between checkpoints.
        evaluate_minutes: time between evaluations.
        threads: torch threads; 0 leaves torch's choice.
        sharded: where there are several workers, each holds a slice of weights and optimiser
            instead of a copy, see `pipeline.training.sharding`; for networks that have blocks.
        bf16: autocast to bfloat16, several times faster where the CPU has AMX.
    """

    steps: int
    minutes: float = math.inf
    learning_rate: float = 4e-4
    last_share: float = 0.01
    one_cycle: bool = False
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.01
    warmup_steps: int = 100
    ema_decay: float = 0.999
    clip_norm: float = 1.0
    seed: int = 0
    checkpoint_minutes: float = 2.0
    evaluate_minutes: float = 10.0
    threads: int = 0
    sharded: bool = False
    bf16: bool = True

    def rate(self, step: int, progress: float) -> float:
        """The learning rate of a step.

        Args:
            step: from 0.
            progress: share of the run that is over, 0 to 1.
        """
        if self.one_cycle:
            return self.learning_rate * self._one_cycle(step, progress)
        fall = self.last_share + (1 - self.last_share) * _cosine(progress)
        return self.learning_rate * fall * min(1, (step + 1) / self.warmup_steps)

    def _one_cycle(self, step: int, progress: float) -> float:
        last = max(self.steps - 1, 1)
        top = min(self.warmup_steps - 1, last)
        rise = _FIRST_SHARE + (1 - _FIRST_SHARE) * (1 - _cosine(step / max(top, 1)))
        # by the steps, or by the time where less of that is left
        over = max((step - top) / max(last - top, 1), progress if progress > step / last else 0)
        return rise * (_LAST_SHARE + (1 - _LAST_SHARE) * _cosine(over))


def _cosine(share: float) -> float:
    """Half a cosine from 1 down to 0."""
    return 0.5 * (1 + math.cos(math.pi * min(max(share, 0), 1)))
