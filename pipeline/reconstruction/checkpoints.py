"""Strict loading of LGM's published weights and of those of the paper's release.

Both are one .safetensors file with the names that `LargeGaussianModel` uses. Nothing in a file is
executed, and its header is compared with the network, name by name, before any number is read.
"""

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from pipeline.errors import ModelNotFound
from pipeline.reconstruction.lgm import LargeGaussianModel, Preset, lgm_config

LPIPS_PREFIX = "lpips_loss."
"""LGM's training module holds the network of its perceptual loss too, which makes no Gaussians."""
TRAINED_CAMERAS = {
    "lgm": {"camera_radius": 1.5, "fov_y_deg": 49.1},
    "release": {"camera_radius": 1.5, "fov_y_deg": 10.0},
}
"""The orbits of the published weights, as configuration of a network. Their shapes are the same."""
_PUBLISHED: tuple[Preset, ...] = ("tiny", "small", "big")
_FIRST, _LAST = "unet.conv_in.weight", "unet.conv_out.weight"
_DTYPES = ("F16", "BF16", "F32")
_PICKLES = (".bin", ".ckpt", ".pkl", ".pt", ".pth")
_NAMED = 3

Header = dict[str, tuple[tuple[int, ...], str]]


def read_header(path: Path) -> Header:
    """The shape and type of each tensor of a .safetensors file, without reading the tensors.

    Raises:
        ModelNotFound: it is a pickle, missing or damaged.
    """
    with _open(path) as file:
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        return {name: (tuple(one.get_shape()), one.get_dtype()) for name, one in slices.items()}


def preset_of(path: Path) -> Preset:
    """Which of LGM's networks a file holds, by the widths of its first and last layers.

    Raises:
        ModelNotFound: none of them, or it cannot be read.
    """
    header = read_header(path)
    if _FIRST not in header or _LAST not in header:
        raise ModelNotFound(
            f"{path} holds {len(header)} tensors, but not {_FIRST} and {_LAST}; "
            "give the .safetensors file of LGM or of the release's reconstruction network"
        )
    found = header[_FIRST][0][:1] + header[_LAST][0][1:2]
    widths = {preset: _widths(preset) for preset in _PUBLISHED}
    for preset, wanted in widths.items():
        if found == wanted:
            return preset
    known = ", ".join(f"{preset} {wanted}" for preset, wanted in widths.items())
    raise ModelNotFound(
        f"{path}: the first and last layers have {found} channels, which is none of LGM's "
        f"networks ({known})"
    )


def load_checkpoint(path: Path, config: dict[str, Any]) -> LargeGaussianModel:
    """Load a file into the network that ``config`` describes.

    The tensors stay in the file's pages and keep their type, so that memory holds them once at
    most. LPIPS is left out.

    Args:
        path: a .safetensors file.
        config: constructor arguments, such as `lgm_config` and one of `TRAINED_CAMERAS` together.

    Returns:
        The network on the CPU, in evaluation mode.

    Raises:
        ModelNotFound: it cannot be read, or a tensor is missing, unexpected, misshapen or no
            floating-point number of a type that we compute with.
    """
    with torch.device("meta"):
        model: LargeGaussianModel = LargeGaussianModel(**config)
    wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    _compare(path, read_header(path), wanted)
    with _open(path) as file:
        model.load_state_dict({name: file.get_tensor(name) for name in wanted}, assign=True)
    model.eval()
    return model


def _compare(path: Path, header: Header, wanted: dict[str, tuple[int, ...]]) -> None:
    """Raise ModelNotFound unless the header is as the network wants it."""
    found = {name: one for name, one in header.items() if not name.startswith(LPIPS_PREFIX)}
    both = sorted(wanted.keys() & found.keys())
    faults = {
        "missing": sorted(wanted.keys() - found.keys()),
        "unexpected": sorted(found.keys() - wanted.keys()),
        "misshapen": [
            f"{name} {found[name][0]} instead of {wanted[name]}"
            for name in both
            if found[name][0] != wanted[name]
        ],
        f"not {', '.join(_DTYPES)}": [
            f"{name} {found[name][1]}" for name in both if found[name][1] not in _DTYPES
        ],
    }
    told = [f"{len(names)} {kind} ({_some(names)})" for kind, names in faults.items() if names]
    if told:
        raise ModelNotFound(
            f"{path} does not fit the network, which has {len(wanted)} tensors: "
            f"{'; '.join(told)}. Give the file as it was published."
        )


def _widths(preset: Preset) -> tuple[int, int]:
    config = lgm_config(preset)
    return config["down_channels"][0], config["up_channels"][-1]


def _some(names: list[str]) -> str:
    return ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")


def _open(path: Path) -> Any:
    if path.suffix in _PICKLES:
        raise ModelNotFound(
            f"{path} is a pickle, which may run any program when it is opened; give the "
            ".safetensors file of the same weights"
        )
    try:
        return safe_open(path, "pt")
    except (OSError, SafetensorError) as error:
        raise ModelNotFound(
            f"{path} is not a readable .safetensors file ({error}); download it again"
        ) from error
