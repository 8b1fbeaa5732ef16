"""Files of pixels: on the disk before anything names them, and never handed out damaged.

A file counts from the moment the journal names it, which is after ``write`` has returned; one that a crash cut short is named
by nobody and swept away at the next start. What is read is held against the checksums that the journal has of it: a CRC-32
of each frame, which finds every flip of up to three bits and all but one in 4 billion of other damage. They are no protection
against a forger, who could write the journal as well; the folder is its owner's alone. A cryptographic digest took as long as
writing and flushing together.
"""

from __future__ import annotations

import contextlib
import os
import sys
import zlib
from collections.abc import Collection, Sequence
from pathlib import Path

from overpaint_protocol.errors import ImageError
from overpaint_protocol.pixels import Bytes

from .orders import Pixels

__all__ = ["Spool", "sync_folder"]

_FLUSH_BYTES = 4 << 20
"""The disk begins to work when it has this much; it is done soon after the last byte then, and not long after."""


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
        path = self._folder / name
        try:
            descriptor = os.open(
                path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0), 0o600
            )
            try:
                checksums = _write_all(descriptor, frames)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            sync_folder(self._folder)
        except OSError:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
            raise
        return Pixels(frames=tuple(len(frame) for frame in frames), checksums=checksums)

    def read(self, name: str, pixels: Pixels) -> tuple[Bytes, ...]:
        """The frames that were written as ``name``.

        Raises:
            ImageError: the file is missing, or not what was written.
        """
        try:
            data = (self._folder / name).read_bytes()
        except OSError as error:
            raise _damaged(f"{name}: {error.strerror}") from error
        if len(data) != pixels.byte_length:
            raise _damaged(f"{name}: {len(data)} bytes instead of {pixels.byte_length}")
        view, frames, start = memoryview(data), [], 0
        for length, checksum in zip(pixels.frames, pixels.checksums, strict=True):
            frame = view[start : start + length]
            if zlib.crc32(frame) != checksum:
                raise _damaged(f"{name}: the checksum of frame {len(frames)} differs")
            frames.append(frame)
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


def _write_all(descriptor: int, frames: Sequence[Bytes]) -> tuple[int, ...]:
    """Write ``frames`` and have the disk begin with them meanwhile; returns their checksums."""
    checksums: list[int] = []
    end = begun = 0
    for frame in frames:
        checksums.append(zlib.crc32(frame))
        left = memoryview(frame).cast("B")
        end += len(left)
        while left:
            left = left[os.write(descriptor, left) :]
        if end - begun >= _FLUSH_BYTES:
            _begin_flush(descriptor, begun, end - begun)
            begun = end
    return tuple(checksums)


def _begin_flush(descriptor: int, start: int, length: int) -> None:
    """Where the system knows how, have it write that part out without waiting for it.

    Linux does so before it drops pages that are said not to be needed, and these are not: they are read again only when an
    editor comes back for them.
    """
    if hasattr(os, "posix_fadvise"):
        with contextlib.suppress(OSError):  # a hint; fsync has the last word
            os.posix_fadvise(descriptor, start, length, os.POSIX_FADV_DONTNEED)


def _damaged(detail: str) -> ImageError:
    return ImageError(
        "The daemon's copy of this picture was damaged on the disk. Ask for it again, and check the disk.",
        detail=detail,
    )
