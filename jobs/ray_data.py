"""The Ray Data executor: each stage becomes a pool of actors between which rows stream.

One row is one block, and an actor receives its next row while it works on the present one, which
keeps the slowest stage busy 95 % of the time instead of 65 %. A row that fails keeps flowing with
its outcome. When a worker process dies, the rows it held are tried again, at last each alone, so
that only the row that kills its worker is given up and not the one that waited behind it.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa
import ray
import ray.data
from ray.data._internal.cluster_autoscaler import get_or_create_autoscaling_coordinator
from ray.data._internal.execution.backpressure_policy import DownstreamCapacityBackpressurePolicy
from ray.util.annotations import RayDeprecationWarning

from jobs import metrics
from jobs.outcomes import incomplete
from jobs.pools import Pool
from jobs.ray_cluster import actor_here
from jobs.row_codec import decode_rows, encode_rows
from jobs.stage_actor import Desk, Note, StageActor
from pipeline.graph import check_columns, needed_after
from pipeline.local import with_outcome
from pipeline.stage import Row

_RETRIES_AFTER_CRASH = 2
_MAX_SOURCE_BLOCKS = 4096
# each source block is an object that the driver holds; beyond this many they are split on the way


@dataclass(frozen=True, kw_only=True)
class RayOptions:
    """How the batch runs.

    Attributes:
        max_crashed_rows: rows that may take their process down before the run is abandoned.
        no_progress_timeout_s: the run is abandoned when nothing finishes for this long.
        stage_timeout_s: most seconds that a stage may spend on a row; a worker that does not
            return soon after is ended, and started anew.
        stage_timeouts_s: the same for single stages, by name.
        grows: the pools are of the size that an autoscaled cluster may grow to. They start with
            one actor each, and Ray Data asks for more, and for nodes, as rows queue up.
    """

    max_crashed_rows: int = 100
    no_progress_timeout_s: int = 1800
    stage_timeout_s: float = 600.0
    stage_timeouts_s: Mapping[str, float] = field(default_factory=dict)
    grows: bool = False


def run_ray(pools: Sequence[Pool], rows: list[Row], options: RayOptions) -> Iterator[Row]:
    """Take the rows through the stages of ``pools`` on the connected Ray cluster.

    Yields:
        Finished rows, each with its outcome, in no particular order. Rows whose worker died each
        time are missing; some faces of a photo may come twice.

    Raises:
        GraphError: the stages do not fit together.
    """
    check_columns([pool.stage for pool in pools])
    if not rows:
        return
    configure(options)
    metrics.planned({pool.stage.name: pool.actors for pool in pools})
    # Ray Data takes the cluster to be empty, and lets single rows through, until this actor of its
    # own answers. Left to Ray Data it starts after those of all stages.
    get_or_create_autoscaling_coordinator()  # type: ignore[no-untyped-call]
    run = _Run(pools, options, actor_here(Desk))
    for row in run.finished(rows):
        metrics.count(row)
        yield row


@dataclass(frozen=True)
class _Run:
    """The stages over some rows, and over those again that were lost."""

    pools: Sequence[Pool]
    options: RayOptions
    desk: Any

    def finished(self, rows: list[Row]) -> Iterator[Row]:
        seen: list[Row] = []
        for row in self._stream(rows, alone=False):
            seen.append({name: row.get(name) for name in ("source", "face_count", "face_index")})
            yield row
        if not (lost := _lost(seen, rows)):
            return
        for row in self._stream(lost, alone=True):
            seen.append({name: row.get(name) for name in ("source", "face_count", "face_index")})
            yield row
        yield from self._noted(_lost(seen, rows))

    def _stream(self, rows: list[Row], *, alone: bool) -> Iterator[Row]:
        """Run the stages once; ``alone``, no row waits where another is worked on."""
        dataset = _source(rows)
        needed = needed_after([pool.stage for pool in self.pools])
        for pool, columns in zip(self.pools, needed, strict=True):
            fitting = replace(pool, actors=min(pool.actors, len(rows)))
            dataset = self._add_stage(dataset, fitting, columns, alone)
        # iter_batches would send the statistics of all blocks so far to an actor every few seconds
        for bundle in dataset.iter_internal_ref_bundles():
            for block in bundle.blocks:
                yield from (with_outcome(row) for row in decode_rows(ray.get(block.ref)))

    def _add_stage(
        self, dataset: ray.data.Dataset, pool: Pool, needed: frozenset[str], alone: bool
    ) -> ray.data.Dataset:
        name = pool.stage.name
        # named after the stage, so that dashboards, logs and process lists read well
        actor_class: Any = type(name, (StageActor,), {"__module__": __name__})
        timeout_s = self.options.stage_timeouts_s.get(name, self.options.stage_timeout_s)
        with warnings.catch_warnings():
            # the retry limits have no named parameter yet, and the old way of passing them warns
            warnings.simplefilter("ignore", RayDeprecationWarning)
            return dataset.map_batches(
                actor_class,
                fn_constructor_args=(pool.stage, needed, self.desk, timeout_s),
                batch_size=1 if alone else pool.batch,
                batch_format="pyarrow",
                num_cpus=pool.cpus,
                num_gpus=pool.gpus or None,
                compute=actor_pool(pool, alone=alone, grows=self.options.grows),
                max_restarts=-1,
                max_task_retries=0 if alone else _RETRIES_AFTER_CRASH,
            )

    def _noted(self, lost: list[Row]) -> Iterator[Row]:
        """A failed row for each lost one that is known to have ended its worker."""
        sources = {row["source"] for row in lost}
        for pool in self.pools:
            notes: dict[str, Note] = ray.get(self.desk.notes.remote(pool.stage.name))
            for key, note in notes.items():
                face, _, source = key.partition(" ")
                if source in sources:
                    yield {"source": source, "face_index": int(face), **note.failure()}


def actor_pool(pool: Pool, *, alone: bool, grows: bool) -> ray.data.ActorPoolStrategy:
    """A pool of fixed size, or one that grows with its cluster.

    A growing pool starts with one actor. Were all asked for at once and only some nodes came, the
    actors of one stage could take them whole, and Ray shrinks no pool that still waits for actors.
    """
    return ray.data.ActorPoolStrategy(
        min_size=1 if grows else pool.actors,
        initial_size=1 if grows else pool.actors,
        max_size=pool.actors,
        max_tasks_in_flight_per_actor=1 if alone else pool.in_flight,
        max_concurrent_calls_per_actor=1 if alone else 2,
        enable_true_multi_threading=True,  # the actor has one thread that works
    )


def _lost(finished: list[Row], rows: list[Row]) -> list[Row]:
    lost = set(incomplete(finished, [row["source"] for row in rows]))
    return [row for row in rows if row["source"] in lost]


def _source(rows: list[Row]) -> ray.data.Dataset:
    """The rows, one a block: a stage hands on a block only when all of it is done."""
    if len(rows) <= _MAX_SOURCE_BLOCKS:
        return _from_tables([encode_rows([row]) for row in rows])
    size = -(-len(rows) // _MAX_SOURCE_BLOCKS)
    tables = [encode_rows(rows[i : i + size]) for i in range(0, len(rows), size)]
    return _from_tables(tables).repartition(target_num_rows_per_block=1)


def _from_tables(tables: list[pa.Table]) -> ray.data.Dataset:
    """What ``from_arrow`` does with a task for each table, to count its rows."""
    dataset: ray.data.Dataset = ray.data.from_blocks(tables)
    return dataset


def configure(options: RayOptions) -> None:
    """Set how Ray Data runs what is started from now on."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False  # jobs.progress shows ours
    context.execution_options.preserve_order = False
    context.execution_options.verbose_progress = False
    # As many rows wait for a stage that has started as it has at hand: more would fill a quarter of
    # the object store.
    context.downstream_capacity_backpressure_ratio = 1.0
    DownstreamCapacityBackpressurePolicy.OBJECT_STORE_BUDGET_UTIL_THRESHOLD = 0.0
    context.max_errored_blocks = options.max_crashed_rows
    context.actor_init_retry_on_errors = False
    context.max_consecutive_actor_init_deaths = 3
    context.retried_map_errors = False
    context.wait_for_min_actors_s = 0
    context.execution_no_progress_timeout_s = options.no_progress_timeout_s
