"""Going through a large picture some rows at a time, so that what is made on the way stays in the processor's cache."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

__all__ = ["each_block", "row_blocks"]

_BLOCK_PIXELS = 1 << 18
"""Of three float32 each: 3 MB, which the last cache holds. In smaller blocks threads mostly wait for each other's Python."""

_MAX_THREADS = 4
"""More share one memory bus, which is what bounds this work."""


def row_blocks(height: int, width: int) -> Iterator[slice]:
    """Slices of rows, top to bottom, that cover a picture of ``height`` rows of ``width`` px."""
    rows = max(1, _BLOCK_PIXELS // max(1, width))
    for top in range(0, height, rows):
        yield slice(top, min(top + rows, height))


def each_block(height: int, width: int, work: Callable[[slice], None]) -> None:
    """Call ``work`` with every one of ``row_blocks``, several at a time: NumPy lets other threads run meanwhile.

    Raises:
        Exception: whatever ``work`` raised first.
    """
    blocks = list(row_blocks(height, width))
    threads = min(_MAX_THREADS, os.cpu_count() or 1, len(blocks))
    if threads <= 1:
        for rows in blocks:
            work(rows)
        return
    with ThreadPoolExecutor(threads, thread_name_prefix="rows") as pool:
        for done in [pool.submit(work, rows) for rows in blocks]:
            done.result()
