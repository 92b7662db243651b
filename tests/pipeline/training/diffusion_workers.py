"""What the processes of test_diffusion_workers.py do; they import it by this name."""

import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import torch
import torch.distributed as dist
from test_diffusion import SIZE_PX, people
from tiny_diffusion import tiny_vae

from pipeline.training.diffusion import DiffusionNetworks, DiffusionPart
from pipeline.training.diffusion_presets import DiffusionConfig, PixelTerms
from pipeline.training.loop import TrainOptions, train
from pipeline.training.peers import Peers

OPTIONS = TrainOptions(
    steps=3, learning_rate=1e-3, warmup_steps=1, bf16=False, threads=1, checkpoint_minutes=0
)


class Kept(DiffusionPart):
    """Leaves its weights in ``model`` and dies, once, at the start of step ``dies_at``.

    It keeps the checkpoint of the second step of a run in ``copies_in``.
    """

    dies_at: int | None = None
    copies_in: Path | None = None

    def build_model(self) -> DiffusionNetworks:
        self.model = super().build_model()
        return self.model

    def batch(self, seed, step):
        if step == 2 and self.copies_in is not None:
            shutil.copy(self.copies_in / "checkpoint.pt", self.copies_in / "second.pt")
        if step == self.dies_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().batch(seed, step)


class Joined(Kept):
    """Sees in one process what two workers see."""

    def batch(self, seed, step):
        seeds = [Peers(rank, 2).seed(seed) for rank in (0, 1)]
        return [(one * 1_000_003 + step, super(Joined, self).batch(one, step)) for one in seeds]

    def loss(self, model, batch):
        losses = []
        for seed, half in batch:
            torch.manual_seed(seed)
            losses.append(super().loss(model, half)["loss"])
        return {"loss": torch.stack(losses).mean()}


def part(kind: type[Kept] = Kept) -> Kept:
    config = DiffusionConfig(
        size_px=SIZE_PX,
        channels=(32, 64),
        heads=(1, 2),
        batch_views=8,
        checkpointing=True,
        pixels=PixelTerms(views=2, sigma=1e3),
    )
    return kind(people(4), people(2), tiny_vae(), config)


def train_as_worker(rank: int, out: Path) -> None:
    """Be one of two processes that share a process group of torch."""
    dist.init_process_group("gloo", init_method=f"file://{out}.init", rank=rank, world_size=2)
    made = part()
    made.copies_in = out if rank == 0 else None
    train(made, out, OPTIONS)
    torch.save(made.model.state_dict(), out / f"worker{rank}.pt")
    train_sharded(out)
    dist.destroy_process_group()


def train_sharded(out: Path) -> None:
    """Go on from the second step of the plain run with sliced weights."""
    folder = out / "sharded"
    folder.mkdir(exist_ok=True)
    if Peers.here().rank == 0:
        shutil.copy(out / "second.pt", folder / "checkpoint.pt")
    dist.barrier()
    made = part()
    train(made, folder, replace(OPTIONS, sharded=True, checkpoint_minutes=9))
    weights = list(made.model.unet.mid_block.parameters())
    assert sum(one.to_local().numel() for one in weights) < 0.6 * sum(
        one.numel() for one in weights
    )


def train_until_killed(_: int, out: Path) -> None:
    """Train alone and be killed before the third step."""
    made = part()
    made.dies_at = 2
    train(made, out, OPTIONS)
