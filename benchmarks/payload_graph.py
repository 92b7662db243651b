"""The command line with stages that only carry data as large as the paper preset's.

    python -m benchmarks.payload_graph generate photos/ out/

Photos are really read, hashed and settled; three simulated stages hand on 16 views of 512 px,
12.6 MB a row. No avatars are written. `benchmarks.batch` measures memory with it.
"""

import sys
from pathlib import Path

import jobs.batch
from benchmarks.simulated import Case, simulated_stages
from jobs.cli import main
from pipeline.graph import GraphOptions
from pipeline.recipe import Recipe
from pipeline.stage import Stage
from pipeline.stages.load import Load, LoadConfig

COSTS_S, VIEWS_PX = (0.02, 0.03, 0.02), 512


def graph(options: GraphOptions, destination: str, recipe: Recipe) -> list[Stage]:
    """Load, then the simulated stages; they note their calls beside the destination."""
    notes = Path(f"{destination}.notes")
    notes.mkdir(parents=True, exist_ok=True)
    case = Case(costs_s=COSTS_S, actors=(1, 1, 1), views_px=VIEWS_PX, items=0, log=str(notes))
    return [Load(LoadConfig(recipe=recipe, destination=destination)), *simulated_stages(case)]


def recipe(options: GraphOptions) -> Recipe:
    """No model, no options."""
    return Recipe(model_hash="payload")


if __name__ == "__main__":
    from benchmarks import payload_graph  # workers find the stages by that name

    jobs.batch.build_graph = payload_graph.graph
    jobs.batch.build_recipe = payload_graph.recipe
    sys.exit(main())
