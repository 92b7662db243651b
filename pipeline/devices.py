"""What this machine's processor can be trusted with."""

import subprocess
import sys
from functools import cache

_PROBE = """
import time, torch
torch.set_num_threads(1)
def seconds(kind):
    a = torch.randn(768, 768).to(kind)
    a @ a
    start = time.perf_counter()
    for _ in range(4):
        a @ a
    return time.perf_counter() - start
print(seconds(torch.float32) / seconds(torch.bfloat16))
"""
WORTHWHILE = 1.5
"""Speed-up below which bfloat16's loss of precision is not worth having."""


@cache
def bf16_is_fast() -> bool:
    """Whether bfloat16 matrix products work here and beat float32 by `WORTHWHILE`.

    Always true where there is a CUDA device. A CPU is tried in a child process: on virtual
    machines that announce AMX but hide its tile layout,
    oneDNN (torch 2.13) dies of an illegal instruction instead of falling back.
    """
    import torch

    if torch.cuda.is_available():
        return True
    probe = subprocess.run(  # noqa: S603 (our own interpreter and program)
        [sys.executable, "-c", _PROBE], capture_output=True, text=True, check=False
    )
    return probe.returncode == 0 and float(probe.stdout) > WORTHWHILE
