"""What an import consists of: components that are checked already and only need writing."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.published.checkpoint_files import State


@dataclass(frozen=True, kw_only=True)
class Part:
    """One component of a model folder, from published files.

    Attributes:
        component: its subfolder.
        origin: whose weights these are, a key of `policy.ORIGINS`.
        files: what it comes from, by its name in the source.
        write: puts it into a new folder.
        facts: what its user may want to know.
        tensors: digest of its numbers, where several files bring the same component; see
            `tensors_digest`.
    """

    component: str
    origin: str
    files: dict[str, Path]
    write: Callable[[Path], None]
    facts: dict[str, Any] = field(default_factory=dict)
    tensors: str | None = None


def tensors_digest(state: State) -> str:
    """A digest of named tensors that is the same in half precision and in float32, 64 hex digits.

    Names and numbers count, the latter as float16: trainers keep one copy in each type.
    """
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(name.encode())
        digest.update(_bytes(state[name]))
    return digest.hexdigest()


def network_facts(network: nn.Module) -> dict[str, Any]:
    """Size and type of a network."""
    dtypes = {str(one.dtype).removeprefix("torch.") for one in network.parameters()}
    return {
        "parameters": sum(one.numel() for one in network.parameters()),
        "dtype": " and ".join(sorted(dtypes)),
    }


def _bytes(tensor: Tensor) -> bytes:
    numbers = tensor.to(torch.float16) if tensor.is_floating_point() else tensor
    return numbers.contiguous().numpy().tobytes()
