"""Files of pixels: never handed out damaged.

``write`` gives a file to the system, and it is safe then from the death of the daemon; it outlives a power cut as well after ``flush`` and
``flush_names``. Most results are taken within a second and removed before the disk has seen anything of them. What has to last
at once is written past the system's cache where it knows how (``write_through``): copying it into the cache and out of it took the
processor time that others wait for.

A file counts from the moment the journal names it, which is after ``write`` has returned; one that a crash cut short is named
by nobody and swept away at the next start. What is read is held against the checksums that the journal has of it: a CRC-32
of each frame, which finds every flip of up to three bits and all but one in 4 billion of other damage, and a file that a power cut
has left without its contents. They are no protection
against a forger, who could write the journal as well; the folder is its owner's alone. A cryptographic digest took as long as
writing and flushing together, and so did zlib's CRC-32; libdeflate's takes a tenth of that.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import sys
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from imagecodecs import deflate_crc32

from overpaint_protocol.errors import ImageError
from overpaint_protocol.pixels import Bytes

from .orders import Pixels

__all__ = ["Spool", "sync_folder"]

_PIECE_BYTES = 256 << 10
"""What is written is still at hand in the processor's own cache when its checksum is taken, which then costs next to nothing."""
_STAGE_BYTES = 2 << 20
_BLOCK_BYTES = 4096
"""What is written past the cache begins and ends at multiples of this, in memory and in the file: no disk's blocks are larger."""


class Spool:
    """A folder of files that only its owner can read.

    Args:
        folder: exists, and is ours alone.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stage: mmap.mmap | None = None

    def write(self, name: str, frames: Sequence[Bytes]) -> Pixels:
        """Keep ``frames`` as ``name``; whatever becomes of the daemon, they are there when this returns.

        Raises:
            OSError: they are not, and nothing of them is left.
        """
        with self._created(name) as descriptor:
            checksums = tuple(_write(descriptor, frame) for frame in frames)
        return Pixels(frames=tuple(len(frame) for frame in frames), checksums=checksums)

    def write_through(self, name: str, frames: Sequence[Bytes]) -> Pixels:
        """Keep ``frames`` as ``name``; the disk has them when this returns, and their name after ``flush_names``.

        One thread at a time may write so.

        Raises:
            OSError: it has not, and nothing of them is left.
        """
        checksums = self._write_uncached(name, frames)
        if checksums is None:
            with self._created(name) as descriptor:
                checksums = [_write(descriptor, frame) for frame in frames]
                os.fsync(descriptor)
        return Pixels(frames=tuple(len(frame) for frame in frames), checksums=tuple(checksums))

    def flush(self, name: str) -> None:
        """Have the contents of a file on the disk.

        Raises:
            FileNotFoundError: there is no such file.
            OSError: they may not be there.
        """
        descriptor = os.open(self._folder / name, os.O_RDWR)  # Windows flushes only what could be written
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def flush_names(self) -> None:
        """Have the names of all files on the disk.

        Raises:
            OSError: they may not be there.
        """
        sync_folder(self._folder)

    def has(self, name: str) -> bool:
        """Whether there is a file of that name, whole or not."""
        return (self._folder / name).exists()

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
            if _crc32(frame) != checksum:
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

    def _write_uncached(self, name: str, frames: Sequence[Bytes]) -> list[int] | None:
        """Write a file past the system's cache; returns the checksums of its frames, None if that cannot be done here."""
        flag = getattr(os, "O_DIRECT", 0)
        if not flag:
            return None
        if self._stage is None:
            self._stage = mmap.mmap(-1, _STAGE_BYTES)
        try:
            with self._created(name, flag) as descriptor:
                checksums = _write_staged(descriptor, frames, self._stage)
                if checksums is None:
                    return None
                if (length := sum(len(frame) for frame in frames)) % _BLOCK_BYTES:
                    os.ftruncate(descriptor, length)
                os.fsync(descriptor)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            return None  # a file system without that way, or with blocks of its own size
        return checksums

    @contextlib.contextmanager
    def _created(self, name: str, flags: int = 0) -> Iterator[int]:
        """A new file to write to, of which nothing is left if that fails."""
        path = self._folder / name
        flags |= os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0)
        try:
            descriptor = os.open(path, flags, 0o600)
            try:
                yield descriptor
            finally:
                os.close(descriptor)
        except OSError:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
            raise


def sync_folder(folder: Path) -> None:
    """Make the names in ``folder`` outlive a power cut."""
    if sys.platform == "win32":
        return  # NTFS keeps its own journal of names, and folders cannot be opened
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _crc32(data: Bytes, before: int = 0) -> int:
    """The checksum of ``data`` behind what has the checksum ``before``."""
    return deflate_crc32(data, before)  # pyright: ignore[reportArgumentType] - it takes any buffer


def _write(descriptor: int, frame: Bytes) -> int:
    """Write ``frame`` behind what is there; returns its checksum."""
    left, checksum = memoryview(frame).cast("B"), 0
    while left:
        piece = left[:_PIECE_BYTES]
        checksum = _crc32(piece, checksum)
        left = left[len(piece) :]
        while piece:
            piece = piece[os.write(descriptor, piece) :]
    return checksum


def _write_staged(descriptor: int, frames: Sequence[Bytes], stage: mmap.mmap) -> list[int] | None:
    """Write ``frames`` by way of ``stage``, with what is left in it behind them to the end of a block.

    Returns their checksums, None if a stage was not written whole: the next one has no place to begin then.
    """
    checksums: list[int] = []
    filled = 0
    with memoryview(stage) as room:
        for frame in frames:
            left, checksum = memoryview(frame).cast("B"), 0
            while left:
                piece = left[: min(_PIECE_BYTES, len(room) - filled)]
                end = filled + len(piece)
                room[filled:end] = piece
                checksum = _crc32(piece, checksum)
                left, filled = left[len(piece) :], end
                if filled == len(room):
                    if os.write(descriptor, room) < filled:
                        return None
                    filled = 0
            checksums.append(checksum)
        length = -(-filled // _BLOCK_BYTES) * _BLOCK_BYTES
        if length and os.write(descriptor, room[:length]) < length:
            return None
    return checksums


def _damaged(detail: str) -> ImageError:
    return ImageError(
        "The daemon's copy of this picture was damaged on the disk. Ask for it again, and check the disk.",
        detail=detail,
    )
