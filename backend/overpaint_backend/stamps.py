"""Noticing that a file has changed, without reading it."""

from __future__ import annotations

from pathlib import Path

__all__ = ["Stamp", "stamp_of"]

Stamp = tuple[int, int, int]
"""What changes when a file does: its inode, its size in bytes, when it was written in ns."""


def stamp_of(path: Path) -> Stamp | None:
    """The stamp of a file; None if there is none, or it may not be looked at."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_size, stat.st_mtime_ns
