"""A graphics card as its driver sees it, and a program that takes most of its memory. Needs the package ``nvidia-ml-py``."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

__all__ = ["held_bytes", "others_take_all_but"]

_TAKE = """
import sys, torch
free, _ = torch.cuda.mem_get_info()
taken = torch.empty(max(0, free - int(sys.argv[1])), dtype=torch.uint8, device="cuda")
torch.cuda.synchronize()
print(torch.cuda.mem_get_info()[0], flush=True)
sys.stdin.read()
"""


def held_bytes(pid: int) -> int:
    """What a process holds of all cards' memory, with what torch keeps for later and CUDA's own; 0 without a card."""
    with suppress(ImportError):
        import pynvml

        with suppress(pynvml.NVMLError):
            pynvml.nvmlInit()
            cards = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
            running = [each for card in cards for each in pynvml.nvmlDeviceGetComputeRunningProcesses(card)]
            return sum(each.usedGpuMemory or 0 for each in running if each.pid == pid)
    return 0


@contextmanager
def others_take_all_but(left_bytes: int) -> Iterator[int]:
    """Another program takes the first card's memory but for ``left_bytes``; gives how much is left in truth."""
    program = subprocess.Popen(
        [sys.executable, "-c", _TAKE, str(left_bytes)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert program.stdin is not None
    assert program.stdout is not None
    try:
        yield int(program.stdout.readline())
    finally:
        program.stdin.close()
        program.stdout.close()
        program.wait(60)
