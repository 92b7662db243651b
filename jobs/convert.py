"""``headsplat convert``: Gaussians from one format to another."""

import json as json_module
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from jobs.gaussian_files import gaussian_file, load_gaussians
from pipeline.errors import UsageError
from pipeline.formats.registry import find_format, write_gaussians
from pipeline.storage import locate

if TYPE_CHECKING:
    from pipeline.formats.ply import PlyOptions


@dataclass(frozen=True, kw_only=True)
class ConvertOptions:
    """Turn a file of Gaussians into another format: .ply, .spz, .splat or .glb.

    Example: headsplat convert avatars/0123 head.spz
    Example: headsplat convert scan.splat scan.ply --normals --sh-degree 3

    Attributes:
        source: an avatar's folder or a file of Gaussians.
        output: the file to write; its ending names the format. One that is there is replaced.
        min_opacity: leave out Gaussians that are less opaque than this, 0 to 1.
        normals: .ply only: write columns of zero normals.
        sh_degree: .ply only: write columns of zero harmonics up to this degree, 0 to 3.
        axes: .ply only: y-down as viewers expect, or y-up.
        json: print one JSON object.
    """

    source: tyro.conf.Positional[Path]
    output: tyro.conf.Positional[Path]
    min_opacity: float = 0.0
    normals: bool = False
    sh_degree: int = 0
    axes: Literal["y-down", "y-up"] = "y-down"
    json: bool = False


def convert(options: ConvertOptions) -> int:
    """Write the file and say what it does not keep.

    Raises:
        UsageError: there is no source, a format is unknown, an option is out of its range or does
            not fit the format, or the output is the source.
        UnreadableSource: the source is damaged.
    """
    _check(options)
    gaussians = load_gaussians(options.source)
    kept = gaussians.prune(options.min_opacity)
    if not len(kept):
        raise UsageError(
            f"no Gaussian of {options.source} has an opacity of {options.min_opacity:g} or more; "
            "give a lower --min-opacity"
        )
    data = write_gaussians(kept, options.output.suffix, _ply_options(options))
    locate(str(options.output)).write(data)
    record = {
        "output": str(options.output),
        "gaussians": len(kept),
        "left_out": len(gaussians) - len(kept),
        "bytes": len(data),
        "rounding": find_format(options.output.suffix).rounds,
    }
    print(json_module.dumps(record) if options.json else _summary(record))
    return 0


def _check(options: ConvertOptions) -> None:
    find_format(options.output.suffix)
    if not 0 <= options.min_opacity <= 1 or not 0 <= options.sh_degree <= 3:
        raise UsageError(
            f"min-opacity is {options.min_opacity:g} and sh-degree {options.sh_degree}; they must "
            "be 0 to 1 and 0 to 3"
        )
    if options.output.exists() and options.output.samefile(gaussian_file(options.source)):
        raise UsageError(f"{options.output} is the source itself; name another output")


def _ply_options(options: ConvertOptions) -> "PlyOptions | None":
    chosen = (options.normals, options.sh_degree, options.axes)
    if chosen == (False, 0, "y-down"):
        return None
    # here, because torch takes a second
    from pipeline.formats.ply import PlyOptions

    return PlyOptions(normals=options.normals, sh_degree=options.sh_degree, axes=options.axes)


def _summary(record: dict[str, Any]) -> str:
    left_out = f", {record['left_out']:,} left out" if record["left_out"] else ""
    return (
        f"{record['output']}: {record['gaussians']:,} Gaussians{left_out}, "
        f"{record['bytes'] / 1e6:.2f} MB; {record['rounding']}"
    )
