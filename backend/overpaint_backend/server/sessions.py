"""Connections and sessions: what the daemon remembers of its clients.

A connection is one socket of a client and ends with it. A session outlives its connections and owns jobs; a new
connection of the same principal that knows the session's id takes it over. A principal is who a connection has proved to come
from: ``LOCAL`` for the daemon's own user, or somebody else's public key. Ids of sessions are a principal's own.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

from overpaint_backend.jobs.model import LOCAL, Job, JobKey, Result
from overpaint_protocol.messages import JobId, JobState, SessionId, SessionReport
from overpaint_protocol.pixels import Bytes

__all__ = ["LOCAL", "Budget", "Connection", "Outbox", "Session"]


class Budget:
    """How often something may be done.

    Args:
        burst: times at once. per_s: times a second in the long run.
    """

    def __init__(self, burst: float, per_s: float) -> None:
        self._burst = burst
        self._per_s = per_s
        self._left = burst
        self._counted_at = 0.0

    def take(self, now: float) -> bool:
        """Whether it may be done once more."""
        self._left = min(self._burst, self._left + (now - self._counted_at) * self._per_s)
        self._counted_at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Outbox:
    """Messages a client has not taken yet, in order. A newer message replaces an older one of the same topic."""

    def __init__(self) -> None:
        self._messages: dict[object, list[Bytes]] = {}
        self._serials = itertools.count()

    def __len__(self) -> int:
        return len(self._messages)

    @property
    def byte_length(self) -> int:
        """Bytes of all frames."""
        return sum(len(frame) for frames in self._messages.values() for frame in frames)

    def push(self, frames: list[Bytes], topic: tuple[str, str] | None = None) -> None:
        """Append a message; ``topic`` names what only its newest message is worth sending of."""
        key: object = next(self._serials) if topic is None else topic
        # Taken out first: the newer message goes to the end, after what was said before it.
        self._messages.pop(key, None)
        self._messages[key] = frames

    def first(self) -> list[Bytes] | None:
        """The message to send next."""
        return next(iter(self._messages.values()), None)

    def drop_first(self) -> None:
        """The first message was sent."""
        del self._messages[next(iter(self._messages))]

    def clear(self) -> None:
        """Forget everything."""
        self._messages.clear()


@dataclass(slots=True, eq=False)
class Connection:
    """peer: libzmq's name for it. principal: who it has proved to come from.

    session: None until ``hello``, and again once another connection has it.
    variants_told: variants of unfinished jobs that were sent on it.
    blocked_since: when it stopped taking messages, None while it takes them.
    """

    peer: bytes
    principal: str
    session: Session | None = None
    variants_told: set[tuple[JobKey, int]] = field(default_factory=set)
    outbox: Outbox = field(default_factory=Outbox)
    errors: Budget = field(default_factory=lambda: Budget(burst=100.0, per_s=20.0))
    blocked_since: float | None = None

    def has_been_told(self, job: Job, result: Result) -> bool:
        """Whether that variant was sent on it."""
        return (job.key, result.message.variant) in self.variants_told

    def forget_told(self, job: Job) -> None:
        """Nothing more will be said of the job."""
        self.variants_told -= {(job.key, result.message.variant) for result in job.results}


@dataclass(slots=True, eq=False)
class Session:
    """A client. principal: whose it is. jobs: what it submitted and has not acknowledged, oldest first. lost_at: when it left, if it has."""

    principal: str
    session_id: SessionId
    editor: str = ""
    preview_bytes: int = 0
    connection: Connection | None = None
    lost_at: float | None = None
    jobs: dict[JobId, Job] = field(default_factory=dict)

    @property
    def unfinished(self) -> int:
        """Jobs that wait or run."""
        return sum(not job.state.is_final for job in self.jobs.values())

    @property
    def is_in_use(self) -> bool:
        """True while a client is connected or has unfinished jobs."""
        return self.connection is not None or self.unfinished > 0

    @property
    def kept_bytes(self) -> int:
        """Bytes of pictures and results the daemon holds for it."""
        return sum(job.byte_length for job in self.jobs.values())

    @property
    def held_bytes(self) -> int:
        """Those of them that are in memory."""
        return sum(job.held_bytes for job in self.jobs.values())

    @property
    def needs_memory(self) -> bool:
        """True while a result that waits to be acknowledged is not on the disk alone."""
        return any(result.payload is not None for job in self.jobs.values() for result in job.results)

    @property
    def report(self) -> SessionReport:
        """The session in ``daemon.report``."""
        states = [job.state for job in self.jobs.values()]
        return SessionReport(
            editor=self.editor,
            connected=self.connection is not None,
            queued=states.count(JobState.QUEUED),
            running=states.count(JobState.RUNNING),
            kept=sum(state.is_final for state in states),
        )

    def attach(self, connection: Connection, now: float) -> None:
        """Continue on ``connection``; the one before is no longer of this session."""
        if self.connection is not None and self.connection is not connection:
            self.connection.session = None
        if connection.session is not None and connection.session is not self:
            connection.session.detach(now)
        self.connection = connection
        connection.session = self
        self.lost_at = None

    def detach(self, now: float) -> None:
        """Go on without a connection."""
        if self.connection is not None:
            self.connection.session = None
        self.connection = None
        self.lost_at = now
