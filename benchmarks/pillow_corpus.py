"""What becomes of every image that Pillow tests itself with: one typed outcome each.

    python -m benchmarks.pillow_corpus
    python -m benchmarks.pillow_corpus --graph -o corpus/

The corpus is in Pillow's source distribution, which pip downloads into ``--cache``: a thousand
files of up to 4 MB in all formats, many of them damaged on purpose or found by fuzzing. Load and
Prepare, with the embedded model, run over them as pools of Ray actors, so that a crash or a hang
would cost one worker and show as ``crashed`` or ``timed_out``. With ``--graph`` the whole graph
runs instead, as `headsplat generate`; its output stays in ``-o``. What it said: docs/scale.md.
"""

import argparse
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import Counter
from importlib import metadata
from pathlib import Path

from pipeline.graph import GraphOptions, build_graph, build_recipe
from pipeline.stage import Row

MOST_BYTES = 4 * 2**20
TIMEOUT_S = 60.0
CACHE = Path(tempfile.gettempdir(), "headsplat-bench")


def corpus(cache: Path) -> list[Path]:
    """The files of the corpus, downloaded and unpacked on first use."""
    name = f"pillow-{metadata.version('pillow')}"
    folder = cache / name / "Tests" / "images"
    if not folder.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        pip += ["--no-binary", "pillow", "--dest", str(cache), name.replace("-", "==")]
        subprocess.run(pip, check=True)
        with tarfile.open(cache / f"{name}.tar.gz") as archive:
            members = [m for m in archive if m.name.startswith(f"{name}/Tests/images/")]
            archive.extractall(cache, members, filter="data")
    files = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path for path in files if path.stat().st_size <= MOST_BYTES)


def through_prepare(files: list[Path]) -> list[Row]:
    """Load and Prepare on Ray: one row an input, as the batch job settles them."""
    from jobs.outcomes import Ledger
    from jobs.pools import Pool
    from jobs.ray_cluster import connected
    from jobs.ray_data import RayOptions, run_ray

    options = GraphOptions()
    with tempfile.TemporaryDirectory() as out:
        stages = build_graph(options, out, build_recipe(options))[:2]
        pools = [Pool(stage=stage, actors=1, cpus=0.5, gpus=0.0) for stage in stages]
        rows = [{"source": str(path)} for path in files]
        ledger = Ledger(rows)
        with connected(None):
            finished = run_ray(pools, rows, RayOptions(stage_timeout_s=TIMEOUT_S))
            settled = [row for row in finished if ledger.add(row)]
        return [*settled, *ledger.close()]


def through_graph(files: list[Path], out: Path) -> None:
    """All stages, as a user would run them."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as names:
        names.write("".join(f"{path}\n" for path in files))
        names.flush()
        command = [sys.executable, "-m", "jobs.cli", "generate", names.name, str(out)]
        subprocess.run(command, check=False)


def report(rows: list[Row], files: list[Path]) -> None:
    """Print how many rows there are of each outcome and code."""
    sources = [row["source"] for row in rows]
    assert sorted(sources) == sorted(str(path) for path in files), "not one outcome an input"
    count = Counter(
        (row["outcome"], row.get("error_code") or ("duplicate" if row.get("duplicate_of") else ""))
        for row in rows
    )
    print("| outcome | code | files |\n| --- | --- | ---: |")
    for (outcome, code), number in sorted(count.items(), key=lambda item: -item[1]):
        print(f"| {outcome} | {code} | {number} |")
    seconds = {row["source"]: sum((row.get("timings_s") or {}).values()) for row in rows}
    slowest = max(seconds, key=lambda source: seconds[source])
    print(f"\nslowest: {Path(slowest).name}, {seconds[slowest]:.2f} s")
    for row in rows:
        if row["outcome"] == "failed":
            print(f"{row['source']}: {row['error_code']}: {row['error_message']}")


def main() -> None:
    """Run the corpus and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--cache", type=Path, default=Path(tempfile.gettempdir(), "headsplat-bench")
    )
    parser.add_argument("--graph", action="store_true")
    parser.add_argument("-o", "--output", type=Path, default=Path("corpus"))
    options = parser.parse_args()
    files = corpus(options.cache)
    print(f"{len(files)} files of Pillow {metadata.version('pillow')}\n", flush=True)
    if options.graph:
        through_graph(files, options.output)
        return
    started = time.monotonic()
    rows = through_prepare(files)
    report(rows, files)
    print(f"{time.monotonic() - started:.0f} s in all")


if __name__ == "__main__":
    main()
