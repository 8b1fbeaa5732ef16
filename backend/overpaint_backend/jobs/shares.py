"""Equal shares of the devices: who has had least of them goes next.

Fair queueing by start times (Goyal, Vin and Cheng, "Start-Time Fair Queueing", SIGCOMM 1996), for runs whose length is
known only while they go on: the seconds a run has held a device are counted to its party as they pass, on any of the devices.
Who begins to wait starts at the count of whoever has had least so far, so an idle time earns nothing and costs nothing. With one
device the paper's bound holds: no party of ``n`` that always has work gets more than one run behind an ``n``-th of it for each
other.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from overpaint_protocol.messages import SessionId

from .model import JobKey

__all__ = ["Client", "FairLine", "Shares", "Waiting"]

_Party = TypeVar("_Party")


class Client(NamedTuple):
    """Whose job it is. principal: who connected; principals share the devices equally, and so do the sessions of one."""

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
        """A run of the party, which is in the race, held a device for so long."""
        self._had_s[party] += seconds


class FairLine:
    """Waiting jobs of clients that share the devices; each client's own run in the order they came."""

    def __init__(self) -> None:
        self._queues: dict[str, dict[SessionId, deque[Waiting]]] = {}
        self._principals: Shares[str] = Shares()
        self._sessions: dict[str, Shares[SessionId]] = {}
        self._running: Counter[Client] = Counter()
        """How many runs of whom are under way."""
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
        twin._running, twin._count = self._running.copy(), self._count
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
        # Of those who have had the same, as after an idle time, one that has a run under way comes last.
        principal = min(self._queues, key=lambda one: (self._principals.had_s(one), self._runs_of(one)))
        sessions, shares = self._queues[principal], self._sessions[principal]
        session_id = min(sessions, key=lambda one: (shares.had_s(one), self._running[Client(principal, one)]))
        return sessions[session_id][0]

    def first_for(self, engine: str) -> Waiting | None:
        """Of those jobs for ``engine`` that are their client's next, the one whose turn comes first."""
        jobs = [queue[0] for sessions in self._queues.values() for queue in sessions.values()]
        return min((job for job in jobs if job.engine == engine), key=self._had_s, default=None)

    def lead_s(self, job: Waiting, before: Waiting) -> float:
        """By how many seconds the client of ``job`` has had more than that of ``before``."""
        mine, theirs = self._had_s(job), self._had_s(before)
        level = 1 if job.client.principal == before.client.principal else 0
        return mine[level] - theirs[level]

    def started(self, job: Waiting) -> None:
        """A device works on that job of the line from now on. Say so before it leaves the line."""
        self._join(job.client)
        self._running[job.client] += 1

    def ended(self, job: Waiting) -> None:
        """The run of that job is over."""
        self._running[job.client] -= 1
        if not self._running[job.client]:
            del self._running[job.client]

    def passed(self, seconds: float) -> None:
        """So much time has passed."""
        for (principal, session_id), runs in self._running.items():
            self._principals.count(principal, runs * seconds)
            self._sessions[principal].count(session_id, runs * seconds)

    # ------------------------------------------------------------ inside

    def _runs_of(self, principal: str) -> int:
        return sum(runs for running, runs in self._running.items() if running.principal == principal)

    def _had_s(self, job: Waiting) -> tuple[float, float]:
        principal, session_id = job.client
        return self._principals.had_s(principal), self._sessions[principal].had_s(session_id)

    def _join(self, client: Client) -> None:
        """Have the client in the race. What its own sessions had is forgotten when none of them is."""
        principal, session_id = client
        racing = set(self._queues) | {running.principal for running in self._running}
        sessions = set(self._queues.get(principal, ()))
        sessions |= {running.session_id for running in self._running if running.principal == principal}
        if principal not in racing:
            self._principals.join(principal, racing)
            self._sessions[principal] = Shares()
        if session_id not in sessions:
            self._sessions[principal].join(session_id, sessions)
        for gone in set(self._sessions) - racing - {principal}:
            del self._sessions[gone]
