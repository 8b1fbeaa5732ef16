"""The threads that work with the disk, and their stand-in for tests: in order, told when done, and nobody kept waiting."""

from __future__ import annotations

import errno
import sqlite3
import threading
import time

import pytest
from tests.backend.keepers import SteppedDisk

from overpaint_backend.durability.archive import Archive
from overpaint_protocol.errors import CapacityError, DaemonError, ImageError


@pytest.fixture
def archive():
    archive = Archive("/a/folder")
    yield archive
    archive.close(30)


@pytest.fixture(params=["archive", "stepped"])
def disk(request, archive):
    """Both kinds of DiskWork, and a function that has all of its work done: tests use the second in the place of the first."""
    if request.param == "archive":
        return archive, lambda: archive.close(30)
    stepped = SteppedDisk(is_prompt=False)
    return stepped, stepped.finish


@pytest.mark.parametrize("kind", ["submit", "submit_slow"])
def test_any_disk_works_in_order_and_flushes_before_it_tells(disk, kind):
    work, finish = disk
    submit_it = getattr(work, kind)
    did = []
    for name in ("one", "two"):
        submit_it(
            lambda name=name: did.append(name) or name,
            lambda outcome: did.append(f"told {outcome}"),
            lambda: did.append("flush"),
        )
    submit_it(lambda: did.append("three"))
    work.submit_last(lambda: did.append("last"))
    assert did == []
    finish()
    places = {what: place for place, what in enumerate(did)}
    assert places["one"] < places["two"] < places["three"] < places["last"]
    assert places["one"] < did.index("flush") < places["told one"] < places["told two"]
    assert places["two"] < places["flush"] < places["told two"]


@pytest.mark.parametrize("kind", ["submit", "submit_slow"])
def test_any_disk_tells_of_a_failure_in_a_sentence_and_goes_on(disk, kind):
    work, finish = disk
    submit_it = getattr(work, kind)
    heard = []

    def fail():
        raise OSError(errno.ENOSPC, "No space left on device")

    submit_it(fail, heard.append)
    submit_it(lambda: "done", heard.append, fail)
    submit_it(lambda: "done", heard.append)
    finish()
    assert [type(outcome) for outcome in heard] == [CapacityError, CapacityError, str]
    assert "is full" in heard[0].message and "is full" in heard[1].message


def test_work_is_done_elsewhere_in_order_and_what_follows_here_in_order(archive):
    did, heard = [], []
    for index in range(50):
        archive.submit(
            lambda index=index: did.append((index, threading.current_thread().name)) or index, heard.append
        )
    assert archive.close(30)
    assert did == [(index, "archive") for index in range(50)]
    assert heard == list(range(50))


def test_what_nobody_waits_for_is_done_last_and_before_the_end(archive):
    did, may_go_on = [], threading.Event()
    archive.submit(may_go_on.wait, lambda _: None)
    archive.hand_over()
    archive.submit_last(lambda: did.append("last"))
    archive.submit(lambda: did.append("first"), lambda _: None)
    archive.submit(lambda: did.append("second"), lambda _: None)
    archive.hand_over()
    may_go_on.set()
    assert archive.close(30)
    assert did == ["first", "second", "last"]


def test_what_waits_together_is_flushed_once_and_long_work_keeps_nobody_waiting(archive):
    did, heard, may_go_on = [], [], threading.Event()

    def flush():
        did.append("flush")

    archive.submit(may_go_on.wait)
    for index in range(3):
        archive.submit(lambda index=index: did.append(index), heard.append, flush)
    archive.submit(lambda: did.append("long"), heard.append, flush, is_long=True)
    archive.submit(lambda: did.append("after"), heard.append, flush)
    archive.submit(lambda: did.append("unflushed"), heard.append)
    archive.hand_over()
    may_go_on.set()
    assert archive.close(30)
    assert did == [0, 1, 2, "flush", "long", "after", "flush", "unflushed"]
    assert len(heard) == 6


def test_a_flush_that_fails_is_the_failure_of_all_that_waited_for_it(archive):
    heard, may_go_on = [], threading.Event()

    def flush():
        raise OSError(errno.EIO, "Input/output error")

    archive.submit(may_go_on.wait)
    for _ in range(2):
        archive.submit(lambda: "done", heard.append, flush)
    archive.hand_over()
    may_go_on.set()
    assert archive.close(30)
    assert [type(outcome) for outcome in heard] == [CapacityError, CapacityError]
    assert "Input/output" in heard[0].message


def test_any_disk_does_huge_work_in_order_and_what_follows_from_it_before_the_end(disk):
    work, finish = disk
    did = []

    def fail():
        raise OSError(errno.EIO, "Input/output error")

    def go_on(outcome):
        did.append(f"told {outcome}")
        work.submit_slow(lambda: did.append(f"slow {outcome}"))

    for name in ("one", "two"):
        work.submit_huge(lambda name=name: did.append(name) or name, go_on)
    work.submit_huge(fail, lambda error: did.append(type(error)))
    finish()
    assert [what for what in did if what in ("one", "two")] == ["one", "two"]
    told = ["told one", "told two", CapacityError]
    assert [what for what in did if what in told] == told
    assert did.index("slow one") < did.index("slow two")
    assert did.index("told two") < did.index("slow two")


def test_no_other_work_waits_for_huge_work(archive):
    did, may_go_on = [], threading.Event()
    archive.submit_huge(may_go_on.wait, lambda _: did.append("huge"))
    archive.submit_slow(lambda: did.append("slow"))
    archive.submit(lambda: did.append("quick"))
    archive.submit_last(may_go_on.set)
    archive.hand_over()
    assert may_go_on.wait(30)
    assert sorted(did) == ["quick", "slow"]
    assert archive.close(30)
    assert did[2:] == ["huge"]


def test_what_is_left_at_the_end_is_done_though_huge_work_takes_too_long(archive):
    did, may_go_on = [], threading.Event()
    archive.submit_huge(may_go_on.wait, lambda _: None)
    archive.submit(lambda: did.append("quick"))
    archive.submit_slow(lambda: did.append("slow"))
    assert not archive.close(0.5)
    assert "quick" in did
    may_go_on.set()
    assert archive.close(30)
    assert sorted(did) == ["quick", "slow"]


def test_nothing_waits_for_slow_work_but_what_follows_from_it(archive):
    heard, may_go_on = [], threading.Event()
    archive.submit_slow(may_go_on.wait, lambda _: heard.append("slow"))
    archive.submit(lambda: "kept", heard.append)
    archive.hand_over()
    archive.socket.setblocking(True)
    assert archive.socket.recv(1)
    archive.socket.setblocking(False)
    archive.poll()
    assert heard == ["kept"]
    may_go_on.set()
    assert archive.close(30)
    assert heard == ["kept", "slow"]


def test_what_nobody_waits_for_has_its_turn_however_much_else_there_is(archive, monkeypatch):
    """Else a daemon that is never at rest would never remove a file."""
    monkeypatch.setattr("overpaint_backend.durability.archive._LONGEST_S", -1.0)
    did, may_go_on = [], threading.Event()
    archive.submit_slow(may_go_on.wait)
    archive.submit_slow(lambda: did.append("first"))
    archive.submit_last(lambda: did.append("last"))
    archive.submit_slow(lambda: did.append("second"))
    archive.submit(may_go_on.set)
    archive.hand_over()
    assert archive.close(30)
    assert did == ["first", "last", "second"]


def test_what_nobody_waits_for_comes_after_what_was_submitted_before(archive):
    """Files are removed after the commit that names them no more."""
    did = []

    def commit():
        time.sleep(0.1)
        did.append("commit")

    archive.submit(lambda: did.append("forget"), None, commit)
    archive.submit_last(lambda: did.append("remove"))
    archive.submit(lambda: did.append("more"), None, commit)
    archive.hand_over()
    assert archive.close(30)
    assert did == ["forget", "more", "commit", "remove"]


def test_one_quiet_moment_is_enough_for_all_that_nobody_waits_for(archive, monkeypatch):
    """Else it would pile up while jobs come, and fall due in front of one."""
    pauses, is_done = [], threading.Event()
    wait = threading.Condition.wait

    def noted_wait(self, timeout=None):
        if threading.current_thread().name == "archive-slow" and timeout is not None:
            pauses.append(timeout)
        return wait(self, timeout)

    monkeypatch.setattr(threading.Condition, "wait", noted_wait)
    for _ in range(3):
        archive.submit_last(lambda: None)
    archive.submit_last(is_done.set)
    archive.hand_over()
    assert is_done.wait(30)
    assert len(pauses) == 1


def test_the_bell_rings_when_there_is_something_to_hear(archive):
    heard = []
    archive.submit(lambda: 1, heard.append)
    archive.hand_over()
    archive.socket.setblocking(True)
    assert archive.socket.recv(1)
    archive.socket.setblocking(False)
    assert heard == []
    archive.poll()
    assert heard == [1]


def test_failures_become_sentences_and_the_thread_lives_on(archive):
    heard = []

    def fail(error):
        raise error

    for error in (
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EACCES, "Permission denied"),
        sqlite3.OperationalError("locked"),
        ImageError("Damaged."),
        ValueError("a bug"),
    ):
        archive.submit(lambda error=error: fail(error), heard.append)
    archive.submit(lambda: "done", heard.append)
    archive.close(30)
    full, denied, locked, damaged, bug, done = heard
    assert isinstance(full, CapacityError) and "is full" in full.message and "/a/folder" in full.message
    assert isinstance(denied, CapacityError) and "Permission denied" in denied.message
    assert isinstance(locked, CapacityError) and "locked" in locked.message
    assert isinstance(damaged, ImageError)
    assert isinstance(bug, DaemonError) and "bug" not in bug.message
    assert done == "done"
