"""The client's side of a session, without sockets, clock or toolkit.

Events go in (``connected``, ``received``, ``lost``, ``tick`` and the commands), effects come out; time is an argument
in seconds. The session survives connections: what was asked and not answered is asked again on the next one, which
is safe because every command is idempotent by its job id.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

from overpaint_protocol import framing
from overpaint_protocol.errors import (
    HelloExpected,
    LinkError,
    LinkTimeout,
    OverpaintError,
    ProtocolError,
    UnknownType,
    UnsupportedVersion,
)
from overpaint_protocol.messages import (
    AckJob,
    CancelJob,
    Capabilities,
    DaemonStopping,
    ErrorInfo,
    ErrorReply,
    FetchJob,
    Hello,
    JobAcked,
    JobCancelled,
    JobDone,
    JobFailed,
    JobId,
    JobVariant,
    Ping,
    SubmitJob,
    Welcome,
)
from overpaint_protocol.pixels import Bytes

__all__ = ["Deliver", "Disconnect", "Effect", "Offered", "Opened", "Send", "Session", "SessionState"]

BUSY_TRIES = 5
"""How often a job is offered to a daemon that says it is busy and when to ask again."""
LEAST_BUSY_WAIT_S = 1.0
GREETING_TIMEOUT_S = 30.0
"""For ``welcome``. A cold daemon answers when its engines are known, which takes seconds on a busy machine."""
PING_AFTER_S = 5.0
SILENCE_LIMIT_S = 20.0


class SessionState(str, Enum):
    """closed: no connection. greeting: hello is sent. open: welcome has come."""

    CLOSED = "closed"
    GREETING = "greeting"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class Send:
    """Hand these frames to the transport."""

    frames: list[Bytes]


@dataclass(frozen=True, slots=True)
class Opened:
    """The daemon answered; it offers what ``welcome`` says."""

    welcome: Welcome


@dataclass(frozen=True, slots=True)
class Offered:
    """Models or recipes came or went; what can be asked for now stands in ``Session.welcome``."""


@dataclass(frozen=True, slots=True)
class Deliver:
    """A message about a job for the controller. Each variant and each end of a job comes once, ``job.acked`` at least once."""

    message: object
    payload: tuple[Bytes, ...]


@dataclass(frozen=True, slots=True)
class Disconnect:
    """Close the connection because of ``error``; ``may_retry`` is false if a new one would end the same."""

    error: OverpaintError
    may_retry: bool = True


Effect = Send | Opened | Offered | Deliver | Disconnect


@dataclass(slots=True)
class _Open:
    """An unfinished job.

    submit: what to send again if the daemon has lost it, None for a job of an earlier run. refusals: how often the daemon
    was too busy for it. again_at: when to ask again after the last of them.
    """

    submit: SubmitJob | None
    payload: tuple[Bytes, ...]
    variants_seen: set[int]
    refusals: int = 0
    again_at: float | None = None


class Session:
    """One client's logical connection.

    Args:
        hello: what to open each connection with.
    """

    def __init__(self, hello: Hello) -> None:
        self.state = SessionState.CLOSED
        self.welcome: Welcome | None = None
        self._hello = hello
        self._next_id = framing.message_ids()
        self._jobs: dict[JobId, _Open] = {}
        self._to_ack: set[JobId] = set()
        self._asked: dict[str, JobId] = {}
        self._last_heard = 0.0
        self._last_ping = 0.0
        self._nonce = 0

    # ------------------------------------------------------------ events

    def connected(self, now: float) -> list[Effect]:
        """The transport is ready."""
        self.state = SessionState.GREETING
        self._last_heard = self._last_ping = now
        self._asked.clear()
        return [self._send(self._hello)]

    def lost(self) -> None:
        """The transport is gone; unfinished jobs wait for the next one."""
        self.state = SessionState.CLOSED

    def tick(self, now: float) -> list[Effect]:
        """Time has passed; call about once a second."""
        if self.state is SessionState.CLOSED:
            return []
        silence = now - self._last_heard
        if silence > (GREETING_TIMEOUT_S if self.state is SessionState.GREETING else SILENCE_LIMIT_S):
            return [Disconnect(LinkTimeout("The daemon does not answer. Restart it with “overpaint serve”."))]
        if (
            self.state is SessionState.OPEN
            and silence > PING_AFTER_S
            and now - self._last_ping > PING_AFTER_S
        ):
            self._last_ping = now
            self._nonce += 1
            return [self._send(Ping(nonce=self._nonce))]
        return self._ask_again(now) if self.state is SessionState.OPEN else []

    def received(self, frames: Sequence[Bytes], now: float) -> list[Effect]:
        """A message has arrived."""
        self._last_heard = now
        try:
            envelope = framing.decode(frames)
        except UnknownType:
            return []  # a newer daemon may tell more than we know (spec §6)
        except OverpaintError as error:
            return [Disconnect(error, may_retry=not isinstance(error, UnsupportedVersion))]
        message = envelope.message
        if isinstance(message, Welcome):
            return self._opened(message)
        if isinstance(message, Capabilities):
            return self._offered(message)
        if isinstance(message, ErrorReply):
            return self._refused(message, envelope.header.re, now)
        if isinstance(message, DaemonStopping):
            return [Disconnect(LinkError("The daemon was stopped."))]
        if isinstance(message, JobAcked):
            self._to_ack.discard(message.job_id)
            return [Deliver(message, ())]
        return self._about_job(message, envelope.payload)

    # ------------------------------------------------------------ commands

    def submit(self, message: SubmitJob, payload: tuple[Bytes, ...]) -> list[Effect]:
        """Ask for a job, now or as soon as the session is open. The payload is kept until the job ends."""
        # laid out even while closed: what cannot be is refused here, not on every connection to come
        effects = self._ask(message, message.job_id, payload)
        self._jobs[message.job_id] = _Open(message, payload, set())
        return effects if self.state is SessionState.OPEN else []

    def follow(self, job_id: JobId) -> list[Effect]:
        """Ask for what has become of a job from an earlier run of the editor."""
        self._jobs[job_id] = _Open(None, (), set())
        return self._ask(FetchJob(job_id=job_id), job_id) if self.state is SessionState.OPEN else []

    def cancel(self, job_id: JobId) -> list[Effect]:
        """Stop a job and forget it; nothing about it is delivered any more."""
        if self._jobs.pop(job_id, None) is None:
            return []
        stop = [self._send(CancelJob(job_id=job_id))] if self.state is SessionState.OPEN else []
        return [*stop, *self.ack(job_id)]

    def ack(self, job_id: JobId) -> list[Effect]:
        """Let the daemon forget a job: its results are safe or not wanted."""
        self._jobs.pop(job_id, None)
        self._to_ack.add(job_id)
        return [self._send(AckJob(job_id=job_id))] if self.state is SessionState.OPEN else []

    @property
    def has_unsent_acks(self) -> bool:
        """True while the daemon has not confirmed every ``ack``."""
        return bool(self._to_ack)

    # ------------------------------------------------------------ inside

    def _send(self, message: object, payload: tuple[Bytes, ...] = ()) -> Send:
        return Send(framing.encode(message, id=self._next_id(), payload=payload))

    def _ask(self, message: object, job_id: JobId, payload: tuple[Bytes, ...] = ()) -> list[Effect]:
        message_id = self._next_id()
        self._asked[message_id] = job_id
        return [Send(framing.encode(message, id=message_id, payload=payload))]

    def _opened(self, welcome: Welcome) -> list[Effect]:
        self.state = SessionState.OPEN
        self.welcome = welcome
        effects: list[Effect] = [Opened(welcome)]
        effects += [self._send(AckJob(job_id=job_id)) for job_id in sorted(self._to_ack)]
        known = {summary.job_id for summary in welcome.jobs}
        for job_id, job in self._jobs.items():
            if job.submit is None or job_id in known:
                effects += self._ask(FetchJob(job_id=job_id), job_id)
            else:
                job.again_at = None
                effects += self._ask(job.submit, job_id, job.payload)
        return effects

    def _offered(self, now: Capabilities) -> list[Effect]:
        if self.welcome is None:
            return []
        self.welcome = replace(
            self.welcome, engines=now.engines, broken_engines=now.broken_engines, recipes=now.recipes
        )
        return [Offered()]

    def _ask_again(self, now: float) -> list[Effect]:
        effects: list[Effect] = []
        for job_id, job in self._jobs.items():
            if job.again_at is not None and now >= job.again_at:
                job.again_at = None
                message = FetchJob(job_id=job_id) if job.submit is None else job.submit
                effects += self._ask(message, job_id, job.payload)
        return effects

    def _may_ask_again(self, job_id: JobId, error: OverpaintError, now: float) -> bool:
        """Whether ``tick`` asks for a refused job again."""
        job = self._jobs[job_id]
        if error.retry_after_s is None or job.refusals >= BUSY_TRIES:
            return False
        job.refusals += 1
        job.again_at = now + max(LEAST_BUSY_WAIT_S, error.retry_after_s)
        return True

    def _refused(self, reply: ErrorReply, re: str | None, now: float) -> list[Effect]:
        error = reply.error.to_exception()
        if isinstance(error, HelloExpected):
            self.state = SessionState.GREETING
            return [self._send(self._hello)]
        job_id = reply.job_id or self._asked.pop(re or "", None)
        if job_id is not None and job_id in self._jobs:
            if self._may_ask_again(job_id, error, now):
                return []
            return self._about_job(JobFailed(job_id=job_id, error=ErrorInfo.of(error)), ())
        if self.state is SessionState.GREETING:
            return [Disconnect(error, may_retry=not isinstance(error, ProtocolError))]
        return []

    def _about_job(self, message: object, payload: tuple[Bytes, ...]) -> list[Effect]:
        job_id: JobId | None = getattr(message, "job_id", None)
        job = self._jobs.get(job_id) if job_id is not None else None
        if job is None or job_id is None:
            return []  # a pong, or a late word about a job that is over here
        if isinstance(message, JobVariant):
            if message.variant in job.variants_seen:
                return []
            job.variants_seen.add(message.variant)
        ended = isinstance(message, (JobDone, JobFailed)) or (
            isinstance(message, JobCancelled) and message.state.is_final
        )
        if ended:
            del self._jobs[job_id]
        return [Deliver(message, payload)]
