"""Who leaves the device, when, and for whom: real sessions of an engine whose memory is only counted."""

from __future__ import annotations

from collections import Counter

import numpy as np
import psutil
import pytest

from overpaint_backend.engines.arbiter import Arbiter
from overpaint_backend.engines.base import Device, FillRequest, FillResult, OperationName, Step, no_room
from overpaint_backend.engines.devices import DeviceMemory, device_memory
from overpaint_backend.engines.testing import EngineConformance, InvertEngine
from overpaint_protocol.errors import EngineError, OutOfMemory, UnknownEngine

GB = 10**9
IDLE_S = 600.0


class Machine:
    """A device with so much memory, and engines on it that take theirs from it.

    An engine's name says what it weighs: ``4a`` 4 GB, ``0a`` nothing. ``fill_needs`` is what each fill takes on top,
    ``overstated`` what the device says to have and has not.
    """

    def __init__(self, total=16, *, is_main=False):
        self.total = self.free = total * GB
        self.is_main = is_main
        self.fill_needs = 0
        self.overstated = 0
        self.opened = Counter()
        self.asked = 0
        self.arbiter = Arbiter(self.find, Device("cuda"), self.memory, IDLE_S)

    def find(self, engine_id):
        if not engine_id[:-1].isdigit():
            raise UnknownEngine("There is no such engine.")
        return WeightyEngine(self, engine_id)

    def memory(self, device):
        assert device == Device("cuda")
        self.asked += 1
        return DeviceMemory(self.free + self.overstated, self.total + self.overstated, self.is_main)

    def take(self, amount):
        if amount > self.free:
            raise OutOfMemory("There is not enough memory.")
        self.free -= amount

    def fill(self, engine_id):
        return self.arbiter.use(engine_id, lambda session: session.fill(request(), lambda step: None).image)


class WeightyEngine(InvertEngine):
    def __init__(self, machine, name):
        self._machine = machine
        self._name = name
        self._bytes = int(name[:-1]) * GB

    def weight_bytes(self, device):
        return self._bytes

    def open(self, device, make_room=no_room):
        self._machine.take(self._bytes)
        self._machine.opened[self._name] += 1
        return WeightySession(self._machine, self._bytes, super().open(device, make_room))


class WeightySession:
    """Raises OutOfMemory at its first step if a fill finds no room, as sessions without a ladder do."""

    def __init__(self, machine, weight_bytes, session):
        self._machine = machine
        self._bytes = weight_bytes
        self._session = session

    def fill(self, request, on_step) -> FillResult:
        on_step(Step(0.0))
        self._machine.take(self._machine.fill_needs)
        try:
            return self._session.fill(request, on_step)
        finally:
            self._machine.free += self._machine.fill_needs

    def close(self):
        self._machine.free += self._bytes
        self._bytes = 0
        self._session.close()


class TestWeightyEngine(EngineConformance):
    def make_engine(self):
        return Machine().find("4a")


def request():
    return FillRequest(
        image=np.full((4, 4, 3), 0.25, np.float32),
        mask=np.ones((4, 4), np.float32),
        known=np.ones((4, 4), np.bool_),
        operation=OperationName.FILL,
    )


def test_two_models_that_fit_are_loaded_once_each():
    machine = Machine(16)
    for _ in range(10):
        assert machine.fill("4a")[0, 0, 0] == 0.75
        machine.fill("5b")
    assert machine.opened == {"4a": 1, "5b": 1}
    assert machine.arbiter.loaded == ("4a", "5b")


def test_the_least_recently_used_leaves_first_and_no_more_than_need_be():
    machine = Machine(16)
    for engine_id in ("4a", "4b", "4c", "4a"):
        machine.fill(engine_id)
    machine.fill("5d")
    assert machine.arbiter.loaded == ("4c", "4a", "5d")
    assert machine.free == 3 * GB


def test_room_stays_for_the_steps():
    machine = Machine(16)
    machine.fill("8a")
    machine.fill("7b")  # 8 GB are free, and the steps want some of them
    assert machine.arbiter.loaded == ("7b",)


def test_what_other_programs_took_counts():
    machine = Machine(16)
    machine.fill("4a")
    machine.free -= 8 * GB
    machine.fill("4b")
    assert machine.arbiter.loaded == ("4b",)


def test_of_main_memory_models_take_half():
    machine = Machine(32, is_main=True)
    machine.fill("9a")
    machine.fill("9b")
    assert machine.arbiter.loaded == ("9b",)
    machine.fill("7c")
    assert machine.arbiter.loaded == ("9b", "7c")


def test_a_model_that_is_too_large_for_all_is_tried_alone():
    machine = Machine(16)
    machine.fill("4a")
    machine.fill("15b")
    assert machine.arbiter.loaded == ("15b",)


def test_engines_without_a_model_stay_and_nothing_is_asked_for_them():
    machine = Machine(16)
    machine.fill("0a")
    assert machine.asked == 0
    machine.fill("9b")
    machine.fill("9c")
    assert machine.arbiter.loaded == ("0a", "9c")


def test_a_fill_that_runs_out_of_memory_is_tried_again_alone():
    machine = Machine(16)
    machine.fill("4a")
    machine.fill("4b")
    machine.fill_needs = 10 * GB
    steps = []
    image = machine.arbiter.use(
        "4b", lambda session: session.fill(request(), lambda step: steps.append(step.fraction)).image
    )
    assert image[0, 0, 0] == 0.75
    assert steps.count(0.0) == 3  # twice by the session, the second time by the engine in it as well
    assert machine.arbiter.loaded == ("4b",)
    assert machine.opened == {"4a": 1, "4b": 1}
    machine.fill_needs = 0
    machine.fill("4a")
    assert machine.free == 8 * GB


def test_an_error_goes_out_when_nobody_is_left_to_leave():
    machine = Machine(16)
    machine.fill("4a")
    machine.fill("0b")
    machine.fill("4c")
    machine.fill_needs = 13 * GB
    with pytest.raises(OutOfMemory):
        machine.fill("4c")
    assert machine.arbiter.loaded == ("0b", "4c")
    assert machine.free == 12 * GB
    machine.fill_needs = 0
    machine.fill("4c")
    assert machine.opened["4c"] == 1


def test_opening_is_tried_again_alone():
    machine = Machine(16)
    machine.overstated = 48 * GB
    machine.fill("9a")
    machine.fill("9b")
    assert machine.arbiter.loaded == ("9b",)
    with pytest.raises(OutOfMemory):
        machine.fill("17c")
    assert machine.arbiter.loaded == ()
    assert machine.free == 16 * GB


def test_a_memory_error_of_python_is_one_as_well():
    machine = Machine(16)
    machine.fill("4a")
    attempts = []

    def work(session):
        attempts.append(machine.arbiter.loaded)
        raise MemoryError

    with pytest.raises(MemoryError):
        machine.arbiter.use("4b", work)
    assert attempts == [("4a", "4b"), ("4b",)]


def test_a_session_that_asks_for_room_gets_it_once():
    machine = Machine(16)
    given = {}

    class Asking(WeightyEngine):
        def open(self, device, make_room=no_room):
            given[self._name] = make_room
            return super().open(device, make_room)

    machine.arbiter._find = lambda engine_id: Asking(machine, engine_id)
    machine.fill("4a")
    machine.fill("4b")
    assert given["4b"]()
    assert machine.arbiter.loaded == ("4b",)
    assert not given["4b"]()


def test_other_errors_are_not_repeated():
    machine = Machine(16)
    machine.fill("4a")
    attempts = []

    def work(session):
        attempts.append(session)
        raise EngineError("No.")

    with pytest.raises(EngineError):
        machine.arbiter.use("4b", work)
    assert len(attempts) == 1
    assert machine.arbiter.loaded == ("4a", "4b")


def test_an_unknown_engine_makes_nobody_leave():
    machine = Machine(16)
    machine.fill("15a")
    with pytest.raises(UnknownEngine):
        machine.fill("nothing")
    assert machine.arbiter.loaded == ("15a",)


def test_what_is_not_used_leaves_after_its_time():
    machine = Machine(16)
    machine.fill("4a")
    machine.fill("4b")
    machine.arbiter.close_idle(1000.0)
    machine.arbiter.close_idle(1000.0 + IDLE_S - 1)
    assert machine.arbiter.loaded == ("4a", "4b")
    machine.fill("4a")  # a long job: its time begins when it is over
    machine.arbiter.close_idle(1000.0 + IDLE_S + 500)
    assert machine.arbiter.loaded == ("4a",)
    machine.arbiter.close_idle(1000.0 + IDLE_S + 500 + IDLE_S)
    assert machine.arbiter.loaded == ()
    assert machine.free == 16 * GB
    machine.fill("4a")
    assert machine.opened["4a"] == 2


def test_without_a_graphics_card_the_memory_is_the_machines():
    memory = device_memory(Device("cpu"))
    assert memory.is_main
    assert memory.total_bytes == psutil.virtual_memory().total
    assert 0 < memory.free_bytes <= memory.total_bytes


def test_a_session_that_fails_to_close_is_gone_all_the_same(caplog):
    machine = Machine(16)

    class Stubborn(WeightyEngine):
        def open(self, device, make_room=no_room):
            session = super().open(device, make_room)
            session.close = self.fail
            return session

        def fail(self):
            raise RuntimeError("no")

    machine.arbiter._find = lambda engine_id: Stubborn(machine, engine_id)
    machine.fill("4a")
    machine.arbiter.close("4a")
    assert machine.arbiter.loaded == ()
    assert "4a does not close" in caplog.text
    machine.arbiter.close("4a")
