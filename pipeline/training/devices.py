"""Batches to the device that a network is on, whatever a batch is made of."""

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from torch import Tensor, device, nn

T = TypeVar("T")


def to_device(value: T, where: device | str) -> T:
    """The same value with every tensor in it on a device; nothing is changed in place.

    Args:
        value: a tensor; a dataclass, named tuple, tuple, list or mapping of such values, however
            deep; anything else, which stays as it is.
        where: the device.

    Returns:
        A value of the same class; tensors that are there already are not copied.
    """
    moved: Any = value
    if isinstance(value, Tensor):
        moved = value.to(where)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value)]
        moved = dataclasses.replace(
            value, **{name: to_device(getattr(value, name), where) for name in names}
        )
    elif isinstance(value, Mapping):
        moved = {key: to_device(one, where) for key, one in value.items()}
    elif isinstance(value, tuple) and hasattr(value, "_fields"):
        moved = type(value)(*(to_device(one, where) for one in value))
    elif isinstance(value, list | tuple):
        moved = type(value)(to_device(one, where) for one in value)
    return moved  # type: ignore[no-any-return]


def device_of(model: nn.Module) -> device:
    """Where a network's weights are."""
    return next(model.parameters()).device
