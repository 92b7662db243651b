"""What the workers of tests/jobs/test_train_workers.py do: train a real, small Gaussian network."""

import os
import signal
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.distributed as dist
from tiny_gaussians import small_part

from pipeline.training.gaussians import Batch, GaussianPart
from pipeline.training.loop import TrainOptions, train
from pipeline.training.peers import Peers

OPTIONS = TrainOptions(
    steps=4, learning_rate=1e-3, warmup_steps=1, bf16=False, threads=1, checkpoint_minutes=0
)


@dataclass(frozen=True)
class Work:
    """Train in ``out``, and leave each worker's weights there.

    The second worker dies at the start of step ``dies_at``, once.
    """

    data: Path
    out: Path
    dies_at: int | None = None

    def __call__(self) -> dict[str, float]:
        part = small_part(self.data, _Watched)
        part.work = self
        scores = train(part, self.out, OPTIONS)
        rank = dist.get_rank() if dist.is_initialized() else 0
        torch.save(part.model.state_dict(), self.out / f"worker{rank}.pt")
        return scores


class _Watched(GaussianPart):
    def build_model(self):
        self.model = super().build_model()
        return self.model

    def batch(self, seed, step):
        marker = self.work.out / "died"
        if step == self.work.dies_at and Peers.here().rank == 1 and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().batch(seed, step)


class Joined(GaussianPart):
    """Sees in one process what two workers see."""

    def build_model(self):
        self.model = super().build_model()
        return self.model

    def batch(self, seed, step):
        parts = [super(Joined, self).batch(Peers(rank, 2).seed(seed), step) for rank in (0, 1)]
        joined = {
            name: torch.cat([getattr(one, name) for one in parts])
            for name in ("inputs", "targets", "faces", "shows_face")
        }
        return Batch(**joined, cameras=parts[0].cameras + parts[1].cameras)


def train_joined(data: Path, out: Path, steps: int) -> dict[str, torch.Tensor]:
    part = small_part(data, Joined)
    train(part, out, replace(OPTIONS, steps=steps))
    return part.model.state_dict()
