"""The options of ``headsplat train``; `jobs.train` has the parts."""

import json as json_module
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro


@dataclass(frozen=True, kw_only=True)
class TrainVerbOptions:
    """Train one part of a model on a dataset of digital humans; run it again and it goes on.

    Example: headsplat train lowres --data heads/ --out model/

    Attributes:
        part: which part; an unknown name lists them.
        data: folder or URI of a dataset of digital humans, see headsplat heads render.
        out: the model folder in the making: parts trained before are read from it, this one is
            added; checkpoints and logs go to its subfolder training.
        steps: optimiser steps; without it, the part's own number.
        minutes: upper bound on the training time.
        learning_rate: peak; without it, the part's own.
        start_from: model folder whose weights come first, for the diffusion stages.
        seed: of weights and batches.
        threads: torch threads; 0 leaves torch's choice.
        json: print the final evaluation as one JSON object.
    """

    part: tyro.conf.Positional[str]
    data: str
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    steps: int | None = None
    minutes: float | None = None
    learning_rate: float | None = None
    start_from: Path | None = None
    seed: int = 0
    threads: int = 0
    json: bool = False


def train(options: TrainVerbOptions) -> int:
    """Train the part and print its final evaluation.

    Raises:
        UsageError: there is no such part, or the options cannot be met.
    """
    from jobs.train import run

    scores = run(
        options.part,
        options.data,
        options.out,
        steps=options.steps,
        minutes=float("inf") if options.minutes is None else options.minutes,
        learning_rate=options.learning_rate,
        seed=options.seed,
        threads=options.threads,
        start_from=options.start_from,
    )
    if options.json:
        print(json_module.dumps(scores))
        return 0
    print("\n".join(f"  {name:<24}{value:10.4g}" for name, value in scores.items()))
    return 0
