"""Whose is what: a principal sees and does to another's sessions exactly what it could if they did not exist."""

from __future__ import annotations

import dataclasses

import pytest
from tests.backend.keepers import SteppedDisk
from tests.backend.scripted_daemon import SETTINGS, Daemon, pixels, submit, variant

from overpaint_backend.durability.keeper import Keeper
from overpaint_backend.executors.base import RunOver
from overpaint_backend.server.handlers import OPERATIONS, Operation, Permission
from overpaint_protocol.messages import (
    AckJob,
    CancelJob,
    DaemonReport,
    DaemonStopping,
    ErrorReply,
    FetchJob,
    Hello,
    InspectDaemon,
    JobAccepted,
    JobDone,
    JobVariant,
    Ping,
    ShutDown,
    SubmitJob,
    Welcome,
)

STRANGER = "a public key"

# What the other principal sends, with the ids of the first one's session and job.
TRIES = {
    Hello: lambda: Hello(
        session_id="anna",
        client_version="0.1",
        editor="Test",
        editor_version="1",
        oldest_minor=0,
        newest_minor=0,
    ),
    SubmitJob: submit,
    CancelJob: lambda: CancelJob(job_id="job-1"),
    FetchJob: lambda: FetchJob(job_id="job-1"),
    AckJob: lambda: AckJob(job_id="job-1"),
    Ping: lambda: Ping(nonce=1),
    InspectDaemon: InspectDaemon,
    ShutDown: ShutDown,
}


class World:
    """A daemon, on a disk, with the first principal's job or without it."""

    def __init__(self, folder, first_does):
        self.folder = folder
        self.folder.mkdir()
        self.daemon = self._begin()
        if first_does is not None:
            self.daemon.hello(b"A")
            self.daemon.send(b"A", submit(), pixels())
            first_does(self.daemon)

    def _begin(self):
        self.disk = SteppedDisk()
        self.keeper = Keeper(self.folder / "jobs", self.disk)
        daemon = Daemon(SETTINGS, keeper=self.keeper)
        daemon.principals[b"B"] = STRANGER
        daemon.service.daemon_id = "the same in both worlds"
        return daemon

    def restart(self):
        self.keeper.close()
        self.daemon = self._begin()

    def answers(self, kind, *, is_greeted=True):
        """What the stranger hears."""
        if is_greeted:
            self.daemon.hello(b"B")
        payload = pixels() if kind is SubmitJob else ()
        told = self.daemon.send(b"B", TRIES[kind](), payload)
        return [dataclasses.replace(m, uptime_s=0.0) if isinstance(m, DaemonReport) else m for m in told]


def finish(daemon):
    daemon.worker(variant(1), (b"abcd",))
    daemon.worker(RunOver(run=1))


def finish_and_take(daemon):
    finish(daemon)
    daemon.send(b"A", AckJob(job_id="job-1"))


@pytest.fixture
def worlds(tmp_path):
    made = []

    def make(first_does):
        made.extend((World(tmp_path / "with", first_does), World(tmp_path / "without", None)))
        return made

    yield make
    for world in made:
        world.keeper.close()


def test_every_message_of_a_client_has_a_permission_and_is_tried_here():
    assert set(OPERATIONS) == set(TRIES)
    assert all(isinstance(operation.permission, Permission) for operation in OPERATIONS.values())
    with pytest.raises(TypeError):
        Operation(handle=OPERATIONS[Ping].handle)


@pytest.mark.parametrize("is_restarted", [False, True], ids=["same daemon", "next daemon"])
@pytest.mark.parametrize("first_does", [finish, finish_and_take])
@pytest.mark.parametrize("kind", list(TRIES))
def test_another_principal_with_the_same_ids_is_answered_as_if_the_first_were_not_there(
    worlds, kind, first_does, is_restarted
):
    there, absent = worlds(first_does)
    if is_restarted:
        there.restart()
    answers = there.answers(kind)
    assert answers == absent.answers(kind)
    assert answers


@pytest.mark.parametrize("kind", [CancelJob, AckJob, FetchJob, Hello])
def test_nothing_another_principal_does_touches_a_running_job(worlds, kind):
    there, absent = worlds(lambda daemon: None)
    assert there.answers(kind) == absent.answers(kind)
    finish(there.daemon)
    kinds = [type(message) for message in there.daemon.take(b"A")]
    assert kinds[-2:] == [JobVariant, JobDone]
    assert there.daemon.executor.cancelled == []
    assert there.daemon.take(b"B") == []


def test_the_same_ids_are_two_jobs_for_two_principals_also_in_the_next_daemon(worlds):
    there, _ = worlds(finish)
    assert isinstance(there.answers(SubmitJob)[0], JobAccepted)
    there.daemon.worker(variant(2), (b"wxyz",))
    there.daemon.worker(RunOver(run=2))
    there.restart()
    for peer, wanted in ((b"A", b"abcd"), (b"B", b"wxyz")):
        (welcome,) = there.daemon.hello(peer)
        assert [job.job_id for job in welcome.jobs] == ["job-1"]
        there.daemon.post(peer, FetchJob(job_id="job-1"))
        there.daemon.service.flush(there.daemon.now)
        (made,) = [e for e in there.daemon.inboxes.pop(peer) if isinstance(e.message, JobVariant)]
        assert bytes(made.payload[0]) == wanted


def test_only_the_daemons_own_user_sees_all_sessions_and_ends_it(worlds):
    there, _ = worlds(finish)
    there.answers(Ping)
    (refused,) = there.daemon.send(b"B", ShutDown())
    assert isinstance(refused, ErrorReply)
    assert refused.error.code == "access.denied"
    assert not there.daemon.service.is_stopping
    (own,) = there.daemon.send(b"B", InspectDaemon())
    assert [session.kept for session in own.sessions] == [0]
    there.daemon.take(b"A")
    (every,) = there.daemon.send(b"A", InspectDaemon())
    assert sorted(session.kept for session in every.sessions) == [0, 1]
    assert there.daemon.send(b"A", ShutDown()) == [DaemonStopping()]


def test_another_principal_needs_a_hello_too(worlds):
    there, _ = worlds(finish)
    for kind in set(TRIES) - {Hello}:
        (refused,) = there.answers(kind, is_greeted=False)
        assert refused.error.code == "protocol.hello_expected"
    assert isinstance(there.answers(Hello, is_greeted=False)[0], Welcome)
