"""Which of the waiting jobs is next.

In this order of weight:

1. A job that was interrupted goes on.
2. Jobs that somebody waits for go before batches, until a batch has waited for half a minute of their work or nine
   times as long as the last batch took: so a batch always gets a tenth of the device, and rarely stands in the way.
3. Clients share the device by time (``shares``), each client's own jobs in the order they came.
4. A job for the engine that is loaded may go before its turn while its client is less than ten seconds of the device
   ahead of the one whose turn it is, so that two models do not push each other out at every job.

So nobody who sits and waits is kept for longer than its share of the device and, for every other client, one run and
those ten seconds, beside a tenth for batches and one run of them.
"""

from __future__ import annotations

from .model import JobKey
from .shares import FairLine, Waiting

__all__ = ["LineUp"]

_BATCH_PATIENCE_S = 30.0
_BATCH_PATIENCE_RUNS = 9.0
_MOST_LEAD_S = 10.0
_FIRST_GUESS_S = 1.0
_GUESS_MEMORY = 0.8
"""How much of the guess at an unknown run's length stays when another run was measured."""


class LineUp:
    """The jobs that wait for one device, and what is known of the run that has it."""

    def __init__(self) -> None:
        self._jobs: dict[JobKey, Waiting] = {}
        self._interrupted: list[Waiting] = []
        self._prompt = FairLine()
        self._batch = FairLine()
        self._running: Waiting | None = None
        self._ran_s = 0.0
        self._guess_s = _FIRST_GUESS_S
        self._engine = ""
        self._batch_waited_s = 0.0
        self._batch_took_s = 0.0

    def __len__(self) -> int:
        return len(self._jobs)

    def __contains__(self, key: JobKey) -> bool:
        return key in self._jobs

    def add(self, job: Waiting, *, is_interrupted: bool = False) -> None:
        """A job waits from now on; one whose run was interrupted goes before all others."""
        self._jobs[job.key] = job
        if job.is_batch and not len(self._batch):
            self._batch_waited_s = 0.0
        if is_interrupted:
            self._interrupted.append(job)
        else:
            self._line(job).add(job)

    def remove(self, key: JobKey) -> None:
        """The job is not wanted any more."""
        self._take(self._jobs[key])

    def clear(self) -> None:
        """None of the jobs is wanted any more."""
        for job in list(self._jobs.values()):
            self._take(job)

    def next(self) -> Waiting | None:
        """The job whose turn it is."""
        if self._interrupted:
            return self._interrupted[0]
        is_batch = len(self._prompt) == 0 or (len(self._batch) > 0 and self._is_batch_due)
        line = self._batch if is_batch else self._prompt
        first = line.first()
        if first is None or not self._engine or first.engine == self._engine:
            return first
        loaded = line.first_for(self._engine)
        if loaded is not None and line.lead_s(loaded, first) < _MOST_LEAD_S:
            return loaded
        return first

    def start(self, job: Waiting) -> None:
        """The device works on ``job``, which waits no longer."""
        self._line(job).started(job)
        self._take(job)
        self._running, self._ran_s = job, 0.0
        if job.engine:
            self._engine = job.engine
        if job.is_batch:
            self._batch_waited_s = self._batch_took_s = 0.0

    def passed(self, seconds: float) -> None:
        """So much time has passed."""
        job = self._running
        if job is None:
            return
        self._ran_s += seconds
        self._line(job).passed(seconds)
        if job.is_batch:
            self._batch_took_s += seconds
        elif len(self._batch):
            self._batch_waited_s += seconds

    def end(self) -> None:
        """The device is free."""
        if self._running is None:
            return
        self._guess_s = _GUESS_MEMORY * self._guess_s + (1 - _GUESS_MEMORY) * self._ran_s
        self._line(self._running).started(None)
        self._running = None

    def order(self) -> list[JobKey]:
        """The waiting jobs in the order they would run if nothing else came and each took as long as is expected."""
        rehearsal = self._copy()
        order: list[JobKey] = []
        if self._running is not None:
            rehearsal.passed(max(0.0, self._expected_s(self._running) - self._ran_s))
            rehearsal.end()
        while (job := rehearsal.next()) is not None:
            order.append(job.key)
            rehearsal.start(job)
            rehearsal.passed(self._expected_s(job))
            rehearsal.end()
        return order

    def place_for(self, job: Waiting) -> int:
        """How many waiting jobs would run before ``job`` if it were added."""
        rehearsal = self._copy()
        rehearsal.add(job)
        return rehearsal.order().index(job.key)

    # ------------------------------------------------------------ inside

    def _copy(self) -> LineUp:
        twin = LineUp()
        twin._jobs, twin._interrupted = self._jobs.copy(), self._interrupted.copy()
        twin._prompt, twin._batch = self._prompt.copy(), self._batch.copy()
        twin._running, twin._ran_s, twin._guess_s = self._running, self._ran_s, self._guess_s
        twin._engine = self._engine
        twin._batch_waited_s, twin._batch_took_s = self._batch_waited_s, self._batch_took_s
        return twin

    @property
    def _is_batch_due(self) -> bool:
        return self._batch_waited_s >= max(_BATCH_PATIENCE_S, _BATCH_PATIENCE_RUNS * self._batch_took_s)

    def _expected_s(self, job: Waiting) -> float:
        return self._guess_s if job.expected_s is None else job.expected_s

    def _line(self, job: Waiting) -> FairLine:
        return self._batch if job.is_batch else self._prompt

    def _take(self, job: Waiting) -> None:
        del self._jobs[job.key]
        if job in self._interrupted:
            self._interrupted.remove(job)
        else:
            self._line(job).remove(job)
