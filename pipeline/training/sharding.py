"""Networks too large for each GPU to hold with its optimiser: torch's fully sharded data parallel.

Every worker keeps a slice of each weight, of its gradient, of its optimiser state and of its moving
average. The blocks of a network are gathered one by one as they compute. Checkpoints hold whole
tensors, so that a run goes on with another number of workers, sharded or not.
"""

import copy
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.utils._pytree import tree_map


class Shardable(Protocol):
    """A network that knows what to gather at a time."""

    def blocks(self) -> list[nn.Module]:
        """Modules that are called one after the other, inner ones before those that hold them."""


def shard(network: Shardable, bf16: bool) -> None:
    """Replace the network's weights by this worker's slices of them.

    Args:
        network: the same on each worker.
        bf16: gather the weights in bfloat16; slices, gradients and their sums stay in float32.
    """
    policy = MixedPrecisionPolicy(
        param_dtype=torch.bfloat16 if bf16 else None,
        reduce_dtype=torch.float32,
        cast_forward_inputs=False,  # angles of 337.5 degrees would become 338
    )
    for block in network.blocks():
        fully_shard(block, mp_policy=policy)


def gathered(state: Any, keep: bool) -> Any:
    """A state with whole tensors on the CPU instead of slices; every worker must take part.

    Args:
        state: nested containers.
        keep: False leaves None in their place, for workers that only take part.
    """

    def whole(value: Any) -> Any:
        if not isinstance(value, DTensor):
            return value
        found = value.full_tensor()
        return found.cpu() if keep else None

    return tree_map(whole, state)


def sliced(state: dict[str, Any], like: dict[str, Any]) -> dict[str, Any]:
    """The state with slices where ``like`` has them; nothing is sent."""
    found = copy.copy(state)  # and with it the versions of its modules, which is no item
    found.update({name: _slice(value, like[name]) for name, value in state.items()})
    return found


def slice_optimizer(optimizer: torch.optim.Optimizer) -> None:
    """Slice what an optimiser has loaded as its parameters are sliced."""
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                state[name] = _slice(value, parameter)


def _slice(value: Any, like: Any) -> Any:
    if not isinstance(like, DTensor) or isinstance(value, DTensor):
        return value
    whole = value.to(like.device)
    return distribute_tensor(whole, like.device_mesh, like.placements, src_data_rank=None)
