"""Which stages share a deployment.

Every hop between processes costs milliseconds and every process hundreds of megabytes, which a
stage without weights is not worth. It runs in the process of the next stage that has some, and
those behind the last such stage run in its process.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.stage import Stage


@dataclass(frozen=True)
class Step:
    """What one deployment does with a row.

    Attributes:
        stages: in their order; at most one with weights, except that a graph without weights is
            one step.
    """

    stages: tuple[Stage, ...]

    @property
    def lead(self) -> Stage:
        """The stage with weights: the step has its name, and its share of the machine."""
        return next((stage for stage in self.stages if brings_weights(stage)), self.stages[-1])

    @property
    def name(self) -> str:
        """The lead's."""
        return self.lead.name

    @property
    def inputs(self) -> tuple[str, ...]:
        """Columns that its stages read."""
        return tuple(dict.fromkeys(name for stage in self.stages for name in stage.inputs))

    @property
    def own(self) -> dict[str, Stage]:
        """Its stages without weights, by name: each job has its own."""
        return {stage.name: stage for stage in self.stages if not brings_weights(stage)}


def brings_weights(stage: Stage) -> bool:
    """Whether a replica has something to load for this stage."""
    return type(stage).setup is not Stage.setup


def steps_of(stages: Sequence[Stage]) -> list[Step]:
    """The stages of a graph, shared out over deployments; order is kept."""
    shared: list[tuple[Stage, ...]] = [()]
    for stage in stages:
        shared[-1] += (stage,)
        if brings_weights(stage):
            shared.append(())
    behind = shared.pop()
    if shared:
        shared[-1] += behind
    return [Step(stages) for stages in shared or [behind]]
