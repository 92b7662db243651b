"""The kernels stay vectorised and run where nothing is writable."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numba
import pytest

from pipeline.rasterizer import blend, unblend

_PACKED_FMA = re.compile(r"vfn?m(?:add|sub)\d+ps.*%ymm")
_ROWS, _NONE, _YES = numba.types.float32[:, ::1], numba.types.none, numba.types.boolean
_NUMBER = numba.types.float32
_HITS, _SCRATCH = numba.types.int32[:, ::1], numba.types.float32[::1]


@pytest.mark.parametrize("fourth", [_NONE, _YES], ids=["three channels", "four channels"])
@pytest.mark.parametrize(
    ("kernel", "outputs", "least"),
    [
        (blend._blend_tile, (), 10),
        (unblend._unblend_tile, (_ROWS, _NONE), 16),
        (unblend._unblend_tile, (_ROWS, _ROWS), 18),
    ],
    ids=["forward", "backward", "absolute gradients"],
)
def test_hot_loops_are_vectorised(
    kernel: Any, outputs: tuple[Any, ...], least: int, fourth: Any
) -> None:
    """A helper that is not inlined, or lanes that are taken apart, fail silently: count."""
    fresh = numba.njit(fastmath=True, error_model="numpy")(kernel.py_func)
    fresh.compile((_ROWS, _ROWS, fourth, _HITS, _NUMBER, _NUMBER, _SCRATCH, *outputs))
    (assembly,) = fresh.inspect_asm().values()
    assert "_ZN8pipeline10rasterizer6pixels" not in assembly, "a helper is called"
    if "ymm" not in assembly:
        pytest.skip("this CPU has no AVX2")
    assert len(_PACKED_FMA.findall(assembly)) >= least + (fourth is _YES)


def test_kernels_run_where_nothing_is_writable(tmp_path: Path) -> None:
    """A read-only install with a home that does not exist still finds a cache folder."""
    program = (
        "import os; real = os.access; "
        "home = os.environ['TMPDIR']; "
        "os.access = lambda path, mode: str(path).startswith(home) and real(path, mode); "
        "import numba, numpy; from pipeline.rasterizer import pixels; "
        "pixels.open_tile(numpy.empty(pixels.SCRATCH, numpy.float32)); "
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
    assert list(folder.rglob("pixels.open_tile*.nbc")), "nothing was cached"


_FORK = """
import os, sys, torch
torch.set_num_threads(1)
sys.path.insert(0, "tests/pipeline/rasterizer")
from scenes import render, scene_and_cameras
inputs = scene_and_cameras(300, views=2)
image, _ = render(inputs, threads=2)
child = os.fork()
if child == 0:
    os._exit(0 if torch.equal(render(inputs, threads=2)[0], image) else 3)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_child_forked_after_use_renders_the_same() -> None:
    """Its parent's threads are gone: it must not wait for them."""
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", _FORK], cwd=root, timeout=120, check=False)
    assert done.returncode == 0
