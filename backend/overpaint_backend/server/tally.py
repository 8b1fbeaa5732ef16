"""What the daemon has counted since its start: how jobs ended, how long they took, what failed lately.

Read by ``daemon.report`` and the metrics. Knows no ids and no words of clients.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field

from overpaint_protocol.messages import FailureReport, JobState

__all__ = ["Failure", "Tally"]

_FAILURES = 10


@dataclass(frozen=True, slots=True)
class Failure:
    """A job that failed. at_s: by the clock on the wall."""

    at_s: float
    operation: str
    engine: str
    code: str

    def report(self, now_s: float) -> FailureReport:
        """As in ``daemon.report``."""
        return FailureReport(
            ago_s=max(0.0, now_s - self.at_s), operation=self.operation, engine=self.engine, code=self.code
        )


@dataclass(slots=True)
class Tally:
    """The counts.

    submitted: jobs by operation. ended: jobs by operation and final state. variants: that were painted.
    engine_s: seconds that engines worked on jobs that were done, by engine. failures: the last ones, the newest first.
    """

    submitted: Counter[str] = field(default_factory=Counter)
    ended: Counter[tuple[str, str]] = field(default_factory=Counter)
    variants: int = 0
    engine_s: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    failures: deque[Failure] = field(default_factory=lambda: deque(maxlen=_FAILURES))

    def end(self, operation: str, engine: str, state: JobState, code: str, at_s: float) -> None:
        """A job ended; code: of its error, or empty."""
        self.ended[operation, state.value] += 1
        if code:
            self.failures.appendleft(Failure(at_s, operation, engine, code))
