"""The kernels stay vectorised and stay importable where nothing is writable."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numba
import pytest

from pipeline.rasterizer import blend, unblend

_PACKED_FMA = re.compile(r"vf(?:n?m(?:add|sub))\d+ps")


_ROWS = numba.types.float32[:, ::1]
_TILE = (_ROWS, _ROWS, numba.types.int32[::1], numba.types.int64, numba.types.float32[::1])


@pytest.mark.parametrize(
    ("kernel", "signature", "least"),
    [
        (blend._blend_tile, _TILE, 8),
        (unblend._unblend_tile, (*_TILE, _ROWS, numba.types.none), 16),
        (unblend._unblend_tile, (*_TILE, _ROWS, _ROWS), 18),
    ],
    ids=["forward", "backward", "absolute gradients"],
)
def test_hot_loops_are_vectorised(kernel: Any, signature: tuple[Any, ...], least: int) -> None:
    """Vectorising fails silently and costs a factor of four to five: count packed FMAs."""
    fresh = numba.njit(fastmath=True, error_model="numpy")(kernel.py_func)
    fresh.compile(signature)
    (assembly,) = fresh.inspect_asm().values()
    if "ymm" not in assembly and "fma" not in assembly:
        pytest.skip("this CPU has no AVX2")
    assert len(_PACKED_FMA.findall(assembly)) >= least


def test_kernels_import_where_nothing_is_writable(tmp_path: Path) -> None:
    """A read-only install with a home that does not exist still finds a cache folder."""
    program = (
        "import os; real = os.access; "
        "home = os.environ['TMPDIR']; "
        "os.access = lambda path, mode: str(path).startswith(home) and real(path, mode); "
        "import numba; from pipeline.rasterizer import blend; "
        "print(numba.config.CACHE_DIR)"
    )
    environment = {"HOME": "/nonexistent", "TMPDIR": str(tmp_path), "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=True,
    )
    folder = Path(done.stdout.strip())
    assert folder.parent == tmp_path
    assert folder.stat().st_mode & 0o777 == 0o700
