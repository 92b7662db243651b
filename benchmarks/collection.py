"""What the driver of a batch costs: time and memory around a run whose avatars cost nothing.

    python -m benchmarks.collection --photos 100000 --workspace /dev/shm

What it measures: a folder of empty files is listed, run through an executor that makes a folder a
photo and nothing else, and run again, when nothing is left to do. ``seconds`` is split by what the
driver does, ``peak_mb`` is the largest resident size of the process so far, as the kernel says.
Reading, decoding and making avatars is left out; so is Ray. What it said: docs/batch.md.
"""

import argparse
import contextlib
import hashlib
import io
import json
import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jobs.batch
from jobs.batch import Batch, run_batch
from jobs.passes import WAVE_ROWS
from jobs.progress import Progress
from pipeline.graph import GraphOptions
from pipeline.photo_files import INPUT
from pipeline.recipe import Recipe
from pipeline.stage import Row, Stage

_A_FOLDER = 1000


def write_photos(folder: Path, count: int) -> None:
    """Make ``count`` empty files, a thousand in each folder."""
    for number in range(count):
        if number % _A_FOLDER == 0:
            parent = folder / f"batch-{number // _A_FOLDER:05}"
            parent.mkdir(parents=True)
        (parent / f"portrait-{number:08}.jpg").touch()


def measure(photos: Path, out: Path, wave_rows: int) -> dict[str, Any]:
    """One run over ``photos``; seconds by phase and what the process held at most."""
    phases: dict[str, float] = {}

    def execute(stages: Sequence[Stage], rows: list[Row], progress: Progress) -> Iterator[Row]:
        for row in rows:
            name = hashlib.sha256(row["source"].encode()).hexdigest()[:24]
            (out / name).mkdir()
            made = {"id": name, "outcome": "ok", "face_count": 1, "timings_s": {"Load": 0.1}}
            scores = {"identity_cosine": 0.8, "psnr_db": 25.0}
            yield {**{k: v for k, v in row.items() if k != INPUT}, **made, "scores": scores}

    recipe = Recipe(model_hash="none")
    batch = Batch(
        addresses=[str(photos)],
        destination=str(out),
        options=GraphOptions(),
        as_json=True,
        wave_rows=wave_rows,
    )
    with contextlib.ExitStack() as stack:
        for module, name in (
            (jobs.batch, "list_sources"),
            (jobs.batch, "_run"),
            (jobs.batch, "compact"),
            (jobs.batch.gallery, "write_gallery"),
            (jobs.batch.resume, "unfinished"),
        ):
            _timed(stack, module, name, phases)
        _replaced(stack, jobs.batch, "build_recipe", lambda options: recipe)
        _replaced(stack, jobs.batch, "build_graph", lambda options, out, recipe: [])
        started = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()):
            assert run_batch(batch, execute) == 0
    phases["all"] = time.perf_counter() - started
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": {k: round(v, 1) for k, v in phases.items()}, "peak_mb": round(peak_mb)}


def _timed(stack: contextlib.ExitStack, module: Any, name: str, phases: dict[str, float]) -> None:
    function = getattr(module, name)

    def timed(*arguments: Any, **options: Any) -> Any:
        started = time.perf_counter()
        try:
            return function(*arguments, **options)
        finally:
            phases[name.strip("_")] = time.perf_counter() - started

    _replaced(stack, module, name, timed)


def _replaced(
    stack: contextlib.ExitStack, module: Any, name: str, value: Callable[..., Any]
) -> None:
    stack.callback(setattr, module, name, getattr(module, name))
    setattr(module, name, value)


def main() -> None:
    """Run the benchmark and print one JSON object a run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=100_000)
    parser.add_argument("--wave-rows", type=int, default=WAVE_ROWS)
    parser.add_argument("--workspace", help="where to make the files; the system's by default")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.workspace) as workspace:
        photos, out = Path(workspace, "photos"), Path(workspace, "out")
        write_photos(photos, options.photos)
        for run in ("first", "again"):
            print(
                json.dumps(
                    {
                        "run": run,
                        "photos": options.photos,
                        **measure(photos, out, options.wave_rows),
                    }
                )
            )
        pages = [path.stat().st_size for path in [*out.glob("gallery/*"), out / "index.html"]]
        parts = [path.stat().st_size for path in out.glob("manifest/*")]
        sizes = {"pages": len(pages), "largest_page_bytes": max(pages)}
        print(json.dumps({**sizes, "parts": len(parts), "manifest_bytes": sum(parts)}))


if __name__ == "__main__":
    main()
