"""Files of pixels: written whole or not at all, and never handed out damaged.

A file gets its name only after its bytes are on the disk, so one that was cut short by a crash has none. What is read is
held against the digest that the journal has of it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

from overpaint_protocol.errors import ImageError
from overpaint_protocol.pixels import Bytes

from .orders import Pixels

__all__ = ["Spool", "sync_folder"]

_UNFINISHED = ".new"


class Spool:
    """A folder of files that only its owner can read.

    Args:
        folder: exists, and is ours alone.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, name: str, frames: Sequence[Bytes]) -> Pixels:
        """Keep ``frames`` as ``name``; they are on the disk when this returns.

        Raises:
            OSError: they are not, and nothing of them is left.
        """
        path, fresh = self._folder / name, self._folder / f"{name}{_UNFINISHED}"
        digest = hashlib.blake2b(digest_size=32)
        try:
            descriptor = os.open(
                fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0), 0o600
            )
            with open(descriptor, "wb", buffering=0) as out:  # noqa: PTH123 - keeps the descriptor's mode
                for frame in frames:
                    digest.update(frame)
                    _write_all(out.fileno(), frame)
                os.fsync(out.fileno())
            fresh.replace(path)
            sync_folder(self._folder)
        except OSError:
            for left in (fresh, path):
                with contextlib.suppress(OSError):
                    left.unlink(missing_ok=True)
            raise
        return Pixels(frames=tuple(len(frame) for frame in frames), digest=digest.hexdigest())

    def read(self, name: str, pixels: Pixels) -> tuple[Bytes, ...]:
        """The frames that were written as ``name``.

        Raises:
            ImageError: the file is missing, or not what was written.
        """
        try:
            data = (self._folder / name).read_bytes()
        except OSError as error:
            raise _damaged(f"{name}: {error.strerror}") from error
        if (
            len(data) != pixels.byte_length
            or hashlib.blake2b(data, digest_size=32).hexdigest() != pixels.digest
        ):
            raise _damaged(f"{name}: the digest differs")
        view, frames, start = memoryview(data), [], 0
        for length in pixels.frames:
            frames.append(view[start : start + length])
            start += length
        return tuple(frames)

    def remove(self, names: Collection[str]) -> None:
        """Remove files; one that is missing is no concern, and one that cannot be removed now is swept away later."""
        for name in names:
            with contextlib.suppress(OSError):
                (self._folder / name).unlink(missing_ok=True)

    def sweep(self, wanted: Collection[str]) -> int:
        """Remove every file but those named, as a crash between two steps leaves them; returns how many there were."""
        stray = {path.name for path in self._folder.iterdir()} - set(wanted)
        self.remove(stray)
        return len(stray)


def sync_folder(folder: Path) -> None:
    """Make the names in ``folder`` outlive a power cut."""
    if sys.platform == "win32":
        return  # NTFS keeps its own journal of names, and folders cannot be opened
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, frame: Bytes) -> None:
    left = memoryview(frame).cast("B")
    while left:
        left = left[os.write(descriptor, left) :]


def _damaged(detail: str) -> ImageError:
    return ImageError(
        "The daemon's copy of this picture was damaged on the disk. Ask for it again, and check the disk.",
        detail=detail,
    )
