"""Reconstruct: from the orbit's views and the portrait to Gaussians (section 3.4)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from pipeline.cameras import Cameras, azimuth_distance_deg, look_at_origin
from pipeline.errors import ModelNotFound
from pipeline.model_config import ModelConfig
from pipeline.stage import Context, Resources, Row, Stage

if TYPE_CHECKING:
    from pipeline.gaussians import Gaussians
    from pipeline.reconstruction.evidence import Evidence
    from pipeline.reconstruction.lgm import LargeGaussianModel
    from pipeline.reconstruction.optimise import Optimised

NETWORK = "reconstructor"
"""Subfolder of a model folder with the Gaussian network; a folder without one carves."""
INPUT_VIEWS = 4
FitMode = Literal["gaussians", "network"]
FIT_STEPS: dict[FitMode, int] = {"gaussians": 200, "network": 500}
"""Steps of the per-subject optimisation unless told otherwise; the paper's 500 for the network."""


@dataclass(frozen=True, kw_only=True)
class ReconstructConfig:
    """What `Reconstruct` is built from.

    Attributes:
        model: model folder.
        fit: what the per-subject optimisation changes: the ``gaussians`` themselves, or, as in
            the paper, the weights of the ``network``.
        steps: of the optimisation, 0 for the feed-forward result; None takes `FIT_STEPS`.
    """

    model: Path
    fit: FitMode = "gaussians"
    steps: int | None = None


class Reconstruct(Stage):
    """Feed-forward Gaussians from four views, then fitted to all views and the portrait."""

    name: ClassVar[str] = "Reconstruct"
    inputs: ClassVar[tuple[str, ...]] = ("views", "portrait", "yaw_deg", "elevation_deg", "seed")
    outputs: ClassVar[tuple[str, ...]] = ("gaussians",)
    resources = Resources(cpus=1.0, gpus=0.25, memory_gb=2.0)
    batch_size = 4

    def __init__(self, config: ReconstructConfig) -> None:
        self.config = config

    def setup(self, device: str) -> None:
        """Load the Gaussian network onto ``device``.

        Raises:
            ModelNotFound: it is damaged.
        """
        from pipeline.rasterizer.cuda import kernels_built

        self.model_config = ModelConfig.load(self.config.model)
        self.network = self._load(device)
        self.fit_device = device if device == "cpu" or kernels_built() else "cpu"

    def process(self, rows: Sequence[Row], context: Context) -> list[Row]:
        """Add ``gaussians`` [N, 14] float32 in LGM's order."""
        context.checkpoint(self.name, 0, 2)
        starts = [self._start(row) for row in rows]
        context.checkpoint(self.name, 1, 2)
        if self.config.steps != 0:
            starts = [one.gaussians for one in self._fit(rows, starts)]
        return [
            {**row, "gaussians": gaussians.to_array()}
            for row, gaussians in zip(rows, starts, strict=True)
        ]

    def _load(self, device: str) -> "LargeGaussianModel | None":
        from pipeline.reconstruction.lgm import LargeGaussianModel

        folder = self.config.model / NETWORK
        if not folder.exists():
            return None
        try:
            network = LargeGaussianModel.from_pretrained(folder)
        except (OSError, ValueError) as error:
            raise ModelNotFound(
                f"{folder} is not a complete Gaussian network ({error}); train it with "
                "`headsplat train gaussians`, or delete the folder"
            ) from error
        loaded: LargeGaussianModel = network.float().eval().to(device)
        return loaded

    def _start(self, row: Row) -> "Gaussians":
        from pipeline.reconstruction.carving import gaussians_from_views
        from pipeline.reconstruction.lgm import reconstruct

        if self.network is None:
            return gaussians_from_views(row["views"], self._cameras, seed=row["seed"])
        views, cameras = row["views"][self._seen], self._cameras[self._seen]
        # on CPUs float32: avatars must not depend on whether a CPU is fast in bfloat16
        bf16 = self.network.device.type == "cuda"
        return reconstruct(self.network, views, cameras, bf16=bf16)

    def _fit(self, rows: Sequence[Row], starts: "Sequence[Gaussians]") -> "list[Optimised]":
        """Side by side on a GPU, which one head does not fill; one by one on a CPU."""
        from pipeline.reconstruction.fit_options import FitOptions
        from pipeline.reconstruction.optimise import optimise_gaussians

        evidence = [self._evidence(row) for row in rows]
        if self.config.fit == "network":
            return [self._tune(row, one) for row, one in zip(rows, evidence, strict=True)]
        at_once = 1 if self.fit_device == "cpu" else len(rows)
        options = FitOptions(steps=self.config.steps or FIT_STEPS["gaussians"])
        fitted: list[Optimised] = []
        for first in range(0, len(rows), at_once):
            part = slice(first, first + at_once)
            fitted += optimise_gaussians(
                [one.to(self.fit_device) for one in starts[part]],
                evidence[part],
                options=options,
                seeds=[row["seed"] for row in rows[part]],
            )
        return fitted

    def _tune(self, row: Row, evidence: "Evidence") -> "Optimised":
        from pipeline.reconstruction.fit_options import TuneOptions
        from pipeline.reconstruction.optimise import tune_network

        assert self.network is not None
        return tune_network(
            self.network,
            self._seen,
            evidence,
            options=TuneOptions(steps=self.config.steps or FIT_STEPS["network"]),
            seed=row["seed"],
        )

    def _evidence(self, row: Row) -> "Evidence":
        from pipeline.reconstruction.evidence import Evidence

        return Evidence(
            views=row["views"],
            cameras=self._cameras,
            portrait=row["portrait"],
            portrait_camera=look_at_origin(row["yaw_deg"], row["elevation_deg"]),
        )

    @property
    def _cameras(self) -> Cameras:
        return look_at_origin(self.model_config.azimuths, self.model_config.elevation_deg)

    @property
    def _seen(self) -> list[int]:
        """The views that the network sees: those nearest to quarter turns from the front."""
        quarters_deg = np.arange(INPUT_VIEWS) * 360 / INPUT_VIEWS
        apart_deg = azimuth_distance_deg(self.model_config.azimuths[None], quarters_deg[:, None])
        return [int(view) for view in apart_deg.argmin(1)]
