"""How busy 1 to 64 GPUs are kept: simulated stages on logical GPUs of a Ray cluster in processes.

    python -m benchmarks.scaling --gpus 1 2 4 8 16 32 64 --out scaling.json
    python -m benchmarks.scaling --limit --gpus 1 8 64 --out limit.json

The nodes are processes of this machine (`ray.cluster_utils`): a head without CPUs, and up to four
nodes with equally many logical GPUs. Three stages run through our executor: one that takes 50 ms on
a CPU, one that takes some seconds on a whole GPU, and 50 ms on a CPU again, with intermediates of
12 kB. They sleep, and the long stage is long enough that two real cores can drive 64 of them; what
is measured is the scheduling, not the moving of data, see `benchmarks.orchestration` for that.

- efficiency: the share of its time that a GPU works, from the moment when the last of the GPUs got
  its first row to the moment when the first had done its last.
- driver: CPU seconds of the driver's process for each task, that is for each row and stage.
- gap: median time between two calls of a GPU's worker.

``--limit`` measures the opposite: stages that take no time, so that the driver is what limits, and
how many tasks it gets done in a second. `benchmarks.scale_model` takes both files.
"""

import argparse
import json
import tempfile
import time
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from benchmarks.simulated import Call, Case, Simulated, read_calls
from pipeline.stage import Resources

EDGE_S = 0.05
VIEWS_PX = 16
NODES = 4
CPU = 0.01
"""Logical CPUs of each actor; the machine's real ones are shared by all."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run; times in seconds from the call of the executor.

    Attributes:
        gpus: logical GPUs, one actor each.
        gpu_s: how long a row takes on one.
        edge_s: how long it takes in the stages before and behind.
        edge_actors: actors of each of these.
        rows: that went through.
        first_s: when the first GPU began.
        last_first_s: when the last of the GPUs began its first row.
        ended_s: when the last GPU ended.
        done_s: when the last row was finished.
        efficiency: see above.
        gap_s: see above.
        driver_s: see above.
        tasks_per_s: rows times stages, over the time from the first to the last row.
    """

    gpus: int
    gpu_s: float
    edge_s: float
    edge_actors: int
    rows: int
    first_s: float
    last_first_s: float
    ended_s: float
    done_s: float
    efficiency: float
    gap_s: float
    driver_s: float
    tasks_per_s: float


def measure(gpus: int, gpu_s: float, edge_s: float, rows: int) -> Run:
    """Start a cluster, run the rows on it, and sum up."""
    from jobs.pools import Pool
    from jobs.ray_data import RayOptions, run_ray

    edge_actors = max(1, round(1.5 * gpus * edge_s / gpu_s + 0.5)) if gpu_s else 1
    with tempfile.TemporaryDirectory() as log, cluster_of(gpus):
        case = Case(
            costs_s=(edge_s, gpu_s, edge_s),
            actors=(edge_actors, gpus, edge_actors),
            views_px=VIEWS_PX,
            items=rows,
            log=log,
        )
        needs = Resources(cpus=CPU, memory_gb=0.1)
        on_gpu = Resources(cpus=CPU, gpus=1.0, memory_gb=0.1)
        pools = [
            Pool(
                stage=Simulated(case, number, on_gpu if number == 1 else needs),
                actors=case.actors[number],
                cpus=CPU,
                gpus=1.0 if number == 1 else 0.0,
            )
            for number in range(3)
        ]
        started_s, used = time.monotonic(), psutil.Process().cpu_times()
        finished = list(run_ray(pools, [{"source": str(i)} for i in range(rows)], RayOptions()))
        done_s, spent = time.monotonic() - started_s, psutil.Process().cpu_times()
        calls = read_calls(log)
    assert sorted(int(row["source"]) for row in finished) == list(range(rows))
    driver_s = spent.user + spent.system - used.user - used.system
    return _run(case, calls, started_s, done_s, driver_s / (3 * rows))


def _run(case: Case, calls: list[Call], started_s: float, done_s: float, driver_s: float) -> Run:
    by_gpu: dict[int, list[Call]] = {}
    for call in (call for call in calls if call.stage == 1):
        by_gpu.setdefault(call.process, []).append(call)
    begins = max(own[0].started_s for own in by_gpu.values())
    ends = min(own[-1].ended_s for own in by_gpu.values())
    busy_s = sum(
        max(0.0, min(call.ended_s, ends) - max(call.started_s, begins))
        for own in by_gpu.values()
        for call in own
    )
    gaps = [b.started_s - a.ended_s for own in by_gpu.values() for a, b in pairwise(own)]
    last_s = max(call.ended_s for call in calls)
    return Run(
        gpus=case.actors[1],
        gpu_s=case.costs_s[1],
        edge_s=case.costs_s[0],
        edge_actors=case.actors[0],
        rows=case.items,
        first_s=min(own[0].started_s for own in by_gpu.values()) - started_s,
        last_first_s=begins - started_s,
        ended_s=max(own[-1].ended_s for own in by_gpu.values()) - started_s,
        done_s=done_s,
        efficiency=busy_s / (case.actors[1] * (ends - begins)) if ends > begins else float("nan"),
        gap_s=median(gaps) if gaps else float("nan"),
        driver_s=driver_s,
        tasks_per_s=len(calls) / (last_s - calls[0].started_s),
    )


class cluster_of:
    """A Ray cluster on this machine with some logical GPUs, connected to."""

    def __init__(self, gpus: int) -> None:
        self._nodes = min(gpus, NODES)
        self._gpus = gpus // self._nodes

    def __enter__(self) -> None:
        from ray.cluster_utils import Cluster

        Path("/tmp/ray").mkdir(exist_ok=True)  # noqa: S108 - Ray's own
        quiet = {"include_dashboard": False, "object_store_memory": 2**28}
        self._cluster: Any = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **quiet})
        for _ in range(self._nodes):
            # Ray starts a worker for each CPU at once, whether it is needed or not
            self._cluster.add_node(num_cpus=1, num_gpus=self._gpus, object_store_memory=2**28)
        self._cluster.wait_for_nodes()
        self._connect()

    def _connect(self) -> None:
        import ray

        ray.init(address=self._cluster.address, log_to_driver=False, logging_level="ERROR")

    def __exit__(self, *error: object) -> None:
        import ray

        ray.shutdown()
        self._cluster.shutdown()


def main() -> None:
    """Measure, print a table and write the numbers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gpus", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32, 64])
    parser.add_argument("--gpu-s", type=float, default=4.0, help="seconds a row on a GPU")
    parser.add_argument("--rows-each", type=int, default=12, help="rows a GPU")
    parser.add_argument("--limit", action="store_true", help="stages that take no time")
    parser.add_argument("--out", type=Path, help="JSON file for the numbers; added to")
    options = parser.parse_args()
    print("| GPUs | rows | begins | all at work | efficiency | gap | driver a task | tasks/s |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for gpus in options.gpus:
        if options.limit:
            run = measure(gpus, 0.0, 0.0, 600)
        else:
            run = measure(gpus, options.gpu_s, EDGE_S, gpus * options.rows_each)
        print(
            f"| {gpus} | {run.rows} | {run.first_s:.1f} s | {run.last_first_s:.1f} s "
            f"| {run.efficiency:.3f} | {1000 * run.gap_s:.0f} ms | {1000 * run.driver_s:.1f} ms "
            f"| {run.tasks_per_s:.0f} |",
            flush=True,
        )
        if options.out:
            earlier = json.loads(options.out.read_text()) if options.out.exists() else []
            options.out.write_text(json.dumps([*earlier, asdict(run)], indent=1) + "\n")


if __name__ == "__main__":
    main()
