"""A service whose networks are made up: photos are really loaded, decoded and exported.

Run as a program it is ``headsplat`` with these stages. A job's seed says how many steps of 50 ms
its avatar takes; each step appends a line to the file ``TOY_LOG``, with the replica's process id.
"""

import os
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ray.serve import Application

import deployments.app
from deployments.job_graph import JobGraph
from deployments.options import ServiceOptions
from pipeline.avatar_folder import parse_formats
from pipeline.graph import GraphOptions
from pipeline.recipe import Recipe
from pipeline.stage import Context, Resources, Row, Stage
from pipeline.stages.export import Export, ExportConfig
from pipeline.stages.load import Load, LoadConfig

STEP_S = 0.05
FATAL_SEED = 13
HANGING_SEED = 17
"""As native code that does not return: there is no step at which it could be stopped."""
SLOW_SEED = 1000
"""50 s, unless it is stopped."""


class Decode(Stage):
    """The photo as a 32 px portrait."""

    name = "Decode"
    inputs = ("image",)
    outputs = ("portrait",)
    resources = Resources(gpus=0.1, memory_gb=0.1)
    batch_size = 2

    def setup(self, device: str) -> None:
        pass

    def process(self, rows: Sequence[Row], context: Context) -> list[Row]:
        from pipeline.portrait.decode import decode

        results = []
        for row in rows:
            portrait = np.resize(decode(row["image"]).rgba, (32, 32, 4))
            results.append({**row, "portrait": np.ascontiguousarray(portrait)})
        return results


class Dream(Stage):
    """Views and Gaussians from the seed, in as many steps."""

    name = "Dream"
    inputs = ("portrait", "seed")
    outputs = ("views", "gaussians")
    resources = Resources(gpus=0.25, memory_gb=0.1)

    def __init__(self, log: Path) -> None:
        self.log = log

    def setup(self, device: str) -> None:
        self.lock = threading.Lock()  # cannot be pickled, as sessions of onnxruntime cannot

    def process(self, rows: Sequence[Row], context: Context) -> list[Row]:
        return [{**row, **self._dream(row, context)} for row in rows]

    def _dream(self, row: Row, context: Context) -> Row:
        if row["seed"] == HANGING_SEED:
            time.sleep(3600)
        for step in range(row["seed"]):
            context.checkpoint(self.name, step, row["seed"])
            with self.log.open("a") as stream:
                stream.write(f"{row['seed']} {step} {os.getpid()}\n")
            time.sleep(STEP_S)
        if row["seed"] == FATAL_SEED:
            os._exit(1)
        rng = np.random.default_rng(row["seed"])
        gaussians = rng.random((50, 14), np.float32)
        gaussians[:, :3] -= 0.5
        return {
            "views": np.stack([row["portrait"][..., :3]] * 16),
            "gaussians": gaussians,
        }


class Judge(Stage):
    """No scores; `Export` goes along with it, as in the real graph."""

    name = "Judge"
    inputs = ("views", "gaussians")
    outputs = ("scores", "face_found", "below_threshold", "tries")
    resources = Resources(memory_gb=0.1)

    def setup(self, device: str) -> None:
        pass

    def process(self, rows: Sequence[Row], context: Context) -> list[Row]:
        said = {"scores": {}, "face_found": True, "below_threshold": False, "tries": 1}
        return [{**row, **said} for row in rows]


def toy_graph(log: Path) -> JobGraph:
    def build(options: GraphOptions, destination: str, recipe: Recipe) -> list[Stage]:
        formats = parse_formats(options.formats)
        return [
            Load(LoadConfig(recipe=recipe, destination=destination, formats=formats)),
            Decode(),
            Dream(log),
            Judge(),
            Export(
                ExportConfig(
                    destination=destination,
                    recipe=recipe,
                    turntable_frames=2,
                    turntable_px=32,
                    formats=formats,
                )
            ),
        ]

    return JobGraph(GraphOptions(), Recipe(model_hash="toy"), build)


def build(options: ServiceOptions) -> Application:
    """As `deployments.app.build`; for a config file's ``import_path`` too."""
    quick = options.model_copy(update={"lease_s": 2.0, "drain_s": 20.0, "jobs_per_runner": 1})
    return deployments.app.assemble(quick, toy_graph(Path(os.environ["TOY_LOG"])))


if __name__ == "__main__":
    from ray import cloudpickle

    from jobs.cli import main

    cloudpickle.register_pickle_by_value(sys.modules["__main__"])
    deployments.app.build = build
    sys.exit(main())
