"""Compile loops with numba, the same way everywhere.

`compiled` releases the GIL, so that plain Python threads run kernels side by side, and caches
machine code on disk. Numba's own threading layers stay unused: two Python threads in its
``workqueue`` layer abort the process, which would take a Ray actor with it.

Hot loops run over ``range(n)`` on a slice that starts where the loop starts: any index that could
be negative stops LLVM from vectorising. Numba does not notice when a helper or a constant in
another file changes: delete the caches (``__pycache__/*.nb?``) after such an edit.
"""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar, cast

import numba

P = ParamSpec("P")
R = TypeVar("R")

_OPTIONS = {"nogil": True, "fastmath": True, "error_model": "numpy", "cache": True}


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Return ``function`` compiled on its first call, without the GIL and with a disk cache.

    Args:
        function: a module-level function that numba can compile. It must not rely on NaN or
            infinity: the compiler assumes neither occurs.
    """
    _give_cache_a_home(Path(function.__code__.co_filename).parent)
    return cast("Callable[P, R]", numba.njit(**_OPTIONS)(function))


def _give_cache_a_home(source_folder: Path) -> None:
    """Point numba's cache at a private temporary folder where nothing else is writable.

    On a read-only install without a writable home numba refuses to import cached kernels.
    """
    if numba.config.CACHE_DIR or _writable(source_folder) or _writable(Path.home() / ".cache"):
        return
    folder = Path(tempfile.gettempdir()) / f"headsplat-numba-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        folder = Path(tempfile.mkdtemp(prefix="headsplat-numba-"))
    numba.config.CACHE_DIR = str(folder)


def _writable(folder: Path) -> bool:
    """Whether files can be made in ``folder``, or in its nearest parent that exists."""
    while not folder.exists():
        folder = folder.parent
    return os.access(folder, os.W_OK)
