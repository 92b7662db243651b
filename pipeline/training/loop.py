"""The one training loop: a part says what to learn, the loop says how to get there.

Checkpoints hold the step, the weights, their moving average and the optimiser; a run that is
killed goes on from the last one. Batches are drawn from ``(seed, step)``, so a resumed run sees
the batches that an uninterrupted one would have seen.
"""

import csv
import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn


class Part(Protocol):
    """What the loop needs to know of a network in training.

    ``model`` is always what ``build_model`` made, so each part annotates it with its own class.
    """

    def build_model(self) -> nn.Module:
        """Make the network with fresh weights; the loop has seeded torch."""

    def batch(self, seed: int, step: int) -> Any:
        """Draw the batch of a step; the same arguments give the same batch."""

    def loss(self, model: Any, batch: Any) -> Mapping[str, Tensor]:
        """Scalar terms to log; ``"loss"`` is the one that is minimised."""

    def evaluate(self, model: Any) -> Mapping[str, float]:
        """Measure the averaged weights on held-out data."""

    def export(self, model: Any, out: Path) -> None:
        """Write the averaged weights in the form that the model folder holds."""


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """How long and how fast a part is trained.

    Attributes:
        steps: optimiser steps; the learning rate falls to 1 % over them along a cosine.
        minutes: upper bound on the time spent over all resumed runs; the learning rate follows
            whichever of steps and minutes is further along.
        learning_rate: peak, after ``warmup_steps``.
        weight_decay: AdamW's.
        warmup_steps: steps of linear rise.
        ema_decay: of the averaged weights that are evaluated and exported.
        clip_norm: gradient norm limit.
        seed: of the weights and of every batch.
        checkpoint_minutes: time between checkpoints.
        evaluate_minutes: time between evaluations.
        threads: torch threads; 0 leaves torch's choice.
        bf16: autocast to bfloat16, several times faster where the CPU has AMX.
    """

    steps: int
    minutes: float = math.inf
    learning_rate: float = 4e-4
    weight_decay: float = 0.01
    warmup_steps: int = 100
    ema_decay: float = 0.999
    clip_norm: float = 1.0
    seed: int = 0
    checkpoint_minutes: float = 2.0
    evaluate_minutes: float = 10.0
    threads: int = 0
    bf16: bool = True


def autocast(enabled: bool = True) -> torch.autocast:
    """The mixed precision every part trains in, on the default device."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.autocast(device, torch.bfloat16, enabled=enabled)


def train(
    part: Part, out: Path, options: TrainOptions, export_to: Path | None = None
) -> dict[str, float]:
    """Train a part, resuming from ``out`` if a checkpoint is there, and export it.

    Args:
        part: what to train.
        out: folder for ``checkpoint.pt`` and ``log.csv``.
        options: length, rates and seed.
        export_to: folder for the trained files; ``out`` if None.

    Returns:
        The last evaluation.
    """
    run = _Run(part, out, options)
    scores = run.finish()
    part.export(run.average.module.eval(), export_to or out)
    return scores


class _Run:
    def __init__(self, part: Part, out: Path, options: TrainOptions) -> None:
        self.part, self.out, self.options = part, out, options
        out.mkdir(parents=True, exist_ok=True)
        if options.threads:
            torch.set_num_threads(options.threads)
        torch.manual_seed(options.seed)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self.model = part.build_model().to(device)
        self.average = torch.optim.swa_utils.AveragedModel(
            self.model, multi_avg_fn=_ema(options.ema_decay), use_buffers=True
        )
        trained = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            trained, options.learning_rate, betas=(0.9, 0.99), weight_decay=options.weight_decay
        )
        self.step, self.elapsed_s, self.scores = 0, 0.0, dict[str, float]()
        self._resume()

    def finish(self) -> dict[str, float]:
        """Train until the steps or minutes are used up, saving and evaluating on the way."""
        last_saved = last_evaluated = last_logged = self.elapsed_s
        last_tick = time.monotonic()
        while self.progress < 1:
            terms = self._advance()
            now = time.monotonic()
            self.elapsed_s, last_tick = self.elapsed_s + now - last_tick, now
            if self.elapsed_s - last_logged > 15 or self.step == 1:
                self._log({name: value.item() for name, value in terms.items()})
                last_logged = self.elapsed_s
            if self.elapsed_s - last_evaluated > 60 * self.options.evaluate_minutes:
                self._evaluate()
                last_evaluated, last_tick = self.elapsed_s, time.monotonic()
            if self.elapsed_s - last_saved > 60 * self.options.checkpoint_minutes:
                self._save()
                last_saved = self.elapsed_s
        self._save()
        self._evaluate()
        return self.scores

    @property
    def progress(self) -> float:
        by_time = self.elapsed_s / (60 * self.options.minutes)
        return max(self.step / self.options.steps, by_time)

    def _advance(self) -> Mapping[str, Tensor]:
        rate = 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(self.progress, 1)))
        rate *= min(1, (self.step + 1) / self.options.warmup_steps)
        for group in self.optimizer.param_groups:
            group["lr"] = self.options.learning_rate * rate
        torch.manual_seed(self.options.seed * 1_000_003 + self.step)
        batch = self.part.batch(self.options.seed, self.step)
        self.model.train()
        with autocast(self.options.bf16):
            terms = self.part.loss(self.model, batch)
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(terms["loss"])
        nn.utils.clip_grad_norm_(self.model.parameters(), self.options.clip_norm)
        self.optimizer.step()
        self.average.update_parameters(self.model)
        self.step += 1
        return terms

    def _evaluate(self) -> None:
        with torch.no_grad(), autocast(self.options.bf16):
            self.scores = dict(self.part.evaluate(self.average.module.eval()))
        self._log(self.scores)

    def _log(self, values: dict[str, float]) -> None:
        row = {"step": self.step, "minutes": round(self.elapsed_s / 60, 2), **values}
        print(" ".join(f"{k}={v:.4g}" for k, v in row.items()), flush=True)
        with (self.out / "log.csv").open("a", newline="") as file:
            writer = csv.writer(file)
            writer.writerows((row["step"], row["minutes"], k, v) for k, v in values.items())

    def _save(self) -> None:
        state = {
            "step": self.step,
            "elapsed_s": self.elapsed_s,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        torch.save(state, self.out / "checkpoint.tmp")
        os.replace(self.out / "checkpoint.tmp", self.out / "checkpoint.pt")

    def _resume(self) -> None:
        path = self.out / "checkpoint.pt"
        if not path.exists():
            return
        state = torch.load(path, weights_only=True)
        self.step, self.elapsed_s = state["step"], state["elapsed_s"]
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])


def _ema(decay: float) -> Any:
    """An average whose window grows with the run, so that early weights do not linger."""

    def update(averaged: list[Tensor], current: list[Tensor], count: Tensor) -> None:
        now = min(decay, (1 + float(count)) / (10 + float(count)))
        if averaged[0].is_floating_point():
            torch._foreach_lerp_(averaged, current, 1 - now)
        else:
            torch._foreach_copy_(averaged, current)

    return update
