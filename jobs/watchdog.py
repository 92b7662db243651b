"""Ends a worker process whose stage does not return, so that Ray starts it anew.

Python cannot stop a call into native code. A stage first has the chance to see its own deadline at
its next step; a little later a thread says which rows were being worked on and ends the process.
Where native code even keeps that thread from running, faulthandler's own thread ends it.
"""

import contextlib
import faulthandler
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence

from pipeline.stage import Row

_MOST_GRACE_S = 30.0
_MOST_LAST_RESORT_S = 10.0
_EXIT_CODE = 70


@contextlib.contextmanager
def watch(
    rows: Sequence[Row], seconds: float, report: Callable[[Sequence[Row], float], None]
) -> Iterator[None]:
    """End the process if the block takes longer than ``seconds`` and up to half a minute of grace.

    Args:
        rows: that are worked on.
        seconds: most that the block may take.
        report: called as ``report(rows, seconds)`` before the process ends.
    """
    limit_s = seconds + min(_MOST_GRACE_S, seconds / 2)
    timer = threading.Timer(limit_s, _expire, (report, rows, seconds))
    timer.daemon = True
    timer.start()
    last_resort_s = limit_s + min(_MOST_LAST_RESORT_S, seconds)
    faulthandler.dump_traceback_later(last_resort_s, exit=True, file=sys.stderr)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        timer.cancel()


def end_process() -> None:
    """End this process at once; Ray takes that for a crash and starts the actor anew."""
    sys.stderr.flush()
    os._exit(_EXIT_CODE)


def _expire(
    report: Callable[[Sequence[Row], float], None], rows: Sequence[Row], seconds: float
) -> None:
    try:
        faulthandler.dump_traceback(file=sys.stderr)
        report(rows, seconds)
    finally:
        end_process()
