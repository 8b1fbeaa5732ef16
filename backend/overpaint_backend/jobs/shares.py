"""Equal shares of a device: who has had least of it goes next.

Fair queueing by start times (Goyal, Vin and Cheng, "Start-Time Fair Queueing", SIGCOMM 1996), for runs whose length is
known only while they go on: the seconds a run has held the device are counted to its party as they pass. Who begins to
wait starts at the count of whoever has had least so far, so an idle time earns nothing and costs nothing. The paper's
bound holds: no party of ``n`` that always has work gets more than one run behind an ``n``-th of the device for each other.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from overpaint_protocol.messages import SessionId

from .model import JobKey

__all__ = ["Client", "FairLine", "Shares", "Waiting"]

_Party = TypeVar("_Party")


class Client(NamedTuple):
    """Whose job it is. principal: who connected; principals share the device equally, and so do the sessions of one."""

    principal: str
    session_id: SessionId


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A job in a line.

    attempts: how often it was begun. is_batch: nobody sits and waits for it. engine: id of what it runs on, or empty.
    expected_s: how long its run may take, None if nothing is known.
    """

    key: JobKey
    client: Client
    attempts: int = 0
    is_batch: bool = False
    engine: str = ""
    expected_s: float | None = None


class Shares(Generic[_Party]):
    """How many seconds each party has had, as far as that still matters."""

    def __init__(self) -> None:
        self._had_s: dict[_Party, float] = {}

    def copy(self) -> Shares[_Party]:
        """The same to try things with."""
        twin: Shares[_Party] = Shares()
        twin._had_s = self._had_s.copy()
        return twin

    def had_s(self, party: _Party) -> float:
        """Seconds that count of what a party in the race has had."""
        return self._had_s[party]

    def join(self, party: _Party, racing: Collection[_Party]) -> None:
        """The party has something to do from now on, as those ``racing`` have."""
        if not racing:
            self._had_s.clear()
        least_s = min((self._had_s[other] for other in racing), default=0.0)
        # Who left the race and is behind by now need not be remembered.
        self._had_s = {
            other: had_s for other, had_s in self._had_s.items() if had_s > least_s or other in racing
        }
        self._had_s[party] = max(self._had_s.get(party, 0.0), least_s)

    def count(self, party: _Party, seconds: float) -> None:
        """A run of the party, which is in the race, held the device for so long."""
        self._had_s[party] += seconds


class FairLine:
    """Waiting jobs of clients that share one device; each client's own run in the order they came."""

    def __init__(self) -> None:
        self._queues: dict[str, dict[SessionId, deque[Waiting]]] = {}
        self._principals: Shares[str] = Shares()
        self._sessions: dict[str, Shares[SessionId]] = {}
        self._running: Client | None = None
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def copy(self) -> FairLine:
        """The same to try things with."""
        twin = FairLine()
        twin._queues = {
            principal: {session_id: queue.copy() for session_id, queue in sessions.items()}
            for principal, sessions in self._queues.items()
        }
        twin._principals = self._principals.copy()
        twin._sessions = {principal: shares.copy() for principal, shares in self._sessions.items()}
        twin._running, twin._count = self._running, self._count
        return twin

    def add(self, job: Waiting) -> None:
        """A job waits from now on."""
        principal, session_id = job.client
        self._join(job.client)
        self._queues.setdefault(principal, {}).setdefault(session_id, deque()).append(job)
        self._count += 1

    def remove(self, job: Waiting) -> None:
        """The job waits no longer: it starts or is not wanted."""
        principal, session_id = job.client
        sessions = self._queues[principal]
        sessions[session_id].remove(job)
        self._count -= 1
        if not sessions[session_id]:
            del sessions[session_id]
        if not sessions:
            del self._queues[principal]

    def first(self) -> Waiting | None:
        """The job whose turn it is."""
        if not self._queues:
            return None
        principal = min(self._queues, key=self._principals.had_s)
        sessions = self._queues[principal]
        return sessions[min(sessions, key=self._sessions[principal].had_s)][0]

    def first_for(self, engine: str) -> Waiting | None:
        """Of those jobs for ``engine`` that are their client's next, the one whose turn comes first."""
        jobs = [queue[0] for sessions in self._queues.values() for queue in sessions.values()]
        return min((job for job in jobs if job.engine == engine), key=self._had_s, default=None)

    def lead_s(self, job: Waiting, before: Waiting) -> float:
        """By how many seconds the client of ``job`` has had more than that of ``before``."""
        mine, theirs = self._had_s(job), self._had_s(before)
        level = 1 if job.client.principal == before.client.principal else 0
        return mine[level] - theirs[level]

    def started(self, job: Waiting | None) -> None:
        """The device works on that job of the line from now on, or on none of it. Say so before it leaves the line."""
        if job is not None:
            self._join(job.client)
        self._running = None if job is None else job.client

    def passed(self, seconds: float) -> None:
        """So much time has passed."""
        if self._running is not None:
            principal, session_id = self._running
            self._principals.count(principal, seconds)
            self._sessions[principal].count(session_id, seconds)

    # ------------------------------------------------------------ inside

    def _had_s(self, job: Waiting) -> tuple[float, float]:
        principal, session_id = job.client
        return self._principals.had_s(principal), self._sessions[principal].had_s(session_id)

    def _join(self, client: Client) -> None:
        """Have the client in the race. What its own sessions had is forgotten when none of them is."""
        principal, session_id = client
        racing = set(self._queues)
        sessions = set(self._queues.get(principal, ()))
        if self._running is not None:
            racing.add(self._running.principal)
            if self._running.principal == principal:
                sessions.add(self._running.session_id)
        if principal not in racing:
            self._principals.join(principal, racing)
            self._sessions[principal] = Shares()
        if session_id not in sessions:
            self._sessions[principal].join(session_id, sessions)
        for gone in set(self._sessions) - racing - {principal}:
            del self._sessions[gone]
