"""One worker of a stage, and the desk that the workers of a run share."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa
import ray

from jobs import metrics
from jobs.devices import stage_device
from jobs.row_codec import decode_rows, encode_rows
from jobs.watchdog import end_process, watch
from pipeline.errors import DeviceBroken, ProcessingError, TimedOut
from pipeline.graph import trim
from pipeline.local import Claims
from pipeline.stage import Context, Row, Stage, run_stage

ATTEMPTS = 2
"""How often a row may end its worker, by hanging or by breaking the GPU, before it has failed."""
_REPORT_S = 10.0


@dataclass
class Note:
    """What is known of a row that ended workers.

    Attributes:
        stage: where.
        code: of the error.
        message: of the error.
        faces: of its photo, if that is known by then.
        times: how often.
    """

    stage: str
    code: str
    message: str
    faces: int | None = None
    times: int = 0

    def failure(self) -> Row:
        """The columns that make a row a failed one."""
        names = {"error_code": self.code, "error_stage": self.stage, "error_trace": None}
        message = f"{self.message}; tried {self.times} times"
        faces = {} if self.faces is None else {"face_count": self.faces}
        return {**names, **faces, "outcome": "failed", "error_message": message}


class Desk:
    """What the workers of a run have to agree on; it runs as an actor of its own."""

    def __init__(self) -> None:
        self._claims = Claims()
        self._notes: dict[tuple[str, str], Note] = {}

    def claim(self, key: str, owner: str) -> str:
        """See `Claims`."""
        return self._claims(key, owner)

    def note(self, rows: Mapping[str, int | None], stage: str, code: str, message: str) -> None:
        """Put down that a worker of the stage ends while it works on these rows.

        Args:
            rows: faces of the photo, if known, by `row_key`.
            stage: the stage.
            code: of the error.
            message: of the error.
        """
        for row, faces in rows.items():
            note = self._notes.setdefault((stage, row), Note(stage, code, message, faces))
            note.code, note.message = code, message
            note.times += 1

    def notes(self, stage: str) -> dict[str, Note]:
        """The notes of a stage, by row."""
        return {row: note for (of, row), note in self._notes.items() if of == stage}


def row_key(row: Row) -> str:
    """What tells the rows of a run apart."""
    return f"{row.get('face_index') or 0} {row['source']}"


class StageActor:
    """One worker of a stage: decode, `run_stage`, encode.

    Ray may call it from several threads at once: one of its own runs the stage, while the others
    decode the rows that come next and encode those that are done. Rows that ended a worker before
    are worked on alone, and have failed after `ATTEMPTS` times.
    """

    def __init__(self, stage: Stage, needed: frozenset[str], desk: Any, timeout_s: float) -> None:
        self._stage, self._needed, self._desk = stage, needed, desk
        self._notes: dict[str, Note] = ray.get(desk.notes.remote(stage.name))
        self._context = Context(
            claim=lambda key, owner: ray.get(desk.claim.remote(key, owner)),
            timeout_s=timeout_s,
            watch=partial(watch, report=self._hangs),
        )
        stage.setup(stage_device(stage))
        self._worker = ThreadPoolExecutor(max_workers=1)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Run the stage over a batch; `ray.data` calls it."""
        rows = [self._judged(row) for row in decode_rows(batch)]
        suspects = [row for row in rows if row_key(row) in self._notes]
        others = [row for row in rows if row_key(row) not in self._notes]
        results: list[Row] = []
        for part in ([others] if others else []) + [[row] for row in suspects]:
            results += self._worker.submit(self._run, part).result()
        return encode_rows([trim(row, self._needed) for row in results])

    def _run(self, rows: list[Row]) -> list[Row]:
        try:
            results = run_stage(self._stage, rows, self._context)
        except DeviceBroken as error:
            self._ends(rows, error)
            raise
        metrics.observe(self._stage.name, results)
        return results

    def _judged(self, row: Row) -> Row:
        note = self._notes.get(row_key(row))
        if note is None or note.times < ATTEMPTS or row.get("outcome") is not None:
            return row
        return {**row, **note.failure()}

    def _hangs(self, rows: Sequence[Row], seconds: float) -> None:
        error = TimedOut(f"{self._stage.name} did not return within {seconds:g} s")
        self._note(rows, error)

    def _ends(self, rows: Sequence[Row], error: ProcessingError) -> None:
        """Go down and come up clean: Ray restarts the actor and gives it its rows again."""
        try:
            self._note(rows, error)
        finally:
            end_process()

    def _note(self, rows: Sequence[Row], error: ProcessingError) -> None:
        live = [row for row in rows if row.get("outcome") is None]
        faces = {row_key(row): row.get("face_count") for row in live}
        noted = self._desk.note.remote(faces, self._stage.name, error.code, str(error))
        ray.get(noted, timeout=_REPORT_S)
