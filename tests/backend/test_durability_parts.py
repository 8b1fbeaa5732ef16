"""Spool, journal, archive and retention by themselves: written whole, never handed out damaged, in order."""

from __future__ import annotations

import errno
import itertools
import os
import random
import sqlite3
import stat
import threading
import time
import zlib
from contextlib import closing
from pathlib import Path

import pytest
from tests.backend.keepers import SteppedDisk
from tests.backend.scripted_daemon import pixels, submit, variant

from overpaint_backend.durability.archive import Archive, explain
from overpaint_backend.durability.journal import Journal, JournalDamaged
from overpaint_backend.durability.orders import Attempts, Ended, KeptTimeNote, Made, Order, Pixels, Taken
from overpaint_backend.durability.retention import MAX_GAP_S, Kept, KeptTime, expired
from overpaint_backend.durability.spool import Spool
from overpaint_protocol.errors import CapacityError, DaemonError, ImageError
from overpaint_protocol.messages import ErrorInfo, JobState, JobVariant

DAY_S = 86_400.0


def job_variant(index=0):
    made = variant(1, index)
    return JobVariant(
        job_id="job-1", variant=index, seed=made.seed, engine="painter", target=made.target, image=made.image
    )


def order(**changes):
    fields = {
        "session_id": "anna",
        "editor": "Krita",
        "request": submit(),
        "engine": "painter",
        "seed": 7,
        "preview_bytes": 1,
        "pixels": Pixels(frames=(64, 16), checksums=(1, 2**32 - 1)),
        **changes,
    }
    return Order(**fields)


PARTS = [
    order(),
    Attempts(count=2),
    Made(variant=job_variant(), pixels=Pixels(frames=(4,), checksums=(3,))),
    Ended(
        state=JobState.FAILED,
        engine="painter",
        at_s=1.5,
        error=ErrorInfo.of(ImageError("No.")),
        timings_ms={"paint": 1.0},
        notes=("A note.",),
    ),
]


# ---------------------------------------------------------------- spool


def test_frames_come_back_as_they_were_written_in_a_file_for_its_owner_alone(tmp_path):
    spool = Spool(tmp_path)
    frames = (b"abc", memoryview(b"defgh"), bytearray(b""), b"i")
    kept = spool.write("1-0", frames)
    assert [bytes(frame) for frame in spool.read("1-0", kept)] == [b"abc", b"defgh", b"", b"i"]
    assert kept.byte_length == 9
    assert stat.S_IMODE((tmp_path / "1-0").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["1-0"]


@pytest.mark.parametrize("lengths", [(1,), (4096,), (5000, 0, 7), (2 << 20, 1), ((2 << 20) - 3, 4 << 20, 99)])
@pytest.mark.parametrize("how", ["write", "write_through", "write_through without O_DIRECT"])
def test_files_of_any_size_have_what_was_written_and_its_checksums(tmp_path, monkeypatch, lengths, how):
    real_open = os.open

    def without(path, flags, *mode):
        if flags & getattr(os, "O_DIRECT", 0):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))  # as file systems do that lack it
        return real_open(path, flags, *mode)

    if how.endswith("O_DIRECT"):
        monkeypatch.setattr(os, "open", without)
    chance = random.Random(20261127)
    frames = tuple(chance.randbytes(length) for length in lengths)
    write = getattr(Spool(tmp_path), how.split()[0])
    for name in ("1-0", "1-1"):  # the second finds what the first has left in the buffer
        kept = write(name, frames)
        assert (tmp_path / name).read_bytes() == b"".join(frames)
        assert kept.checksums == tuple(map(zlib.crc32, frames))


@pytest.mark.parametrize(
    ("how", "call"), [("write", "write"), ("write_through", "write"), ("write_through", "fsync")]
)
def test_what_cannot_be_written_whole_leaves_nothing(tmp_path, monkeypatch, how, call):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, full)
    with pytest.raises(OSError, match="No space"):
        getattr(Spool(tmp_path), how)("1-0", (b"abc",))
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_the_disk_does_not_take_or_that_is_gone_is_told(tmp_path, monkeypatch):
    spool = Spool(tmp_path)
    spool.write("1-0", (b"abc",))
    spool.flush("1-0")
    spool.flush_names()
    assert spool.has("1-0") and not spool.has("2-0")
    with pytest.raises(FileNotFoundError):
        spool.flush("2-0")

    def broken(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", broken)
    for flush in (lambda: spool.flush("1-0"), spool.flush_names):
        with pytest.raises(OSError, match="Input/output"):
            flush()


def test_a_short_write_is_continued(tmp_path, monkeypatch):
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:2]))
    spool = Spool(tmp_path)
    kept = spool.write("1-0", (b"abcde", b"f"))
    assert b"".join(spool.read("1-0", kept)) == b"abcdef"


def test_every_flipped_byte_is_noticed(tmp_path):
    spool = Spool(tmp_path)
    kept = spool.write("1-0", pixels())
    path = tmp_path / "1-0"
    whole = path.read_bytes()
    for index in range(len(whole)):
        path.write_bytes(bytes((*whole[:index], whole[index] ^ 4, *whole[index + 1 :])))
        with pytest.raises(ImageError):
            spool.read("1-0", kept)
    for damaged in (whole[:-1], whole + b"\0", b""):
        path.write_bytes(damaged)
        with pytest.raises(ImageError):
            spool.read("1-0", kept)
    path.unlink()
    with pytest.raises(ImageError):
        spool.read("1-0", kept)


def test_what_nobody_names_is_swept_away(tmp_path):
    spool = Spool(tmp_path)
    spool.write("1-0", (b"a",))
    (tmp_path / "2-0").write_bytes(b"cut sh")
    (tmp_path / "3-order").write_bytes(b"orphan")
    assert spool.sweep(["1-0", "9-0"]) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["1-0"]


# ---------------------------------------------------------------- journal


def test_parts_come_back_as_they_were_put_and_replace_each_other(tmp_path):
    journal = Journal(tmp_path / "journal")
    for part in PARTS:
        journal.put(3, part)
    journal.put(3, Attempts(count=1))
    journal.put(4, order(seed=8))
    journal.commit()
    journal.close()
    journal = Journal(tmp_path / "journal")
    found = list(journal.parts())
    assert [key for key, _ in found] == [3, 3, 3, 3, 4]
    assert [part for key, part in found if key == 3] == [
        Attempts(count=1),
        PARTS[3],
        PARTS[2],
        PARTS[0],
    ]
    journal.close()


def test_what_is_put_is_kept_with_all_of_its_commit_and_on_the_disk_after_a_flush(tmp_path, monkeypatch):
    flushed = []
    fsync = os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda fd: flushed.append(str(Path(f"/proc/self/fd/{fd}").readlink())) or fsync(fd)
    )
    journal = Journal(tmp_path / "journal")
    journal.put(1, PARTS[0])
    journal.put(1, PARTS[1])
    with closing(sqlite3.connect(tmp_path / "journal")) as other:  # as the next daemon would, after a kill
        assert other.execute("SELECT count(*) FROM part").fetchone() == (0,)
        journal.commit()
        assert other.execute("SELECT count(*) FROM part").fetchone() == (2,)
    assert flushed == []
    journal.flush()
    assert flushed == [str(tmp_path / "journal-wal")]
    assert journal._database.execute("PRAGMA synchronous").fetchone() == (1,)
    assert journal._database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    journal.close()


def test_its_log_has_grown_before_the_first_flush_and_is_used_from_its_beginning(tmp_path):
    for _ in range(2):
        journal = Journal(tmp_path / "journal")
        log = tmp_path / "journal-wal"
        size = log.stat().st_size
        assert size > 1 << 20
        for key in range(1, 400):
            journal.put(key, PARTS[0])
            journal.commit()
            journal.fold()
        assert log.stat().st_size == size
        journal.close()


@pytest.mark.parametrize("longest_pages", [300, 1_000_000])
def test_its_log_has_an_end_though_there_is_never_a_moment_without_a_change(
    tmp_path, monkeypatch, longest_pages
):
    """A change that has begun while the log is folded keeps it from beginning anew, and there may always be one."""
    monkeypatch.setattr("overpaint_backend.durability.journal._LONGEST_PAGES", longest_pages)
    journal = Journal(tmp_path / "journal")
    beside = Journal(tmp_path / "journal", beside=journal)
    run = beside._run
    keys = itertools.count(1)

    def run_amid_a_change(statement, *values):
        if "PASSIVE" not in statement:
            return run(statement, *values)
        journal.put(next(keys), PARTS[0])
        outcome = run(statement, *values)
        journal.commit()
        return outcome

    monkeypatch.setattr(beside, "_run", run_amid_a_change)
    for _ in range(1000):
        journal.put(next(keys), PARTS[0])
        journal.commit()
        beside.fold()
    size = (tmp_path / "journal-wal").stat().st_size
    assert size < 3 << 20 if longest_pages == 300 else size > 9 << 20, "without an end it is longer than that"
    assert len(list(journal.parts())) > 1000
    beside.close()
    journal.close()


def test_nobody_waits_for_a_reader_of_the_journal(tmp_path, monkeypatch):
    """Such as who looks into it while the daemon runs."""
    monkeypatch.setattr("overpaint_backend.durability.journal._LONGEST_PAGES", 10)
    monkeypatch.setattr("overpaint_backend.durability.journal._FOLDING_S", 0.01)
    journal = Journal(tmp_path / "journal")
    with closing(sqlite3.connect(tmp_path / "journal")) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM part").fetchone()
        for key in range(1, 200):
            journal.put(key, PARTS[0])
            journal.commit()
            journal.fold()
    assert len(list(journal.parts())) == 199
    journal.close()


def test_two_threads_have_a_journal_each_and_a_flush_is_of_both(tmp_path):
    journal = Journal(tmp_path / "journal")
    beside = Journal(tmp_path / "journal", beside=journal)

    def change(which, keys):
        for key in keys:
            which.put(key, PARTS[0])
            which.commit()

    other = threading.Thread(target=change, args=(journal, range(1, 200)))
    other.start()
    change(beside, range(200, 400))
    other.join()
    beside.flush()
    beside.fold()
    assert [key for key, _ in journal.parts()] == list(range(1, 400))
    beside.close()
    journal.close()


def test_a_job_is_reopened(tmp_path):
    journal = Journal(tmp_path / "journal")
    for key in (1, 2):
        for part in PARTS:
            journal.put(key, part)
    journal.reopen(1)
    journal.commit()
    ended = [key for key, part in journal.parts() if isinstance(part, Ended)]
    assert ended == [2]
    assert len(list(journal.parts())) == 2 * len(PARTS) - 1
    journal.close()


def test_what_was_taken_is_remembered_for_a_while_and_not_without_end(tmp_path):
    journal = Journal(tmp_path / "journal")
    journal.put(1, PARTS[0])
    for index in range(6):
        journal.forget(index, Taken("local", "anna", f"job-{index}", float(index)))
    assert list(journal.parts()) == []
    journal.forget_taken(before_s=2.0, most=3)
    assert [taken.job_id for taken in journal.taken()] == ["job-3", "job-4", "job-5"]
    journal.close()


def test_the_time_is_noted_and_replaced(tmp_path):
    journal = Journal(tmp_path / "journal")
    assert journal.time is None
    journal.note_time(KeptTimeNote(1.0, 2.0))
    journal.note_time(KeptTimeNote(3.0, 4.0))
    assert journal.time == KeptTimeNote(3.0, 4.0)
    journal.close()


def test_a_journal_without_room_keeps_what_it_has_and_says_that_it_is_full(tmp_path):
    journal = Journal(tmp_path / "journal")
    journal.put(1, PARTS[0])
    journal.commit()
    journal._database.execute("VACUUM")  # what it has made room for at its start
    (pages,) = journal._database.execute("PRAGMA page_count").fetchone()
    journal._database.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(sqlite3.OperationalError) as full:
        for key in range(2, 1000):
            journal.put(key, PARTS[0])
            journal.commit()
    assert "is full" in explain(full.value, "/a/folder").message
    assert (1, PARTS[0]) in list(journal.parts())
    journal.close()


def test_when_one_change_fails_none_of_those_that_share_its_commit_is_kept(tmp_path):
    journal = Journal(tmp_path / "journal")
    journal.put(1, PARTS[0])
    journal.commit()
    journal._database.execute("VACUUM")  # what it has made room for at its start
    (pages,) = journal._database.execute("PRAGMA page_count").fetchone()
    journal._database.execute(f"PRAGMA max_page_count = {pages}")
    journal.put(1, PARTS[1])
    with pytest.raises(sqlite3.OperationalError, match="full"):
        for key in range(2, 1000):
            journal.put(key, PARTS[0])
    with pytest.raises(sqlite3.OperationalError, match="before this one"):
        journal.forget(1, None)
    with pytest.raises(sqlite3.OperationalError, match="before this one"):
        journal.commit()
    assert list(journal.parts()) == [(1, PARTS[0])]
    journal.put(1, PARTS[1])
    journal.commit()
    assert list(journal.parts()) == [(1, PARTS[1]), (1, PARTS[0])]
    journal.close()


@pytest.mark.parametrize(
    "content",
    [b"not a database at all, and long enough to be one" * 40, b"SQLite format 3\0" + bytes(4080)],
    ids=["text", "empty header"],
)
def test_a_file_that_is_no_journal_is_told(tmp_path, content):
    (tmp_path / "journal").write_bytes(content)
    with pytest.raises(JournalDamaged):
        Journal(tmp_path / "journal")


def test_the_journal_of_a_newer_version_is_not_touched(tmp_path):
    Journal(tmp_path / "journal").close()
    with sqlite3.connect(tmp_path / "journal") as other:
        other.execute("PRAGMA user_version = 99")
    other.close()
    with pytest.raises(JournalDamaged, match="99"):
        Journal(tmp_path / "journal")


def test_a_flipped_byte_never_changes_what_a_part_says(tmp_path):
    """100 flips anywhere in the file: a part is as it was put, missing, or the whole journal is known to be damaged."""
    journal = Journal(tmp_path / "journal")
    for key in range(1, 20):
        for part in PARTS:
            journal.put(key, part)
    journal.commit()
    journal.close()
    whole = (tmp_path / "journal").read_bytes()
    chance = random.Random(20261126)
    seen = set()
    for _ in range(100):
        index = chance.randrange(len(whole))
        flipped = bytes((*whole[:index], whole[index] ^ 1 << chance.randrange(8), *whole[index + 1 :]))
        (tmp_path / "journal").write_bytes(flipped)
        try:
            damaged = Journal(tmp_path / "journal")
        except (JournalDamaged, sqlite3.Error):
            seen.add("whole")
            continue
        try:
            for _, part in damaged.parts():
                assert part is None or part in PARTS
                seen.add("part" if part is None else "good")
        except sqlite3.DatabaseError:
            seen.add("whole")
        finally:
            damaged.close()
    assert seen == {"whole", "part", "good"}, "the flips hit everything there is"


# ---------------------------------------------------------------- archive


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


# ---------------------------------------------------------------- retention


def kept(key, ended_at_s, *, mib=1, is_away=True):
    return Kept(key=key, ended_at_s=ended_at_s, byte_length=mib << 20, is_away=is_away)


@pytest.mark.parametrize(
    ("jobs", "gone"),
    [
        ([], []),
        ([kept(1, 0.0), kept(2, 0.1)], [1]),
        ([kept(1, 0.0, is_away=False)], [1]),
        ([kept(1, 10.0, mib=3), kept(2, 20.0, mib=3), kept(3, 30.0, mib=3)], [1]),
        ([kept(1, 10.0, mib=9), kept(2, 20.0, mib=1)], [1]),
        ([kept(1, 10.0, mib=9, is_away=False), kept(2, 20.0, mib=6)], []),
        ([kept(1, 10.0, mib=3), kept(2, 10.0, mib=3), kept(3, 10.0, mib=3)], [1]),
        ([kept(key, 10.0, mib=0) for key in range(1, 99)], list(range(1, 3))),
    ],
    ids=["none", "age", "age here", "bytes", "one too big", "here", "same time", "without pixels"],
)
def test_what_is_too_old_or_too_much_goes_oldest_first(jobs, gone):
    assert expired(jobs, 7 * DAY_S, 7 * DAY_S, 6 << 20) == gone


@pytest.mark.parametrize(
    ("wall_s", "elapsed_s"),
    [(1000.0, 500.0), (1060.0, 560.0), (0.0, 500.0), (1000 + 3650 * DAY_S, 500.0 + MAX_GAP_S)],
    ids=["at once", "a minute later", "clock put back", "clock put on by ten years"],
)
def test_the_time_between_two_daemons_counts_and_no_clock_turns_it(wall_s, elapsed_s):
    time = KeptTime(KeptTimeNote(500.0, 1000.0), wall_s, now=77.0)
    assert time.at(77.0) == elapsed_s
    assert time.at(79.5) == elapsed_s + 2.5
