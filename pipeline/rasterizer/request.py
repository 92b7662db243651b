"""What a call of the rasteriser asks for, and whether it can be answered."""

from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import torch

from pipeline.errors import BackendUnavailable, ProcessingError

RenderMode = Literal["RGB", "D", "ED", "RGB+D", "RGB+ED"]
RasterizeMode = Literal["classic", "antialiased"]
MAX_SH_DEGREE = 3


class Scene(NamedTuple):
    """Gaussians and cameras; shapes as in `pipeline.rasterizer.rasterize`."""

    means: torch.Tensor
    quats: torch.Tensor
    scales: torch.Tensor
    opacities: torch.Tensor
    colors: torch.Tensor
    viewmats: torch.Tensor
    Ks: torch.Tensor
    backgrounds: torch.Tensor | None


@dataclass(frozen=True)
class Options:
    """The rest of `pipeline.rasterizer.rasterize`'s arguments, under the same names."""

    width: int
    height: int
    sh_degree: int | None
    render_mode: RenderMode
    near_plane: float
    far_plane: float
    eps2d: float
    rasterize_mode: RasterizeMode
    absgrad: bool
    threads: int


def check(scene: Scene, options: Options) -> None:
    """Refuse what cannot be rendered, by name.

    Raises:
        ValueError: shapes do not fit together, or an option has no such value.
        ProcessingError: an input is not finite, or a quaternion is zero.
        BackendUnavailable: there is no rasteriser for the device.
    """
    device = scene.means.device.type
    if device not in ("cpu", "cuda"):
        raise BackendUnavailable(
            f"The Gaussians are on the device {device!r}; the rasteriser runs on cpu and cuda."
        )
    _check_options(options)
    _check_shapes(scene, options)
    _check_values(scene)


def _check_options(options: Options) -> None:
    for name, value, known in (
        ("render_mode", options.render_mode, get_args(RenderMode)),
        ("rasterize_mode", options.rasterize_mode, get_args(RasterizeMode)),
        ("sh_degree", options.sh_degree, (None, *range(MAX_SH_DEGREE + 1))),
    ):
        if value not in known:
            raise ValueError(f"{name} is {value!r}; it must be one of {known}.")
    for name, number in (
        ("width", options.width),
        ("height", options.height),
        ("near_plane", options.near_plane),
        ("threads", options.threads),
    ):
        if number <= 0:
            raise ValueError(f"{name} is {number}; it must be more than 0.")


def _check_shapes(scene: Scene, options: Options) -> None:
    batch = tuple(scene.means.shape[:-2])
    count, views = scene.means.shape[-2], scene.viewmats.shape[-3]
    wanted: dict[str, list[tuple[int, ...]]] = {
        "means": [(count, 3)],
        "quats": [(count, 4)],
        "scales": [(count, 3)],
        "opacities": [(count,)],
        "viewmats": [(views, 4, 4)],
        "Ks": [(views, 3, 3)],
        "colors": _color_shapes(scene.colors, count, views, options.sh_degree),
    }
    if scene.backgrounds is not None:
        wanted["backgrounds"] = [(views, scene.colors.shape[-1])]
    for name, shapes in wanted.items():
        shape = tuple(getattr(scene, name).shape)
        if shape not in [batch + tail for tail in shapes]:
            allowed = " or ".join(str(batch + tail) for tail in shapes)
            raise ValueError(f"{name} has shape {shape}; it must be {allowed}.")
    if 0 in (*batch, views):
        raise ValueError(f"viewmats has shape {tuple(scene.viewmats.shape)}: there is no camera.")


def _color_shapes(
    colors: torch.Tensor, count: int, views: int, sh_degree: int | None
) -> list[tuple[int, ...]]:
    """One colour a Gaussian, or one a camera and Gaussian; [coefficients, 3] with harmonics."""
    tail: tuple[int, ...] = (colors.shape[-1],)
    if sh_degree is not None:
        tail = (max((sh_degree + 1) ** 2, *colors.shape[-2:-1]), 3)
    return [(count, *tail), (views, count, *tail)]


def _check_values(scene: Scene) -> None:
    """Refuse what the kernels, compiled for finite numbers, would turn into nonsense."""
    for name, tensor in scene._asdict().items():
        # A sum, unless it overflows, is finite where its terms are, and takes 1/17 of the count.
        if tensor is None or torch.isfinite(tensor.detach().sum()):
            continue
        bad = int((~torch.isfinite(tensor)).sum())
        if bad:
            raise ProcessingError(
                f"{bad} of {tensor.numel()} numbers in {name} are NaN or infinite; "
                "the rasteriser takes finite numbers only."
            )
    zero = int((scene.quats.detach().abs().amax(-1) == 0).sum())
    if zero:
        raise ProcessingError(f"{zero} quaternions are zero; a rotation needs a direction.")
