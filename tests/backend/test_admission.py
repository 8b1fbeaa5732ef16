"""What is too much is refused as busy, and only to who asks for too much."""

from __future__ import annotations

import dataclasses

import pytest
from tests.backend.scripted_daemon import SETTINGS, Daemon, pixels, submit, variant

from overpaint_backend.executors.base import RunOver
from overpaint_protocol.messages import (
    CancelJob,
    ErrorReply,
    FetchJob,
    JobAccepted,
    JobDone,
    JobVariant,
    Ping,
    Pong,
    Welcome,
)

ROOMY = dataclasses.replace(SETTINGS, max_jobs=99, max_kept_bytes=10**6, max_sessions=99)
JOB_BYTES = sum(map(len, pixels()))


def start(**limits):
    """A daemon with two sessions of the own user, A and B, and one of another principal, X."""
    daemon = Daemon(dataclasses.replace(ROOMY, **limits))
    daemon.principals[b"X"] = "a key"
    for peer, session_id in ((b"A", "anna"), (b"B", "bo"), (b"X", "xenia")):
        daemon.hello(peer, session_id)
    return daemon


def ask(daemon, peer, job_id):
    """None if the job is accepted, else the error."""
    (reply,) = [
        m for m in daemon.send(peer, submit(job_id), pixels()) if isinstance(m, JobAccepted | ErrorReply)
    ]
    return reply.error if isinstance(reply, ErrorReply) else None


def assert_busy(error, *, may_retry=True):
    assert error.code == "capacity.busy"
    assert error.message.endswith(".")
    assert (error.retry_after_s is not None) == may_retry


def test_the_jobs_of_a_principal_have_a_limit_over_all_its_sessions():
    daemon = start(max_principal_jobs=3)
    assert [ask(daemon, peer, f"job-{index}") for index, peer in enumerate([b"A", b"A", b"B"])] == [None] * 3
    assert_busy(ask(daemon, b"B", "more"))
    assert ask(daemon, b"X", "other") is None
    daemon.send(b"A", CancelJob(job_id="job-1"))
    assert ask(daemon, b"B", "more") is None


def test_the_jobs_of_everybody_have_a_limit():
    daemon = start(max_total_jobs=2)
    assert [ask(daemon, b"A", "one"), ask(daemon, b"B", "two")] == [None, None]
    assert_busy(ask(daemon, b"X", "three"))


@pytest.mark.parametrize("limit", ["max_principal_bytes", "max_principal_held_bytes"])
def test_the_bytes_of_a_principal_have_a_limit_that_is_kept_to_the_byte(limit):
    daemon = start(**{limit: 2 * JOB_BYTES})
    assert [ask(daemon, b"A", "one"), ask(daemon, b"B", "two")] == [None, None]
    assert_busy(ask(daemon, b"A", "three"), may_retry=limit == "max_principal_held_bytes")
    assert ask(daemon, b"X", "other") is None


@pytest.mark.parametrize("limit", ["max_total_bytes", "max_held_bytes"])
def test_the_bytes_of_everybody_have_a_limit(limit):
    daemon = start(**{limit: 2 * JOB_BYTES})
    assert [ask(daemon, b"A", "one"), ask(daemon, b"X", "two")] == [None, None]
    assert_busy(ask(daemon, b"B", "three"), may_retry=limit == "max_held_bytes")


def test_a_job_that_has_ended_makes_room_in_memory():
    daemon = start(max_held_bytes=JOB_BYTES)
    assert ask(daemon, b"A", "one") is None
    assert_busy(ask(daemon, b"A", "two"))
    daemon.send(b"A", CancelJob(job_id="one"))
    assert ask(daemon, b"A", "two") is None


def test_the_sessions_of_a_principal_have_a_limit():
    daemon = start(max_principal_sessions=2)
    (reply,) = daemon.hello(b"C", "cai")
    assert_busy(reply.error, may_retry=False)
    daemon.principals[b"Y"] = "a key"
    assert isinstance(daemon.hello(b"Y", "yuri")[0], Welcome)


def test_too_many_messages_are_refused_until_time_has_passed():
    daemon = start(max_messages_at_once=10, max_messages_per_s=2)
    answers = [daemon.send(b"A", Ping(nonce=nonce))[0] for nonce in range(12)]
    assert [isinstance(answer, Pong) for answer in answers] == [True] * 9 + [False] * 3
    assert_busy(answers[-1].error)
    daemon.wait(1.0)
    answers = [daemon.send(b"A", Ping(nonce=nonce))[0] for nonce in range(3)]
    assert [isinstance(answer, Pong) for answer in answers] == [True, True, False]


def test_an_editor_that_floods_takes_nothing_from_the_other_editors_of_its_user():
    daemon = start(max_messages_at_once=10, max_messages_per_s=1)
    for nonce in range(100):
        daemon.send(b"A", Ping(nonce=nonce))
    assert daemon.send(b"B", Ping(nonce=1)) == [Pong(nonce=1)]


def test_another_machine_gets_no_more_messages_by_connecting_again():
    daemon = start(max_messages_at_once=10, max_messages_per_s=1)
    for nonce in range(10):
        daemon.send(b"X", Ping(nonce=nonce))
    daemon.service.on_gone(b"X", daemon.now)
    daemon.principals[b"Y"] = "a key"
    (reply,) = daemon.hello(b"Y", "xenia")
    assert_busy(reply.error)
    assert daemon.send(b"A", Ping(nonce=1)) == [Pong(nonce=1)]


def test_what_waits_for_a_client_that_has_stopped_reading_is_bounded_and_fetched_later():
    daemon = start(max_outbox=1000, max_outbox_bytes=1000, stalled_s=5.0)
    for index in range(4):
        ask(daemon, b"A", f"job-{index}")
    daemon.blocked.add(b"A")
    for index in range(4):
        daemon.worker(variant(1 + index), (bytes(400),))
        daemon.worker(RunOver(run=1 + index))
        daemon.service.flush(daemon.now)
    assert len(daemon.outbox(b"A")) > 4, "not read for no time at all"
    daemon.wait(5.0)
    daemon.service.flush(daemon.now)
    assert len(daemon.outbox(b"A")) == 0
    daemon.blocked.clear()
    (welcome,) = daemon.hello(b"A", "anna")
    received = [m for job in welcome.jobs for m in daemon.send(b"A", FetchJob(job_id=job.job_id))]
    assert sum(isinstance(m, JobVariant) for m in received) == 4
    assert sum(isinstance(m, JobDone) for m in received) == 4


def test_a_client_that_reads_slowly_may_be_owed_more():
    daemon = start(max_outbox=1000, max_outbox_bytes=1000, stalled_s=5.0)
    ask(daemon, b"A", "job")
    daemon.take(b"A")
    daemon.blocked.add(b"A")
    for index in range(8):
        daemon.worker(variant(1, index), (bytes(400),))
    for _ in range(3):
        daemon.service.flush(daemon.now)
        daemon.wait(4.0)
        daemon.let_one_through(b"A")
    assert daemon.outbox(b"A").byte_length > 1000
