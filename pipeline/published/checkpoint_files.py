"""Published checkpoints: opened without running anything in them, and each tensor accounted for.

The tensors stay in the file's pages until they are written elsewhere, so that a checkpoint of ten
gigabytes can be converted in a fraction of that memory.
"""

import pickle
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from pipeline.errors import ModelNotFound

PICKLES = (".bin", ".ckpt", ".pt", ".pth")
DTYPES = (torch.float16, torch.bfloat16, torch.float32)
_CONTAINERS = ("module", "state_dict")
"""Where trainers put the tensors: DeepSpeed and Lightning."""
_DEEPSPEED_PREFIX = "module."
_NAMED = 3

State = dict[str, Tensor]
Network = TypeVar("Network", bound=nn.Module)


def _as_it_is(tensor: Tensor) -> Tensor:
    return tensor


@dataclass(frozen=True)
class Origin:
    """Where a tensor of one of our networks comes from.

    Attributes:
        name: in the published file.
        convert: from the published shape to ours.
    """

    name: str
    convert: Callable[[Tensor], Tensor] = _as_it_is


class Published:
    """The tensors of a published file, and which of them have been used.

    Args:
        path: a .safetensors file, or one of `PICKLES`, of which only tensors and plain containers
            are taken.

    Raises:
        ModelNotFound: it cannot be read, or holds anything else.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._tensors = read_tensors(path)
        self._used: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of one tensor, from which the sizes of a network are read.

        Raises:
            ModelNotFound: there is none of this name.
        """
        if name not in self._tensors:
            raise ModelNotFound(
                f"{self.path} holds {len(self._tensors)} tensors, but not {name}; "
                "give the file as it was published"
            )
        return tuple(self._tensors[name].shape)

    def count(self, name: str) -> int:
        """How many tensors ``name.format(0)``, ``name.format(1)``, ... follow each other."""
        number = 0
        while name.format(number) in self._tensors:
            number += 1
        return number

    def take(self, network: nn.Module, origin: Callable[[str], Origin]) -> State:
        """Find all tensors of a network, in our names and shapes and in the published type.

        Args:
            network: on any device; only its names and shapes count.
            origin: says for each of its tensors where it comes from.

        Raises:
            ModelNotFound: a tensor is missing, misshapen or of a type we do not compute with.
        """
        wanted = {name: (origin(name), tensor) for name, tensor in network.state_dict().items()}
        self._check(wanted)
        self._used |= {one.name for one, _ in wanted.values()}
        return {
            name: one.convert(self._tensors[one.name]).contiguous()
            for name, (one, _) in wanted.items()
        }

    def leave(self, prefixes: Iterable[str]) -> dict[str, int]:
        """Leave tensors out on purpose; returns how many start with each prefix."""
        left = {}
        for prefix in prefixes:
            names = {name for name in self._tensors if name.startswith(prefix)} - self._used
            self._used |= names
            left[prefix] = len(names)
        return left

    def finish(self) -> None:
        """Raise ModelNotFound if a tensor was neither taken nor left out."""
        if rest := sorted(self._tensors.keys() - self._used):
            raise ModelNotFound(
                f"{self.path} does not fit the network: {len(rest)} unexpected ({some(rest)}). "
                "Give the file as it was published."
            )

    def _check(self, wanted: Mapping[str, tuple[Origin, Tensor]]) -> None:
        faults: dict[str, list[str]] = {"missing": [], "misshapen": [], "of another type": []}
        for one, ours in wanted.values():
            theirs = self._tensors.get(one.name)
            if theirs is None:
                faults["missing"].append(one.name)
            elif _converted_shape(one, theirs) != ours.shape:
                faults["misshapen"].append(f"{one.name} {tuple(theirs.shape)}")
            elif theirs.dtype not in DTYPES and ours.dtype.is_floating_point:
                faults["of another type"].append(f"{one.name} {theirs.dtype}")
        told = [f"{len(names)} {kind} ({some(names)})" for kind, names in faults.items() if names]
        if told:
            raise ModelNotFound(
                f"{self.path} does not fit the network, which has {len(wanted)} tensors: "
                f"{'; '.join(told)}. Give the file as it was published."
            )


def on_meta(make: Callable[[], Network]) -> Network:
    """A network without numbers, whatever its size."""
    with torch.device("meta"):
        return make()


def filled(network: Network, state: State) -> Network:
    """The network with these tensors as its own, in evaluation mode; nothing is copied."""
    network.load_state_dict(state, assign=True)
    network.eval()
    return network


def read_tensors(path: Path) -> State:
    """The named tensors of a file, on the CPU.

    Raises:
        ModelNotFound: it cannot be read, or holds anything besides tensors.
    """
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        mapped = zipfile.is_zipfile(path)  # files of torch before 1.6 cannot be mapped
        held = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        raise ModelNotFound(
            f"{path} holds more than tensors{_strangers(path)}, and nothing in a checkpoint is "
            "ever executed; get the file from its authors again"
        ) from error
    except (OSError, EOFError, RuntimeError, ValueError, KeyError, SafetensorError) as error:
        reason = str(error).partition("\n")[0]
        raise ModelNotFound(
            f"{path} is not a readable checkpoint ({reason}); download it again"
        ) from error
    return _unwrapped(path, held)


def some(names: list[str]) -> str:
    """The first few of many names."""
    return ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")


def _unwrapped(path: Path, held: Any) -> State:
    for container in _CONTAINERS:
        if isinstance(held, dict) and isinstance(held.get(container), dict):
            held = held[container]
    if not isinstance(held, dict) or not held:
        raise ModelNotFound(f"{path} holds no named tensors; give the file as it was published")
    if strange := [str(name) for name, one in held.items() if not isinstance(one, Tensor)]:
        raise ModelNotFound(
            f"{path} holds {len(strange)} entries that are no tensors ({some(strange)}); "
            "give the file as it was published"
        )
    inner = all(name.startswith(_DEEPSPEED_PREFIX) for name in held)
    return {name.removeprefix(_DEEPSPEED_PREFIX) if inner else name: held[name] for name in held}


def _strangers(path: Path) -> str:
    """What a pickle would have called, for the error text."""
    try:
        names = sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except (RuntimeError, ValueError, OSError, pickle.UnpicklingError):
        return ""
    return f" (it names {some(names)})" if names else ""


def _converted_shape(origin: Origin, theirs: Tensor) -> torch.Size | None:
    try:
        return origin.convert(torch.empty(theirs.shape, device="meta")).shape
    except (RuntimeError, IndexError):
        return None
