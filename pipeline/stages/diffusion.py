"""The two diffusion stages of the graph: portrait to orbit views, small and then sharp."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from pipeline.model_config import ModelConfig
from pipeline.stage import Context, Resources, Row, Stage

if TYPE_CHECKING:
    import torch

    from pipeline.diffusion.pipeline import OrbitPipeline, Portraits


@dataclass(frozen=True, kw_only=True)
class DiffusionConfig:
    """What a diffusion stage is built from.

    Attributes:
        model: model folder.
        steps: denoising steps; None takes the model's.
        guidance: on the far side of the orbit; None takes the model's.
    """

    model: Path
    steps: int | None = None
    guidance: float | None = None


class _Diffusion(Stage):
    """What both stages share: loading, and the way from rows to tensors and back."""

    folder: ClassVar[Literal["lowres", "highres"]]
    resources = Resources(cpus=1.0, gpus=0.25, memory_gb=3.0)

    def __init__(self, config: DiffusionConfig) -> None:
        self.config = config

    def setup(self, device: str) -> None:
        """Load the autoencoder and the stage's networks, planned for the memory of a GPU."""
        from pipeline.diffusion.loading import load_pipeline

        self.model_config = ModelConfig.load(self.config.model)
        self.decode_views: int | None = None
        offload = False
        if device != "cpu":
            self.decode_views, offload = self._plan()
        self.pipeline: OrbitPipeline = load_pipeline(
            self.config.model, self.folder, device, offload=offload
        )

    def _plan(self) -> tuple[int, bool]:
        """Views decoded at a time, and whether to offload, on the share of this GPU."""
        import torch

        from pipeline.memory_plan import model_memory, plan_stage

        memory = {one.stage: one for one in model_memory(self.config.model)}
        total_gb = torch.cuda.get_device_properties(0).total_memory / 1e9
        plan = plan_stage(memory[self.folder], total_gb * self.resources.gpus)
        return plan.decode_views, plan.offload

    def process(self, rows: Sequence[Row], context: Context) -> list[Row]:
        """Generate the orbit of each row, [16, P, P, 3] uint8; the row's batch has no influence."""
        import torch

        from pipeline.diffusion.colors import match_colors
        from pipeline.images import to_bytes

        settings = getattr(self.model_config, self.folder)
        views = self.pipeline(
            _portraits(rows, settings.size_px),
            torch.from_numpy(self.model_config.azimuths),
            steps=self.config.steps or settings.steps,
            guidance=settings.guidance if self.config.guidance is None else self.config.guidance,
            generators=[torch.Generator().manual_seed(row["seed"]) for row in rows],
            lowres_views=self._lowres_views(rows),
            on_step=lambda step, steps: context.checkpoint(self.name, step, steps),
            decode_views=self.decode_views,
        )
        azimuths_deg = self.model_config.azimuths
        matched = [
            match_colors(made, azimuths_deg, row["portrait"], row["yaw_deg"])
            for row, made in zip(rows, to_bytes(views), strict=True)
        ]
        (column,) = self.outputs
        return [{**row, column: one} for row, one in zip(rows, matched, strict=True)]

    def _lowres_views(self, rows: Sequence[Row]) -> "torch.Tensor | None":
        return None


class LowRes(_Diffusion):
    """The first stage of ID-TS (section 3.3): the orbit at low resolution."""

    name: ClassVar[str] = "LowRes"
    folder: ClassVar[Literal["lowres", "highres"]] = "lowres"
    inputs: ClassVar[tuple[str, ...]] = (
        "portrait",
        "identity",
        "yaw_deg",
        "elevation_deg",
        "seed",
    )
    outputs: ClassVar[tuple[str, ...]] = ("lowres_views",)


class SingleStage(LowRes):
    """The first stage of a model that has no second one: its views are the avatar's."""

    outputs: ClassVar[tuple[str, ...]] = ("views",)


class HighRes(_Diffusion):
    """The second stage of ID-TS (section 3.3, Eq. 2-3): the orbit at full resolution."""

    name: ClassVar[str] = "HighRes"
    folder: ClassVar[Literal["lowres", "highres"]] = "highres"
    inputs: ClassVar[tuple[str, ...]] = (*LowRes.inputs, "lowres_views")
    outputs: ClassVar[tuple[str, ...]] = ("views",)
    resources = Resources(cpus=1.0, gpus=0.5, memory_gb=4.0)

    def _lowres_views(self, rows: Sequence[Row]) -> "torch.Tensor | None":
        from pipeline.images import to_signed

        return to_signed(np.stack([row["lowres_views"] for row in rows]))


def _portraits(rows: Sequence[Row], size_px: int) -> "Portraits":
    import torch

    from pipeline.diffusion.pipeline import Portraits
    from pipeline.images import resize, to_signed
    from pipeline.portrait.alpha import on_white

    images = resize(on_white(np.stack([row["portrait"] for row in rows])), size_px)
    return Portraits(
        to_signed(images),
        torch.from_numpy(np.stack([row["identity"] for row in rows]).astype(np.float32)),
        torch.tensor([row["yaw_deg"] for row in rows], dtype=torch.float32),
        torch.tensor([row["elevation_deg"] for row in rows], dtype=torch.float32),
    )
