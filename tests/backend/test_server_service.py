"""The service between clients and worker: what each message does, without sockets and processes."""

from __future__ import annotations

import dataclasses
import random

import pytest
from tests.backend.scripted_daemon import (
    ERASER,
    PAINTER,
    READY,
    RGBA,
    SETTINGS,
    Daemon,
    pixels,
    submit,
    variant,
)

from overpaint_backend.executors.base import (
    EnginesChanged,
    RunOver,
    RunPreview,
    RunProgress,
    WorkerCondition,
    WorkerGone,
)
from overpaint_backend.server.forecast import done_in_s
from overpaint_protocol import framing
from overpaint_protocol.errors import EngineError
from overpaint_protocol.geometry import Margins, Rect, Size
from overpaint_protocol.messages import (
    AckJob,
    CancelJob,
    Capabilities,
    DaemonReport,
    DaemonStopping,
    DeviceReport,
    EncodedImage,
    ErrorInfo,
    ErrorReply,
    Expand,
    FetchJob,
    Fill,
    GenerationSettings,
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
    Remove,
    ShutDown,
    Welcome,
    WorkerReport,
)
from overpaint_protocol.pixels import ColorSpace, ImageHeader, PixelFormat

DEVICE = DeviceReport(device="cuda", place="cuda:1", free_bytes=1, total_bytes=2, resident_bytes=3)


@pytest.fixture
def daemon():
    daemon = Daemon()
    daemon.hello(b"A")
    return daemon


def only(messages, kind):
    (message,) = [m for m in messages if isinstance(m, kind)]
    return message


def error_of(messages):
    (reply,) = messages
    assert isinstance(reply, ErrorReply)
    assert reply.error.message.endswith((".", ")"))
    return reply.error


# ---------------------------------------------------------------- turns


def test_batches_come_behind_what_somebody_waits_for(daemon):
    daemon.send(b"A", submit("first"), pixels())
    daemon.send(b"A", submit("batch", is_batch=True), pixels())
    assert daemon.send(b"A", submit("prompt"), pixels())[0] == JobAccepted(job_id="prompt", position=1)
    assert only(daemon.send(b"A", FetchJob(job_id="batch")), JobProgress).position == 2
    daemon.worker(RunOver(run=1))
    assert daemon.executor.runs[-1].request.job_id == "prompt"


def test_the_newest_job_of_a_slot_replaces_the_one_that_waits(daemon):
    daemon.send(b"A", submit("running", slot="live"), pixels())
    daemon.send(b"A", submit("waiting", slot="live"), pixels())
    messages = daemon.send(b"A", submit("newest", slot="live"), pixels())
    replaced = JobCancelled(job_id="waiting", state=JobState.CANCELLED, replaced_by="newest")
    assert only(messages, JobCancelled) == replaced
    assert daemon.executor.cancelled == [], "what runs goes on"
    assert only(daemon.send(b"A", FetchJob(job_id="waiting")), JobCancelled) == replaced
    daemon.worker(RunOver(run=1))
    assert daemon.executor.runs[-1].request.job_id == "newest"


def run_one(daemon, takes_s, *, run, load_ms=0.0):
    """The job that runs is done after so long."""
    daemon.wait(takes_s)
    daemon.worker(variant(run), (bytes(4),))
    daemon.worker(RunOver(run=run, timings_ms={"load": load_ms}))
    daemon.take(b"A")


def times_left(messages):
    return {m.job_id: m.time_left_s for m in messages if isinstance(m, JobProgress)}


def test_who_waits_is_told_how_long_once_a_job_like_it_was_done(daemon):
    daemon.send(b"A", submit("first"), pixels())
    assert times_left(daemon.send(b"A", submit("unknown"), pixels())) == {"unknown": None}
    run_one(daemon, 12.0, run=1, load_ms=2000.0)
    assert times_left(daemon.send(b"A", submit("second"), pixels())) == {"second": 20.0}
    daemon.wait(4.0)
    assert times_left(daemon.take(b"A")) == {"second": 16.0}
    daemon.worker(RunProgress(run=2, stage="painting", fraction=0.5, time_left_s=25.0))
    daemon.take(b"A")
    daemon.wait(2.0)
    assert times_left(daemon.take(b"A")) == {"second": 35.0}, "the worker knows better"


def test_nothing_is_said_of_the_time_behind_a_job_of_another_kind(daemon):
    daemon.send(b"A", submit("first"), pixels())
    run_one(daemon, 3.0, run=1)
    daemon.send(b"A", submit("runs"), pixels())
    assert times_left(daemon.send(b"A", submit("another", variants=4), pixels())) == {"another": None}
    assert times_left(daemon.send(b"A", submit("behind"), pixels())) == {"behind": None}


def test_what_has_not_changed_is_not_said_again(daemon):
    daemon.send(b"A", submit("first"), pixels())
    run_one(daemon, 3.0, run=1)
    daemon.send(b"A", submit("runs"), pixels())
    daemon.send(b"A", submit("waits"), pixels())
    daemon.wait(30.0)
    assert times_left(daemon.take(b"A")) == {"waits": 3.0}
    daemon.wait(30.0)
    assert daemon.take(b"A") == []


@pytest.mark.parametrize(
    "other", [{"slot": None}, {"slot": "another"}, {"slot": "live", "document_id": "another"}], ids=str
)
def test_only_the_same_slot_of_the_same_document_is_replaced(daemon, other):
    daemon.send(b"A", submit("running"), pixels())
    daemon.send(b"A", submit("waiting", slot="live"), pixels())
    messages = daemon.send(b"A", submit("other", **other), pixels())
    assert not [message for message in messages if isinstance(message, JobCancelled)]


def test_the_slot_of_another_session_is_its_own(daemon):
    daemon.hello(b"B", "bo")
    daemon.send(b"A", submit("running"), pixels())
    daemon.send(b"A", submit("waiting", slot="live"), pixels())
    daemon.send(b"B", submit("newest", slot="live"), pixels())
    (moved,) = daemon.take(b"A")
    assert (moved.job_id, moved.state, moved.position) == ("waiting", JobState.QUEUED, 2)


# ---------------------------------------------------------------- hello


def test_hello_is_welcomed_with_engines_and_limits():
    (welcome,) = Daemon().hello(b"A")
    assert isinstance(welcome, Welcome)
    assert welcome.engines == (PAINTER, ERASER)
    assert welcome.limits == SETTINGS.limits
    assert welcome.jobs == ()


def test_welcome_waits_for_the_engines():
    daemon = Daemon(ready=False)
    assert daemon.hello(b"A") == []
    daemon.worker(READY)
    assert only(daemon.take(b"A"), Welcome).engines == (PAINTER, ERASER)


def test_welcome_does_not_wait_for_ever():
    daemon = Daemon(ready=False)
    daemon.hello(b"A")
    daemon.wait(SETTINGS.engines_wait_s - 0.1)
    assert daemon.take(b"A") == []
    daemon.wait(0.2)
    assert only(daemon.take(b"A"), Welcome).engines == ()


def test_a_client_without_a_common_version_is_told():
    assert (
        error_of(Daemon().hello(b"A", oldest_minor=9, newest_minor=9)).code == "protocol.unsupported_version"
    )


@pytest.mark.parametrize(
    "message", [Ping(nonce=1), FetchJob(job_id="x"), InspectDaemon(), ShutDown()], ids=repr
)
def test_everything_else_needs_a_hello_first(message):
    daemon = Daemon()
    assert error_of(daemon.send(b"A", message)).code == "protocol.hello_expected"
    assert not daemon.service.is_stopping


def test_one_session_more_than_allowed_is_refused():
    daemon = Daemon()
    for index in range(SETTINGS.max_sessions):
        assert only(daemon.hello(b"%d" % index, f"s{index}"), Welcome)
    assert error_of(daemon.hello(b"X", "one-more")).code == "capacity.busy"


def test_a_new_connection_takes_the_session_over(daemon):
    daemon.send(b"A", submit(), pixels())
    (welcome,) = daemon.hello(b"B")
    assert [(job.job_id, job.state) for job in welcome.jobs] == [("job-1", JobState.RUNNING)]
    assert error_of(daemon.send(b"A", Ping(nonce=1))).code == "protocol.hello_expected"
    daemon.worker(variant(1), (bytes(4),))
    assert only(daemon.take(b"B"), JobVariant)
    assert daemon.take(b"A") == []


# ---------------------------------------------------------------- a job


def test_a_job_from_submit_to_ack(daemon):
    messages = daemon.send(b"A", submit(variants=2), pixels())
    assert messages[0] == JobAccepted(job_id="job-1", position=0)
    (run,) = daemon.executor.runs
    assert (run.engine, run.seed, run.first_variant, run.request) == ("painter", 7, 0, submit(variants=2))
    assert [bytes(frame) for frame in daemon.executor.payload] == list(pixels())
    daemon.worker(RunProgress(run=1, stage="painting", fraction=0.25))
    progress = only(daemon.take(b"A"), JobProgress)
    assert (progress.state, progress.stage, progress.fraction) == (JobState.RUNNING, "painting", 0.25)
    daemon.worker(variant(1, 0), (b"abcd",))
    daemon.worker(variant(1, 1), (b"efgh",))
    daemon.worker(RunOver(run=1, timings_ms={"paint": 5.0}))
    first, second, done = daemon.take(b"A")
    assert (first.variant, first.seed, second.variant, second.seed) == (0, 7, 1, 8)
    assert done == JobDone(job_id="job-1", variants=2, engine="painter", timings_ms={"paint": 5.0})
    assert daemon.send(b"A", AckJob(job_id="job-1")) == [JobAcked(job_id="job-1")]
    assert error_of(daemon.send(b"A", FetchJob(job_id="job-1"))).code == "request.unknown_job"
    assert daemon.kept_bytes == 0


def test_the_time_left_is_passed_on_and_forgotten_with_the_run(daemon):
    daemon.send(b"A", submit(), pixels())
    daemon.worker(RunProgress(run=1, stage="painting", fraction=0.25, time_left_s=12.5))
    assert only(daemon.take(b"A"), JobProgress).time_left_s == 12.5
    daemon.worker(RunProgress(run=1, stage="painting", fraction=0.5))
    assert only(daemon.take(b"A"), JobProgress).time_left_s is None
    daemon.worker(RunProgress(run=1, stage="painting", fraction=0.75, time_left_s=1.0))
    daemon.take(b"A")
    daemon.worker(WorkerGone(reason="killed"))
    queued = only(daemon.take(b"A"), JobProgress)
    assert (queued.state, queued.fraction, queued.time_left_s) == (JobState.QUEUED, None, None)
    daemon.worker(READY)
    assert only(daemon.take(b"A"), JobProgress).time_left_s is None


def test_progress_and_previews_are_replaced_by_newer_ones_while_the_client_does_not_read(daemon):
    daemon.send(b"A", submit(), pixels())
    daemon.blocked.add(b"A")
    for step in range(1, 100):
        daemon.worker(RunProgress(run=1, stage="painting", fraction=step / 100))
        image = EncodedImage(media_type="image/jpeg", size=Size(1, 1), frame=0)
        daemon.worker(RunPreview(run=1, variant=0, image=image), (b"%d" % step,))
        daemon.service.flush(daemon.now)
    daemon.blocked.clear()
    progress, preview = daemon.take(b"A")
    assert progress.fraction == 0.99
    assert isinstance(preview, JobPreview)


def test_submitting_again_changes_nothing(daemon):
    daemon.send(b"A", submit(), pixels())
    daemon.send(b"A", submit("job-2"), pixels())
    assert daemon.send(b"A", submit("job-2"), pixels()) == [JobAccepted(job_id="job-2", position=1)]
    assert len(daemon.executor.runs) == 1
    assert daemon.session("anna").unfinished == 2


def test_a_seed_is_chosen_if_none_is_given_and_kept_for_the_retry(daemon):
    daemon.send(b"A", submit(seed=None, variants=2), pixels())
    daemon.worker(variant(1, 0), (bytes(4),))
    daemon.worker(WorkerGone(reason="killed"))
    daemon.worker(READY)
    first, second = daemon.executor.runs
    assert 0 <= first.seed < 2**32 and second.seed == first.seed
    assert (first.first_variant, second.first_variant) == (0, 1)
    daemon.worker(variant(1, 1), (bytes(4),))  # late words of the dead worker
    daemon.worker(variant(2, 1), (bytes(4),))
    daemon.worker(RunOver(run=2))
    messages = daemon.take(b"A")
    assert [m.variant for m in messages if isinstance(m, JobVariant)] == [0, 1]
    assert only(messages, JobDone).variants == 2


def test_a_worker_that_dies_before_its_last_word_leaves_nothing_to_paint_again(daemon):
    daemon.send(b"A", submit(), pixels())
    for index in (2, 3):
        daemon.send(b"A", submit(f"job-{index}"), pixels())
    daemon.worker(variant(1), (bytes(4),))
    daemon.take(b"A")
    daemon.worker(WorkerGone(reason="killed"))
    daemon.worker(READY)
    assert only(daemon.take(b"A"), JobDone).job_id == "job-1"
    assert [run.request.job_id for run in daemon.executor.runs] == ["job-1", "job-2"]
    states = [job.state for job in daemon.session("anna").jobs.values()]
    assert states == [JobState.DONE, JobState.RUNNING, JobState.QUEUED]


def test_a_job_whose_worker_dies_twice_fails_and_keeps_its_variants(daemon):
    daemon.send(b"A", submit(variants=2), pixels())
    daemon.worker(variant(1, 0), (bytes(4),))
    for _ in range(2):
        daemon.worker(WorkerGone(reason="killed"))
        daemon.worker(READY)
    failed = only(daemon.take(b"A"), JobFailed)
    assert failed.error.code == "engine.lost"
    replay = daemon.send(b"A", FetchJob(job_id="job-1"))
    assert [type(m) for m in replay] == [JobProgress, JobVariant, JobFailed]


def test_an_engine_error_reaches_the_client(daemon):
    daemon.send(b"A", submit(), pixels())
    error = ErrorInfo.of(EngineError("The engine cannot paint this. Try another."))
    daemon.worker(RunOver(run=1, error=error))
    assert only(daemon.take(b"A"), JobFailed).error == error


def test_cancelling_a_waiting_job(daemon):
    daemon.send(b"A", submit(), pixels())
    daemon.send(b"A", submit("job-2"), pixels())
    answer = only(daemon.send(b"A", CancelJob(job_id="job-2")), JobCancelled)
    assert answer.state is JobState.CANCELLED
    assert daemon.executor.cancelled == []


def test_cancelling_a_running_job_is_answered_at_once_and_silences_the_worker(daemon):
    daemon.send(b"A", submit(), pixels())
    assert daemon.send(b"A", CancelJob(job_id="job-1")) == [
        JobCancelled(job_id="job-1", state=JobState.CANCELLED)
    ]
    assert daemon.executor.cancelled == [1]
    daemon.worker(variant(1), (bytes(4),))
    daemon.worker(RunOver(run=1))
    assert daemon.take(b"A") == []
    assert daemon.send(b"A", CancelJob(job_id="job-1")) == [
        JobCancelled(job_id="job-1", state=JobState.CANCELLED)
    ]


def test_cancelling_a_finished_job_says_how_it_ended(daemon):
    daemon.send(b"A", submit(), pixels())
    daemon.worker(RunOver(run=1))
    daemon.take(b"A")
    assert daemon.send(b"A", CancelJob(job_id="job-1")) == [JobCancelled(job_id="job-1", state=JobState.DONE)]


def test_a_worker_that_does_not_stop_is_killed_after_the_grace(daemon):
    daemon.send(b"A", submit(), pixels())
    daemon.send(b"A", CancelJob(job_id="job-1"))
    daemon.wait(SETTINGS.cancel_grace_s + 0.1)
    assert daemon.executor.kills == 1


def test_acknowledging_an_unfinished_job_cancels_it(daemon):
    daemon.send(b"A", submit(), pixels())
    assert daemon.send(b"A", AckJob(job_id="job-1")) == [JobAcked(job_id="job-1")]
    assert daemon.executor.cancelled == [1]
    daemon.worker(RunOver(run=1))
    assert daemon.take(b"A") == []


def test_acknowledging_an_unknown_job_is_fine(daemon):
    assert daemon.send(b"A", AckJob(job_id="nobody")) == [JobAcked(job_id="nobody")]


def test_a_job_of_another_session_is_like_an_unknown_one(daemon):
    daemon.send(b"A", submit(), pixels())
    daemon.hello(b"B", "bo")
    for make in (FetchJob, CancelJob):
        foreign = error_of(daemon.send(b"B", make(job_id="job-1")))
        unknown = error_of(daemon.send(b"B", make(job_id="job-9")))
        assert foreign == unknown
    assert daemon.send(b"B", AckJob(job_id="job-1")) == [JobAcked(job_id="job-1")]
    assert daemon.executor.cancelled == []


def test_two_sessions_may_use_the_same_job_id(daemon):
    daemon.hello(b"B", "bo")
    daemon.send(b"A", submit(), pixels())
    daemon.send(b"B", submit(), pixels())
    daemon.worker(variant(1), (b"anna",))
    daemon.worker(RunOver(run=1))
    daemon.worker(variant(2), (b"bobo",))
    for peer, word in ((b"A", b"anna"), (b"B", b"bobo")):
        daemon.service.flush(daemon.now)
        (made,) = [e for e in daemon.inboxes[peer] if isinstance(e.message, JobVariant)]
        assert bytes(made.payload[0]) == word


# ---------------------------------------------------------------- coming back


def test_results_made_while_the_client_was_away_are_fetched(daemon):
    daemon.send(b"A", submit(), pixels())
    daemon.service.on_gone(b"A", daemon.now)
    daemon.worker(variant(1), (b"abcd",))
    daemon.worker(RunOver(run=1))
    (welcome,) = daemon.hello(b"B")
    (job,) = welcome.jobs
    assert (job.job_id, job.state, job.variants, job.operation) == ("job-1", JobState.DONE, 1, "fill")
    daemon.deliver(b"B", framing.encode(FetchJob(job_id="job-1"), id="f"))
    daemon.service.flush(daemon.now)
    replay = daemon.inboxes.pop(b"B")
    assert [type(e.message) for e in replay] == [JobProgress, JobVariant, JobDone]
    assert [e.header.re for e in replay] == ["f"] * 3
    assert bytes(replay[1].payload[0]) == b"abcd"


def test_a_client_found_gone_while_sending_keeps_its_results(daemon):
    daemon.send(b"A", submit(), pixels())
    daemon.gone.add(b"A")
    daemon.worker(variant(1), (b"abcd",))
    daemon.service.flush(daemon.now)
    assert daemon.session("anna").connection is None
    assert daemon.hello(b"B")[0].jobs[0].variants == 1


def test_a_session_without_jobs_is_forgotten_when_its_client_leaves(daemon):
    daemon.service.on_gone(b"A", daemon.now)
    daemon.wait(0.1)
    assert daemon.service.sessions == {}


@pytest.mark.parametrize("error", [None, ErrorInfo.of(EngineError("It did not work."))])
def test_a_job_that_has_ended_waits_for_its_client_and_not_for_ever(daemon, error):
    daemon.send(b"A", submit(), pixels())
    daemon.worker(variant(1), (bytes(4),))
    daemon.worker(RunOver(run=1, error=error))
    daemon.service.on_gone(b"A", daemon.now)
    daemon.wait(SETTINGS.keep_s - 30)
    assert daemon.hello(b"B")[0].jobs[0].job_id == "job-1"
    daemon.service.on_gone(b"B", daemon.now)
    daemon.wait(30)
    assert daemon.service.sessions == {}


def test_of_the_results_of_clients_who_are_away_the_oldest_go_first_when_there_are_too_many():
    settings = dataclasses.replace(SETTINGS, keep_away_bytes=200_000, max_kept_bytes=10**6, max_jobs=9)
    daemon = Daemon(settings)
    daemon.hello(b"A")
    daemon.hello(b"B", "bo")
    for run, (peer, job_id) in enumerate(
        [(b"A", "old"), (b"B", "here"), (b"A", "new"), (b"A", "newer")], start=1
    ):
        daemon.send(peer, submit(job_id), pixels())
        daemon.worker(variant(run), (bytes(90_000),))
        daemon.worker(RunOver(run=run))
        daemon.wait(1)
    daemon.service.on_gone(b"A", daemon.now)
    daemon.wait(settings.away_after_s - 1)
    assert len(daemon.session("anna").jobs) == 3, "it may have lost the connection only"
    daemon.wait(20)
    assert list(daemon.session("anna").jobs) == ["new", "newer"]
    assert list(daemon.session("bo").jobs) == ["here"]


def test_clients_who_left_results_do_not_keep_others_out(daemon):
    for index in range(SETTINGS.max_sessions + 1):
        peer = b"%d" % index
        assert only(daemon.hello(peer, f"s{index}"), Welcome)
        daemon.send(peer, submit(), pixels())
        daemon.worker(variant(index + 1), (bytes(4),))
        daemon.worker(RunOver(run=index + 1))
        daemon.service.on_gone(peer, daemon.now)
    daemon.wait(1)
    assert len(daemon.service.sessions) == SETTINGS.max_sessions + 2


def test_the_end_of_a_job_never_comes_before_variants_its_client_has_missed(daemon):
    """The client has come back and not fetched yet; when it has seen the end it acknowledges."""
    daemon.send(b"A", submit(variants=2), pixels())
    daemon.worker(variant(1, 0), (b"abcd",))
    daemon.take(b"A")
    daemon.service.on_gone(b"A", daemon.now)
    daemon.hello(b"B")
    daemon.worker(variant(1, 1), (b"efgh",))
    daemon.worker(RunOver(run=1))
    told = daemon.take(b"B")
    assert sorted(m.variant for m in told if isinstance(m, JobVariant)) == [0, 1]
    assert isinstance(told[-1], JobDone)


def test_a_client_that_never_reads_is_cut_off_and_can_come_back(daemon):
    daemon.blocked.add(b"A")
    for nonce in range(SETTINGS.max_outbox + 2):
        daemon.send(b"A", Ping(nonce=nonce))
    daemon.blocked.clear()
    assert error_of(daemon.take(b"A")).code == "protocol.hello_expected"
    assert only(daemon.hello(b"A"), Welcome)


# ---------------------------------------------------------------- refusals


def refused(daemon, request, payload=None):
    reply = only(daemon.send(b"A", request, pixels() if payload is None else payload), ErrorReply)
    assert reply.job_id == request.job_id
    assert daemon.session("anna").jobs == {}
    return reply.error


def test_an_unknown_engine_is_refused_with_the_known_ones(daemon):
    error = refused(daemon, submit(engine="sketcher"))
    assert error.code == "request.unknown_engine"
    assert "painter, eraser" in error.message


def test_an_operation_the_engine_cannot_do_is_refused_with_who_can(daemon):
    error = refused(daemon, submit(engine="painter", operation=Remove()))
    assert error.code == "request.unsupported_operation"
    assert "Eraser" in error.message


def test_the_daemon_chooses_an_engine_that_can(daemon):
    daemon.send(b"A", submit(operation=Remove()), pixels())
    assert daemon.executor.runs[0].engine == "eraser"


def test_an_expand_has_no_mask(daemon):
    request = submit(
        operation=Expand(margins=Margins(right=4)),
        context=Rect(16, 2, 8, 4),
        image=ImageHeader(size=Size(4, 4), format=RGBA, frames=(0,)),
        mask=None,
    )
    assert only(daemon.send(b"A", request, pixels()[:1]), JobAccepted)


_PROFILED = ImageHeader(size=Size(4, 4), format=RGBA, color=ColorSpace.ICC, frames=(0,), profile=2)


def test_a_color_profile_comes_in_a_frame_of_its_own(daemon):
    assert only(daemon.send(b"A", submit(image=_PROFILED), (*pixels(), b"profile")), JobAccepted)


@pytest.mark.parametrize(
    ("changes", "payload"),
    [
        ({"image": _PROFILED}, None),
        ({"image": _PROFILED}, (bytes(64), bytes(16), b"")),
        ({"image": dataclasses.replace(_PROFILED, profile=1)}, None),
        ({}, (bytes(64),)),
        ({}, (bytes(63), bytes(16))),
        ({}, (bytes(64), bytes(17))),
        ({}, (bytes(64), bytes(16), b"more")),
        ({"image": ImageHeader(size=Size(4, 4), format=RGBA, frames=(0, 0))}, None),
        ({"image": ImageHeader(size=Size(4, 4), format=RGBA, frames=(-1,))}, None),
        ({"mask": ImageHeader(size=Size(4, 4), format=PixelFormat.GRAY8, frames=())}, None),
    ],
    ids=[
        "no profile",
        "empty profile",
        "profile in the mask's frame",
        "missing",
        "short",
        "long",
        "extra",
        "twice",
        "negative",
        "none",
    ],
)
def test_pixels_that_do_not_match_their_headers_are_refused(daemon, changes, payload):
    assert refused(daemon, submit(**changes), payload).code == "image.invalid"


def test_an_area_at_the_limit_is_taken_and_one_beyond_refused(daemon):
    assert only(daemon.send(b"A", submit(size=10), pixels(10)), JobAccepted)
    request = submit("job-2", size=11)
    reply = only(daemon.send(b"A", request, pixels(11)), ErrorReply)
    assert (reply.error.code, reply.job_id) == ("protocol.too_large", "job-2")
    assert "11 × 11" in reply.error.message


def test_a_message_beyond_the_limit_is_refused(daemon):
    request = framing.encode(Ping(nonce=1), id="big", payload=(bytes(SETTINGS.max_message_bytes),))
    assert error_of(daemon.send_frames(b"A", request)).code == "protocol.too_large"


def test_one_job_more_than_allowed_is_refused_until_one_ends(daemon):
    for index in range(SETTINGS.max_jobs):
        assert only(daemon.send(b"A", submit(f"job-{index}"), pixels()), JobAccepted)
    reply = only(daemon.send(b"A", submit("more"), pixels()), ErrorReply)
    assert (reply.error.code, reply.error.retry.value) == ("capacity.busy", "later")
    daemon.send(b"A", CancelJob(job_id="job-2"))
    assert only(daemon.send(b"A", submit("more"), pixels()), JobAccepted)


def test_too_many_results_waiting_refuse_new_jobs_until_some_are_taken(daemon):
    daemon.send(b"A", submit(), pixels())
    daemon.worker(variant(1), (bytes(SETTINGS.max_kept_bytes),))
    daemon.worker(RunOver(run=1))
    daemon.take(b"A")
    assert error_of(daemon.send(b"A", submit("job-2"), pixels())).code == "capacity.busy"
    daemon.send(b"A", AckJob(job_id="job-1"))
    assert only(daemon.send(b"A", submit("job-2"), pixels()), JobAccepted)


def test_the_sessions_together_have_a_limit_too():
    daemon = Daemon(dataclasses.replace(SETTINGS, max_total_bytes=160))
    for name in (b"A", b"B", b"C"):
        daemon.hello(name, name.decode().lower())
    assert only(daemon.send(b"A", submit(), pixels()), JobAccepted)
    assert only(daemon.send(b"B", submit(), pixels()), JobAccepted)
    assert error_of(daemon.send(b"C", submit(), pixels())).code == "capacity.busy"


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        ([], "protocol.malformed"),
        ([b""], "protocol.malformed"),
        ([b"OVP1", b"\x80"], "protocol.malformed"),
        ([b"OVP1", b"\x80", b"\x80"], "protocol.malformed"),
        ([b"OVP2", b"\x80", b"\x80"], "protocol.unsupported_version"),
        ([b"GET / HTTP/1.1", b"", b""], "protocol.malformed"),
        ([b"OVP1", b"\xc1", b"\x80"], "protocol.malformed"),
        ([*framing.encode(Ping(nonce=1), id="x")[:2], b"\x81\xa5nonce\xa1x"], "protocol.malformed"),
        ([*framing.encode(Ping(nonce=1), id="x")[:2], b"\xff" * 2_000], "protocol.malformed"),
        ([b"OVP1", b"\x82\xa1t\xa5dance\xa2id\xa11", b"\x80"], "protocol.unknown_type"),
        (framing.encode(Pong(nonce=1), id="x"), "protocol.unknown_type"),
    ],
    ids=repr,
)
def test_malformed_messages_are_answered_and_do_no_harm(daemon, frames, code):
    assert error_of(daemon.send_frames(b"A", frames)).code == code
    assert daemon.send(b"A", Ping(nonce=5)) == [Pong(nonce=5)]


def test_the_answer_to_an_unreadable_body_names_the_message(daemon):
    frames = [*framing.encode(Ping(nonce=1), id="which")[:2], b"\xc1"]
    daemon.deliver(b"A", frames)
    daemon.service.flush(daemon.now)
    assert daemon.inboxes[b"A"][0].header.re == "which"


def test_mutated_messages_find_no_defect(daemon, caplog):
    chance = random.Random(20261123)
    seeds = [
        framing.encode(message, id="m") for message in (Ping(nonce=1), FetchJob(job_id="x"), InspectDaemon())
    ]
    seeds.append(framing.encode(submit(), id="m", payload=pixels()))
    codes = set()
    for _ in range(4000):
        frames = [bytearray(bytes(frame)) for frame in chance.choice(seeds)]
        for _ in range(chance.randint(1, 4)):
            frame = chance.choice(frames)
            if frame:
                frame[chance.randrange(len(frame))] = chance.randrange(256)
        if chance.random() < 0.2:
            del frames[chance.randrange(len(frames))]
        daemon.now += 1
        replies = daemon.send_frames(b"A", frames)
        codes |= {reply.error.code for reply in replies if isinstance(reply, ErrorReply)}
        for job_id in list(daemon.session("anna").jobs):
            daemon.send(b"A", AckJob(job_id=job_id))
            daemon.worker(RunOver(run=len(daemon.executor.runs)))
    assert "daemon.internal" not in codes and not caplog.records
    assert len(codes) >= 5


def test_error_replies_are_limited(daemon):
    answers = sum(len(daemon.send_frames(b"A", [b"x"])) for _ in range(1000))
    assert 0 < answers <= 100
    daemon.now += 1
    assert len(daemon.send_frames(b"A", [b"x"])) == 1


def test_a_defect_in_a_handler_is_answered_with_an_id_and_logged(daemon, monkeypatch, caplog):
    monkeypatch.setattr(daemon.service, "cancel", lambda *_: 1 / 0)
    daemon.send(b"A", submit(), pixels())
    error = error_of(daemon.send(b"A", CancelJob(job_id="job-1")))
    assert error.code == "daemon.internal"
    assert error.detail in caplog.text


# ---------------------------------------------------------------- several workers


def test_two_workers_have_a_job_each_and_what_they_say_goes_to_its_client():
    daemon = Daemon(workers=2)
    daemon.hello(b"A")
    for name in ("one", "two", "three"):
        daemon.send(b"A", submit(name), pixels())
    ran = [[run.request.job_id for run in executor.runs] for executor in daemon.executors]
    assert ran == [["one"], ["two"]]
    daemon.worker(variant(2), (bytes(4),), of=1)
    daemon.worker(RunOver(run=2), of=1)
    told = daemon.take(b"A")
    assert only(told, JobVariant).job_id == only(told, JobDone).job_id == "two"
    assert daemon.executors[1].runs[-1].request.job_id == "three"
    daemon.send(b"A", CancelJob(job_id="one"))
    assert (daemon.executors[0].cancelled, daemon.executors[1].cancelled) == ([1], [])
    daemon.wait(SETTINGS.cancel_grace_s)
    assert (daemon.executors[0].kills, daemon.executors[1].kills) == (1, 0)


def test_a_job_of_a_dead_worker_goes_on_with_the_other_and_the_report_tells():
    daemon = Daemon(workers=2)
    daemon.hello(b"A")
    daemon.send(b"A", submit("one"), pixels())
    daemon.worker(WorkerCondition(device=DEVICE), of=0)
    daemon.worker(WorkerCondition(device=DEVICE), of=1)
    daemon.executors[0].restarts = 1
    daemon.worker(WorkerGone(reason="killed"), of=0)
    assert [run.request.job_id for run in daemon.executors[1].runs] == ["one"]
    report = only(daemon.send(b"A", InspectDaemon()), DaemonReport)
    assert report.worker == "busy"
    assert report.workers == (
        WorkerReport(state="starting", restarts=1),
        WorkerReport(state="busy", restarts=0, device=DEVICE),
    )


def test_only_what_every_worker_can_run_is_offered():
    daemon = Daemon(workers=2, ready=False)
    daemon.worker(READY, of=0)
    assert daemon.service.engines == (PAINTER, ERASER)
    daemon.worker(dataclasses.replace(READY, engines=(ERASER,)), of=1)
    assert daemon.service.engines == (ERASER,)
    daemon.worker(EnginesChanged(engines=(PAINTER, ERASER), broken_engines=()), of=1)
    assert daemon.service.engines == (PAINTER, ERASER)


def test_who_waits_is_told_the_time_of_the_worker_that_is_free_first():
    daemon = Daemon(workers=2)
    daemon.hello(b"A")
    daemon.send(b"A", submit("first"), pixels())
    run_one(daemon, 10.0, run=1)
    for name in ("one", "two"):
        daemon.send(b"A", submit(name), pixels())
    daemon.wait(4.0)
    daemon.take(b"A")
    assert times_left(daemon.send(b"A", submit("three"), pixels())) == {"three": 16.0}


@pytest.mark.parametrize(
    ("free_in_s", "takes_s", "done"),
    [
        ([0.0], [2.0, None, 1.0], [2.0, None, None]),
        ([None], [2.0], [None]),
        ([3.0, 1.0], [5.0, 1.0, 1.0], [6.0, 4.0, 5.0]),
        ([None, 1.0], [1.0, None, 1.0], [2.0, None, None]),
        ([0.0, 0.0], [None, 1.0, 1.0], [None, 1.0, 2.0]),
    ],
)
def test_jobs_are_done_by_the_worker_that_is_free_first(free_in_s, takes_s, done):
    assert done_in_s(free_in_s, takes_s) == done


# ---------------------------------------------------------------- the daemon itself


def test_the_report_tells_about_worker_and_sessions(daemon):
    daemon.send(b"A", submit(), pixels())
    daemon.send(b"A", submit("job-2"), pixels())
    daemon.executor.restarts = 2
    report = only(daemon.send(b"A", InspectDaemon()), DaemonReport)
    assert (report.worker, report.engines) == ("busy", (PAINTER, ERASER))
    assert report.workers == (WorkerReport(state="busy", restarts=2),)
    (session,) = report.sessions
    assert (session.editor, session.connected, session.queued, session.running) == ("Test", True, 1, 1)


def test_the_report_tells_other_principals_of_themselves_alone(daemon):
    daemon.principals[b"B"] = "laptop"
    daemon.hello(b"B", "bert", editor="Guest")
    daemon.send(b"A", submit("failing"), pixels())
    daemon.worker(RunOver(run=1, error=ErrorInfo.of(EngineError("It failed."))))
    daemon.send(b"A", submit("running"), pixels())
    daemon.send(b"B", submit("waiting"), pixels())
    guests = only(daemon.send(b"B", InspectDaemon()), DaemonReport)
    assert [session.editor for session in guests.sessions] == ["Guest"]
    assert [(job.editor, job.state, job.position) for job in guests.jobs] == [("Guest", JobState.QUEUED, 1)]
    assert guests.failures == ()
    owners = only(daemon.send(b"A", InspectDaemon()), DaemonReport)
    assert [(job.editor, job.position) for job in owners.jobs] == [("Test", 0), ("Guest", 1)]
    assert [failure.code for failure in owners.failures] == ["engine.failed"]
    assert 0 < guests.kept_bytes < owners.kept_bytes


def test_shutting_down_tells_everybody_and_leaves_what_is_unfinished_to_the_next(daemon):
    daemon.hello(b"B", "bo")
    daemon.send(b"B", submit(), pixels())
    assert daemon.send(b"A", ShutDown()) == [DaemonStopping()]
    assert daemon.service.is_stopping
    assert daemon.take(b"B") == [DaemonStopping()]
    daemon.worker(RunOver(run=1))
    assert daemon.take(b"B") == [], "no word of a job that the next daemon does"
    assert error_of(daemon.send(b"B", submit("job-2"), pixels())).code == "daemon.shutting_down"


def test_the_daemon_is_idle_when_nobody_has_needed_it_for_long_enough():
    daemon = Daemon(dataclasses.replace(SETTINGS, idle_exit_s=30))
    daemon.hello(b"A")
    daemon.send(b"A", submit(), pixels())
    daemon.wait(100)
    assert not daemon.service.is_idle(daemon.now)
    daemon.service.on_gone(b"A", daemon.now)
    daemon.worker(variant(1), (bytes(4),))
    daemon.worker(RunOver(run=1))
    daemon.wait(100)
    assert not daemon.service.is_idle(daemon.now), "a result waits"
    daemon.hello(b"B")
    daemon.send(b"B", AckJob(job_id="job-1"))
    daemon.wait(1)
    daemon.service.on_gone(b"B", daemon.now)
    daemon.wait(29)
    assert not daemon.service.is_idle(daemon.now)
    daemon.wait(2)
    assert daemon.service.is_idle(daemon.now)


# ---------------------------------------------------------------- what can be asked for


@pytest.fixture
def recipes(tmp_path):
    """The folder of recipes, with one in it."""
    (tmp_path / "ink.toml").write_text('format = 1\nname = "Ink"\nprompt = "ink of {prompt}"\nsteps = 9\n')
    return tmp_path


def names(message):
    return [(info.id, info.problem == "") for info in message.recipes]


def test_recipes_are_announced_with_the_welcome(recipes):
    (recipes / "bad.toml").write_text("nothing")
    (recipes / "other.toml").write_text('format = 1\nname = "Other"\nengine = "sdxl"\n')
    (welcome,) = Daemon(recipes=recipes).hello(b"A")
    assert names(welcome) == [("bad", False), ("ink", True), ("other", False)]


def test_every_open_session_is_told_of_a_changed_recipe_once(recipes):
    daemon = Daemon(recipes=recipes)
    daemon.hello(b"A")
    daemon.hello(b"B", "bo")
    daemon.send(b"C", Ping(nonce=1))  # no session
    (recipes / "new.toml").write_text('format = 1\nname = "New"\n')
    daemon.wait(SETTINGS.recipes_look_s)
    for peer in (b"A", b"B"):
        (told,) = daemon.take(peer)
        assert isinstance(told, Capabilities)
        assert names(told) == [("ink", True), ("new", True)]
        assert told.engines == READY.engines
    assert daemon.take(b"C") == []
    daemon.wait(SETTINGS.recipes_look_s)
    assert daemon.take(b"A") == []
    (recipes / "new.toml").unlink()
    daemon.wait(SETTINGS.recipes_look_s)
    assert names(only(daemon.take(b"A"), Capabilities)) == [("ink", True)]
    assert names(only(daemon.hello(b"D", "dora"), Welcome)) == [("ink", True)]


def test_the_folder_is_not_looked_at_more_often_than_wanted(recipes):
    daemon = Daemon(recipes=recipes)
    daemon.hello(b"A")
    (recipes / "ink.toml").unlink()
    daemon.wait(SETTINGS.recipes_look_s / 2)
    assert daemon.take(b"A") == []
    daemon.wait(SETTINGS.recipes_look_s / 2)
    assert only(daemon.take(b"A"), Capabilities).recipes == ()


def test_a_touched_file_is_no_news(recipes):
    daemon = Daemon(recipes=recipes)
    daemon.hello(b"A")
    (recipes / "ink.toml").touch()
    daemon.wait(SETTINGS.recipes_look_s)
    assert daemon.take(b"A") == []


def test_every_open_session_is_told_of_changed_engines_once(daemon):
    changed = EnginesChanged(engines=(PAINTER,), broken_engines=READY.broken_engines)
    daemon.worker(changed)
    told = only(daemon.take(b"A"), Capabilities)
    assert told.engines == (PAINTER,)
    daemon.worker(changed)
    assert daemon.take(b"A") == []
    assert only(daemon.hello(b"B", "bo"), Welcome).engines == (PAINTER,)
    assert (
        error_of(daemon.send(b"A", submit(operation=Remove()), pixels())).code
        == "request.unsupported_operation"
    )
    daemon.worker(READY)  # of a new worker
    assert only(daemon.take(b"A"), Capabilities).engines == READY.engines


def test_the_news_of_engines_does_not_disturb_a_job(daemon):
    daemon.send(b"A", submit(), pixels())
    daemon.send(b"A", submit("job-2"), pixels())
    daemon.worker(EnginesChanged(engines=(PAINTER,), broken_engines=()))
    daemon.worker(variant(1), (bytes(4),))
    daemon.worker(RunOver(run=1))
    assert only(daemon.take(b"A"), JobDone).job_id == "job-1"
    assert [run.request.job_id for run in daemon.executor.runs] == ["job-1", "job-2"]


def test_a_session_welcomed_before_the_engines_were_known_is_told_of_them():
    daemon = Daemon(ready=False)
    daemon.hello(b"A")
    daemon.wait(SETTINGS.engines_wait_s)
    assert only(daemon.take(b"A"), Welcome).engines == ()
    daemon.hello(b"B", "bo")
    daemon.worker(READY)
    assert only(daemon.take(b"A"), Capabilities).engines == READY.engines
    (welcome,) = daemon.take(b"B")
    assert isinstance(welcome, Welcome)


def test_a_recipe_that_waits_for_an_engine_can_be_used_once_it_is_there(recipes):
    (recipes / "ink.toml").write_text('format = 1\nname = "Ink"\nengine = "sdxl"\n')
    daemon = Daemon(recipes=recipes)
    daemon.hello(b"A")
    error = error_of(daemon.send(b"A", submit(recipe="ink"), pixels()))
    assert error.code == "request.unknown_recipe"
    assert "overpaint models add sdxl" in error.message
    daemon.worker(EnginesChanged(engines=(dataclasses.replace(PAINTER, id="sdxl"),), broken_engines=()))
    assert names(only(daemon.take(b"A"), Capabilities)) == [("ink", True)]
    daemon.send(b"A", submit(recipe="ink"), pixels())
    assert daemon.executor.runs[0].engine == "sdxl"


def test_a_job_is_run_with_what_its_recipe_fills_in_also_when_tried_again(recipes):
    daemon = Daemon(recipes=recipes)
    daemon.hello(b"A")
    request = submit(recipe="ink", operation=Fill(prompt="a red door"))
    assert only(daemon.send(b"A", request, pixels()), JobAccepted)
    (recipes / "ink.toml").unlink()
    assert daemon.send(b"A", request, pixels())[-1] == JobAccepted(job_id="job-1", position=0)
    daemon.worker(WorkerGone(reason="killed"))
    daemon.worker(READY)
    first, second = daemon.executor.runs
    assert first.request.operation == Fill(prompt="ink of a red door", settings=GenerationSettings(steps=9))
    assert second.request == first.request


def test_a_recipe_written_a_moment_ago_can_be_asked_for(recipes):
    daemon = Daemon(recipes=recipes)
    daemon.hello(b"A")
    (recipes / "new.toml").write_text('format = 1\nname = "New"\n')
    answers = daemon.send(b"A", submit(recipe="new"), pixels())
    assert only(answers, JobAccepted)
    assert only(answers, Capabilities)


@pytest.mark.parametrize(
    ("recipe", "sentence"),
    [
        ("oil", "no recipe called “oil”. Choose one of: ink."),
        ("bad", "The recipe “bad” cannot be used. bad.toml"),
    ],
)
def test_an_unknown_or_broken_recipe_is_refused(recipes, recipe, sentence):
    (recipes / "bad.toml").write_text("nothing")
    daemon = Daemon(recipes=recipes)
    daemon.hello(b"A")
    error = error_of(daemon.send(b"A", submit(recipe=recipe), pixels()))
    assert error.code == "request.unknown_recipe"
    assert sentence in error.message
    assert daemon.executor.runs == []


def test_a_job_and_its_recipe_are_checked_together(recipes):
    daemon = Daemon(recipes=recipes)
    daemon.hello(b"A")
    request = submit(recipe="ink", operation=Fill(prompt="x" * 8000))
    assert error_of(daemon.send(b"A", request, pixels())).code == "request.invalid"
