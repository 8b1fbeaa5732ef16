"""Processor time and memory of processes, from Linux's own books, exact to the microsecond and the page."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


def cpu_s(pids: Iterable[int]) -> float:
    """Seconds of processor time that the threads of ``pids`` have used, those that have ended not counted."""
    total_ns = 0
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").iterdir():
            total_ns += int((task / "schedstat").read_text().split()[0])
    return total_ns / 1e9


def rss_bytes(pids: Iterable[int]) -> int:
    """Resident memory of ``pids`` together, pages they share counted for each."""
    return sum(_status(pid, "VmRSS") for pid in pids)


def peak_bytes(pids: Iterable[int]) -> int:
    """The sum of the largest resident memory each of ``pids`` had since ``forget_peak``."""
    return sum(_status(pid, "VmHWM") for pid in pids)


def forget_peak(pids: Iterable[int]) -> None:
    """Have ``peak_bytes`` begin anew."""
    for pid in pids:
        Path(f"/proc/{pid}/clear_refs").write_text("5")


def open_files(pid: int) -> int:
    """Descriptors that ``pid`` has open."""
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def _status(pid: int, key: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    return 0
