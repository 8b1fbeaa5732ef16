"""How long a run will still take, judged by runs before it.

Runs that do the same ``Work`` take about the same time, in the same rhythm: something at the start (a prompt encoded,
a library warmed up), steps, something at the end. So what is kept of a run is its ``Course``: when it was how far. The
time left is what comes after this point in the courses of like runs, stretched as much as the latest steps of this run
took longer than theirs. The start tells nothing of the pace, since what was encoded before is not encoded again.

How much the time depends on the size of the area is learnt as well: some engines compute at a size of their own, others
take four times as long for twice the side.

There is no clock in here: times are arguments, in seconds of one monotonic clock.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import linear_regression, median
from typing import Any

import numpy as np

from overpaint_backend.engines.base import FillRequest

__all__ = ["Course", "History", "LoadTimes", "Paces", "RunPace", "Work", "WorkCourses", "area_doublings"]

_KEPT_WORKS = 32
_KEPT_RUNS = 8
_KEPT_POINTS = 32
_NEGLIGIBLE = 0.01
"""Part of the time left by which a course may be kept wrong."""

_VOTES = 3

_TRUST_AFTER = 0.05
"""After this part of a run its own pace counts as much as that of the runs before."""

_RECENT = 0.25
"""The part of a run, up to now, whose pace counts: other programs come and go."""

_ALONE_FROM = 0.25
"""How far a run without any like it must be to be judged by itself."""

_NEAR_DOUBLINGS = 1.0
"""How much larger or smaller the area of a like run may be while it is not known what that means."""

_TELLING_DOUBLINGS = 0.5
"""How far the areas of like runs must lie apart to tell what size means."""

_LOOKED_AT_WEIGHT = 1 / 16
"""What a pixel costs that is only looked at, in pixels that are painted."""

_STEEPEST = 1.5
_SHORTEST_S = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What runs have in common that can be compared.

    variants: how many are made. strength_tenths: None for the engine's own. is_unguided: whether the guidance asked for
    is so low that many models need half the time.
    """

    engine: str
    operation: str
    variants: int
    steps: int | None
    strength_tenths: int | None
    is_unguided: bool
    loras: int

    @classmethod
    def of(cls, engine_id: str, request: FillRequest, variants: int) -> Work:
        """The work of ``variants`` fills of ``request``."""
        settings = request.settings
        return cls(
            engine=engine_id,
            operation=request.operation.value,
            variants=variants,
            steps=settings.steps,
            strength_tenths=None if settings.strength is None else round(settings.strength * 10),
            is_unguided=settings.guidance is not None and settings.guidance <= 1,
            loras=len(settings.loras),
        )


def area_doublings(request: FillRequest) -> float:
    """The size of what ``request`` paints, in doublings of a pixel; what surrounds it counts a little."""
    return math.log2(1 + np.count_nonzero(request.mask) + request.mask.size * _LOOKED_AT_WEIGHT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """When a run was how far.

    doublings: its ``area_doublings``. fractions: of the run that were reached, rising from 0. times_s: when each was,
    since the engine began. total_s: when everything was done.

    Raises:
        ValueError: time runs backwards, or the like.
    """

    doublings: float
    fractions: tuple[float, ...]
    times_s: tuple[float, ...]
    total_s: float

    def __post_init__(self) -> None:
        times = (*self.times_s, self.total_s)
        if (
            len(self.fractions) != len(self.times_s)
            or self.fractions[:1] != (0.0,)
            or not all(before < after <= 1 for before, after in pairwise(self.fractions))
            or not all(0 <= before <= after < math.inf for before, after in pairwise(times))
            or not math.isfinite(self.doublings)
        ):
            raise ValueError("no run goes like this")

    def at(self, fraction: float) -> float:
        """When ``fraction`` was reached, as if at an even pace between the points that are known."""
        index = bisect_right(self.fractions, fraction)
        fractions, times_s = (*self.fractions, 1.0), (*self.times_s, self.total_s)
        gap = fractions[index] - fractions[index - 1]
        share = (fraction - fractions[index - 1]) / gap if gap else 0.0
        return times_s[index - 1] + share * (times_s[index] - times_s[index - 1])

    def after(self, fraction: float) -> float:
        """When the next point that is known after ``fraction`` was reached."""
        return (*self.times_s, self.total_s)[bisect_right(self.fractions, fraction)]

    def stretched(self, factor: float) -> Course:
        """The same at another pace."""
        times_s = tuple(time_s * factor for time_s in self.times_s)
        return replace(self, times_s=times_s, total_s=self.total_s * factor)


@dataclass(frozen=True, slots=True)
class WorkCourses:
    """How runs of one kind went, newest first."""

    work: Work
    courses: tuple[Course, ...]


@dataclass(frozen=True, slots=True)
class LoadTimes:
    """How many seconds an engine took to load, newest first."""

    engine: str
    times_s: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class History:
    """All that is kept, what was used last coming last. It says nothing of pictures or prompts."""

    works: tuple[WorkCourses, ...] = ()
    loads: tuple[LoadTimes, ...] = ()


class Paces:
    """What is known of runs before. ``begin`` a run, tell its RunPace how it goes, ask it for the time left."""

    def __init__(self, history: History | None = None) -> None:
        history = history or History()
        self._courses = {entry.work: entry.courses for entry in history.works}
        self._loads = {entry.engine: entry.times_s for entry in history.loads}

    @property
    def history(self) -> History:
        """What to give to the next Paces."""
        return History(
            tuple(WorkCourses(work, courses) for work, courses in self._courses.items()),
            tuple(LoadTimes(engine, times_s) for engine, times_s in self._loads.items()),
        )

    def begin(self, work: Work, doublings: float, now: float, *, needs_load: bool) -> RunPace:
        """A run starts, ``needs_load`` with its engine being loaded. doublings: its ``area_doublings``."""
        return RunPace(self, work, doublings, now, needs_load=needs_load)

    def like(self, work: Work, doublings: float) -> list[Course]:
        """Up to three courses of runs like this one, the nearest in size, stretched to its size."""
        courses = self._courses.get(work, ())
        exponent = _size_exponent(courses)
        if exponent is None:
            exponent = 0.0
            courses = [course for course in courses if abs(course.doublings - doublings) <= _NEAR_DOUBLINGS]
        nearest = sorted(courses, key=lambda course: abs(course.doublings - doublings))[:_VOTES]
        return [course.stretched(2 ** (exponent * (doublings - course.doublings))) for course in nearest]

    def load_s(self, engine: str) -> float | None:
        """How long loading ``engine`` takes."""
        times_s = self._loads.get(engine)
        return median(times_s) if times_s else None

    def learn_load(self, engine: str, took_s: float) -> None:
        """``engine`` was loaded."""
        self._loads[engine] = (took_s, *self._loads.pop(engine, ()))[:_KEPT_RUNS]
        _drop_first(self._loads)

    def learn(self, work: Work, course: Course) -> None:
        """A run ended well."""
        self._courses[work] = (course, *self._courses.pop(work, ()))[:_KEPT_RUNS]
        _drop_first(self._courses)


class RunPace:
    """How one run goes; made by ``Paces.begin``."""

    def __init__(self, paces: Paces, work: Work, doublings: float, now: float, *, needs_load: bool) -> None:
        self._paces = paces
        self._work = work
        self._doublings = doublings
        self._begun_at = now
        self._needs_load = needs_load
        self._like = paces.like(work, doublings)
        self._painting_at: float | None = None
        self._fractions = [0.0]
        self._times_s = [0.0]

    def painting(self, now: float) -> None:
        """The engine is loaded and begins."""
        self._painting_at = now
        if self._needs_load:
            self._paces.learn_load(self._work.engine, now - self._begun_at)

    def reached(self, fraction: float, now: float) -> None:
        """The run is so far, 0 to 1 over all its variants. What was reached before is no news."""
        if self._painting_at is not None and fraction > self._fractions[-1]:
            self._fractions.append(fraction)
            self._times_s.append(now - self._painting_at)

    def finished(self, now: float) -> None:
        """All variants are made: learn from it. A run that ends otherwise teaches nothing."""
        if self._painting_at is None:
            return
        total_s = now - self._painting_at
        kept = _telling(self._fractions, self._times_s, total_s)
        course = Course(
            doublings=self._doublings,
            fractions=tuple(self._fractions[index] for index in kept),
            times_s=tuple(self._times_s[index] for index in kept),
            total_s=total_s,
        )
        self._paces.learn(self._work, course)

    def time_left_s(self, now: float) -> float | None:
        """Seconds until all variants are made; None if there is nothing to judge by."""
        if self._painting_at is None:
            return self._left_before_painting(now)
        since_s = now - self._painting_at - self._times_s[-1]
        if self._like:
            return median(self._left_as_in(course, since_s) for course in self._like)
        if self._fractions[-1] < _ALONE_FROM:
            return None
        return max(0.0, (1 - self._fractions[-1]) * self._own_pace() - since_s)

    def _left_before_painting(self, now: float) -> float | None:
        load_s = self._paces.load_s(self._work.engine) if self._needs_load else 0.0
        if load_s is None or not self._like:
            return None
        return max(0.0, load_s - (now - self._begun_at)) + median(course.total_s for course in self._like)

    def _left_as_in(self, course: Course, since_s: float) -> float:
        """What would be left in ``course`` at this run's pace, ``since_s`` after the last point it reached."""
        fraction = self._fractions[-1]
        slower = self._slowness(course)
        at_least = (course.total_s - course.after(fraction)) * slower
        return max(at_least, (course.total_s - course.at(fraction)) * slower - since_s)

    def _slowness(self, course: Course) -> float:
        """How many times as long as ``course`` this run takes, as far as its latest steps can tell."""
        since = self._recent()
        if since == 0:
            return 1.0
        here = course.at(self._fractions[-1])
        mine = self._times_s[-1] - self._times_s[since]
        theirs = here - course.at(self._fractions[since])
        if theirs <= 0:
            return 1.0
        seen = here - course.at(self._fractions[1])
        trust = seen / (seen + _TRUST_AFTER * course.total_s)
        return 1 + trust * (mine / theirs - 1)

    def _own_pace(self) -> float:
        """Seconds for a whole run at the pace of its latest steps."""
        since = self._recent()
        return (self._times_s[-1] - self._times_s[since]) / (self._fractions[-1] - self._fractions[since])

    def _recent(self) -> int:
        """Index of the point from which on the pace counts; 0, where the start is part of it, if there is no other."""
        last = len(self._fractions) - 1
        if last < 2:
            return 0
        return min(last - 1, max(1, bisect_left(self._fractions, self._fractions[-1] - _RECENT)))


def _size_exponent(courses: Sequence[Course]) -> float | None:
    """Doublings of the time for a doubling of the area; None if the courses are too alike in size to tell."""
    doublings = [course.doublings for course in courses]
    if not doublings or max(doublings) - min(doublings) < _TELLING_DOUBLINGS:
        return None
    times = [math.log2(max(course.total_s, _SHORTEST_S)) for course in courses]
    return min(_STEEPEST, max(0.0, linear_regression(doublings, times).slope))


def _telling(fractions: Sequence[float], times_s: Sequence[float], total_s: float) -> list[int]:
    """Indices of at most ``_KEPT_POINTS`` points that tell a course: the first, the last, and where the pace changes."""
    kept = [0, len(fractions) - 1] if len(fractions) > 1 else [0]
    left_s = np.maximum(total_s - np.asarray(times_s), total_s * _NEGLIGIBLE) + _SHORTEST_S
    while len(kept) < _KEPT_POINTS:
        between = np.interp(fractions, [fractions[i] for i in kept], [times_s[i] for i in kept])
        errors = np.abs(between - times_s) / left_s
        worst = int(errors.argmax())
        if errors[worst] < _NEGLIGIBLE:
            break
        insort(kept, worst)
    return kept


def _drop_first(entries: dict[Any, Any]) -> None:
    """Forget what was used least recently."""
    while len(entries) > _KEPT_WORKS:
        del entries[next(iter(entries))]
