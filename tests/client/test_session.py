"""The session machine: no socket, no clock, no sleep."""

import pytest

from overpaint_client.session import (
    BUSY_TRIES,
    Deliver,
    Disconnect,
    Offered,
    Opened,
    Send,
    Session,
    SessionState,
)
from overpaint_protocol import framing
from overpaint_protocol.errors import CapacityError, HelloExpected, LinkTimeout, UnknownEngine
from overpaint_protocol.geometry import Rect, Size
from overpaint_protocol.messages import (
    Capabilities,
    DaemonStopping,
    EngineInfo,
    ErrorInfo,
    ErrorReply,
    Fill,
    Hello,
    JobAcked,
    JobDone,
    JobFailed,
    JobState,
    JobSummary,
    JobVariant,
    Limits,
    Pong,
    RecipeInfo,
    SubmitJob,
    Welcome,
    type_name,
)
from overpaint_protocol.pixels import ImageHeader, PixelFormat

LIMITS = Limits(
    max_image_pixels=1 << 26,
    max_message_bytes=1 << 30,
    max_frame_bytes=1 << 23,
    max_jobs=8,
    max_kept_bytes=1 << 30,
)
RECT = Rect(0, 0, 4, 4)
IMAGE = ImageHeader(size=RECT.size, format=PixelFormat.RGBA8, frames=(0,))
MASK = ImageHeader(size=RECT.size, format=PixelFormat.GRAY8, frames=(1,))
PAYLOAD = (bytes(64), bytes(16))


def make_session():
    return Session(
        Hello(
            session_id="s",
            client_version="0",
            editor="test",
            editor_version="0",
            oldest_minor=0,
            newest_minor=0,
        )
    )


def make_submit(job_id="j1"):
    return SubmitJob(
        job_id=job_id,
        document_id="d",
        operation=Fill(),
        canvas=Size(4, 4),
        context=RECT,
        image=IMAGE,
        mask=MASK,
    )


def make_welcome(*jobs):
    return Welcome(daemon_id="d", product_version="0", minor=0, limits=LIMITS, engines=(), jobs=jobs)


def make_variant(variant=0, job_id="j1"):
    return JobVariant(job_id=job_id, variant=variant, seed=1, engine="e", target=RECT, image=IMAGE)


def say(session, message, re=None, payload=(), now=0.0):
    return session.received(framing.encode(message, id="m", re=re, payload=payload), now)


def sent(effects):
    return [
        type_name(framing.decode(effect.frames).message) for effect in effects if isinstance(effect, Send)
    ]


def opened(*jobs):
    session = make_session()
    assert sent(session.connected(0.0)) == ["hello"]
    effects = say(session, make_welcome(*jobs))
    assert isinstance(effects[0], Opened)
    return session


def test_a_job_submitted_before_the_link_is_open_goes_out_with_it():
    session = make_session()
    assert session.submit(make_submit(), PAYLOAD) == []
    session.connected(0.0)
    assert sent(say(session, make_welcome())) == ["job.submit"]


def test_an_open_session_submits_at_once():
    assert sent(opened().submit(make_submit(), PAYLOAD)) == ["job.submit"]


def test_a_reconnect_fetches_what_the_daemon_knows_and_submits_what_it_lost():
    session = opened()
    session.submit(make_submit("j1"), PAYLOAD)
    session.submit(make_submit("j2"), PAYLOAD)
    session.lost()
    assert session.state is SessionState.CLOSED
    session.connected(1.0)
    known = JobSummary(job_id="j1", document_id="d", operation="fill", state=JobState.RUNNING, variants=0)
    assert sent(say(session, make_welcome(known))) == ["job.fetch", "job.submit"]


def test_a_variant_replayed_after_a_reconnect_is_delivered_once():
    session = opened()
    session.submit(make_submit(), PAYLOAD)
    assert len(say(session, make_variant(0), payload=(bytes(64),))) == 1
    assert say(session, make_variant(0), payload=(bytes(64),)) == []
    assert len(say(session, make_variant(1), payload=(bytes(64),))) == 1


def test_the_end_of_a_job_is_delivered_once():
    session = opened()
    session.submit(make_submit(), PAYLOAD)
    done = JobDone(job_id="j1", variants=1, engine="e")
    assert say(session, done) == [Deliver(done, ())]
    assert say(session, done) == []


def busy(session, effects, now, retry_after_s=3.0):
    """The daemon refuses what was sent last."""
    asked = framing.decode(effects[-1].frames).header.id
    error = CapacityError("Too many jobs wait. Wait until one is done.", retry_after_s=retry_after_s)
    return say(session, ErrorReply(error=ErrorInfo.of(error), job_id="j1"), re=asked, now=now)


def test_a_busy_daemon_is_asked_again_a_few_times_when_it_says_to():
    session = opened()
    effects, now = session.submit(make_submit(), PAYLOAD), 0.0
    for _ in range(BUSY_TRIES):
        assert busy(session, effects, now) == []
        assert session.tick(now + 2.9) == []
        now += 3.0
        effects = session.tick(now)
        assert sent(effects) == ["job.submit"]
        assert session.tick(now) == []
    (delivered,) = busy(session, effects, now)
    assert isinstance(delivered.message, JobFailed)
    assert delivered.message.error.code == "capacity.busy"


def test_a_daemon_that_names_no_time_is_not_asked_again():
    session = opened()
    (delivered,) = busy(session, session.submit(make_submit(), PAYLOAD), 0.0, retry_after_s=None)
    assert isinstance(delivered.message, JobFailed)


def test_a_cancelled_job_is_not_asked_for_again():
    session = opened()
    busy(session, session.submit(make_submit(), PAYLOAD), 0.0)
    session.cancel("j1")
    assert "job.submit" not in sent(session.tick(4.0))


def test_a_job_that_waits_to_be_asked_again_goes_out_once_with_a_new_connection():
    session = opened()
    busy(session, session.submit(make_submit(), PAYLOAD), 0.0)
    session.lost()
    session.connected(1.0)
    assert sent(say(session, make_welcome(), now=1.0)) == ["job.submit"]
    assert session.tick(4.0) == []


def test_a_refused_submit_is_a_failed_job():
    session = opened()
    (effect,) = session.submit(make_submit(), PAYLOAD)
    asked = framing.decode(effect.frames).header.id
    reply = ErrorReply(error=ErrorInfo.of(UnknownEngine("There is no such engine.")))
    (delivered,) = say(session, reply, re=asked)
    assert isinstance(delivered.message, JobFailed)
    assert delivered.message.error.code == "request.unknown_engine"


def test_a_cancelled_job_is_never_heard_of_again():
    session = opened()
    session.submit(make_submit(), PAYLOAD)
    assert sent(session.cancel("j1")) == ["job.cancel", "job.ack"]
    assert say(session, make_variant(0), payload=(bytes(64),)) == []
    assert session.cancel("j1") == []


def test_acks_are_repeated_until_confirmed():
    session = opened()
    session.submit(make_submit(), PAYLOAD)
    say(session, JobDone(job_id="j1", variants=0, engine="e"))
    session.ack("j1")
    session.lost()
    session.connected(1.0)
    assert sent(say(session, make_welcome())) == ["job.ack"]
    say(session, JobAcked(job_id="j1"))
    assert not session.has_unsent_acks
    session.lost()
    session.connected(2.0)
    assert sent(say(session, make_welcome())) == []


def test_a_daemon_that_forgot_the_session_is_greeted_again():
    session = opened()
    session.submit(make_submit(), PAYLOAD)
    assert sent(say(session, ErrorReply(error=ErrorInfo.of(HelloExpected("Say hello."))))) == ["hello"]
    assert sent(say(session, make_welcome())) == ["job.submit"]


def test_silence_is_met_with_a_ping_then_a_disconnect():
    session = opened()
    assert session.tick(4.0) == []
    assert sent(session.tick(6.0)) == ["ping"]
    assert session.tick(7.0) == []
    say(session, Pong(nonce=1), now=8.0)
    assert session.tick(12.0) == []
    (effect,) = session.tick(29.0)
    assert isinstance(effect, Disconnect)
    assert isinstance(effect.error, LinkTimeout)


def test_no_welcome_in_time_is_a_timeout():
    session = make_session()
    session.connected(0.0)
    assert session.tick(29.0) == []
    assert isinstance(session.tick(31.0)[0], Disconnect)


@pytest.mark.parametrize(
    ("frames", "may_retry"),
    [
        pytest.param([b"OVP1", b"\xc1", b"\x80"], True, id="malformed"),
        pytest.param([b"OVP2", b"\x80", b"\x80"], False, id="another major version"),
        pytest.param([b"hello"], True, id="not ours"),
    ],
)
def test_nonsense_ends_the_connection(frames, may_retry):
    (effect,) = opened().received(frames, 0.0)
    assert isinstance(effect, Disconnect)
    assert effect.may_retry is may_retry


def test_a_message_of_a_later_version_is_ignored():
    session = opened()
    frames = framing.encode(Pong(nonce=1), id="m")
    frames[1] = bytes(frames[1]).replace(b"\xa4pong", b"\xa4punk")
    assert session.received(frames, 0.0) == []


def test_a_stopping_daemon_ends_the_connection():
    assert isinstance(say(opened(), DaemonStopping())[0], Disconnect)


def test_what_is_offered_can_change_while_the_session_is_open():
    engine = EngineInfo(
        id="e",
        name="E",
        operations=("fill",),
        follows_prompt=True,
        follows_negative_prompt=True,
        needs_surroundings=False,
    )
    recipe = RecipeInfo(id="r", name="R")
    session = opened()
    assert say(session, Capabilities(engines=(engine,), recipes=(recipe,))) == [Offered()]
    assert (session.welcome.engines, session.welcome.recipes) == ((engine,), (recipe,))
    assert session.welcome.limits == LIMITS
    assert say(session, Capabilities(engines=())) == [Offered()]
    assert (session.welcome.engines, session.welcome.recipes) == ((), ())


def test_an_offer_before_welcome_is_passed_over():
    session = make_session()
    session.connected(0.0)
    assert say(session, Capabilities(engines=())) == []
    assert session.welcome is None
