"""How long results wait for their clients. Pure: which jobs go, and a time that no clock can turn.

The age of a result is measured in the keeper's own time: the monotonic clock while a daemon runs, and between two daemons
what the clock on the wall says, but no more than a day and never less than nothing. So a clock that was wrong for once
makes nothing expire, and what is kept is kept rather too long than too short.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from overpaint_backend.jobs.model import JobKey

from .orders import KeptTimeNote

__all__ = ["MAX_GAP_S", "Kept", "KeptTime", "expired"]

MAX_GAP_S = 86_400.0
"""Most that the time between two daemons counts."""

_LEAST_BYTES = 64 * 1024
"""What a kept job counts for at least, so that very many without pixels have an end as well."""


class KeptTime:
    """The keeper's own time, in seconds.

    Args:
        last: what the daemon before noted. wall_s: the clock on the wall now. now: the monotonic clock now.
    """

    def __init__(self, last: KeptTimeNote | None, wall_s: float, now: float) -> None:
        elapsed_s = 0.0 if last is None else last.elapsed_s + min(MAX_GAP_S, max(0.0, wall_s - last.wall_s))
        self._zero = now - elapsed_s

    def at(self, now: float) -> float:
        """The time when the monotonic clock shows ``now``."""
        return now - self._zero


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A job that has ended and was not acknowledged. ended_at_s: in the keeper's own time.

    is_away: its client is not connected, and has not been for a while.
    """

    key: JobKey
    ended_at_s: float
    byte_length: int
    is_away: bool


def expired(kept: Iterable[Kept], now_s: float, keep_s: float, keep_away_bytes: int) -> list[JobKey]:
    """The jobs whose time is over: older than ``keep_s``, then of those who are away the oldest beyond ``keep_away_bytes``."""
    gone: list[JobKey] = []
    room = keep_away_bytes
    for job in sorted(kept, key=lambda job: (job.ended_at_s, job.key), reverse=True):
        if job.is_away:
            room -= max(_LEAST_BYTES, job.byte_length)
        if now_s - job.ended_at_s >= keep_s or (job.is_away and room < 0):
            gone.append(job.key)
    return gone[::-1]
