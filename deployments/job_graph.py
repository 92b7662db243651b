"""The stage graph of one job: the service's, with the job's own folder, seed and formats."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from pipeline.avatar_folder import FILES, GAUSSIANS
from pipeline.graph import GraphOptions, build_graph
from pipeline.recipe import Recipe
from pipeline.stage import Stage

_MOST_SEED = 2**53 - 1
"""JSON numbers above are not the same in every language."""


class AvatarOptions(BaseModel):
    """What a client may choose about its avatar."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = Field(
        default=0,
        ge=0,
        le=_MOST_SEED,
        description="The same photo, model and seed: the same avatar.",
    )
    formats: tuple[Literal["ply", "spz", "splat", "glb"], ...] = Field(
        default=("ply",),
        max_length=4,
        description="Files of Gaussians; avatar.ply is always there.",
    )

    @property
    def files(self) -> tuple[str, ...]:
        """Names of the files in the folder of the finished avatar."""
        stem = GAUSSIANS.partition(".")[0]
        return tuple(dict.fromkeys((*FILES, *(f"{stem}.{ending}" for ending in self.formats))))


@dataclass(frozen=True)
class JobGraph:
    """How a service makes avatars.

    Attributes:
        options: the same for all jobs.
        recipe: what `pipeline.graph.build_recipe` made of them.
        build: makes the stages, as `pipeline.graph.build_graph`.
    """

    options: GraphOptions
    recipe: Recipe
    build: Callable[[GraphOptions, str, Recipe], list[Stage]] = build_graph

    def stages(self, chosen: AvatarOptions, destination: str) -> list[Stage]:
        """The stages of a job whose avatar goes under ``destination``."""
        options = replace(self.options, seed=chosen.seed, formats=",".join(chosen.formats) or "ply")
        return self.build(options, destination, replace(self.recipe, seed=chosen.seed))
