"""Memory that daemon and worker share for pixels, where the system has a kind that nobody can shorten: Linux.

A socket copies pixels twice and takes fresh memory for them on either side. Here each is copied once, into memory that is
there from the job before. What has no room goes by the socket, as everything does on other systems.

The daemon makes the memory, and the worker has it as a descriptor from birth. It is sealed, so that nobody can shorten it under
a reader; what a worker says of its contents is held against its size. The first part is the daemon's to write,
before a run begins; the rest is the worker's, in the room that the daemon names for each run. A result is not copied out
again: clients and the disk read it where it lies, and its place is free once the last of them has let go of it.

Copying into mapped memory is quicker than writing as to a file. But a system without memory to spare has to say so rather than
end the process, so memory is put behind what is mapped before it is written.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import threading
import weakref
from collections.abc import Sequence

import numpy as np

from overpaint_protocol.errors import ProtocolError
from overpaint_protocol.pixels import Bytes

from .base import PixelsAt

__all__ = ["SharedByDaemon", "SharedByWorker"]

_JOB_BYTES = 128 << 20
_RESULT_BYTES = 64 << 20
_ALL_BYTES = _JOB_BYTES + _RESULT_BYTES
_ALIGNMENT = 64
"""Every frame begins at a multiple of it, as memory of its own would: arrays of any type lie over frames."""
_LEAST_BYTES = 128 << 10
"""Fewer are as quick by the socket."""
_MAPPED_JOB_BYTES, _MAPPED_RESULT_BYTES = 8 << 20, 16 << 20
"""What the daemon has mapped counts in its memory, so it keeps no more than this of jobs and of results that are over. Larger jobs
are written as to a file, and by a thread: copying them would keep the daemon's loop from others. Larger results it finds anew."""


class SharedByDaemon:
    """The daemon's side: makes the memory, and says where in it what may be.

    Raises:
        OSError: there is none.
    """

    def __init__(self) -> None:
        self.descriptor = os.memfd_create("overpaint-pixels", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        self.bell = -1
        """Readable when what was placed apart is there."""
        try:
            self.bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            os.ftruncate(self.descriptor, _ALL_BYTES)
            seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
            fcntl.fcntl(self.descriptor, fcntl.F_ADD_SEALS, seals)
            self._jobs = _Part(self.descriptor, 0, _MAPPED_JOB_BYTES)
            # To have each page of a result found anew takes as long as to copy it: the first place stays mapped.
            self._results = mmap.mmap(self.descriptor, _RESULT_BYTES, prot=mmap.PROT_READ, offset=_JOB_BYTES)
        except OSError:
            os.close(self.descriptor)
            if self.bell >= 0:
                os.close(self.bell)
            raise
        self._held: dict[int, int] = {}
        self._is_filled = False
        """Whether there is more memory behind the jobs' part than what is mapped of it."""
        self._apart: threading.Thread | None = None
        self._apart_lengths: tuple[int, ...] = ()
        self.is_placed = False
        """Whether the bell has rung."""

    def place(self, frames: Sequence[Bytes]) -> PixelsAt | None:
        """Lay a job's pixels down, if they fit, and name the room for its results. Only while no run is under way."""
        lengths = _lengths(frames, _MAPPED_JOB_BYTES)
        if not lengths:
            return None
        try:
            self._jobs.write(frames, lengths, 0)
        except OSError:  # no memory; the socket has a way to wait for it
            return None
        return self._place_of(lengths)

    def place_apart(self, frames: Sequence[Bytes]) -> bool:
        """Begin to lay down what is too much for ``place``, if it fits; ``placed`` when the bell has rung."""
        lengths = _lengths(frames, _JOB_BYTES)
        if not lengths or _starts(lengths)[-1] <= _MAPPED_JOB_BYTES:
            return False

        def write() -> None:
            try:
                if self._write(frames, lengths):
                    self._apart_lengths = lengths
            except OSError:
                pass  # no memory; the socket has a way to wait for it
            finally:
                self.is_placed = True
                os.eventfd_write(self.bell, 1)

        self._apart_lengths = ()
        thread = threading.Thread(target=write, name="shared-pixels", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the system has no more threads
            return False
        self._apart = thread
        return True

    def placed(self) -> PixelsAt | None:
        """Where the pixels lie that were placed apart, as by ``place``; the bell is silent again."""
        self._wait_apart()
        self.is_placed = False
        os.eventfd_read(self.bell)
        return self._place_of(self._apart_lengths) if self._apart_lengths else None

    def give_back(self) -> None:
        """Let the system have what the last job needed beyond what is mapped. Only while no run is under way."""
        if self._is_filled:
            self._is_filled = False
            length = _JOB_BYTES - _MAPPED_JOB_BYTES
            with (
                contextlib.suppress(OSError),  # it is kept then, as it is used again
                mmap.mmap(self.descriptor, length, offset=_MAPPED_JOB_BYTES) as rest,
            ):
                rest.madvise(mmap.MADV_REMOVE)

    def _write(self, frames: Sequence[Bytes], lengths: Sequence[int]) -> bool:
        """Lay ``frames`` down as in a file; returns whether there was room for all of them.

        Raises:
            OSError: there was none.
        """
        self._is_filled = True
        return all(
            os.pwrite(self.descriptor, frame, at) == size
            for frame, at, size in zip(frames, _starts(lengths), lengths, strict=False)
        )

    def _wait_apart(self) -> None:
        if self._apart is not None:
            self._apart.join()
            self._apart = None

    def _place_of(self, lengths: tuple[int, ...]) -> PixelsAt:
        start, end = self._room()
        return PixelsAt(at=0, lengths=lengths, room_start=start, room_end=end)

    def take(self, pixels: PixelsAt) -> tuple[Bytes, ...]:
        """What the worker has laid down; its place is held until nothing refers to it.

        Raises:
            ProtocolError: there is no such place.
        """
        *starts, length = _starts(pixels.lengths)
        is_inside = pixels.at >= _JOB_BYTES and pixels.at + length <= _ALL_BYTES
        is_place = pixels.at % mmap.ALLOCATIONGRANULARITY == 0 and min(pixels.lengths, default=0) > 0
        if not (is_inside and is_place):
            raise ProtocolError("The worker named a place for pixels that there is not.")
        place = np.frombuffer(self._results, np.uint8, length, pixels.at - _JOB_BYTES)
        self._held[pixels.at] = pixels.at + length
        weakref.finalize(place, self._release, pixels.at).atexit = False
        view = place.data
        return tuple(view[at : at + size] for at, size in zip(starts, pixels.lengths, strict=True))

    def close(self) -> None:
        """Let go of the memory; results that somebody refers to stay."""
        self._wait_apart()
        os.close(self.descriptor)
        os.close(self.bell)

    def _release(self, at: int) -> None:
        """The place is free, said by whichever thread let go of it last."""
        end = self._held.pop(at)
        if at > _JOB_BYTES or end - at > _MAPPED_RESULT_BYTES:
            self._results.madvise(mmap.MADV_DONTNEED, at - _JOB_BYTES, end - at)

    def _room(self) -> tuple[int, int]:
        """The largest part for results that nobody refers to."""
        start, best = _JOB_BYTES, (_JOB_BYTES, _JOB_BYTES)
        for held_start, held_end in (*sorted(self._held.copy().items()), (_ALL_BYTES, _ALL_BYTES)):
            best = max(best, (start, held_start), key=lambda room: room[1] - room[0])
            start = max(start, _page_end(held_end))
        return best


class SharedByWorker:
    """The worker's side.

    Args:
        descriptor: what it was born with.

    Raises:
        OSError: it cannot be used.
    """

    def __init__(self, descriptor: int) -> None:
        os.set_inheritable(descriptor, False)
        self._jobs = memoryview(mmap.mmap(descriptor, _JOB_BYTES, prot=mmap.PROT_READ))
        self._results = _Part(descriptor, _JOB_BYTES, _ALL_BYTES)
        self._room = (0, 0)

    def begin(self, pixels: PixelsAt | None) -> tuple[Bytes, ...]:
        """The pixels of a job that is to be run; its results are laid down in its room. None: all comes and goes by the socket."""
        if pixels is None:
            self._room = (0, 0)
            return ()
        self._room = pixels.room_start, pixels.room_end
        *starts, _ = _starts(pixels.lengths)
        return tuple(self._jobs[at : at + size] for at, size in zip(starts, pixels.lengths, strict=True))

    def place(self, frames: Sequence[Bytes]) -> PixelsAt | None:
        """Lay a result down, if there is room."""
        start, end = self._room
        lengths = _lengths(frames, end - start)
        if not lengths:
            return None
        try:
            written_to = self._results.write(frames, lengths, start)
        except OSError:  # no memory; the socket has a way to wait for it
            return None
        self._room = _page_end(written_to), end
        return PixelsAt(at=start, lengths=lengths)


class _Part:
    """The memory from ``start`` to ``end``, mapped by the side that writes it."""

    def __init__(self, descriptor: int, start: int, end: int) -> None:
        self._descriptor = descriptor
        self._start = self._backed_to = start
        self._memory = memoryview(mmap.mmap(descriptor, end - start, offset=start))

    def write(self, frames: Sequence[Bytes], lengths: Sequence[int], at: int) -> int:
        """Lay ``frames`` down from ``at`` on; returns where they end.

        Raises:
            OSError: there is no memory for them.
        """
        *starts, length = _starts(lengths)
        if at + length > self._backed_to:
            os.posix_fallocate(self._descriptor, self._backed_to, at + length - self._backed_to)
            self._backed_to = at + length
        for frame, start, size in zip(frames, starts, lengths, strict=True):
            begin = at - self._start + start
            self._memory[begin : begin + size] = memoryview(frame).cast("B")
        return at + length


def _lengths(frames: Sequence[Bytes], room: int) -> tuple[int, ...]:
    """The lengths of ``frames`` if they are to be laid down where there is ``room``, none of any if not."""
    lengths = tuple(memoryview(frame).nbytes for frame in frames)
    return lengths if _LEAST_BYTES <= _starts(lengths)[-1] <= room and min(lengths) > 0 else ()


def _starts(lengths: Sequence[int]) -> list[int]:
    """Where each of frames of these lengths begins, counted from the first, and where the last ends."""
    starts, end = [0], 0
    for length in lengths:
        end = starts[-1] + length
        starts.append(-(-end // _ALIGNMENT) * _ALIGNMENT)
    return [*starts[:-1], end]


def _page_end(at: int) -> int:
    return -(-at // mmap.ALLOCATIONGRANULARITY) * mmap.ALLOCATIONGRANULARITY
