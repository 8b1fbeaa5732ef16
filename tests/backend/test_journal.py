"""The journal by itself: kept all or nothing, flushed apart from that, and no longer than it needs."""

from __future__ import annotations

import itertools
import os
import random
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest
from tests.backend.scripted_daemon import submit, variant

from overpaint_backend.durability.archive import explain
from overpaint_backend.durability.journal import Journal, JournalDamaged
from overpaint_backend.durability.orders import Attempts, Ended, KeptTimeNote, Made, Order, Pixels, Taken
from overpaint_protocol.errors import ImageError
from overpaint_protocol.messages import ErrorInfo, JobState, JobVariant


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


def without_room(path):
    """A journal with one part that cannot grow."""
    journal = Journal(path)
    journal.put(1, PARTS[0])
    journal.commit()
    journal._database.execute("VACUUM")  # what it has made room for at its start
    (pages,) = journal._database.execute("PRAGMA page_count").fetchone()
    journal._database.execute(f"PRAGMA max_page_count = {pages}")
    return journal


def test_a_journal_without_room_keeps_what_it_has_and_says_that_it_is_full(tmp_path):
    journal = without_room(tmp_path / "journal")
    with pytest.raises(sqlite3.OperationalError) as full:
        for key in range(2, 1000):
            journal.put(key, PARTS[0])
            journal.commit()
    assert "is full" in explain(full.value, "/a/folder").message
    assert (1, PARTS[0]) in list(journal.parts())
    journal.close()


def test_when_one_change_fails_none_of_those_that_share_its_commit_is_kept(tmp_path):
    journal = without_room(tmp_path / "journal")
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
