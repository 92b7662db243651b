"""The workers of a data-parallel run, each with a copy of the network and batches of its own.

Whoever starts several workers sets up torch's default process group first. Gradients are averaged
by hand instead of by ``DistributedDataParallel``: parts call submodules of what they train
(``model.embedder``, ``model.unet``), which its wrapper hides and whose gradients it would miss.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
import torch.distributed as dist
from torch import Tensor, device, nn

_SEEDS_APART = 1_000_000_007


@dataclass(frozen=True)
class Peers:
    """This worker among all.

    Attributes:
        rank: 0 to ``count - 1``; 0 writes files and keeps the time.
        count: 1 without a process group: nothing here then does anything.
    """

    rank: int = 0
    count: int = 1

    @classmethod
    def here(cls) -> Self:
        """The worker that this process is."""
        if not (dist.is_available() and dist.is_initialized()):
            return cls()
        return cls(dist.get_rank(), dist.get_world_size())

    def seed(self, seed: int) -> int:
        """The seed of this worker's batches; that of rank 0 is the run's own."""
        return seed + self.rank * _SEEDS_APART

    def average_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Replace every gradient by its mean over the workers.

        A parameter that a batch left without one counts as zero, so that all workers step alike.
        """
        if self.count > 1:
            for one in parameters:
                one.grad = torch.zeros_like(one) if one.grad is None else one.grad
            self.average([one.grad for one in parameters if one.grad is not None])

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace float tensors by their means over the workers, the same bytes on each."""
        if self.count > 1 and tensors:
            pending = [dist.all_reduce(one, async_op=True) for one in tensors]
            for work in pending:
                work.wait()
            torch._foreach_div_(list(tensors), self.count)

    def told_by_first(self, value: float, where: device) -> float:
        """The value that rank 0 has; all wait until it has come."""
        if self.count == 1:
            return value
        told = torch.tensor(value, dtype=torch.float64, device=where)
        dist.broadcast(told, 0)
        return told.item()
