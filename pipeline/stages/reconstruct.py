"""Reconstruct: from the orbit's views and the portrait to Gaussians (section 3.4)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pipeline.cameras import Cameras, look_at_origin
from pipeline.errors import ModelNotFound
from pipeline.model_config import ModelConfig
from pipeline.stage import Context, Resources, Row, Stage

if TYPE_CHECKING:
    from pipeline.gaussians import Gaussians

NETWORK = "reconstructor"
"""Subfolder of a model folder with the Gaussian network; a folder without one carves."""
INPUT_VIEWS = 4


@dataclass(frozen=True, kw_only=True)
class ReconstructConfig:
    """What `Reconstruct` is built from.

    Attributes:
        model: model folder.
        steps: of the per-subject optimisation, 0 for the feed-forward result.
    """

    model: Path
    steps: int = 150


class Reconstruct(Stage):
    """Feed-forward Gaussians from four views, then fitted to all views and the portrait."""

    name: ClassVar[str] = "Reconstruct"
    inputs: ClassVar[tuple[str, ...]] = ("views", "portrait", "yaw_deg", "elevation_deg", "seed")
    outputs: ClassVar[tuple[str, ...]] = ("gaussians", "scores")
    resources = Resources(cpus=1.0, gpus=0.25, memory_gb=2.0)

    def __init__(self, config: ReconstructConfig) -> None:
        self.config = config

    def setup(self, device: str) -> None:
        """Load the Gaussian network onto ``device``.

        Raises:
            ModelNotFound: it is damaged.
        """
        from pipeline.reconstruction.lgm import LargeGaussianModel

        self.model_config = ModelConfig.load(self.config.model)
        folder = self.config.model / NETWORK
        self.network = None
        if not folder.exists():
            return
        try:
            network = LargeGaussianModel.from_pretrained(folder)
        except (OSError, ValueError) as error:
            raise ModelNotFound(
                f"{folder} is not a complete Gaussian network ({error}); train it with "
                "`headsplat train gaussians`, or delete the folder"
            ) from error
        self.network = network.float().eval().to(device)

    def process(self, rows: Sequence[Row], context: Context) -> list[Row]:
        """Add ``gaussians`` [N, 14] float32 in LGM's order, and ``scores``."""
        return [self._reconstruct(row, context) for row in rows]

    def _reconstruct(self, row: Row, context: Context) -> Row:
        from pipeline.reconstruction.optimise import OptimiseOptions, optimise_gaussians
        from pipeline.reconstruction.scores import avatar_scores

        context.checkpoint(self.name, 0, 2)
        cameras = look_at_origin(self.model_config.azimuths, self.model_config.elevation_deg)
        gaussians = self._start(row, cameras)
        portrait_camera = look_at_origin(row["yaw_deg"], row["elevation_deg"])
        context.checkpoint(self.name, 1, 2)
        if self.config.steps:
            gaussians = optimise_gaussians(
                gaussians,
                row["views"],
                cameras,
                portrait=row["portrait"],
                portrait_camera=portrait_camera,
                options=OptimiseOptions(steps=self.config.steps),
                seed=row["seed"],
            ).gaussians
        scores = avatar_scores(gaussians, row["views"], cameras)
        return {**row, "gaussians": gaussians.to_array(), "scores": scores}

    def _start(self, row: Row, cameras: Cameras) -> "Gaussians":
        from pipeline.reconstruction.carving import gaussians_from_views
        from pipeline.reconstruction.lgm import reconstruct

        if self.network is None:
            return gaussians_from_views(row["views"], cameras, seed=row["seed"])
        chosen = list(range(0, len(cameras), len(cameras) // INPUT_VIEWS))
        return reconstruct(self.network, row["views"][chosen], cameras[chosen])
