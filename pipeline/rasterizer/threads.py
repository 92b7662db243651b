"""Run compiled kernels on a few plain threads.

A kernel takes ``(*args, start, stop)`` or ``(*args, thread, threads)`` as its last two arguments
and releases the GIL. How the work is split never changes a result, only who computes it.
"""

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

_lock = threading.Lock()
_pools: dict[tuple[int, int], ThreadPoolExecutor] = {}


def default_threads() -> int:
    """The threads to use when nobody says: OMP_NUM_THREADS, else the cores we may run on.

    Ray sets OMP_NUM_THREADS to an actor's share of the machine but leaves the affinity mask
    open, so the variable comes first.
    """
    wanted = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    if wanted.isdigit() and int(wanted) > 0:
        return int(wanted)
    return len(os.sched_getaffinity(0))


def run_ranges(
    kernel: Callable[..., None], args: tuple[Any, ...], count: int, threads: int, block: int = 1
) -> None:
    """Call ``kernel(*args, start, stop)`` so that the ranges cover [0, count).

    Args:
        kernel: compiled function.
        args: its arguments before the range.
        count: number of items.
        threads: number of ranges that run at the same time, at least 1.
        block: every range but the last starts and stops at a multiple of this.
    """
    blocks = -(-count // block)
    ranges = min(threads, blocks)
    edges = [min(count, blocks * i // max(ranges, 1) * block) for i in range(ranges + 1)]
    _run(kernel, args, list(pairwise(edges)))


def run_interleaved(kernel: Callable[..., None], args: tuple[Any, ...], threads: int) -> None:
    """Call ``kernel(*args, thread, threads)`` once for every thread; the kernel takes turns."""
    _run(kernel, args, [(thread, threads) for thread in range(threads)])


def _run(kernel: Callable[..., None], args: tuple[Any, ...], shares: list[tuple[int, int]]) -> None:
    if len(shares) <= 1:
        for share in shares:
            kernel(*args, *share)
        return
    for future in [_pool(len(shares)).submit(kernel, *args, *share) for share in shares]:
        future.result()


def _pool(threads: int) -> ThreadPoolExecutor:
    """The pool of this process: threads do not survive a fork, so a child makes its own."""
    key = (os.getpid(), threads)
    with _lock:
        if key not in _pools:
            _pools[key] = ThreadPoolExecutor(threads, thread_name_prefix="rasterize")
        return _pools[key]
