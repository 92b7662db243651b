"""The executors that `benchmarks.orchestration` compares, each started in a process of its own.

    python -m benchmarks.executors ours '{"costs_s": [0.2, 0.6, 0.4], ...}'

All run the same simulated stages with the same numbers of actors and one row a task. Imports are
inside the functions: their time is part of the start-up that is measured, and cosmos-xenna lives
in an environment without our other dependencies.
"""

import json
import os
import sys
from typing import Any

from benchmarks.simulated import Case, simulated_stages, work

OBJECT_STORE_BYTES = 4 * 2**30


def sequential(case: Case) -> None:
    """One process, one item after the other."""
    for item in range(case.items):
        for stage in range(len(case.costs_s)):
            work(case, stage, str(item))


def ours(case: Case) -> None:
    """`run_ray` with actor pools of the given sizes."""
    from jobs.pools import Pool, in_flight
    from jobs.ray_data import RayOptions, run_ray

    start_ray(case)
    pools = [
        Pool(stage=stage, actors=actors, cpus=1.0, gpus=0.0, in_flight=in_flight(cost_s))
        for stage, actors, cost_s in zip(
            simulated_stages(case), case.actors, case.costs_s, strict=True
        )
    ]
    rows = [{"source": str(item)} for item in range(case.items)]
    finished = list(run_ray(pools, rows, RayOptions()))
    assert sorted(int(row["source"]) for row in finished) == list(range(case.items))
    assert all(row["outcome"] == "ok" for row in finished)


def ray_data(case: Case) -> None:
    """Ray Data as its documentation has it: `map_batches` over actor pools, one row a block."""
    import ray.data
    from ray.data import ActorPoolStrategy

    class Worker:
        def __init__(self, stage: int) -> None:
            self.stage = stage

        def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
            views = work(case, self.stage, str(batch["item"][0]))
            return {"item": batch["item"], "views": views[None]}

    start_ray(case)
    ray.data.DataContext.get_current().enable_progress_bars = False
    rows = [{"item": item} for item in range(case.items)]
    dataset = ray.data.from_items(rows, override_num_blocks=case.items)
    for stage, actors in enumerate(case.actors):
        dataset = dataset.map_batches(
            Worker,
            fn_constructor_args=(stage,),
            batch_size=1,
            num_cpus=1,
            compute=ActorPoolStrategy(size=actors),
        )
    assert sum(len(batch["item"]) for batch in dataset.iter_batches()) == case.items


def actors(case: Case) -> None:
    """What one writes by hand: pools of actors, results by reference, two items an actor."""
    import ray

    @ray.remote(num_cpus=1)
    class Worker:
        def __init__(self, stage: int) -> None:
            self.stage = stage

        def run(self, item: int, views: Any) -> Any:
            return work(case, self.stage, str(item))

    start_ray(case)
    pools = [[Worker.remote(n) for _ in range(size)] for n, size in enumerate(case.actors)]
    waiting: list[list[tuple[int, Any]]] = [[] for _ in pools]
    waiting[0] = [(item, None) for item in range(case.items)]
    running: dict[Any, tuple[int, int, Any]] = {}
    load = {worker: 0 for pool in pools for worker in pool}
    finished = 0
    while finished < case.items:
        for stage, pool in reversed(list(enumerate(pools))):
            # what waits for the next stage is bounded, or the object store would fill
            behind = len(waiting[stage + 1]) if stage + 1 < len(pools) else 0
            while waiting[stage] and behind < 2 * len(pool):
                worker = min(pool, key=load.__getitem__)
                if load[worker] >= 2:
                    break
                item, views = waiting[stage].pop(0)
                running[worker.run.remote(item, views)] = (stage, item, worker)
                load[worker] += 1
        (reference,), _ = ray.wait(list(running), fetch_local=False)
        stage, item, worker = running.pop(reference)
        load[worker] -= 1
        if stage + 1 < len(pools):
            waiting[stage + 1].append((item, reference))
        else:
            finished += 1


def xenna(case: Case) -> None:
    """cosmos-xenna in streaming mode with the numbers of workers fixed."""
    import ray
    from cosmos_xenna.pipelines import v1

    class Worker(v1.Stage):  # type: ignore[misc]
        def __init__(self, stage: int) -> None:
            self.stage = stage

        @property
        def required_resources(self) -> Any:
            return v1.Resources(cpus=1.0)

        def process_data(self, in_data: list[Any]) -> list[Any]:
            found = [(item, work(case, self.stage, str(item))) for item, _ in in_data]
            return [] if self.stage == len(case.costs_s) - 1 else found

    start_ray(case, include_dashboard=True)
    # it looks for a cluster on this machine, and there may be others
    os.environ["RAY_ADDRESS"] = ray.get_runtime_context().gcs_address
    stages = [v1.StageSpec(Worker(n), num_workers=size) for n, size in enumerate(case.actors)]
    items = [(item, None) for item in range(case.items)]
    v1.run_pipeline(v1.PipelineSpec(input_data=items, stages=stages))
    ray.shutdown()


def start_ray(case: Case, *, include_dashboard: bool = False) -> None:
    """A Ray of this process with a logical CPU for each actor and one to spare."""
    import ray

    ray.init(
        address="local",
        num_cpus=sum(case.actors) + 1,
        object_store_memory=OBJECT_STORE_BYTES,
        include_dashboard=include_dashboard,
        log_to_driver=False,
        logging_level="ERROR",
    )


EXECUTORS = {run.__name__: run for run in (sequential, ray_data, actors, xenna, ours)}

if __name__ == "__main__":
    EXECUTORS[sys.argv[1]](Case(**json.loads(sys.argv[2])))
