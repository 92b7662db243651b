"""The one training loop: a part says what to learn, the loop says how to get there.

Checkpoints hold the step, the weights, their moving average and the optimiser; a run that is
killed goes on from the last one. Batches are drawn from seed, step and the worker's rank, so a
resumed run sees the batches that an uninterrupted one would have seen; each is drawn in a thread
while the network learns from the one before. Where a process group is
set up, every process of it runs this loop: gradients and running statistics are averaged over
them, the first one keeps the time, evaluates and writes.
"""

import copy
import csv
import itertools
import os
import time
from collections.abc import Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn

from pipeline.errors import UsageError
from pipeline.images import Bytes
from pipeline.training.curves import write_curves, write_sheet
from pipeline.training.devices import to_device
from pipeline.training.options import TrainOptions
from pipeline.training.peers import Peers
from pipeline.training.sharding import Shardable, gathered, shard, slice_optimizer, sliced


class Part(Protocol):
    """What the loop needs to know of a network in training.

    ``model`` is always what ``build_model`` made, so each part annotates it with its own class.
    """

    def build_model(self) -> nn.Module:
        """Make the network with fresh weights; the loop has seeded torch."""

    def batch(self, seed: int, step: int) -> Any:
        """Draw the batch of a step, on the CPU; the same arguments give the same batch.

        It runs beside `loss` and must not use torch's global random numbers.
        """

    def loss(self, model: Any, batch: Any) -> Mapping[str, Tensor]:
        """Scalar terms to log; ``"loss"`` is the one that is minimised.

        Model and batch are on one device.
        """

    def evaluate(self, model: Any) -> Mapping[str, float]:
        """Measure the averaged weights, on whatever device they are, on held-out data."""

    def export(self, model: Any, out: Path) -> None:
        """Write the averaged weights, on the CPU, in the form that the model folder holds."""


@runtime_checkable
class ShowsPictures(Protocol):
    """A part whose progress can be looked at."""

    def sheet(self) -> Bytes:
        """A picture [H, W, 3] uint8 of what the last evaluation made, beside the truth."""


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
        out: folder for ``checkpoint.pt`` and ``log.csv``; one that all workers of the process
            group see.
        options: length, rates and seed.
        export_to: folder for the trained files; ``out`` if None.

    Returns:
        The last evaluation; empty on all workers but the first.

    Raises:
        UsageError: the workers do not share ``out``.
    """
    run = _Run(part, out, options)
    scores = run.finish()
    averaged = run.averaged()
    if averaged is not None:
        part.export(averaged.cpu().eval(), export_to or out)
    return scores


class _Run:
    def __init__(self, part: Part, out: Path, options: TrainOptions) -> None:
        self.part, self.out, self.options = part, out, options
        self.peers = Peers.here()
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        out.mkdir(parents=True, exist_ok=True)
        if options.threads:
            torch.set_num_threads(options.threads)
        torch.manual_seed(options.seed)
        self.model = part.build_model().to(self.device)
        self.average = torch.optim.swa_utils.AveragedModel(
            self.model, multi_avg_fn=_ema(options.ema_decay), use_buffers=True
        )
        self.sharded = options.sharded and self.peers.count > 1
        if self.sharded:
            self.whole = copy.deepcopy(self.model).cpu()
            for one in (self.model, self.average.module):
                shard(cast(Shardable, one), options.bf16)
        self.trained = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            self.trained,
            options.learning_rate,
            betas=options.betas,
            weight_decay=options.weight_decay,
        )
        self.step, self.elapsed_s, self.scores = 0, 0.0, dict[str, float]()
        self._resume()
        if self.peers.count > 1:
            self._start_together()

    def finish(self) -> dict[str, float]:
        """Train until the steps or minutes are used up, saving and evaluating on the way."""
        last_saved = last_evaluated = last_logged = self.elapsed_s
        last_tick = time.monotonic()
        batches = self._batches()
        while self.progress < 1:
            terms = self._advance(next(batches))
            now = time.monotonic()
            # all follow one clock, or they would stop at different steps and wait for ever
            spent_s = self.peers.told_by_first(now - last_tick, self.device)
            self.elapsed_s, last_tick = self.elapsed_s + spent_s, now
            if self.elapsed_s - last_logged > 15 or self.step == 1:
                self._log({name: value.item() for name, value in terms.items()})
                last_logged = self.elapsed_s
            if self.elapsed_s - last_evaluated > 60 * self.options.evaluate_minutes:
                self._evaluate()
                last_evaluated, last_tick = self.elapsed_s, time.monotonic()
            if self.elapsed_s - last_saved > 60 * self.options.checkpoint_minutes:
                self._save()
                last_saved = self.elapsed_s
        batches.close()
        self._save()
        self._evaluate()
        return self.scores

    def _batches(self) -> Generator[Any, None, None]:
        """The batches from this step on, each drawn while the one before is in use."""
        seed = self.peers.seed(self.options.seed)
        with ThreadPoolExecutor(1, thread_name_prefix="batches") as drawer:
            drawn = drawer.submit(self.part.batch, seed, self.step)
            for step in itertools.count(self.step + 1):
                batch = drawn.result()
                drawn = drawer.submit(self.part.batch, seed, step)
                yield batch

    @property
    def progress(self) -> float:
        by_time = self.elapsed_s / (60 * self.options.minutes)
        return max(self.step / self.options.steps, by_time)

    def _advance(self, batch: Any) -> Mapping[str, Tensor]:
        for group in self.optimizer.param_groups:
            group["lr"] = self.options.rate(self.step, self.progress)
        seed = self.peers.seed(self.options.seed)
        torch.manual_seed(seed * 1_000_003 + self.step)
        batch = to_device(batch, self.device)
        self.model.train()
        with autocast(self.options.bf16):
            terms = self.part.loss(self.model, batch)
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(terms["loss"])
        if not self.sharded:  # slices of gradients are averages already
            self.peers.average_gradients(self.trained)
        nn.utils.clip_grad_norm_(self.trained, self.options.clip_norm)
        self.optimizer.step()
        # batch norms saw other batches on each worker
        self.peers.average([one for one in self.model.buffers() if one.is_floating_point()])
        self.average.update_parameters(self.model)
        self.step += 1
        return terms

    def averaged(self) -> Any:
        """The averaged weights in a whole network for the first worker, None for the others."""
        if not self.sharded:
            return None if self.peers.rank else self.average.module
        state = gathered(self.average.module.state_dict(), self.peers.rank == 0)
        if self.peers.rank:
            return None
        self.whole.load_state_dict(state)
        return self.whole.to(self.device)

    def _evaluate(self) -> None:
        averaged = self.averaged()
        if averaged is None:
            return
        with torch.no_grad(), autocast(self.options.bf16):
            self.scores = dict(self.part.evaluate(averaged.eval()))
        self._log(self.scores)
        write_curves(self.out)
        if isinstance(self.part, ShowsPictures):
            write_sheet(self.out, self.step, self.part.sheet())

    def _log(self, values: dict[str, float]) -> None:
        if self.peers.rank:
            return
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
        if self.sharded:
            state = gathered(state, self.peers.rank == 0)
        if self.peers.rank:
            return
        torch.save(state, self.out / "checkpoint.tmp")
        os.replace(self.out / "checkpoint.tmp", self.out / "checkpoint.pt")

    def _resume(self) -> None:
        path = self.out / "checkpoint.pt"
        if not path.exists():
            return
        state = torch.load(path, map_location=self.device, weights_only=True)
        self.step, self.elapsed_s = state["step"], state["elapsed_s"]
        for name, one in (("model", self.model), ("average", self.average)):
            one.load_state_dict(sliced(state[name], one.state_dict()))
        self.optimizer.load_state_dict(state["optimizer"])
        slice_optimizer(self.optimizer)

    def _start_together(self) -> None:
        """Begin with the first worker's weights, which also shows that all see one folder."""
        self._save()
        step = self.peers.told_by_first(self.step, self.device)
        if self.peers.rank:
            self._resume()
        found = self.step == step and (self.out / "checkpoint.pt").exists()
        share = torch.tensor(float(found), device=self.device)
        self.peers.average([share])  # all of them stop, or the others would wait
        if share < 1:
            raise UsageError(
                f"{1 - float(share):.0%} of the workers do not find the checkpoint of step "
                f"{step:g} in {self.out}; the model folder must be one that all share"
            )


def _ema(decay: float) -> Any:
    """An average whose window grows with the run, so that early weights do not linger."""

    def update(averaged: list[Tensor], current: list[Tensor], count: Tensor) -> None:
        now = min(decay, (1 + float(count)) / (10 + float(count)))
        if averaged[0].is_floating_point():
            torch._foreach_lerp_(averaged, current, 1 - now)
        else:
            torch._foreach_copy_(averaged, current)

    return update
