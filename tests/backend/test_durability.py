"""What clients were told stays true when daemons die, disks are full and slow, clocks jump and bytes flip (systems: F1-F22, I0)."""

from __future__ import annotations

import dataclasses
import errno
import os
import random
import sqlite3
import stat

import pytest
from tests.backend.keepers import SteppedDisk
from tests.backend.kept_daemon import RESULTS, KeptDaemon, a_life, files, only
from tests.backend.scripted_daemon import SETTINGS, pixels, submit, variant

from overpaint_backend.durability.keeper import set_aside
from overpaint_backend.executors.base import RunOver, RunPreview, WorkerGone
from overpaint_protocol.errors import EngineError
from overpaint_protocol.geometry import Size
from overpaint_protocol.messages import (
    AckJob,
    CancelJob,
    EncodedImage,
    ErrorInfo,
    ErrorReply,
    FetchJob,
    JobAccepted,
    JobAcked,
    JobCancelled,
    JobDone,
    JobFailed,
    JobPreview,
    JobState,
    JobVariant,
    Ping,
    Pong,
)

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture
def start(tmp_path):
    """Starts daemons, one after the other, on one folder."""
    daemons = []

    def begin(**options):
        for daemon in daemons:
            daemon.die()
        daemons.append(KeptDaemon(tmp_path, **options))
        return daemons[-1]

    yield begin
    for daemon in daemons:
        daemon.die()


def fetch(daemon, peer, job_id="job-1"):
    """The replay, and the pixels of its variants by index."""
    daemon.service.flush(daemon.now)
    daemon.inboxes.pop(peer, None)
    daemon.post(peer, FetchJob(job_id=job_id))
    daemon.service.flush(daemon.now)
    envelopes = daemon.inboxes.pop(peer, [])
    painted = {
        e.message.variant: b"".join(bytes(frame) for frame in e.payload)
        for e in envelopes
        if isinstance(e.message, JobVariant)
    }
    return [e.message for e in envelopes], painted


# ---------------------------------------------------------------- a daemon dies and another comes


def test_a_queued_and_a_running_job_go_on_with_their_ids_seeds_and_pixels(start):
    daemon = start()
    daemon.hello(b"A")
    daemon.send(b"A", submit(seed=None, variants=2), pixels())
    daemon.send(b"A", submit("job-2"), pixels())
    (before,) = daemon.executor.runs
    daemon.worker(variant(1, 0), (RESULTS[0],))
    daemon = start()
    (first,) = daemon.executor.runs
    assert (first.seed, first.first_variant, first.request) == (before.seed, 1, before.request)
    assert [bytes(frame) for frame in daemon.executor.payload] == list(pixels())
    (welcome,) = daemon.hello(b"A")
    assert [(job.job_id, job.state, job.variants) for job in welcome.jobs] == [
        ("job-1", JobState.RUNNING, 1),
        ("job-2", JobState.QUEUED, 0),
    ]
    assert fetch(daemon, b"A")[1] == {0: RESULTS[0]}
    daemon.worker(variant(1, 1), (RESULTS[1],))
    daemon.worker(RunOver(run=1))
    assert fetch(daemon, b"A")[1] == RESULTS
    assert [run.request.job_id for run in daemon.executor.runs] == ["job-1", "job-2"]


def test_a_new_job_never_gets_the_number_of_a_kept_one(start):
    daemon = start()
    daemon.hello(b"A")
    for index in range(3):
        daemon.send(b"A", submit(f"job-{index}"), pixels())
    daemon.send(b"A", AckJob(job_id="job-0"))
    daemon = start()
    daemon.hello(b"A")
    daemon.send(b"A", submit("new"), pixels())
    assert len({job.key for job in daemon.session("anna").jobs.values()}) == 3


def test_a_job_that_takes_two_daemons_down_is_given_up_and_the_next_one_runs(start):
    daemon = start()
    daemon.hello(b"A")
    daemon.send(b"A", submit("poison"), pixels())
    daemon.send(b"A", submit("good"), pixels())
    daemon = start()
    assert daemon.executor.runs[0].request.job_id == "poison"
    daemon = start()
    assert daemon.executor.runs[0].request.job_id == "good"
    daemon.hello(b"A")
    failed = only(fetch(daemon, b"A", "poison")[0], JobFailed)
    assert failed.error.code == "engine.lost"
    assert "twice" in failed.error.message
    daemon = start()
    assert only(fetch(daemon, b"A", "poison")[0] if daemon.hello(b"A") else [], JobFailed) == failed


def test_a_worker_and_a_daemon_that_die_count_together(start):
    daemon = start()
    daemon.hello(b"A")
    daemon.send(b"A", submit(), pixels())
    daemon.worker(WorkerGone(reason="killed"))
    daemon = start()
    assert len(daemon.executor.runs) == 1, "the second run had not begun"
    daemon = start()
    assert daemon.executor.runs == []


def test_daemons_that_are_stopped_in_order_do_not_count(start):
    daemon = start()
    daemon.hello(b"A")
    daemon.send(b"A", submit(), pixels())
    for _ in range(5):
        daemon.service.stop(daemon.now)
        daemon = start()
        assert len(daemon.executor.runs) == 1
    daemon.worker(variant(1), (RESULTS[0],))
    daemon.worker(RunOver(run=1))
    daemon.hello(b"A")
    assert isinstance(fetch(daemon, b"A")[0][-1], JobDone)


def test_jobs_that_never_began_wait_through_any_number_of_deaths(start):
    daemon = start(ready=False)
    daemon.hello(b"A")
    daemon.send(b"A", submit(), pixels())
    for _ in range(5):
        daemon = start(ready=False)
    daemon = start()
    assert len(daemon.executor.runs) == 1


def test_all_that_was_made_is_not_made_again_though_the_word_of_the_end_was_lost(start):
    daemon = start()
    daemon.hello(b"A")
    daemon.send(b"A", submit(variants=2), pixels())
    for index in (0, 1):
        daemon.worker(variant(1, index), (RESULTS[index],))
    daemon = start()
    assert daemon.executor.runs == []
    daemon.hello(b"A")
    messages, painted = fetch(daemon, b"A")
    assert (messages[-1].variants, messages[-1].engine, painted) == (2, "painter", RESULTS)


def test_how_a_job_ended_is_told_alike_by_every_daemon(start):
    daemon = start()
    daemon.hello(b"A")
    for job_id, error in (("done", None), ("failed", ErrorInfo.of(EngineError("It did not work.")))):
        daemon.send(b"A", submit(job_id), pixels())
        run = daemon.executor.runs[-1].run
        daemon.worker(variant(run), (RESULTS[0],))
        daemon.worker(RunOver(run=run, error=error, timings_ms={"paint": 5.0}, notes=("A note.",)))
    daemon.send(b"A", submit("cancelled"), pixels())
    daemon.send(b"A", CancelJob(job_id="cancelled"))
    told = {job_id: fetch(daemon, b"A", job_id) for job_id in ("done", "failed", "cancelled")}
    assert [messages[-1].job_id for messages, _ in told.values()] == list(told)
    daemon = start()
    daemon.hello(b"A")
    assert {job_id: fetch(daemon, b"A", job_id) for job_id in told} == told
    assert daemon.executor.runs == []


def test_pixels_of_ended_jobs_are_on_the_disk_and_not_in_the_memory(start):
    daemon = start()
    daemon.hello(b"A")
    daemon.send(b"A", submit(), pixels())
    daemon.worker(variant(1), (RESULTS[0],))
    (job,) = daemon.session("anna").jobs.values()
    assert job.results[0].payload is not None, "a run that dies goes on from here"
    daemon.worker(RunOver(run=1))
    assert job.results[0].payload is None
    assert job.byte_length == 4
    assert fetch(daemon, b"A")[1] == {0: RESULTS[0]}
    assert job.results[0].payload is None


def test_results_on_the_disk_do_not_keep_a_daemon_that_nobody_needs(start):
    settings = dataclasses.replace(SETTINGS, idle_exit_s=30)
    daemon = start(settings=settings)
    daemon.hello(b"A")
    daemon.send(b"A", submit(), pixels())
    daemon.worker(variant(1), (RESULTS[0],))
    daemon.worker(RunOver(run=1))
    daemon.service.on_gone(b"A", daemon.now)
    daemon.wait(31)
    assert daemon.service.is_idle(daemon.now)
    daemon = start(settings=settings)
    daemon.hello(b"A")
    assert fetch(daemon, b"A")[1] == {0: RESULTS[0]}


def test_nobody_else_gets_what_an_earlier_daemon_left(start):
    daemon = start()
    daemon.hello(b"A")
    daemon.send(b"A", submit(), pixels())
    daemon.worker(variant(1), (RESULTS[0],))
    daemon.worker(RunOver(run=1))
    daemon = start()
    (welcome,) = daemon.hello(b"B", "bo")
    assert welcome.jobs == ()
    for make in (FetchJob, CancelJob):
        foreign = only(daemon.send(b"B", make(job_id="job-1")), ErrorReply)
        assert foreign.error == only(daemon.send(b"B", make(job_id="job-9")), ErrorReply).error
    assert daemon.send(b"B", AckJob(job_id="job-1")) == [JobAcked(job_id="job-1")]
    daemon.hello(b"A")
    assert fetch(daemon, b"A")[1] == {0: RESULTS[0]}


def test_what_was_taken_is_gone_for_good_and_a_late_copy_of_its_submit_is_refused(start, tmp_path):
    daemon = start()
    daemon.hello(b"A")
    daemon.send(b"A", submit(), pixels())
    daemon.worker(variant(1), (RESULTS[0],))
    daemon.worker(RunOver(run=1))
    daemon.send(b"A", AckJob(job_id="job-1"))
    assert files(tmp_path) == []
    for _ in range(2):
        error = only(daemon.send(b"A", submit(), pixels()), ErrorReply).error
        assert error.code == "request.unknown_job"
        assert daemon.send(b"A", AckJob(job_id="job-1")) == [JobAcked(job_id="job-1")]
        daemon = start()
        (welcome,) = daemon.hello(b"A")
        assert welcome.jobs == ()
    assert daemon.executor.runs == []
    daemon.hello(b"B", "bo")
    assert only(daemon.send(b"B", submit(), pixels()), JobAccepted), "ids are a session's own"


def test_a_submit_that_its_own_ack_has_overtaken_is_not_done(start):
    daemon = start()
    daemon.hello(b"A")
    assert daemon.send(b"A", AckJob(job_id="job-1")) == [JobAcked(job_id="job-1")]
    assert only(daemon.send(b"A", submit(), pixels()), ErrorReply).error.code == "request.unknown_job"


# ---------------------------------------------------------------- nothing is promised before it is true


def test_nothing_is_promised_before_it_is_on_the_disk_and_pixels_do_not_wait(start):
    disk = SteppedDisk(is_prompt=False)
    daemon = start(disk=disk)
    daemon.hello(b"A")
    assert daemon.send(b"A", submit(), pixels()) == []
    assert len(daemon.executor.runs) == 1, "the engine does not wait for the disk"
    daemon.worker(variant(1), (RESULTS[0],))
    (made,) = daemon.take(b"A")
    assert made.variant == 0
    daemon.worker(RunOver(run=1))
    while disk.todo:
        disk.step()
    assert daemon.take(b"A") == [], "nobody hears of the end of what was not accepted"
    disk.settle()
    accepted, done = daemon.take(b"A")
    assert (accepted, done) == (
        JobAccepted(job_id="job-1", position=0),
        JobDone(job_id="job-1", variants=1, engine="painter"),
    )
    assert daemon.send(b"A", AckJob(job_id="job-1")) == []
    disk.step()
    assert daemon.take(b"A") == [JobAcked(job_id="job-1")], "without a wait for the disk"
    daemon.send(b"A", submit("job-2"), pixels())
    disk.finish()
    accepted, progress = daemon.take(b"A")
    assert (accepted.job_id, progress.state) == ("job-2", JobState.RUNNING)
    assert daemon.send(b"A", CancelJob(job_id="job-2")) == []
    while disk.todo:
        disk.step()
    assert daemon.take(b"A") == [JobCancelled(job_id="job-2", state=JobState.CANCELLED)], "nor this"


def test_nobody_waits_for_the_huge_order_of_somebody_else(start, monkeypatch):
    disk = SteppedDisk(is_slow=True)
    daemon = start(disk=disk)
    daemon.hello(b"A")
    daemon.hello(b"B", "bo")
    monkeypatch.setattr("overpaint_backend.durability.keeper._HUGE_BYTES", 0)
    assert daemon.send(b"A", submit("huge"), pixels()) == []
    monkeypatch.undo()
    daemon.send(b"B", submit("small"), pixels())
    disk.step_slow()
    assert only(daemon.take(b"B"), JobAccepted).job_id == "small"
    daemon.post(b"B", CancelJob(job_id="small"))
    assert only(daemon.take(b"B"), JobCancelled)
    assert daemon.take(b"A") == []
    told = []
    daemon.keeper.sync_orders(lambda: told.append("synced"))
    disk.settle()
    assert only(daemon.take(b"A"), JobAccepted).job_id == "huge"
    assert told == ["synced"]


def test_a_job_that_is_over_long_before_its_huge_order_is_written_is_kept_whole(start, tmp_path, monkeypatch):
    monkeypatch.setattr("overpaint_backend.durability.keeper._HUGE_BYTES", 0)
    daemon = start(disk=SteppedDisk(is_slow=True))
    daemon.hello(b"A")
    daemon.send(b"A", submit(), pixels())
    daemon.worker(variant(1), (RESULTS[0],))
    daemon.worker(RunOver(run=1))
    daemon.wait(3)
    daemon.take(b"A")
    daemon.disk.settle()
    assert [type(message) for message in daemon.take(b"A")] == [JobAccepted, JobDone]
    assert files(tmp_path) == ["1-0", "1-order"], "nothing was made to last before the order was there"
    daemon.wait(1)
    daemon.disk.settle()
    assert files(tmp_path) == ["1-0"]
    daemon = start()
    daemon.hello(b"A")
    assert fetch(daemon, b"A")[1] == {0: RESULTS[0]}


def test_a_huge_order_that_finds_the_disk_full_is_refused_and_leaves_nothing(start, tmp_path, monkeypatch):
    monkeypatch.setattr("overpaint_backend.durability.keeper._HUGE_BYTES", 0)
    daemon = start()
    daemon.hello(b"A")
    daemon.disk.failures.append(FULL)
    assert only(daemon.send(b"A", submit(), pixels()), ErrorReply).error.code == "capacity.busy"
    assert files(tmp_path) == []
    assert only(daemon.send(b"A", submit(), pixels()), JobAccepted), "once there is room"


def test_a_cancel_before_the_acceptance_is_confirmed_after_it(start):
    disk = SteppedDisk(is_prompt=False)
    daemon = start(disk=disk)
    daemon.hello(b"A")
    daemon.send(b"A", submit(), pixels())
    daemon.send(b"A", CancelJob(job_id="job-1"))
    while disk.todo:
        disk.step()
    assert daemon.take(b"A") == []
    disk.settle()
    assert [type(message) for message in daemon.take(b"A")] == [JobAccepted, JobCancelled]


@pytest.mark.parametrize("is_made", [False, True])
def test_the_newest_preview_comes_with_the_acceptance_unless_its_variant_is_there(start, is_made):
    disk = SteppedDisk(is_prompt=False)
    daemon = start(disk=disk)
    daemon.hello(b"A")
    daemon.send(b"A", submit(), pixels())
    image = EncodedImage(media_type="image/jpeg", size=Size(4, 4), frame=0)
    for glimpse in (b"older", b"newer"):
        daemon.worker(RunPreview(run=1, variant=0, image=image), (glimpse,))
    if is_made:
        daemon.worker(variant(1), (RESULTS[0],))
    daemon.take(b"A")
    disk.finish()
    daemon.service.flush(daemon.now)
    previews = [e.payload for e in daemon.inboxes[b"A"] if isinstance(e.message, JobPreview)]
    assert previews == ([] if is_made else [(b"newer",)])


def test_a_variant_made_while_its_client_was_away_comes_with_the_acceptance(start):
    disk = SteppedDisk(is_prompt=False)
    daemon = start(disk=disk)
    daemon.hello(b"A")
    daemon.send(b"A", submit(variants=2), pixels())
    daemon.service.on_gone(b"A", daemon.now)
    daemon.worker(variant(1, 0), (RESULTS[0],))
    daemon.hello(b"B")
    daemon.worker(variant(1, 1), (RESULTS[1],))
    assert [message.variant for message in daemon.take(b"B")] == [1]
    disk.finish()
    assert [m.variant for m in daemon.take(b"B") if isinstance(m, JobVariant)] == [0]


@pytest.mark.parametrize("is_slow", [False, True])
def test_a_client_that_comes_back_before_its_job_is_on_the_disk_submits_again_and_hears_all(start, is_slow):
    """is_slow: the job was over before the disk had its order."""
    disk = SteppedDisk(is_prompt=False)
    daemon = start(disk=disk)
    daemon.hello(b"A")
    daemon.send(b"A", submit(), pixels())
    daemon.worker(variant(1), (RESULTS[0],))
    daemon.service.on_gone(b"A", daemon.now)
    (welcome,) = daemon.hello(b"B")
    assert welcome.jobs == (), "it is not accepted yet"
    daemon.send(b"B", submit(), pixels())
    daemon.worker(RunOver(run=1))
    while is_slow and disk.todo:
        disk.step()
    disk.finish()
    told = [type(message) for message in daemon.take(b"B")]
    assert told.count(JobAccepted) == 1
    assert told.index(JobVariant) < told.index(JobDone), "no end without its pixels"
    assert told[-1] is JobDone
    assert len(daemon.executor.runs) == 1


def test_what_is_kept_has_an_end_that_counts_through_restarts(start):
    clock = {"wall": 1e9}
    daemon = start(wall=lambda: clock["wall"])
    daemon.hello(b"A")
    daemon.send(b"A", submit(), pixels())
    daemon.worker(variant(1), (RESULTS[0],))
    daemon.worker(RunOver(run=1))
    for day in range(1, 8):
        daemon.service.stop(daemon.now)
        clock["wall"] += 86_400
        daemon = start(wall=lambda: clock["wall"])
        daemon.wait(11)
        assert bool(daemon.service.sessions) == (day < 7), day
    assert daemon.hello(b"A")[0].jobs == ()


@pytest.mark.parametrize("jump_s", [-86_400.0, 86_400.0, 50 * 365 * 86_400.0])
def test_a_clock_that_jumps_expires_nothing(start, jump_s):
    clock = {"wall": 1e9}
    daemon = start(wall=lambda: clock["wall"])
    daemon.hello(b"A")
    daemon.send(b"A", submit(), pixels())
    daemon.worker(variant(1), (RESULTS[0],))
    daemon.worker(RunOver(run=1))
    daemon.service.on_gone(b"A", daemon.now)
    clock["wall"] += jump_s
    daemon.wait(700)
    daemon = start(wall=lambda: clock["wall"])
    clock["wall"] -= jump_s
    daemon.wait(700)
    daemon = start(wall=lambda: clock["wall"])
    daemon.hello(b"A")
    assert fetch(daemon, b"A")[1] == {0: RESULTS[0]}


def test_what_has_expired_is_gone_from_the_disk_and_answers_like_an_unknown_job(start, tmp_path):
    daemon = start()
    daemon.hello(b"A")
    daemon.send(b"A", submit(), pixels())
    daemon.worker(variant(1), (RESULTS[0],))
    daemon.worker(RunOver(run=1))
    daemon.wait(SETTINGS.keep_s)
    assert only(daemon.send(b"A", FetchJob(job_id="job-1")), ErrorReply).error.code == "request.unknown_job"
    assert files(tmp_path) == []
    assert list(daemon.keeper._journal.parts()) == []


# ---------------------------------------------------------------- a disk that is full or broken


def test_a_job_that_finds_the_disk_full_is_refused_and_leaves_nothing(start, tmp_path):
    daemon = start()
    daemon.hello(b"A")
    daemon.disk.failures.append(FULL)
    refused = only(daemon.send(b"A", submit(), pixels()), ErrorReply)
    assert (refused.error.code, refused.error.retry.value, refused.job_id) == (
        "capacity.busy",
        "later",
        "job-1",
    )
    assert "full" in refused.error.message
    assert files(tmp_path) == []
    assert daemon.session("anna").jobs == {}
    assert only(daemon.send(b"A", submit(), pixels()), JobAccepted), "once there is room"
    daemon = start()
    assert len(daemon.hello(b"A")[0].jobs) == 1


def test_a_refusal_that_comes_while_the_job_runs_stops_it(start, tmp_path):
    disk = SteppedDisk(is_prompt=False)
    daemon = start(disk=disk)
    daemon.hello(b"A")
    daemon.send(b"A", submit(variants=2), pixels())
    daemon.worker(variant(1, 0), (RESULTS[0],))
    disk.failures.append(FULL)
    disk.finish()
    assert [type(message) for message in daemon.take(b"A")] == [JobVariant, ErrorReply]
    assert daemon.session("anna").connection.variants_told == set()
    assert daemon.executor.cancelled == [1]
    daemon.worker(RunOver(run=1))
    assert files(tmp_path) == []
    daemon = start()
    assert daemon.hello(b"A")[0].jobs == ()


def test_results_that_find_the_disk_full_are_delivered_from_memory(start):
    daemon = start()
    daemon.hello(b"A")
    daemon.send(b"A", submit(), pixels())
    daemon.disk.failures.extend([FULL, FULL])
    daemon.worker(variant(1), (RESULTS[0],))
    daemon.worker(RunOver(run=1))
    assert [type(message) for message in daemon.take(b"A")] == [JobVariant, JobDone]
    assert fetch(daemon, b"A")[1] == {0: RESULTS[0]}
    daemon = start()
    assert len(daemon.executor.runs) == 1, "the next daemon does it again"


def test_full_at_every_write_nobody_is_told_what_is_not_true(tmp_path):
    for failing in range(6):
        folder = tmp_path / str(failing)
        folder.mkdir()
        daemon, told = KeptDaemon(folder), {}
        daemon.disk.failures.extend([None] * failing + [sqlite3.OperationalError("disk I/O error")])
        a_life(daemon, told, ack=True)
        daemon.die()
        after = KeptDaemon(folder)
        (welcome,) = after.hello(b"A")
        if told.get("acked"):
            assert welcome.jobs == (), failing
        elif told.get("accepted"):
            assert len(welcome.jobs) == 1, failing
        assert after.send(b"A", Ping(nonce=1)) == [Pong(nonce=1)]
        after.die()


def test_a_folder_that_cannot_be_used_refuses_jobs_with_a_sentence_and_the_daemon_lives(start, tmp_path):
    (tmp_path / "jobs").write_text("a file where the folder should be")
    daemon = start()
    daemon.hello(b"A")
    refused = only(daemon.send(b"A", submit(), pixels()), ErrorReply)
    assert refused.error.code == "capacity.busy"
    assert str(tmp_path / "jobs") in refused.error.message
    assert daemon.send(b"A", Ping(nonce=1)) == [Pong(nonce=1)]
    assert (tmp_path / "jobs").read_text() == "a file where the folder should be"


def test_only_their_owner_can_enter_the_folder_and_read_the_files(start, tmp_path):
    (tmp_path / "jobs").mkdir(mode=0o755)
    daemon = start()
    daemon.hello(b"A")
    daemon.send(b"A", submit(), pixels())
    folders = [tmp_path / "jobs", tmp_path / "jobs" / "pixels"]
    assert all(stat.S_IMODE(folder.stat().st_mode) == 0o700 for folder in folders)
    kept = [path for folder in folders for path in folder.iterdir() if path.is_file()]
    assert len(kept) >= 2
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in kept)


def test_a_damaged_journal_is_set_aside_whole_and_work_goes_on(start, tmp_path, caplog):
    daemon = start()
    daemon.hello(b"A")
    daemon.send(b"A", submit(), pixels())
    daemon.die()
    (tmp_path / "jobs" / "journal.sqlite").write_bytes(b"no journal" * 1000)
    daemon = start()
    (aside,) = set_aside(tmp_path / "jobs")
    assert (aside / "pixels" / "1-order").read_bytes() == b"".join(pixels())
    assert str(aside) in caplog.text
    daemon.hello(b"A")
    assert only(daemon.send(b"A", submit(), pixels()), JobAccepted)


def test_a_flipped_byte_anywhere_gives_the_right_pixels_or_none(tmp_path):
    """100 flips in the files of a done and a waiting job: the daemon starts, and no client is given other pixels."""
    source = tmp_path / "source"
    source.mkdir()
    daemon = KeptDaemon(source)
    daemon.hello(b"A")
    daemon.send(b"A", submit("done"), pixels())
    daemon.worker(variant(1), (RESULTS[0],))
    daemon.worker(RunOver(run=1))
    daemon.wait(2)
    daemon.send(b"A", submit("waiting"), pixels())
    daemon.die()
    whole = {path.relative_to(source): path.read_bytes() for path in source.rglob("*") if path.is_file()}
    small = [path for path, data in whole.items() if len(data) < 1000]
    assert len(small) == 2
    chance = random.Random(6)
    ends = set()
    for count in range(100):
        folder = tmp_path / f"flip-{count}"
        damaged = chance.choice(small) if count % 2 else chance.choice(list(whole))
        for path, data in whole.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            index = chance.randrange(len(data))
            flipped = bytes((*data[:index], data[index] ^ 1 << chance.randrange(8), *data[index + 1 :]))
            (folder / path).write_bytes(flipped if path == damaged else data)
        daemon = KeptDaemon(folder)
        for run in daemon.executor.runs:
            assert [bytes(frame) for frame in daemon.executor.payload] == list(pixels()), run
        (welcome,) = daemon.hello(b"A")
        for job in welcome.jobs:
            messages, painted = fetch(daemon, b"A", job.job_id)
            assert painted in ({}, {0: RESULTS[0]})
            if isinstance(messages[-1], JobDone):
                assert painted
            if isinstance(messages[-1], JobFailed):
                assert messages[-1].error.code == "image.failed"
            ends.add(type(messages[-1]).__name__)
        assert only(daemon.send(b"A", submit("next"), pixels()), JobAccepted)
        daemon.die()
    assert {"JobDone", "JobFailed", "JobProgress"} <= ends


def test_a_damaged_result_fails_its_job_for_good(start, tmp_path):
    daemon = start()
    daemon.hello(b"A")
    daemon.send(b"A", submit(variants=2), pixels())
    for index in (0, 1):
        daemon.worker(variant(1, index), (RESULTS[index],))
    daemon.worker(RunOver(run=1))
    (tmp_path / "jobs" / "pixels" / "1-1").write_bytes(b"efgx")
    for _ in range(2):
        messages, painted = fetch(daemon, b"A")
        assert painted == {0: RESULTS[0]}, "what is good is still the artist's"
        assert messages[-1].error.code == "image.failed"
        daemon = start()
        daemon.hello(b"A")


def test_a_result_that_is_acknowledged_while_it_is_read_is_gone_and_not_damaged(start, tmp_path):
    disk = SteppedDisk()
    daemon = start(disk=disk)
    daemon.hello(b"A")
    daemon.send(b"A", submit(), pixels())
    daemon.worker(variant(1), (RESULTS[0],))
    daemon.worker(RunOver(run=1))
    daemon.take(b"A")
    disk.is_prompt = False
    daemon.post(b"A", FetchJob(job_id="job-1"))
    daemon.post(b"A", AckJob(job_id="job-1"))
    disk.finish()
    told = daemon.take(b"A")
    assert JobFailed not in {type(message) for message in told}
    assert only(told, JobAcked)
    assert files(tmp_path) == []
    assert list(daemon.keeper._journal.parts()) == []


def test_files_left_by_a_daemon_that_was_cut_off_are_removed(start, tmp_path):
    daemon = start()
    daemon.hello(b"A")
    daemon.send(b"A", submit(), pixels())
    for name in ("7-order", "1-0", "2-0.new"):
        (tmp_path / "jobs" / "pixels" / name).write_bytes(b"stray")
    start()
    assert files(tmp_path) == ["1-order"]


def test_many_jobs_leave_nothing(start, tmp_path):
    daemon = start(settings=dataclasses.replace(SETTINGS, max_jobs=3))
    daemon.hello(b"A")
    for index in range(40):
        daemon.send(b"A", submit(f"job-{index}"), pixels())
        daemon.worker(variant(index + 1), (RESULTS[0],))
        daemon.worker(RunOver(run=index + 1))
        daemon.send(b"A", AckJob(job_id=f"job-{index}"))
    assert files(tmp_path) == []
    assert list(daemon.keeper._journal.parts()) == []
    assert daemon.kept_bytes == 0
