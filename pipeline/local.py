"""The local executor: the stages as plain loops in this process, one photo after the other."""

from collections.abc import Iterable, Iterator, Sequence

from pipeline.graph import check_columns, needed_after, trim
from pipeline.stage import Context, Row, Stage, run_stage


class Claims:
    """Who was first to claim a key, for `Context.claim`, within one process."""

    def __init__(self) -> None:
        self._owners: dict[str, str] = {}

    def __call__(self, key: str, owner: str) -> str:
        """Claim ``key`` for ``owner``; return whoever claimed it first."""
        return self._owners.setdefault(key, owner)


def run_local(
    stages: Sequence[Stage],
    rows: Iterable[Row],
    context: Context | None = None,
    device: str = "cpu",
) -> Iterator[Row]:
    """Take each row through all stages and yield what comes of it.

    Args:
        stages: the graph.
        rows: rows with the columns that the first stage reads.
        context: progress, cancellation and deadline; a fresh one with `Claims` by default.
        device: where stages that use a GPU load their weights.

    Yields:
        Rows with their outcome; every row that reaches the end without one is ``ok``.

    Raises:
        GraphError: the stages do not fit together.
        ModelNotFound: a stage's weights are missing.
    """
    check_columns(stages)
    context = context or Context(claim=Claims())
    needed = needed_after(stages)
    ready: set[int] = set()
    for row in rows:
        live = [row]
        for number, stage in enumerate(stages):
            if all(result.get("outcome") is not None for result in live):
                break
            if number not in ready:  # only now, so that finished work loads no weights
                stage.setup(device if stage.resources.gpus > 0 else "cpu")
                ready.add(number)
            live = [trim(result, needed[number]) for result in run_stage(stage, live, context)]
        yield from (with_outcome(result) for result in live)


def best_device() -> str:
    """The device for stages that use a GPU: "cuda" if there is one, else "cpu"."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def with_outcome(row: Row) -> Row:
    """``row``, with outcome ``ok`` if no stage gave it another."""
    return row if row.get("outcome") is not None else {**row, "outcome": "ok"}
