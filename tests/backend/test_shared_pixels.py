"""Memory shared between daemon and worker: what is laid down is what is read, held while it is read, and never pulled away."""

from __future__ import annotations

import mmap
import os
import random
import re
import select
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

if sys.platform != "linux":
    pytest.skip("other systems have no memory that nobody can shorten", allow_module_level=True)

import resource

from overpaint_backend.executors.base import PixelsAt
from overpaint_backend.executors.shared import SharedByDaemon, SharedByWorker
from overpaint_protocol.errors import ProtocolError

MIB = 1 << 20
JOB_BYTES, ALL_BYTES = 128 * MIB, 192 * MIB
MAPPED_BYTES = 8 * MIB


@pytest.fixture
def daemon():
    daemon = SharedByDaemon()
    yield daemon
    daemon.close()


@pytest.fixture
def worker(daemon):
    return SharedByWorker(daemon.descriptor)


@pytest.fixture
def begin(daemon, worker):
    """A run begins; its own pixels do not matter."""
    return lambda: worker.begin(daemon.place(frames(MIB)))


def frames(*lengths, seed=1):
    chance = random.Random(seed)
    return tuple(chance.randbytes(length) for length in lengths)


def mapped_bytes():
    """What this process has mapped of such memory."""
    line = re.search(r"RssShmem:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(line[1]) * 1024


def test_a_jobs_pixels_and_its_results_are_what_was_laid_down(daemon, worker):
    pixels = frames(MIB, 5000, 3)
    assert tuple(map(bytes, worker.begin(daemon.place(pixels)))) == pixels
    first, second = frames(2 * MIB + 1, 7, seed=2), frames(MIB, seed=3)
    taken = [daemon.take(worker.place(result)) for result in (first, second)]
    assert [tuple(map(bytes, result)) for result in taken] == [first, second]


def test_every_frame_is_aligned_for_arrays_of_any_type(daemon, worker):
    pixels = frames(MIB + 1, 3, 64, 5000)
    for there in (worker.begin(daemon.place(pixels)), daemon.take(worker.place(pixels))):
        assert [np.frombuffer(frame, np.uint8).ctypes.data % 64 for frame in there] == [0, 0, 0, 0]


def test_a_result_is_held_while_anything_refers_to_it_and_its_place_is_used_again(daemon, worker, begin):
    result, other = frames(MIB, seed=1), frames(MIB, seed=2)
    begin()
    first_place = worker.place(result)
    taken = daemon.take(first_place)
    part = taken[0][10:20]
    del taken
    begin()
    second_place = worker.place(other)
    assert second_place.at > first_place.at
    assert part == result[0][10:20]
    del part
    begin()
    assert worker.place(other).at == first_place.at


@pytest.mark.parametrize(("length", "stays"), [(16 * MIB, 16 * MIB), (16 * MIB + 1, 0)])
def test_of_results_that_are_over_little_counts_in_the_daemons_memory(daemon, worker, begin, length, stays):
    begin()
    results = [worker.place(frames(length)) for _ in range(3)]
    before = mapped_bytes()
    taken = [daemon.take(result) for result in results]
    assert [bytes(frame) for (frame,) in taken] == [*frames(length)] * 3
    assert mapped_bytes() - before >= 3 * length
    del taken
    assert mapped_bytes() - before <= stays + 64 * 1024


def test_the_largest_part_that_is_free_is_the_room(daemon, worker, begin):
    begin()
    taken = [daemon.take(worker.place(frames(20 * MIB))) for _ in range(3)]
    assert worker.place(frames(5 * MIB)) is None
    del taken[1]
    placed = daemon.place(frames(MIB))
    assert (placed.room_start, placed.room_end) == (JOB_BYTES + 20 * MIB, JOB_BYTES + 40 * MIB)


@pytest.mark.parametrize(
    "lengths", [(1000,), (MAPPED_BYTES, 1), (MIB, 0)], ids=["little", "too much", "empty"]
)
def test_what_is_not_worth_it_or_has_no_room_goes_by_the_socket(daemon, worker, begin, lengths):
    begin()
    assert daemon.place(frames(*lengths)) is None
    assert worker.begin(None) == ()
    assert worker.place(frames(MIB)) is None, "there is no room without a place"


def placed_apart(daemon, pixels):
    """Where it lays them down beside the loop."""
    assert daemon.place_apart(pixels)
    assert select.select([daemon.bell], [], [], 30)[0] == [daemon.bell]
    assert daemon.is_placed
    placed = daemon.placed()
    assert select.select([daemon.bell], [], [], 0)[0] == []
    assert not daemon.is_placed
    return placed


def test_a_job_that_takes_long_to_copy_is_laid_down_apart(daemon, worker):
    for seed in (1, 2):
        pixels = frames(MAPPED_BYTES, 5000, 3, seed=seed)
        placed = placed_apart(daemon, pixels)
        assert (placed.room_start, placed.room_end) == (JOB_BYTES, ALL_BYTES)
        assert tuple(map(bytes, worker.begin(placed))) == pixels
        assert bytes(daemon.take(worker.place(frames(MIB)))[0]) == frames(MIB)[0]


@pytest.mark.parametrize("lengths", [(MAPPED_BYTES,), (JOB_BYTES, 1), (MAPPED_BYTES + 1, 0)])
def test_what_is_copied_at_once_or_has_no_room_is_not_laid_down_apart(daemon, lengths):
    assert not daemon.place_apart([bytes(length) for length in lengths])


@pytest.mark.parametrize("how", ["refused", "short"])
def test_without_memory_to_spare_a_job_laid_down_apart_goes_by_the_socket(daemon, monkeypatch, how):
    def pwrite(*_):
        if how == "refused":
            raise OSError(28, "No space left on device")
        return 5

    monkeypatch.setattr(os, "pwrite", pwrite)
    assert placed_apart(daemon, frames(MAPPED_BYTES + 1)) is None


def test_without_threads_to_spare_a_large_job_goes_by_the_socket(daemon, worker, monkeypatch):
    def refuse(_):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        assert not daemon.place_apart(frames(MAPPED_BYTES + 1))
    pixels = frames(MAPPED_BYTES + 1)
    assert tuple(map(bytes, worker.begin(placed_apart(daemon, pixels)))) == pixels


def test_memory_that_cannot_be_given_back_is_used_again(daemon, worker, monkeypatch):
    def refuse(*_, **__):
        raise OSError(12, "Cannot allocate memory")

    placed_apart(daemon, frames(2 * MAPPED_BYTES))
    with monkeypatch.context() as patch:
        patch.setattr(mmap, "mmap", refuse)
        daemon.give_back()
    pixels = frames(2 * MAPPED_BYTES, seed=2)
    assert tuple(map(bytes, worker.begin(placed_apart(daemon, pixels)))) == pixels


def test_it_ends_while_a_job_is_laid_down(monkeypatch):
    daemon, pwrite, descriptors = SharedByDaemon(), os.pwrite, []

    def slow_pwrite(descriptor, data, at):
        time.sleep(0.2)
        descriptors.append((descriptor, os.fstat(descriptor).st_size))
        return pwrite(descriptor, data, at)

    monkeypatch.setattr(os, "pwrite", slow_pwrite)
    assert daemon.place_apart(frames(MAPPED_BYTES + 1))
    daemon.close()
    assert descriptors == [(daemon.descriptor, ALL_BYTES)], "not one that others have by now"


def test_what_only_large_jobs_need_is_given_back(daemon, worker):
    def memory():
        return os.fstat(daemon.descriptor).st_blocks * 512

    worker.begin(daemon.place(frames(MAPPED_BYTES)))
    result = daemon.take(worker.place(frames(MIB)))
    before = memory()
    placed_apart(daemon, frames(8 * MAPPED_BYTES))
    assert memory() - before >= 7 * MAPPED_BYTES
    for _ in range(2):
        daemon.give_back()
        assert memory() == before
    assert bytes(result[0]) == frames(MIB)[0]
    pixels = frames(MAPPED_BYTES, 5000, seed=2)
    assert tuple(map(bytes, worker.begin(placed_apart(daemon, pixels)))) == pixels


def test_without_memory_to_spare_pixels_go_by_the_socket_until_there_is_some(
    daemon, worker, begin, monkeypatch
):
    begin()
    first = daemon.take(worker.place(frames(MIB, seed=1)))

    def fallocate(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", fallocate)
        assert worker.place(frames(MIB, seed=2)) is None
        assert daemon.place(frames(2 * MIB)) is None
    second = daemon.take(worker.place(frames(MIB, seed=3)))
    assert [bytes(first[0]), bytes(second[0])] == [*frames(MIB, seed=1), *frames(MIB, seed=3)]
    (job,) = worker.begin(daemon.place(frames(2 * MIB, seed=4)))
    assert bytes(job) == frames(2 * MIB, seed=4)[0]


def test_memory_is_put_behind_all_that_is_mapped_before_it_is_written(daemon, worker, monkeypatch):
    backed_to = {0: 0, JOB_BYTES: JOB_BYTES}

    def fallocate(_, at, length):
        part = at // JOB_BYTES * JOB_BYTES
        assert at <= backed_to[part]
        backed_to[part] = max(backed_to[part], at + length)

    monkeypatch.setattr(os, "posix_fallocate", fallocate)
    for lengths in ((MIB, 7), (3 * MIB + 5,), (MIB, 300), (MAPPED_BYTES,)):
        worker.begin(daemon.place(frames(*lengths)))
        assert backed_to[0] >= sum(lengths)
        for _ in range(2):
            placed = worker.place(frames(*lengths))
            assert backed_to[JOB_BYTES] >= placed.at + sum(lengths)


def test_nobody_can_shorten_it_under_a_reader(daemon, worker, begin):
    result = frames(MIB)
    begin()
    taken = daemon.take(worker.place(result))
    for length in (0, MIB, 2 * ALL_BYTES):
        with pytest.raises(PermissionError):
            os.ftruncate(daemon.descriptor, length)
    assert bytes(taken[0]) == result[0]
    with pytest.raises(TypeError):
        taken[0][0] = 1


@pytest.mark.parametrize(
    ("at", "lengths"),
    [
        (0, (MIB,)),
        (JOB_BYTES - 4096, (MIB,)),
        (JOB_BYTES + 1, (MIB,)),
        (ALL_BYTES - 4096, (4097,)),
        (ALL_BYTES, (1,)),
        (2**62, (MIB,)),
        (-4096, (MIB,)),
        (JOB_BYTES, ()),
        (JOB_BYTES, (MIB, 0)),
        (JOB_BYTES, (2 * MIB, -MIB)),
        (JOB_BYTES, (2**62,)),
    ],
)
def test_a_place_that_there_is_not_is_refused(daemon, at, lengths):
    with pytest.raises(ProtocolError):
        daemon.take(PixelsAt(at=at, lengths=lengths))


def test_results_take_no_descriptors(daemon, worker, begin):
    begin()
    placed = worker.place(frames(MIB))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        taken = daemon.take(placed)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert bytes(taken[0]) == frames(MIB)[0]


def test_results_outlive_the_worker_and_its_memory():
    daemon = SharedByDaemon()
    worker = SharedByWorker(daemon.descriptor)
    result = frames(MIB)
    worker.begin(daemon.place(result))
    taken = daemon.take(worker.place(result))
    daemon.close()
    del daemon, worker
    assert bytes(taken[0]) == result[0]
