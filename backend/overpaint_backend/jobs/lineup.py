"""Which of the waiting jobs is next, and which of the free workers takes it.

In this order of weight:

1. A job that was interrupted goes on.
2. Jobs that somebody waits for go before batches, until a batch has waited for half a minute of their work or nine
   times as long as the last batch took: so a batch always gets a tenth of the devices, and rarely stands in the way.
3. Clients share the devices by time (``shares``), each client's own jobs in the order they came.
4. A job for the engine that a worker has loaded may go before its turn while its client is less than ten seconds of a device
   ahead of the one whose turn it is, so that two models do not push each other out at every job; unless another worker has it
   loaded as well.

Of several free workers one that has the job's engine loaded takes it, else one that has none. All times are of devices: two
that work for a second are two. So with one device nobody who sits and waits is kept for longer than its share of it and, for
every other client, one run and those ten seconds, beside a tenth for batches and one run of them.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from .model import JobKey
from .shares import FairLine, Waiting

__all__ = ["LineUp", "WorkerId"]

WorkerId = int
"""Which worker, counted from 0."""

_BATCH_PATIENCE_S = 30.0
_BATCH_PATIENCE_RUNS = 9.0
_MOST_LEAD_S = 10.0
_FIRST_GUESS_S = 1.0
_GUESS_MEMORY = 0.8
"""How much of the guess at an unknown run's length stays when another run was measured."""


@dataclass(slots=True)
class _Run:
    """A run under way. ran_s: for how long it has been."""

    job: Waiting
    ran_s: float = 0.0


class LineUp:
    """The jobs that wait for a device, and what is known of the runs that have one, by the device's worker."""

    def __init__(self) -> None:
        self._jobs: dict[JobKey, Waiting] = {}
        self._interrupted: list[Waiting] = []
        self._prompt = FairLine()
        self._batch = FairLine()
        self._runs: dict[WorkerId, _Run] = {}
        self._engines: dict[WorkerId, str] = {}
        """What each worker has loaded last."""
        self._guess_s = _FIRST_GUESS_S
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

    def next(self, free: Collection[WorkerId]) -> tuple[WorkerId, Waiting] | None:
        """The job whose turn it is, and the one of the ``free`` workers that takes it; None if nothing can start."""
        if not self._jobs or not free:
            return None
        if self._interrupted:
            return self._worker_for(self._interrupted[0], free), self._interrupted[0]
        is_batch = len(self._prompt) == 0 or (len(self._batch) > 0 and self._is_batch_due)
        line = self._batch if is_batch else self._prompt
        first = line.first()
        if first is None:
            return None
        worker = self._worker_for(first, free)
        engine = self._engines.get(worker, "")
        is_elsewhere = any(other == engine for index, other in self._engines.items() if index != worker)
        if engine and first.engine != engine and not is_elsewhere:
            loaded = line.first_for(engine)
            if loaded is not None and line.lead_s(loaded, first) < _MOST_LEAD_S:
                return worker, loaded
        return worker, first

    def start(self, job: Waiting, worker: WorkerId) -> None:
        """The worker has ``job``, which waits no longer."""
        self._line(job).started(job)
        self._take(job)
        self._runs[worker] = _Run(job)
        if job.engine:
            self._engines[worker] = job.engine
        if job.is_batch:
            self._batch_waited_s = self._batch_took_s = 0.0

    def passed(self, seconds: float) -> None:
        """So much time has passed."""
        for line in (self._prompt, self._batch):
            line.passed(seconds)
        for run in self._runs.values():
            run.ran_s += seconds
            if run.job.is_batch:
                self._batch_took_s += seconds
            elif len(self._batch):
                self._batch_waited_s += seconds

    def end(self, worker: WorkerId) -> None:
        """The worker's run is over, if it had one."""
        run = self._runs.pop(worker, None)
        if run is not None:
            self._guess_s = _GUESS_MEMORY * self._guess_s + (1 - _GUESS_MEMORY) * run.ran_s
            self._line(run.job).ended(run.job)

    def forget(self, worker: WorkerId) -> None:
        """The worker has ended, and with it what it had loaded."""
        self.end(worker)
        self._engines.pop(worker, None)

    def order(self, workers: Collection[WorkerId]) -> list[JobKey]:
        """The order in which ``workers`` would run what waits if nothing else came and each job took as long as is expected."""
        if not self._jobs:
            return []
        rehearsal = self._copy()
        order: list[JobKey] = []
        left_s = {
            worker: max(0.0, self._expected_s(run.job) - run.ran_s) for worker, run in self._runs.items()
        }
        free = [worker for worker in workers if worker not in left_s]
        while len(rehearsal):
            while (turn := rehearsal.next(free)) is not None:
                worker, job = turn
                order.append(job.key)
                rehearsal.start(job, worker)
                free.remove(worker)
                left_s[worker] = self._expected_s(job)
            ended = min(left_s, key=lambda worker: left_s[worker])
            passed_s = left_s.pop(ended)
            left_s = {worker: seconds - passed_s for worker, seconds in left_s.items()}
            rehearsal.passed(passed_s)
            rehearsal.end(ended)
            free.append(ended)
        return order

    def place_for(self, job: Waiting, workers: Collection[WorkerId]) -> int:
        """How many waiting jobs would start before ``job`` if it were added."""
        rehearsal = self._copy()
        rehearsal.add(job)
        return rehearsal.order(workers).index(job.key)

    # ------------------------------------------------------------ inside

    def _copy(self) -> LineUp:
        twin = LineUp()
        twin._jobs, twin._interrupted = self._jobs.copy(), self._interrupted.copy()
        twin._prompt, twin._batch = self._prompt.copy(), self._batch.copy()
        twin._runs = {worker: replace(run) for worker, run in self._runs.items()}
        twin._engines, twin._guess_s = self._engines.copy(), self._guess_s
        twin._batch_waited_s, twin._batch_took_s = self._batch_waited_s, self._batch_took_s
        return twin

    def _worker_for(self, job: Waiting, free: Collection[WorkerId]) -> WorkerId:
        """The worker that loses least by taking ``job``."""

        def cost(worker: WorkerId) -> int:
            loaded = self._engines.get(worker, "")
            return 0 if loaded == job.engine else 2 if loaded else 1

        return min(free, key=cost)

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
