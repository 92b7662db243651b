"""The command line with small stages in place of the networks, for tests of everything else.

Run as a program it is ``headsplat`` itself. Photos are really loaded, decoded and exported; only
the views, Gaussians and likenesses are made up from the photo's colours. ``TOY_SLEEP_S`` makes it
slower, and every avatar that is really made appends a line to the file ``TOY_LOG``. With the seed
`FATAL_SEED` the process dies.
"""

import hashlib
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import jobs.batch
from jobs.cli import main
from pipeline.avatar_folder import parse_formats
from pipeline.graph import GraphOptions, retry_options
from pipeline.recipe import Recipe
from pipeline.stage import Context, Resources, Row, Stage
from pipeline.stages.export import Export, ExportConfig
from pipeline.stages.load import Load, LoadConfig
from pipeline.stages.split_faces import SplitFaces, SplitFacesConfig
from pipeline.tries import judged

FATAL_SEED = 13


class Decode(Stage):
    """The photo as a 32 px portrait; two faces of it, if all are asked for."""

    name = "Decode"
    inputs = ("image",)
    outputs = ("portrait", "face_index", "face_count")
    resources = Resources(memory_gb=0.1)

    def __init__(self, faces: int) -> None:
        self.faces = faces

    def process(self, rows: Sequence[Row], context: Context) -> list[Row]:
        from pipeline.portrait.decode import decode

        results = []
        for row in rows:
            rgba = decode(row["image"]).rgba
            portrait = np.ascontiguousarray(np.resize(rgba, (32, 32, 4)))
            for i in range(self.faces):
                found = {"portrait": portrait, "face_index": i, "face_count": self.faces}
                results.append({**row, **found})
        return results


class Invent(Stage):
    """Views and Gaussians in the portrait's colours, from the seed."""

    name = "Invent"
    inputs = ("portrait", "seed")
    outputs = ("views", "gaussians", "scores")
    resources = Resources(memory_gb=0.1)

    def process(self, rows: Sequence[Row], context: Context) -> list[Row]:
        return [{**row, **self._invent(row)} for row in rows]

    def _invent(self, row: Row) -> Row:
        if row["seed"] == FATAL_SEED:
            os._exit(1)
        time.sleep(float(os.environ.get("TOY_SLEEP_S", "0")))
        rng = np.random.default_rng(row["seed"])
        gaussians = rng.random((50, 14), np.float32)
        gaussians[:, :3] -= 0.5
        gaussians[:, 4:7] *= 0.1
        gaussians[:, 11:] = row["portrait"][0, 0, :3] / 255
        if log := os.environ.get("TOY_LOG"):
            with Path(log).open("a") as stream:
                stream.write(hashlib.sha256(row["portrait"].tobytes()).hexdigest() + "\n")
        return {
            "views": np.stack([row["portrait"][..., :3]] * 16),
            "gaussians": gaussians,
            "scores": {"brightness": float(row["portrait"].mean())},
        }


class Assess(Stage):
    """A verdict that depends on the photo, the face and the seed."""

    name = "Assess"
    inputs = ("portrait", "face_index", "seed", "scores")
    outputs = ("scores", "below_threshold", "tries")
    resources = Resources(memory_gb=0.1)

    def __init__(self, min_identity: float | None) -> None:
        self.min_identity = min_identity

    def process(self, rows: Sequence[Row], context: Context) -> list[Row]:
        return [self._assess(row) for row in rows]

    def _assess(self, row: Row) -> Row:
        cosine = likeness(row["portrait"][0, 0, :3], row["face_index"], row["seed"])
        return judged(row, {**row["scores"], "identity_cosine": cosine}, self.min_identity)


def likeness(colour: np.ndarray, face_index: int, seed: int) -> float:
    """Anything from 0 to 1."""
    return np.random.default_rng([*colour.tolist(), face_index, seed]).random()


def recipe(options: GraphOptions) -> Recipe:
    chosen = retry_options(options)
    return Recipe(model_hash="toy", seed=options.seed, faces=options.faces, options=chosen)


def graph(options: GraphOptions, destination: str, recipe: Recipe) -> list[Stage]:
    formats = parse_formats(options.formats)
    export = ExportConfig(
        destination=destination,
        recipe=recipe,
        turntable_frames=2,
        turntable_px=32,
        formats=formats,
    )
    stages: list[Stage] = [
        Load(LoadConfig(recipe=recipe, destination=destination, formats=formats)),
        Decode(2 if options.faces == "all" else 1),
        Invent(),
        Assess(options.min_identity),
        Export(export),
    ]
    if options.faces == "all":
        stages.insert(2, SplitFaces(SplitFacesConfig(destination=destination, formats=formats)))
    return stages


def install() -> None:
    """Put the toy graph in the place of the real one."""
    jobs.batch.build_graph = graph
    jobs.batch.build_recipe = recipe


if __name__ == "__main__":
    install()
    if len(sys.argv) > 1 and sys.argv[1] == "generate":
        from ray import cloudpickle

        cloudpickle.register_pickle_by_value(sys.modules["__main__"])
    sys.exit(main())
