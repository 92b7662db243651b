"""A graph for the online service whose stages carry data of the real sizes and do nothing else.

Photos are really read, hashed and named; no avatar is written. The views are called frames, so that
no early pictures are made of them: encoding 16 views of 512 px takes half a second, beside stages
that take several.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from deployments.job_graph import JobGraph
from pipeline.graph import GraphOptions
from pipeline.recipe import Recipe
from pipeline.stage import Context, Resources, Row, Stage
from pipeline.stages.load import Load, LoadConfig

VIEWS = 16


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What travels between the stages.

    Attributes:
        portrait_px: side of the portrait.
        lowres_px: side of the first stage's `VIEWS` views.
        highres_px: side of the second's.
        gaussians: number of them.
    """

    portrait_px: int
    lowres_px: int
    highres_px: int
    gaussians: int


SIZES = {
    "embedded": Sizes(portrait_px=256, lowres_px=64, highres_px=128, gaussians=5600),
    "paper": Sizes(portrait_px=512, lowres_px=256, highres_px=512, gaussians=65536),
}


class Carrier(Stage):
    """A stage that hands arrays on; the seed says how many milliseconds HighRes is at work.

    Args:
        columns: what it writes.
        works: whether it is the one that takes time.
    """

    resources = Resources(cpus=0.1, memory_gb=0.1)

    def __init__(self, columns: dict[str, Any], works: bool = False) -> None:
        self._columns = columns
        self._works = works

    def process(self, rows: Sequence[Row], context: Context) -> list[Row]:
        """Add copies of the columns, as a network would make new arrays."""
        if self._works:
            time.sleep(sum(row["seed"] for row in rows) / 1000)
        return [{**row, **{name: _new(of) for name, of in self._columns.items()}} for row in rows]


class _Loaded(Carrier):
    def setup(self, device: str) -> None:
        """Nothing to load; having this makes the service keep a replica's own stage."""


class Prepare(_Loaded):
    """Stands in for `Prepare`."""

    name: ClassVar[str] = "Prepare"
    inputs: ClassVar[tuple[str, ...]] = ("image",)
    outputs: ClassVar[tuple[str, ...]] = ("head", "identity")


class LowRes(_Loaded):
    """Stands in for `LowRes`."""

    name: ClassVar[str] = "LowRes"
    inputs: ClassVar[tuple[str, ...]] = ("head", "identity")
    outputs: ClassVar[tuple[str, ...]] = ("lowres_frames",)


class HighRes(_Loaded):
    """Stands in for `HighRes`."""

    name: ClassVar[str] = "HighRes"
    inputs: ClassVar[tuple[str, ...]] = ("head", "identity", "lowres_frames")
    outputs: ClassVar[tuple[str, ...]] = ("frames",)


class Reconstruct(_Loaded):
    """Stands in for `Reconstruct`."""

    name: ClassVar[str] = "Reconstruct"
    inputs: ClassVar[tuple[str, ...]] = ("frames", "head")
    outputs: ClassVar[tuple[str, ...]] = ("gaussians",)


class Judge(_Loaded):
    """Stands in for `Judge`."""

    name: ClassVar[str] = "Judge"
    inputs: ClassVar[tuple[str, ...]] = ("gaussians", "frames", "head")
    outputs: ClassVar[tuple[str, ...]] = ("scores",)


class Export(Carrier):
    """Stands in for `Export`."""

    name: ClassVar[str] = "Export"
    inputs: ClassVar[tuple[str, ...]] = ("id", "gaussians", "frames", "head")
    outputs: ClassVar[tuple[str, ...]] = ()


def carrying_graph(sizes: Sizes) -> JobGraph:
    """The service's graph with stages that only carry.

    Args:
        sizes: of what they carry.
    """
    made = {
        Prepare: {
            "head": _picture(sizes.portrait_px, sizes.portrait_px, 4),
            "identity": np.zeros(512, np.float32),
        },
        LowRes: {"lowres_frames": _picture(VIEWS, sizes.lowres_px, sizes.lowres_px, 3)},
        HighRes: {"frames": _picture(VIEWS, sizes.highres_px, sizes.highres_px, 3)},
        Reconstruct: {"gaussians": np.zeros((sizes.gaussians, 14), np.float32)},
        Judge: {"scores": {}},
        Export: {"outcome": "ok"},
    }

    def build(options: GraphOptions, destination: str, recipe: Recipe) -> list[Stage]:
        load = Load(LoadConfig(recipe=recipe, destination=destination))
        carriers = [stage(columns, stage is HighRes) for stage, columns in made.items()]
        return [load, *carriers]

    return JobGraph(GraphOptions(), Recipe(model_hash="carrying"), build)


def _picture(*shape: int) -> np.ndarray:
    """A smooth picture, which compresses about as well as a face."""
    ramp = np.linspace(0, 255, shape[-2], dtype=np.uint8)[:, None]
    return np.ascontiguousarray(np.broadcast_to(ramp, shape))


def _new(value: Any) -> Any:
    return value.copy() if isinstance(value, np.ndarray) else value
