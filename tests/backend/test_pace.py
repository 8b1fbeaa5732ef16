"""The time left of simulated runs: engines of several rhythms, with noise, judged after three runs."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

import numpy as np
import pytest

from overpaint_backend.engines.base import FillRequest, GenerationSettings, OperationName
from overpaint_backend.executors.pace import Course, History, Paces, Work, area_doublings
from overpaint_backend.executors.pace_file import read_history, write_history
from overpaint_protocol.messages import LoraWeight

WORK = Work(
    engine="toy",
    operation="fill",
    variants=1,
    steps=20,
    strength_tenths=None,
    is_unguided=False,
    loras=0,
)
SIZE = 18.0
BOUND = 0.2
LAST_MOMENTS_S = 1.0


@dataclass(frozen=True)
class Engine:
    """Takes ``start_s``, ``steps`` times ``step_s``, and ``end_s``, all of it again for each variant but the start.

    Reports as the diffusion engine does: step n of N is the fraction n / (N + 1).
    """

    start_s: float = 2.0
    step_s: float = 1.0
    steps: int = 20
    end_s: float = 3.0
    variants: int = 1
    load_s: float = 30.0
    jitter: float = 0.05

    def run(self, paces, noise, *, work=WORK, size=SIZE, needs_load=False, now=1000.0):
        """Do a run; returns (fraction, seconds left as told, seconds left in truth) at each report."""
        told = []
        pace = paces.begin(work, size, now, needs_load=needs_load)

        def report(fraction):
            told.append((fraction, pace.time_left_s(now), now))

        report(0.0)
        if needs_load:
            now += self._some(self.load_s, noise)
        pace.painting(now)
        report(0.0)
        for variant in range(self.variants):
            if variant == 0:
                now += self._some(self.start_s, noise)
            for step in range(self.steps):
                now += self._some(self.step_s, noise)
                fraction = (variant + (step + 1) / (self.steps + 1)) / self.variants
                pace.reached(fraction, now)
                report(fraction)
            now += self._some(self.end_s, noise)
            pace.reached((variant + 1) / self.variants, now)
            report((variant + 1) / self.variants)
        pace.finished(now)
        return [(fraction, left_s, now - at) for fraction, left_s, at in told]

    def _some(self, seconds, noise):
        return seconds * noise.uniform(1 - self.jitter, 1 + self.jitter)


ENGINES = {
    "like a diffusion model": Engine(),
    "few steps, much around them": Engine(start_s=8.0, steps=4, step_s=2.0, end_s=6.0),
    "four variants": Engine(variants=4),
    "on a fast card": Engine(start_s=0.2, step_s=0.15, end_s=0.3),
    "very slow": Engine(step_s=30.0, steps=50, end_s=20.0),
    "no steps to speak of": Engine(start_s=0.0, steps=1, step_s=3.0, end_s=20.0),
    "a thousand steps": Engine(steps=150, variants=8, step_s=0.5),
}


def is_near(told_s, true_s):
    return abs(told_s - true_s) <= max(BOUND * true_s, LAST_MOMENTS_S)


@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
@pytest.mark.parametrize("seed", range(20))
def test_after_three_runs_the_time_left_is_right_within_a_fifth(engine, seed):
    noise = random.Random(seed)
    paces = Paces()
    for _ in range(3):
        engine.run(paces, noise)
    for fraction, told_s, true_s in engine.run(paces, noise):
        assert told_s is not None
        assert is_near(told_s, true_s), (fraction, told_s, true_s)


@pytest.mark.parametrize("seed", range(20))
def test_loading_is_part_of_the_time_left(seed):
    noise = random.Random(seed)
    engine, paces = Engine(), Paces()
    for needs_load in (True, False, True, False):
        engine.run(paces, noise, needs_load=needs_load)
    reports = engine.run(paces, noise, needs_load=True)
    assert reports[0][2] > 50
    for fraction, told_s, true_s in reports:
        assert is_near(told_s, true_s), (fraction, told_s, true_s)


def test_before_there_is_anything_to_judge_by_nothing_is_said():
    reports = Engine().run(Paces(), random.Random(0), needs_load=True)
    assert {told_s for fraction, told_s, _ in reports if fraction < 0.25} == {None}


@pytest.mark.parametrize("seed", range(20))
def test_a_first_run_is_judged_by_itself_from_a_quarter_on(seed):
    engine = Engine(start_s=10.0)
    late = [
        report for report in engine.run(Paces(), random.Random(seed), needs_load=True) if report[0] >= 0.25
    ]
    assert len(late) > 10
    for fraction, told_s, true_s in late:
        assert abs(told_s - true_s) <= max(BOUND * true_s, 3.0), (fraction, told_s, true_s)


def test_without_a_known_load_time_nothing_is_said_while_loading():
    paces = Paces()
    Engine().run(paces, random.Random(0))
    loading, painting, *_ = Engine().run(paces, random.Random(1), needs_load=True)
    assert loading[1] is None
    assert is_near(painting[1], painting[2])


@pytest.mark.parametrize("slower", [0.5, 2.0, 4.0])
def test_a_run_at_another_pace_is_noticed_soon(slower):
    noise = random.Random(3)
    engine, paces = Engine(), Paces()
    for _ in range(3):
        engine.run(paces, noise)
    other = replace(engine, step_s=slower, start_s=2 * slower, end_s=3 * slower)
    for fraction, told_s, true_s in other.run(paces, noise):
        if fraction >= 0.4:
            assert is_near(told_s, true_s), (fraction, told_s, true_s)


def test_a_re_roll_that_starts_at_once_is_not_taken_for_a_fast_one():
    noise = random.Random(4)
    engine, paces = Engine(start_s=40.0, jitter=0.0), Paces()
    for _ in range(3):
        engine.run(paces, noise)
    for fraction, told_s, true_s in replace(engine, start_s=0.0).run(paces, noise):
        if fraction > 0:
            assert told_s == pytest.approx(true_s)


def test_one_odd_run_of_three_does_no_harm():
    noise = random.Random(5)
    engine, paces = Engine(), Paces()
    engine.run(paces, noise)
    replace(engine, step_s=9.0).run(paces, noise)
    engine.run(paces, noise)
    for fraction, told_s, true_s in engine.run(paces, noise):
        assert is_near(told_s, true_s), (fraction, told_s, true_s)


def test_time_runs_also_between_two_reports():
    paces = Paces()
    engine = Engine(start_s=0.0, steps=1, step_s=3.0, end_s=20.0, jitter=0.0)
    engine.run(paces, random.Random(0))
    pace = paces.begin(WORK, SIZE, 0.0, needs_load=False)
    pace.painting(0.0)
    assert pace.time_left_s(0.0) == pytest.approx(23.0)
    assert pace.time_left_s(2.0) == pytest.approx(21.0)
    assert pace.time_left_s(50.0) == pytest.approx(20.0)  # no sign of the step: all after it is still to come
    pace.reached(0.5, 51.0)
    assert pace.time_left_s(51.0) == pytest.approx(20.0)
    assert pace.time_left_s(99.0) == 0.0


def test_a_repeated_report_is_no_news():
    paces = Paces()
    Engine(jitter=0.0).run(paces, random.Random(0))
    pace = paces.begin(WORK, SIZE, 0.0, needs_load=False)
    pace.painting(0.0)
    pace.reached(0.5, 10.0)
    before = pace.time_left_s(20.0)
    pace.reached(0.5, 20.0)
    pace.reached(0.1, 20.0)
    assert pace.time_left_s(20.0) == before


# ---------------------------------------------------------------- what is like what


def test_another_kind_of_work_is_not_judged_by_this():
    paces = Paces()
    Engine().run(paces, random.Random(0))
    for other in (
        replace(WORK, engine="other"),
        replace(WORK, operation="expand"),
        replace(WORK, steps=30),
        replace(WORK, variants=2),
        replace(WORK, strength_tenths=5),
        replace(WORK, is_unguided=True),
        replace(WORK, loras=1),
    ):
        assert paces.like(other, SIZE) == []
    assert len(paces.like(WORK, SIZE)) == 1


def by_area(size):
    """An engine whose time grows with the area: 2 ms at size 10, twice that for each doubling."""
    return Engine(start_s=0.0, steps=1, step_s=0.001 * 2 ** (size - 10), end_s=0.009 * 2 ** (size - 10))


@pytest.mark.parametrize("seed", range(20))
def test_what_size_means_is_learnt_where_it_means_much(seed):
    noise = random.Random(seed)
    paces = Paces()
    for size in (18.0, 20.0, 19.0):
        by_area(size).run(paces, noise, size=size)
    for size in (18.5, 20.5, 22.0):
        for _, told_s, true_s in by_area(size).run(Paces(paces.history), noise, size=size):
            assert is_near(told_s, true_s), (size, told_s, true_s)


@pytest.mark.parametrize("seed", range(20))
def test_what_size_means_is_learnt_where_it_means_nothing(seed):
    noise = random.Random(seed)
    engine, paces = Engine(), Paces()
    for size in (14.0, 18.0, 16.0):
        engine.run(paces, noise, size=size)
    for size in (15.0, 20.0):
        for _, told_s, true_s in engine.run(Paces(paces.history), noise, size=size):
            assert is_near(told_s, true_s), (size, told_s, true_s)


def test_while_it_is_not_known_only_like_sizes_count():
    paces = Paces()
    Engine().run(paces, random.Random(0), size=18.0)
    assert paces.like(WORK, 19.0)
    assert not paces.like(WORK, 19.1)
    assert not paces.like(WORK, 16.9)


def test_a_run_that_did_not_end_well_teaches_nothing():
    paces = Paces()
    pace = paces.begin(WORK, SIZE, 0.0, needs_load=True)
    pace.finished(1.0)
    assert paces.history == History()
    pace.painting(2.0)
    pace.reached(0.5, 3.0)
    assert paces.history.works == ()
    assert [entry.times_s for entry in paces.history.loads] == [(2.0,)]


def request(**changes):
    mask = np.zeros((64, 128), np.float32)
    mask[:, :32] = 1
    fields = {
        "image": np.zeros((64, 128, 3), np.float32),
        "mask": mask,
        "known": np.ones((64, 128), np.bool_),
        "operation": OperationName.FILL,
        **changes,
    }
    return FillRequest(**fields)


def test_prompts_and_seeds_do_not_make_work_differ_and_settings_do():
    work = Work.of("toy", request(), 2)
    assert work == Work.of("toy", request(prompt="a door", seed=3, negative_prompt="people"), 2)
    assert (work.engine, work.operation, work.variants) == ("toy", "fill", 2)
    settings = GenerationSettings(
        steps=8, guidance=1.0, strength=0.62, loras=(LoraWeight(id="ink", weight=1.0),)
    )
    other = Work.of("toy", request(settings=settings), 2)
    assert (other.steps, other.strength_tenths, other.is_unguided, other.loras) == (8, 6, True, 1)


def test_painted_pixels_count_more_than_others():
    mask = np.zeros((64, 128), np.float32)
    assert area_doublings(request(mask=mask)) == pytest.approx(9, abs=0.01)  # 1/16 of 8192
    assert area_doublings(request()) == pytest.approx(np.log2(2048 + 512), abs=0.01)
    assert area_doublings(request(mask=mask + 1)) == pytest.approx(np.log2(8192 + 512), abs=0.01)


# ---------------------------------------------------------------- what is kept


def test_what_is_kept_is_bounded_and_the_oldest_goes_first():
    paces = Paces()
    noise = random.Random(0)
    for number in range(40):
        engine = Engine(steps=40, variants=2, jitter=0.9)  # no two steps alike: every point tells something
        for _ in range(1 + number % 12):
            engine.run(paces, noise, work=replace(WORK, engine=f"e{number}"), needs_load=True)
    history = paces.history
    assert [entry.work.engine for entry in history.works] == [f"e{number}" for number in range(8, 40)]
    assert [entry.engine for entry in history.loads] == [f"e{number}" for number in range(8, 40)]
    assert max(len(entry.courses) for entry in history.works) == 8
    assert max(len(entry.times_s) for entry in history.loads) == 8
    assert max(len(course.fractions) for entry in history.works for course in entry.courses) == 32


def test_an_even_run_needs_few_points():
    paces = Paces()
    Engine(steps=150, jitter=0.0).run(paces, random.Random(0))
    (course,) = paces.like(WORK, SIZE)
    assert len(course.fractions) <= 5
    assert course.at(75 / 151) == pytest.approx(2 + 75, rel=0.02)


def test_it_survives_the_worker(tmp_path):
    path = tmp_path / "pace.msgpack"
    assert read_history(path) == History()
    noise = random.Random(0)
    engine, paces = Engine(), Paces()
    for _ in range(3):
        engine.run(paces, noise, needs_load=True)
    write_history(path, paces.history)
    assert [item.name for item in tmp_path.iterdir()] == ["pace.msgpack"]
    again = Paces(read_history(path))
    assert again.history == paces.history
    for _, told_s, true_s in engine.run(again, noise, needs_load=True):
        assert is_near(told_s, true_s)


@pytest.mark.parametrize("content", [b"", b"\xc1", b"\x81\xa5works\x01", b"\x90"], ids=repr)
def test_a_damaged_file_is_an_empty_one(tmp_path, content):
    path = tmp_path / "pace.msgpack"
    path.write_bytes(content)
    assert read_history(path) == History()


def test_the_largest_history_can_be_read_again(tmp_path):
    path = tmp_path / "pace.msgpack"
    paces = Paces()
    noise = random.Random(0)
    for number in range(32):
        work = replace(WORK, engine=f"engine-{number}-" + "x" * 50)
        for _ in range(8):
            Engine(steps=60, jitter=0.9).run(paces, noise, work=work, needs_load=True)
    write_history(path, paces.history)
    assert read_history(path) == paces.history


def test_a_folder_that_is_gone_fails_no_job(tmp_path, caplog):
    write_history(tmp_path / "gone" / "pace.msgpack", History())
    assert "will be forgotten" in caplog.text


@pytest.mark.parametrize(
    "changes",
    [
        {"fractions": (0.0,)},
        {"fractions": (0.1, 0.5)},
        {"fractions": (0.0, 1.5)},
        {"times_s": (5.0, 1.0)},
        {"total_s": 4.0},
        {"total_s": float("nan")},
        {"total_s": float("inf")},
        {"doublings": float("nan")},
    ],
    ids=repr,
)
def test_no_run_takes_such_a_course(changes):
    fields = {"doublings": 18.0, "fractions": (0.0, 0.5), "times_s": (0.0, 5.0), "total_s": 9.0}
    Course(**fields)
    with pytest.raises(ValueError, match="no run"):
        Course(**{**fields, **changes})
