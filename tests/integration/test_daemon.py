"""A real daemon with a real worker, over real sockets: jobs, and the days on which things go wrong."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import socket
import sqlite3
import stat

import msgpack
import psutil
import pytest
import zmq
from tests.integration.daemon_process import DaemonProcess, install_plugin, picture, wait_until
from zmq.utils.monitor import parse_monitor_message

from overpaint_backend.config import DaemonSettings
from overpaint_backend.daemon import run_daemon
from overpaint_protocol import framing
from overpaint_protocol.connection import ConnectionInfo
from overpaint_protocol.errors import DaemonNotRunning
from overpaint_protocol.geometry import Margins, Rect, Size
from overpaint_protocol.messages import (
    AckJob,
    CancelJob,
    Capabilities,
    DaemonReport,
    DaemonStopping,
    ErrorReply,
    Expand,
    FetchJob,
    Fill,
    Hello,
    InspectDaemon,
    JobAccepted,
    JobAcked,
    JobCancelled,
    JobDone,
    JobFailed,
    JobPreview,
    JobProgress,
    JobState,
    JobVariant,
    Ping,
    Pong,
    RecipeInfo,
    Remove,
    ShutDown,
    SubmitJob,
    Welcome,
)
from overpaint_protocol.pixels import ImageHeader, PixelFormat
from overpaint_protocol.version import MAJOR, MINOR, PRODUCT_VERSION

KILLED = signal.SIGKILL
RACING_DAEMONS = int(os.environ.get("OVERPAINT_RACING_DAEMONS", "10"))
"""How many are started at once; CONTRIBUTING says when to have a hundred."""


HELLO = Hello(
    session_id="versions",
    client_version="1",
    editor="Test",
    editor_version="1",
    oldest_minor=0,
    newest_minor=0,
)


def variants_of(envelopes):
    return [envelope for envelope in envelopes if isinstance(envelope.message, JobVariant)]


def kinds_of(envelopes):
    return [type(envelope.message) for envelope in envelopes]


def wait_running(client, job_id):
    """Until the worker has taken a step of the job."""
    while True:
        message = client.receive().message
        if isinstance(message, JobProgress) and message.job_id == job_id and message.fraction is not None:
            return


# ---------------------------------------------------------------- the connection


@pytest.mark.parametrize("endpoint", [0, 1], ids=["ipc", "tcp"])
def test_hello_is_welcomed_on_every_endpoint(shared_daemon, endpoint):
    welcome = shared_daemon.client(endpoint=endpoint).welcome
    assert welcome.product_version == PRODUCT_VERSION
    assert {"embedded", "test-invert"} <= {engine.id for engine in welcome.engines}
    assert welcome.broken_engines == ()


def test_only_the_owner_can_enter_the_folders_and_read_the_files(shared_daemon):
    for path in (shared_daemon.folder / "state", shared_daemon.folder / "run"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
        for file in path.iterdir():
            assert stat.S_IMODE(file.stat().st_mode) & 0o077 == 0, file


def test_nothing_listens_beyond_the_loopback(shared_daemon):
    processes = [psutil.Process(shared_daemon.process.pid), shared_daemon.worker()]
    listening = [c.laddr.ip for p in processes for c in p.net_connections("tcp") if c.status == "LISTEN"]
    assert listening == ["127.0.0.1"]


@pytest.mark.parametrize("endpoint", [0, 1], ids=["ipc", "tcp"])
@pytest.mark.parametrize(
    "change", [lambda token: "wrong", lambda token: token + "x"], ids=["wrong", "longer"]
)
def test_a_wrong_token_does_not_get_past_the_handshake(shared_daemon, endpoint, change):
    stranger = shared_daemon.stranger(change(shared_daemon.info.token), endpoint)
    stranger.send(Ping(nonce=1))
    seen = set()
    while zmq.EVENT_HANDSHAKE_FAILED_AUTH not in seen:
        assert stranger.monitor.poll(30_000), seen
        seen.add(parse_monitor_message(stranger.monitor.recv_multipart())["event"])
    assert zmq.EVENT_HANDSHAKE_SUCCEEDED not in seen
    assert stranger.is_silent()


def test_a_client_without_password_and_other_protocols_get_nothing(shared_daemon):
    port = int(shared_daemon.info.endpoints[1].rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as web:
        web.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        web.settimeout(30)
        received = b""
        with contextlib.suppress(ConnectionResetError):
            while chunk := web.recv(1024):
                received += chunk
        assert b"HTTP" not in received
    with zmq.Context() as context, context.socket(zmq.DEALER) as anonymous:
        anonymous.linger = 0
        anonymous.connect(shared_daemon.info.endpoints[1])
        anonymous.send_multipart(framing.encode(Ping(nonce=1), id="x"))
        assert not anonymous.poll(300)
    assert shared_daemon.client().ask(Ping(nonce=2)) == Pong(nonce=2)


def test_everything_needs_a_hello(shared_daemon):
    answer = shared_daemon.stranger().ask(Ping(nonce=1))
    assert answer.error.code == "protocol.hello_expected"


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        ([b"GET /"], "protocol.malformed"),
        ([b"OVP2", b"\x80", b"\x80"], "protocol.unsupported_version"),
        ([b"OVP1", b"\xc1", b"\xc1"], "protocol.malformed"),
        ([b"OVP1", b"\x82\xa1t\xa5dance\xa2id\xa11", b"\x80"], "protocol.unknown_type"),
        ([b"OVP1", *[b"\x80"] * 1100], "protocol.too_large"),
        ([*framing.encode(Ping(nonce=1), id="x")[:2], b"\x81\xa5nonce\xa1x"], "protocol.malformed"),
    ],
    ids=["text", "version", "no-msgpack", "unknown", "frames", "body"],
)
def test_malformed_messages_are_answered_and_the_connection_goes_on(shared_daemon, frames, code):
    client = shared_daemon.client()
    client.socket.send_multipart(frames)
    answer = client.receive().message
    assert isinstance(answer, ErrorReply) and answer.error.code == code
    assert client.ask(Ping(nonce=3)) == Pong(nonce=3)


@pytest.mark.parametrize(
    ("oldest", "newest", "agreed"),
    [(0, 0, 0), (0, MINOR + 1, MINOR), (0, MINOR + 9, MINOR), (MINOR + 1, MINOR + 1, None), (9, 12, None)],
)
def test_a_plug_in_of_any_version_is_welcomed_or_told_both_versions(shared_daemon, oldest, newest, agreed):
    stranger = shared_daemon.stranger()
    frames = framing.encode(HELLO, id="m")
    body = msgpack.unpackb(bytes(frames[2]))
    body |= {"oldest_minor": oldest, "newest_minor": newest, "of_a_later_version": {"any": ["thing"]}}
    frames[2] = msgpack.packb(body)
    stranger.socket.send_multipart(frames)
    answer = stranger.receive().message
    if agreed is None:
        assert answer.error.code == "protocol.unsupported_version"
        assert f" {MAJOR}.{oldest}," in answer.error.message and f" {MAJOR}.{MINOR}." in answer.error.message
    else:
        assert answer.minor == agreed


@pytest.mark.parametrize("magic", [b"OVP0", b"OVP2", b"OVP9"])
def test_a_plug_in_of_another_major_version_is_told_both(shared_daemon, magic):
    stranger = shared_daemon.stranger()
    stranger.socket.send_multipart([magic, *framing.encode(HELLO, id="m")[1:]])
    error = stranger.receive().message.error
    assert error.code == "protocol.unsupported_version"
    assert f"'{magic[3:].decode()}'" in error.message and f"this side {MAJOR}." in error.message


def test_a_frame_beyond_the_limit_cuts_off_its_sender_alone(shared_daemon):
    victim, sender = shared_daemon.client(), shared_daemon.client()
    frame_bytes = sender.welcome.limits.max_frame_bytes
    sender.socket.send_multipart(framing.encode(Ping(nonce=1), id="fits", payload=[bytes(frame_bytes)]))
    assert sender.receive().message == Pong(nonce=1)
    sender.socket.send_multipart(framing.encode(Ping(nonce=2), id="big", payload=[bytes(frame_bytes + 1)]))
    event = 0
    while event != zmq.EVENT_DISCONNECTED:
        assert sender.monitor.poll(30_000)
        event = parse_monitor_message(sender.monitor.recv_multipart())["event"]
    assert victim.ask(Ping(nonce=3)) == Pong(nonce=3)


# ---------------------------------------------------------------- jobs


def test_a_fill_from_submit_to_ack(shared_daemon):
    client = shared_daemon.client(preview_bytes=20_000)
    assert client.submit("job", prompt="steps=30 delay=0.01") == JobAccepted(job_id="job", position=0)
    envelopes = client.receive_until(JobDone)
    messages = [envelope.message for envelope in envelopes]
    fractions = [m.fraction for m in messages if isinstance(m, JobProgress) and m.fraction is not None]
    assert len(fractions) >= 2 and fractions == sorted(fractions)
    previews = [e for e in envelopes if isinstance(e.message, JobPreview)]
    assert previews
    assert all(bytes(e.payload[0][:2]) == b"\xff\xd8" and len(e.payload[0]) <= 20_000 for e in previews)
    (made,) = variants_of(envelopes)
    assert (made.message.engine, made.message.seed, made.message.target) == (
        "test-invert",
        0,
        Rect(5, 4, 6, 4),
    )
    (pixels,) = made.message.image.take(made.payload)
    assert bytes(pixels) == bytes((245, 245, 245, 255)) * 24
    done = messages[-1]
    assert (done.variants, done.engine) == (1, "test-invert")
    assert {"load", "decode", "engine"} <= set(done.timings_ms)
    assert client.ask(AckJob(job_id="job")) == JobAcked(job_id="job")
    assert client.ask(FetchJob(job_id="job")).error.code == "request.unknown_job"


def test_no_preview_comes_unless_asked_for(shared_daemon):
    client = shared_daemon.client()
    client.submit("job", prompt="steps=30 delay=0.01")
    assert JobPreview not in kinds_of(client.receive_until(JobDone))


def test_several_variants_come_with_seeds_of_their_own(shared_daemon):
    client = shared_daemon.client()
    client.submit("job", variants=3, seed=2**32 - 1)
    made = variants_of(client.receive_until(JobDone))
    assert [(e.message.variant, e.message.seed) for e in made] == [(0, 2**32 - 1), (1, 0), (2, 1)]


@pytest.mark.parametrize("operation", [Fill(), Remove()], ids=["fill", "remove"])
def test_the_embedded_engine_works_in_the_worker(shared_daemon, operation):
    client = shared_daemon.client()
    assert isinstance(client.submit("job", operation=operation, engine="embedded"), JobAccepted)
    (made,) = variants_of(client.receive_until(JobDone, JobFailed))
    (pixels,) = made.message.image.take(made.payload)
    assert bytes(pixels) == bytes((10, 10, 10, 255)) * 24


def test_an_expand_returns_what_lies_outside(shared_daemon):
    client = shared_daemon.client()
    size = Size(16, 12)
    image, _, payload = picture(size, 10)
    request = SubmitJob(
        job_id="job",
        document_id="document",
        operation=Expand(margins=Margins(left=4, bottom=2)),
        engine="embedded",
        canvas=size,
        context=Rect(-4, 0, 20, 14),
        image=image,
    )
    assert isinstance(client.ask(request, payload[:2]), JobAccepted)
    (made,) = variants_of(client.receive_until(JobDone, JobFailed))
    assert made.message.target.left == -4 and made.message.target.bottom == 14
    made.message.image.take(made.payload)


def test_the_daemon_chooses_an_engine_if_none_is_named(shared_daemon):
    client = shared_daemon.client()
    client.submit("job", engine=None)
    assert client.receive_until(JobDone)[-1].message.engine == client.welcome.engines[0].id


def test_refusals_are_sentences(shared_daemon):
    client = shared_daemon.client()
    assert client.submit("a", engine="nobody").error.code == "request.unknown_engine"
    mask = ImageHeader(size=Size(16, 12), format=PixelFormat.GRAY8, frames=(1,))
    assert client.submit("c", mask=mask).error.code == "image.invalid"
    assert client.submit("d", variants=1, size=Size(16, 12)) == JobAccepted(job_id="d", position=0)


@pytest.mark.parametrize("prompt", ["fail", "bug"])
def test_an_engine_that_fails_fails_its_job_and_keeps_its_process(shared_daemon, prompt):
    client = shared_daemon.client()
    pid = shared_daemon.worker().pid
    client.submit("bad", prompt=prompt)
    assert client.receive_until(JobFailed)[-1].message.error.code == "engine.failed"
    client.submit("good")
    client.receive_until(JobDone)
    assert shared_daemon.worker().pid == pid


def test_a_queued_and_a_running_job_are_cancelled(shared_daemon):
    client = shared_daemon.client()
    client.submit("running", prompt="steps=100000 delay=0.01")
    assert client.submit("queued") == JobAccepted(job_id="queued", position=1)
    wait_running(client, "running")
    for job_id in ("queued", "running"):
        answer = client.ask(CancelJob(job_id=job_id))
        assert answer == JobCancelled(job_id=job_id, state=JobState.CANCELLED)
    pid = shared_daemon.worker().pid
    client.submit("next")
    assert variants_of(client.receive_until(JobDone))[0].message.job_id == "next"
    assert shared_daemon.worker().pid == pid, "the engine stopped by itself"


def test_cancelling_at_any_moment_gives_exactly_one_end(shared_daemon):
    client = shared_daemon.client()
    for index in range(30):
        job_id = f"job-{index}"
        client.submit(job_id, prompt=f"steps={1 + index % 6} delay=0.002")
        client.socket.poll(index)
        client.send(CancelJob(job_id=job_id))
        fetched = client.send(FetchJob(job_id=job_id))
        envelopes = [client.receive()]
        while envelopes[-1].header.re != fetched or not isinstance(
            envelopes[-1].message, (JobCancelled, JobDone)
        ):
            envelopes.append(client.receive())
        assert client.ask(Ping(nonce=index)) == Pong(nonce=index)
        messages = [envelope.message for envelope in envelopes]
        answers = [message for message in messages if isinstance(message, JobCancelled)]
        dones = [message for message in messages if isinstance(message, JobDone)]
        if answers[0].state is JobState.CANCELLED:
            assert (len(answers), dones) == (2, [])  # the answer, and the end in the replay
        else:
            assert answers[0].state is JobState.DONE
            assert 1 <= len(dones) <= 2  # in the replay, and before if nobody had read it yet
        assert client.ask(AckJob(job_id=job_id)) == JobAcked(job_id=job_id)


def test_a_job_of_another_session_is_like_an_unknown_one(shared_daemon):
    anna, bo = shared_daemon.client(), shared_daemon.client()
    anna.submit("mine")
    anna.receive_until(JobDone)
    for message in (FetchJob, CancelJob):
        foreign = bo.ask(message(job_id="mine"))
        assert foreign.error == bo.ask(message(job_id="theirs")).error
        assert foreign.error.code == "request.unknown_job"
    bo.ask(AckJob(job_id="mine"))
    assert anna.ask(FetchJob(job_id="mine")).state is JobState.DONE


def test_two_sessions_at_once_get_their_own_results_in_turn(shared_daemon):
    anna, bo = shared_daemon.client(), shared_daemon.client()
    anna.submit("holds-the-worker", prompt="steps=30 delay=0.01", color=0)
    for index in range(4):
        assert isinstance(anna.submit(f"job-{index}", color=20), JobAccepted)
    for index in range(4):
        assert isinstance(bo.submit(f"job-{index}", color=200), JobAccepted)
    for client, color, ids in ((bo, 55, []), (anna, 235, ["holds-the-worker"])):
        ids += [f"job-{index}" for index in range(4)]
        envelopes = []
        while len([e for e in envelopes if isinstance(e.message, JobDone)]) < len(ids):
            envelopes.append(client.receive())
        made = variants_of(envelopes)
        assert [e.message.job_id for e in made] == ids
        assert {bytes(e.payload[0][:1]) for e in made if e.message.job_id != "holds-the-worker"} == {
            bytes([color])
        }


# ---------------------------------------------------------------- recipes


def test_a_recipe_written_while_the_daemon_runs_is_announced_and_used(own_daemon):
    client = own_daemon.client()
    assert client.welcome.recipes == ()
    folder = own_daemon.folder / "recipes"
    folder.mkdir()

    def write(text):
        """In one step, so that the daemon never reads half of it."""
        (folder / "luck").write_text(text, encoding="utf-8")
        (folder / "luck").rename(folder / "luck.toml")

    recipe = 'format = 1\nname = "Bad luck"\nengine = "test-invert"\nprompt = "{prompt} fail"\n'
    write(recipe)
    (told,) = client.receive_until(Capabilities)
    assert told.message.recipes == (RecipeInfo(id="luck", name="Bad luck", engine="test-invert"),)
    assert {engine.id for engine in told.message.engines} == {"embedded", "test-invert"}

    client.submit("job", prompt="steps=1", recipe="luck", engine=None)
    failed = client.receive_until(JobDone, JobFailed)[-1].message
    assert "because its prompt says so" in failed.error.message, "the recipe's words reached the engine"

    write("format = 1")
    (told,) = client.receive_until(Capabilities)
    assert "“name” is missing" in told.message.recipes[0].problem
    assert client.submit("job-2", recipe="luck").error.code == "request.unknown_recipe"
    (folder / "luck.toml").unlink()
    (told,) = client.receive_until(Capabilities)
    assert told.message.recipes == ()


# ---------------------------------------------------------------- coming and going


def test_a_client_that_left_in_mid_job_gets_its_result_when_it_is_back(shared_daemon):
    client = shared_daemon.client("comes-back")
    client.submit("job", prompt="steps=30 delay=0.01")
    wait_running(client, "job")
    client.close()
    observer = shared_daemon.client()

    def is_kept():
        report = observer.ask(InspectDaemon())
        return any(not s.connected and s.kept == 1 for s in report.sessions)

    wait_until(is_kept, "the job ends without its client")
    client = shared_daemon.client("comes-back", endpoint=1)
    (job,) = client.welcome.jobs
    assert (job.job_id, job.document_id, job.state, job.variants) == ("job", "document", JobState.DONE, 1)
    client.send(FetchJob(job_id="job"))
    replay = client.receive_until(JobDone)
    if (
        replay[-1].header.re is None
    ):  # the disk took the end after the client came, who is told without asking, too
        assert kinds_of(replay) == [JobVariant, JobDone]
        replay = client.receive_until(JobDone)
    assert kinds_of(replay) == [JobProgress, JobVariant, JobDone]
    replay[1].message.image.take(replay[1].payload)
    client.ask(AckJob(job_id="job"))
    assert shared_daemon.client("comes-back").welcome.jobs == ()


def test_a_second_connection_of_a_session_takes_it_over(shared_daemon):
    first = shared_daemon.client("taken-over")
    first.submit("job", prompt="steps=50 delay=0.01")
    second = shared_daemon.client("taken-over")
    assert variants_of(second.receive_until(JobDone))
    assert first.ask(Ping(nonce=1)).error.code == "protocol.hello_expected"


def test_a_slow_reader_blocks_nobody_and_misses_nothing(own_daemon):
    slow, quick = own_daemon.client("slow", receive_hwm=1), own_daemon.client("quick")
    size, variants = Size(768, 768), 8
    for index in range(6):
        slow.submit(f"job-{index}", size=size, variants=variants)
    quick.submit("job", size=size)
    quick.receive_until(JobDone)

    def has_finished():
        assert quick.ask(Ping(nonce=1)) == Pong(nonce=1)
        report = quick.ask(InspectDaemon())
        return any(session.kept == 6 for session in report.sessions)

    wait_until(has_finished, "the slow reader's jobs end")
    received = []
    while sum(isinstance(envelope.message, JobDone) for envelope in received) < 6:
        received.append(slow.receive())
    made = variants_of(received)
    assert [(e.message.job_id, e.message.variant) for e in made] == [
        (f"job-{index}", variant) for index in range(6) for variant in range(variants)
    ]
    for envelope in made:
        envelope.message.image.take(envelope.payload)


def times_left(client, job_id):
    """What a job of a tenth of a second says of its time left while it is painted."""
    client.submit(job_id, prompt="steps=4 delay=0.06")
    messages = [envelope.message for envelope in client.receive_until(JobDone)]
    return [m.time_left_s for m in messages if isinstance(m, JobProgress) and m.stage == "painting"]


def test_the_time_left_is_told_once_a_job_like_it_was_done_and_a_new_worker_knows_it(own_daemon):
    client = own_daemon.client()
    assert times_left(client, "first")[0] is None
    assert None not in times_left(client, "second")
    wait_until((own_daemon.folder / "state" / "pace.msgpack").exists, "the worker wrote down what it learnt")
    own_daemon.worker().send_signal(KILLED)
    assert None not in times_left(client, "third")


# ---------------------------------------------------------------- the worker dies


def test_a_killed_worker_is_replaced_and_its_job_done_by_the_next(own_daemon):
    client = own_daemon.client()
    client.submit("job", prompt="steps=60 delay=0.01", variants=2)
    client.submit("next")
    wait_running(client, "job")
    own_daemon.worker().send_signal(KILLED)
    made = variants_of(client.until_over("job"))
    assert [(e.message.variant, e.message.seed) for e in made] == [(0, 0), (1, 1)]
    assert variants_of(client.until_over("next"))
    assert [worker.restarts for worker in client.ask(InspectDaemon()).workers] == [1]


def test_a_job_that_kills_its_worker_twice_fails_with_a_sentence_and_the_next_works(own_daemon):
    client = own_daemon.client()
    client.submit("poison", prompt="crash")
    client.submit("next")
    failed = client.receive_until(JobFailed, JobDone)[-1].message
    assert failed.job_id == "poison"
    assert failed.error.code == "engine.lost"
    assert "twice" in failed.error.message
    assert client.receive_until(JobDone)[-1].message.job_id == "next"


def test_an_engine_that_does_not_listen_is_replaced_after_a_cancel(own_daemon):
    client = own_daemon.client()
    client.submit("stubborn", prompt="hang")
    wait_running(client, "stubborn")
    pid = own_daemon.worker().pid
    assert client.ask(CancelJob(job_id="stubborn")).state is JobState.CANCELLED
    client.submit("next")
    assert client.receive_until(JobDone)[-1].message.job_id == "next"
    assert own_daemon.worker().pid != pid


def test_the_daemon_answers_while_its_worker_is_dead(own_daemon):
    client = own_daemon.client()
    own_daemon.worker().send_signal(signal.SIGSTOP)
    client.submit("job")
    assert client.ask(Ping(nonce=1)) == Pong(nonce=1)
    own_daemon.worker().send_signal(KILLED)
    client.receive_until(JobDone)


# ---------------------------------------------------------------- the daemon ends


def files_below(folder):
    return sorted(path.name for path in (folder / "state", folder / "run") for path in path.iterdir())


def test_sigterm_ends_the_daemon_in_order(own_daemon):
    client = own_daemon.client()
    client.submit("job", prompt="steps=100000 delay=0.01")
    wait_running(client, "job")
    worker = own_daemon.worker()
    own_daemon.process.send_signal(signal.SIGTERM)
    assert not {JobDone, JobFailed} & set(kinds_of(client.receive_until(DaemonStopping)))
    assert own_daemon.process.wait(30) == 0
    assert files_below(own_daemon.folder) == ["daemon.lock", "daemon.log", "jobs", "stories.sqlite"]
    assert not worker.is_running()


def test_a_stopped_daemon_leaves_its_jobs_to_the_next_any_number_of_times(own_daemon):
    client = own_daemon.client("anna")
    client.submit("job", prompt="steps=100 delay=0.01", variants=2, seed=7)
    client.submit("next")
    wait_running(client, "job")
    assert own_daemon.terminate() == 0
    for _ in range(2):
        with DaemonProcess.start(own_daemon.folder) as daemon:
            client = daemon.client("anna")
            assert [job.job_id for job in client.welcome.jobs] == ["job", "next"]
            client.send(FetchJob(job_id="job"))
            wait_running(client, "job")
    with DaemonProcess.start(own_daemon.folder) as daemon:
        client = daemon.client("anna")
        client.send(FetchJob(job_id="job"))
        made = variants_of(client.until_over("job"))
        assert {(e.message.variant, e.message.seed) for e in made} == {(0, 7), (1, 8)}


@pytest.mark.parametrize(
    "wait", [lambda client: None, lambda client: wait_running(client, "job")], ids=["at once", "running"]
)
def test_a_killed_daemon_loses_no_job_it_accepted(own_daemon, wait):
    client = own_daemon.client("anna")
    client.submit("job", prompt="steps=60 delay=0.01", seed=7)
    client.submit("queued", seed=8)
    wait(client)
    own_daemon.process.kill()
    own_daemon.process.wait()
    with DaemonProcess.start(own_daemon.folder) as daemon:
        client = daemon.client("anna")
        for job_id, seed in (("job", 7), ("queued", 8)):
            client.send(FetchJob(job_id=job_id))
            made = variants_of(client.until_over(job_id))
            assert {(e.message.variant, e.message.seed) for e in made} == {(0, seed)}


@pytest.mark.parametrize("when", ["done", "kept"])
def test_a_result_is_the_same_bytes_from_the_next_daemon_and_is_not_painted_again(own_daemon, when):
    """when: the daemon is killed as soon as it has said so, or as soon as its journal has the last variant."""
    client = own_daemon.client("anna")
    client.submit("job", seed=5, variants=2)
    if when == "done":
        told = client.receive_until(JobDone)
    else:
        told = client.receive_until(JobVariant) + client.receive_until(JobVariant)
        with contextlib.closing(sqlite3.connect(own_daemon.state / "jobs" / "journal.sqlite")) as journal:
            last = "SELECT 1 FROM part WHERE name = 'made-1'"
            wait_until(lambda: journal.execute(last).fetchone(), "all is kept")
    first = {e.message.variant: [bytes(f) for f in e.payload] for e in variants_of(told)}
    own_daemon.process.kill()
    own_daemon.process.wait()
    with DaemonProcess.start(own_daemon.folder) as daemon:
        client = daemon.client("anna")
        client.send(FetchJob(job_id="job"))
        replay = client.receive_until(JobDone)
        assert {e.message.variant: [bytes(f) for f in e.payload] for e in variants_of(replay)} == first
        assert daemon.log.count("starts, attempt") == 1
        assert client.ask(AckJob(job_id="job")) == JobAcked(job_id="job")
        spool = daemon.state / "jobs" / "pixels"
        wait_until(lambda: list(spool.iterdir()) == [], "its files are removed")


def test_a_job_that_takes_its_daemon_down_twice_is_given_up_and_the_next_one_is_done(own_daemon):
    client = own_daemon.client("anna")
    client.submit("poison", prompt="steps=100000 delay=0.01")
    client.submit("next")
    wait_running(client, "poison")
    own_daemon.process.kill()
    own_daemon.process.wait()
    with DaemonProcess.start(own_daemon.folder) as daemon:
        client = daemon.client("anna")
        client.send(FetchJob(job_id="poison"))
        wait_running(client, "poison")
        daemon.process.kill()
        daemon.process.wait()
    with DaemonProcess.start(own_daemon.folder) as daemon:
        client = daemon.client("anna")
        client.send(FetchJob(job_id="poison"))
        assert client.receive_until(JobFailed)[-1].message.error.code == "engine.lost"
        client.send(FetchJob(job_id="next"))
        assert client.receive_until(JobDone)[-1].message.job_id == "next"


def test_a_daemon_whose_folder_for_jobs_is_no_folder_says_so_to_who_asks(tmp_path):
    (tmp_path / "state").mkdir(mode=0o700)
    (tmp_path / "state" / "jobs").touch()
    with DaemonProcess.start(tmp_path) as daemon:
        client = daemon.client()
        refused = client.submit("job")
        assert refused.error.code == "capacity.busy"
        assert str(tmp_path / "state" / "jobs") in refused.error.message
        assert client.ask(Ping(nonce=1)) == Pong(nonce=1)


def test_a_damaged_journal_does_not_keep_the_daemon_from_starting(own_daemon):
    own_daemon.client("anna").submit("job", prompt="steps=100000 delay=0.01")
    own_daemon.process.kill()
    own_daemon.process.wait()
    for journal in (own_daemon.folder / "state" / "jobs").glob("journal.sqlite*"):  # with its log
        journal.write_bytes(b"\0" * 8192)
    with DaemonProcess.start(own_daemon.folder) as daemon:
        client = daemon.client("anna")
        assert client.welcome.jobs == ()
        client.submit("job")
        client.receive_until(JobDone)
        assert "set aside" in daemon.log


def test_a_client_can_end_the_daemon(own_daemon):
    client, other = own_daemon.client(), own_daemon.client()
    assert client.ask(ShutDown()) == DaemonStopping()
    assert kinds_of(other.receive_until(DaemonStopping)) == [DaemonStopping]
    assert own_daemon.process.wait(30) == 0


def test_the_worker_ends_when_the_daemon_is_killed(own_daemon):
    worker = own_daemon.worker()
    own_daemon.process.kill()
    own_daemon.process.wait()
    psutil.wait_procs([worker], timeout=30)
    assert not worker.is_running()


def test_a_killed_daemon_leaves_nothing_that_stops_the_next(own_daemon):
    own_daemon.process.kill()
    own_daemon.process.wait()
    assert ConnectionInfo.read(own_daemon.connection_path).pid == own_daemon.process.pid
    with DaemonProcess.start(own_daemon.folder) as daemon:
        daemon.client().submit("job")
        worker_sockets = [name for name in files_below(own_daemon.folder) if name.endswith(".sock")]
        assert len(worker_sockets) == 2


def test_a_dead_daemons_number_that_another_process_has_now_stops_nobody(own_daemon):
    own_daemon.process.kill()
    own_daemon.process.wait()
    assert (own_daemon.state / "daemon.pid").read_text() == str(own_daemon.process.pid)
    (own_daemon.state / "daemon.pid").write_text(str(os.getpid()))
    dataclasses.replace(own_daemon.info, pid=os.getpid()).write(own_daemon.connection_path)
    with DaemonProcess.start(own_daemon.folder) as daemon:
        assert daemon.client().ask(Ping(nonce=1)) == Pong(nonce=1)
        assert (daemon.state / "daemon.pid").read_text() == str(daemon.process.pid)


def test_of_many_daemons_started_at_once_one_serves_and_the_others_name_it(tmp_path):
    daemons = [DaemonProcess.spawn(tmp_path) for _ in range(RACING_DAEMONS)]
    try:
        wait_until(
            lambda: sum(d.process.poll() is not None for d in daemons) == RACING_DAEMONS - 1,
            "all but one give up",
            3 * RACING_DAEMONS + 30,
        )
        losers = [d for d in daemons if d.process.poll() is not None]
        (winner,) = [d for d in daemons if d not in losers]
        wait_until(winner.is_listening, "the winner listens")
        assert {d.process.returncode for d in losers} == {1}
        for daemon in losers:
            said = daemon.process.stderr.read().decode()
            assert f"process {winner.process.pid}" in said
            assert "Traceback" not in said
        assert winner.client().ask(Ping(nonce=1)) == Pong(nonce=1)
    finally:
        for daemon in daemons:
            daemon.close()


def test_an_idle_daemon_ends_by_itself_but_not_under_a_client(tmp_path):
    with DaemonProcess.start(tmp_path, idle_exit_s=0.5) as daemon:
        client = daemon.client()
        assert client.is_silent(1.0)
        assert client.ask(Ping(nonce=1)) == Pong(nonce=1)
        client.close()
        assert daemon.process.wait(30) == 0
        with pytest.raises(DaemonNotRunning):
            _ = daemon.info


def test_a_runtime_folder_others_could_write_is_made_private_and_a_link_is_refused(tmp_path):
    run = tmp_path / "run"
    run.mkdir(mode=0o777)
    run.chmod(0o777)
    with DaemonProcess.start(tmp_path):
        assert stat.S_IMODE(run.stat().st_mode) == 0o700
    run.rename(tmp_path / "elsewhere")
    run.symlink_to(tmp_path / "elsewhere")
    daemon = DaemonProcess.spawn(tmp_path)
    assert daemon.process.wait(30) == 1
    assert "is a link" in daemon.process.stderr.read().decode()
    daemon.close()


def test_a_folder_too_deep_for_a_socket_leaves_tcp(tmp_path):
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    with DaemonProcess.start(deep) as daemon:
        (endpoint,) = daemon.info.endpoints
        assert endpoint.startswith("tcp://127.0.0.1:")
        client = daemon.client()
        client.submit("job")
        client.receive_until(JobDone)


def test_prompts_are_not_in_the_log(shared_daemon):
    client = shared_daemon.client()
    client.submit("job", prompt="steps=1 delay=0.01 a-secret-door")
    client.receive_until(JobDone)
    client.submit("bad", prompt="bug a-secret-door")
    client.receive_until(JobFailed)
    assert "job " in shared_daemon.log
    assert "a-secret-door" not in shared_daemon.log


def test_the_report_tells_about_the_daemon(shared_daemon):
    report = shared_daemon.client().ask(InspectDaemon())
    assert isinstance(report, DaemonReport)
    assert report.pid == shared_daemon.process.pid
    assert report.worker in ("idle", "busy")
    assert os.getpid() != report.pid


@pytest.mark.parametrize("name", ["broken", "embedded"])
def test_a_third_party_engine_that_does_not_load_or_takes_a_name_is_reported_and_does_no_harm(tmp_path, name):
    install_plugin(tmp_path, name, "no_such_module:Engine")
    with DaemonProcess.start(tmp_path) as daemon:
        client = daemon.client()
        assert isinstance(client.welcome, Welcome)
        (broken,) = client.welcome.broken_engines
        assert broken.id == name
        assert "no_such_module" in broken.reason
        for engine in ("embedded", "test-invert"):
            client.submit(engine, engine=engine)
            client.receive_until(JobDone)


def test_a_folder_that_cannot_be_made_is_told_with_what_to_do(tmp_path, capsys):
    (tmp_path / "file").touch()
    settings = DaemonSettings(state_dir=tmp_path / "file" / "state", runtime_dir=tmp_path / "run")
    assert run_daemon(settings) == 1
    said = capsys.readouterr().err
    assert "Errno" not in said
    assert str(tmp_path / "file") in said
    assert "OVERPAINT_STATE_DIR" in said
