"""``headsplat heads render``: a dataset of digital humans, one Ray task a sequence."""

import json as json_module
import sys
import time
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import tyro

from jobs.progress import Progress
from pipeline.errors import ProcessingError, UsageError

if TYPE_CHECKING:
    from pipeline.digital_human.dataset_options import DatasetOptions
    from pipeline.storage import Location

MAX_CRASHED = 100
"""Sequences that may take their worker process down before the job gives up."""
_RETRIES_AFTER_CRASH = 2
_MAX_SOURCE_BLOCKS = 4096
# each source block is an object that the driver holds; beyond this many they are split on the way
_ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
}
"""A task has one core: BLAS threads beside it only spin, and could round in another order."""
_LOST = (
    "its worker died, or wrote to a disk that this machine does not see; run again, with a "
    "destination that all machines share"
)


@dataclass(frozen=True, kw_only=True)
class RenderOptions:
    """Render a dataset of digital humans with Ray; run it again and it goes on where it stopped.

    Example: headsplat heads render heads/
    Example: headsplat heads render s3://bucket/heads --identities 1000 --address auto
    Example: headsplat heads render heads/ --appearances 1 --elevations 0 --random-views 8
    Example: headsplat heads render test/ --protocol paper --elevations 0

    Attributes:
        out: folder or URI of the dataset.
        protocol: render the test set of headsplat evaluate --protocol paper: of the options below,
            identities and start do not count then.
        identities: how many people.
        start: number of the first identity.
        appearances: sequences per person; ten never repeat an expression or an accessory.
        size: side of the square images, pixels.
        samples: supersampling per side.
        elevations: a ring of views at each, degrees.
        azimuths: of each ring; release are the uneven ones of the authors' release.
        views_per_ring: how many views a ring has.
        random_views: views at random cameras in front, besides the rings.
        ground_truth: also store depth, normals and parts of each view.
        look: natural, or a drawn one for stylised avatars.
        seed: another seed gives other people.
        address: Ray cluster to run on, "auto" for the one this machine belongs to; by default
            Ray is started here for the length of the job.
        json: print one JSON object.
    """

    out: tyro.conf.Positional[str]
    protocol: Literal["paper"] | None = None
    identities: int = 227
    start: int = 0
    appearances: int = 10
    size: int = 256
    samples: int = 3
    elevations: tuple[float, ...] = (-10.0, 0.0, 10.0, 20.0, 30.0, 40.0)
    azimuths: Literal["even", "release"] = "even"
    views_per_ring: int = 16
    random_views: int = 0
    ground_truth: bool = False
    look: Literal["natural", "flat", "painted", "cartoon"] = "natural"
    seed: int = 0
    address: str | None = None
    json: bool = False


def render(options: RenderOptions) -> int:
    """Render the missing sequences, bring the index up to date; return the exit code.

    Raises:
        UsageError: the options contradict each other or the dataset's, nothing can be written, or
            there is no such cluster.
        ProcessingError: the job was given up; what was finished stays.
        KeyboardInterrupt: the job was stopped; what was finished stays.
    """
    from pipeline.digital_human.index import write_index
    from pipeline.digital_human.store import list_sequences, prepare
    from pipeline.storage import check_writable, locate

    started = time.monotonic()
    dataset = _dataset(options)
    wanted = _wanted(options) if options.protocol is None else _paper_set(dataset)
    root = locate(options.out)
    check_writable(root)
    prepare(root, dataset)
    there = list_sequences(root)
    missing = [number for number in wanted if number not in there]
    failed, stopped = _render(root, dataset, missing, options.address)
    present = dict(zip(*_ids_and_bytes(write_index(root)), strict=True))
    if stopped is not None:
        raise stopped
    failed |= {n: _LOST for n in missing if n not in present and n not in failed}
    record = {
        "dataset": root.uri,
        "sequences": len(wanted),
        "rendered": len(missing) - len(failed),
        "failed": dict(sorted(failed.items())),
        "views": dataset.views * (len(wanted) - len(failed)),
        "bytes": sum(present[number] for number in wanted if number in present),
        "seconds": round(time.monotonic() - started, 1),
    }
    _tell(record, options.json)
    return 1 if failed else 0


def _dataset(options: RenderOptions) -> "DatasetOptions":
    from pipeline.digital_human.dataset_options import DatasetOptions

    return DatasetOptions(
        size_px=options.size,
        samples=options.samples,
        appearances=options.appearances,
        elevations_deg=options.elevations,
        azimuths=options.azimuths,
        views_per_ring=options.views_per_ring,
        random_views=options.random_views,
        seed=options.seed,
        ground_truth=options.ground_truth,
        look=options.look,
    )


def _paper_set(dataset: "DatasetOptions") -> list[int]:
    from pipeline.evaluation.paper_set import check_paper_options, paper_sequences

    check_paper_options(dataset)
    return paper_sequences()


def _wanted(options: RenderOptions) -> range:
    """The ids of the sequences that shall be there."""
    from pipeline.digital_human.dataset_options import IDENTITIES_PER_SEED

    last = options.start + options.identities
    if options.identities < 1 or options.start < 0 or last > IDENTITIES_PER_SEED:
        raise UsageError(
            f"identities {options.identities} from {options.start}: give at least 1, from 0 on, "
            f"up to {IDENTITIES_PER_SEED:,} in all; another seed gives more people"
        )
    return range(options.start * options.appearances, last * options.appearances)


def _render(
    root: "Location", dataset: "DatasetOptions", missing: list[int], address: str | None
) -> tuple[dict[int, str], ProcessingError | KeyboardInterrupt | None]:
    """Errors by sequence, and what stopped the job before all were reached."""
    failed: dict[int, str] = {}
    if not missing:
        return failed, None
    import ray.data
    from ray.data.exceptions import ExecutionTimeoutError

    from jobs.ray_cluster import connected, given_up

    try:
        with connected(address), _progress(len(missing)) as progress:
            try:
                views = _tasks(missing, SequenceTask(root, dataset))
                for row in views.iter_rows():
                    if row["error"]:
                        failed[int(row["sequence_id"])] = row["error"]
                    progress.add(_progress_row(row))
            except (ray.exceptions.RayError, ExecutionTimeoutError) as error:
                raise given_up(error) from error
    except (ProcessingError, KeyboardInterrupt) as error:
        return failed, error
    return failed, None


def _tasks(missing: list[int], task: "SequenceTask") -> Any:
    """The Ray Data stream of finished rows; each sequence is a task of its own."""
    import ray.data
    from ray.util.annotations import RayDeprecationWarning

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False  # jobs.progress shows ours
    context.execution_options.preserve_order = False
    context.max_errored_blocks = MAX_CRASHED
    rows = [{"sequence_id": number} for number in missing]
    source: ray.data.Dataset = ray.data.from_items(
        rows, override_num_blocks=min(len(rows), _MAX_SOURCE_BLOCKS)
    )
    if len(rows) > _MAX_SOURCE_BLOCKS:
        source = source.repartition(target_num_rows_per_block=1)
    with warnings.catch_warnings():
        # the limit of retries has no named parameter yet, and the old way of passing it warns
        warnings.simplefilter("ignore", RayDeprecationWarning)
        return source.map(
            task,
            num_cpus=1,
            runtime_env={"env_vars": _ONE_THREAD},
            max_retries=_RETRIES_AFTER_CRASH,
        )


class SequenceTask:
    """Renders one sequence into its file; an error becomes a column, so the others go on."""

    def __init__(self, root: "Location", dataset: "DatasetOptions") -> None:
        self._root, self._dataset = root, dataset
        self.__name__ = "RenderSequence"

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Render ``row["sequence_id"]``; ``error`` is empty where that worked."""
        from pipeline.digital_human.store import write_sequence

        number = int(row["sequence_id"])
        error, started = "", time.perf_counter()
        try:
            write_sequence(self._root, self._dataset, number)
        except Exception as problem:  # the one place where a sequence's failure is caught
            error = f"{type(problem).__name__}: {problem}"
        seconds = time.perf_counter() - started
        return {"sequence_id": number, "error": error, "seconds": seconds}


def _progress(total: int) -> Progress:
    return Progress(total, unit="sequences", each=False)


def _progress_row(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "source": f"sequence {row['sequence_id']}",
        "outcome": "failed" if row["error"] else "ok",
        "error_message": row["error"],
        "timings_s": {"Render": row["seconds"]},
    }


def _ids_and_bytes(index: Any) -> tuple[list[int], list[int]]:
    return index["sequence_id"].to_pylist(), index["bytes"].to_pylist()


def _tell(record: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json_module.dumps(record))
        return
    failed = record["failed"]
    there = record["sequences"] - record["rendered"] - len(failed)
    print(f"  {'rendered':<12}{record['rendered']:>8}  sequences")
    print(f"  {'were there':<12}{there:>8}")
    print(f"  {'failed':<12}{len(failed):>8}")
    print(f"  {'views':<12}{record['views']:>8}  {record['bytes'] / 1e6:,.1f} MB")
    print(f"  {'time':<12}{record['seconds']:>7.1f}s")
    print(f"  {record['dataset']}", flush=True)
    for number, error in failed.items():
        print(f"  sequence {number}: {error}", file=sys.stderr)
