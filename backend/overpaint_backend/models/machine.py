"""What this computer has for models: main memory, and the graphics card as its driver names it. Without torch."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import psutil

__all__ = ["Machine", "this_machine"]

_ASK = ("nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits")
_TIMEOUT_S = 10.0
"""A driver that sleeps takes seconds to answer."""


@dataclass(frozen=True, slots=True)
class Machine:
    """memory_bytes: main memory. card: the first NVIDIA card's name; empty, with card_bytes 0, if none is known."""

    memory_bytes: int
    card: str
    card_bytes: int


def _ask(command: Sequence[str]) -> str:
    answer = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_TIMEOUT_S, check=True
    )
    return answer.stdout


def this_machine(ask: Callable[[Sequence[str]], str] = _ask) -> Machine:
    """What is here. ask: runs a command and returns what it prints; raises OSError or SubprocessError."""
    memory_bytes = psutil.virtual_memory().total
    try:
        name, _, mebibytes = ask(_ASK).splitlines()[0].rpartition(",")
        return Machine(memory_bytes, name.strip(), int(mebibytes) * 2**20)
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return Machine(memory_bytes, "", 0)
