"""How long jobs that wait will take, judged by those that were done since the daemon began.

The worker knows the rhythm of runs from their masks and steps; the daemon, which never looks at pixels, goes by the size of
the Context and the whole length of a run.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from heapq import heapify, heappop, heappush
from statistics import median

from overpaint_backend.executors.pace import Course, Paces, Work
from overpaint_backend.jobs.model import Job
from overpaint_protocol.messages import GenerationSettings, Remove

__all__ = ["Forecast", "done_in_s"]


class Forecast:
    """Learns from runs. Times are in seconds."""

    def __init__(self) -> None:
        self._paces = Paces()

    def expected_s(self, job: Job) -> float | None:
        """How long the rest of ``job`` may take its worker, or None if nothing like it was done yet."""
        courses = self._paces.like(_work(job), _doublings(job))
        return median(course.total_s for course in courses) if courses else None

    def learn(self, job: Job, first_variant: int, took_s: float, load_s: float) -> None:
        """A run made the variants of ``job`` from ``first_variant`` on; ``load_s`` of its time went to loading a model."""
        total_s = max(0.0, took_s - load_s)
        course = Course(doublings=_doublings(job), fractions=(0.0,), times_s=(0.0,), total_s=total_s)
        self._paces.learn(_work(job, first_variant), course)


def done_in_s(free_in_s: Iterable[float | None], takes_s: Iterable[float | None]) -> list[float | None]:
    """When each of the jobs that wait will be done if the workers take them in their order; None where that cannot be told.

    free_in_s: when each worker is free, None if nothing is known of what it does. takes_s: how long each job takes, None if nothing
    like it was done yet; its worker is not counted on any more.
    """
    free = [seconds for seconds in free_in_s if seconds is not None]
    heapify(free)
    done: list[float | None] = []
    for seconds in takes_s:
        if not free:
            done.append(None)
            continue
        begins_s = heappop(free)
        done.append(None if seconds is None else begins_s + seconds)
        if seconds is not None:
            heappush(free, begins_s + seconds)
    return done


def _work(job: Job, first_variant: int | None = None) -> Work:
    operation = job.request.operation
    settings = GenerationSettings() if isinstance(operation, Remove) else operation.settings
    return Work(
        engine=job.engine,
        operation=operation.type,
        variants=job.request.variants - (len(job.results) if first_variant is None else first_variant),
        steps=settings.steps,
        strength_tenths=None if settings.strength is None else round(settings.strength * 10),
        is_unguided=settings.guidance is not None and settings.guidance <= 1,
        loras=len(settings.loras),
    )


def _doublings(job: Job) -> float:
    return math.log2(job.request.context.area)
