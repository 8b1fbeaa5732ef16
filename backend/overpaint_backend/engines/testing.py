"""What an engine must keep to, as tests, and an engine for testing everything around engines.

To hold your own engine to it, write a test module like this and run pytest on it::

    from overpaint_backend.engines.testing import EngineConformance

    class TestMyEngine(EngineConformance):
        def make_engine(self):
            return MyEngine()
"""
# ruff: noqa: S101, D102 - the suite below is tests: they assert, and their names say what

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import psutil
from numpy.typing import NDArray

from overpaint_backend.imaging.composite import cut_layer
from overpaint_protocol.errors import EngineError, NothingToSample, RequestError, UnsupportedOperation
from overpaint_protocol.messages import LoraWeight

from .base import (
    BatchSession,
    BleedSession,
    Cancelled,
    Device,
    Engine,
    EngineInfo,
    EngineSession,
    FillRequest,
    FillResult,
    MakeRoom,
    OnStep,
    OperationName,
    Step,
    no_room,
)

__all__ = ["EngineConformance", "InvertEngine"]

_MAX_GROWTH_BYTES = 48 << 20


class InvertEngine:
    """Inverts what is masked; for tests of everything but pictures.

    The prompt scripts it, in words: ``steps=8`` and ``delay=0.05`` (seconds before each step) set the pace, ``hang``
    never returns nor listens, ``crash`` ends the process, ``fail`` raises an EngineError, ``bug`` a RuntimeError, each after
    the first step. Other words mean nothing. Seed 0 inverts exactly; others darken the result as well.
    """

    def info(self) -> EngineInfo:
        """What the engine can do."""
        return EngineInfo(
            id="test-invert",
            name="Invert (test)",
            operations=tuple(name.value for name in OperationName),
            follows_prompt=True,
            follows_negative_prompt=False,
            needs_surroundings=False,
        )

    def weight_bytes(self, device: Device) -> int:
        """Nothing: it has no model."""
        return 0

    def open(self, device: Device, make_room: MakeRoom = no_room) -> InvertSession:
        """Make a session."""
        return InvertSession()


class InvertSession:
    """See InvertEngine."""

    def fill(self, request: FillRequest, on_step: OnStep) -> FillResult:
        """Invert by the script in the request's prompt.

        Raises:
            Cancelled: ``on_step`` did.
            EngineError: the script says ``fail``.
            RuntimeError: the script says ``bug``.
        """
        script = _Script.parse(request.prompt)
        shade = np.float32(1 - request.seed * 0.618034 % 1 / 2)
        seen = np.where(request.known[..., None], request.image, np.float32(0))
        image = np.where(request.mask[..., None] > 0, (1 - seen) * shade, request.image)
        for step in range(script.steps + 1):
            time.sleep(script.delay_s)
            on_step(Step(step / script.steps, lambda: image))
            script.misbehave()
        return FillResult(image)

    def close(self) -> None:
        """Nothing is held."""


@dataclass(frozen=True, slots=True)
class _Script:
    steps: int
    delay_s: float
    words: frozenset[str]

    @classmethod
    def parse(cls, prompt: str) -> _Script:
        words = frozenset(prompt.split())
        settings = dict(word.split("=", 1) for word in words if "=" in word)
        return cls(int(settings.get("steps", 4)), float(settings.get("delay", 0)), words)

    def misbehave(self) -> None:
        if "hang" in self.words:
            threading.Event().wait()
        if "crash" in self.words:
            os._exit(86)
        if "fail" in self.words:
            raise EngineError("The test engine failed because its prompt says so.")
        if "bug" in self.words:
            raise RuntimeError("the test engine has a bug because its prompt says so")


class EngineConformance:
    """The promises of ``engines.base`` as pytest tests; subclass it and override ``make_engine``."""

    device = Device()
    rounding = 1e-3
    """How far sums in another order may lead, in parts of the whole range of values."""

    def make_engine(self) -> Engine:
        """The engine under test."""
        raise NotImplementedError

    def make_picture(self, height: int, width: int) -> NDArray[np.float32]:
        """A picture with structure and noise, (H, W, 3) float32 in [0, 1]; the same each time."""
        rows, columns = np.mgrid[0:height, 0:width]
        waves = 0.5 + 0.3 * np.sin(columns / 5)[..., None] * np.cos(rows[..., None] / (4, 7, 9))
        noise = np.random.default_rng(11).uniform(-0.2, 0.2, (height, width, 3))
        return np.clip(waves + noise, 0, 1).astype(np.float32)

    def make_request(
        self, height: int, width: int, hole: tuple[slice, slice], *, seed: int = 0, **changes: object
    ) -> FillRequest:
        """A request to remove ``hole`` from ``make_picture``; other fields by keyword."""
        mask = np.zeros((height, width), np.float32)
        mask[hole] = 1
        fields: dict[str, object] = {
            "image": self.make_picture(height, width),
            "mask": mask,
            "known": np.ones((height, width), np.bool_),
            "operation": OperationName(self.make_engine().info().operations[0]),
            "seed": seed,
        }
        return FillRequest(**{**fields, **changes})  # pyright: ignore[reportArgumentType] - built by name

    def fill(self, request: FillRequest, on_step: OnStep = lambda step: None) -> NDArray[np.float32]:
        """Run one request in a session of its own and check the form of the result."""
        with self.opened() as session:
            return self._fill_in(session, request, on_step)

    @contextmanager
    def opened(self, make_room: MakeRoom = no_room) -> Iterator[EngineSession]:
        """A session that is closed in the end, whatever happens."""
        session = self.make_engine().open(self.device, make_room)
        try:
            yield session
        finally:
            session.close()

    def _fill_in(
        self, session: EngineSession, request: FillRequest, on_step: OnStep = lambda step: None
    ) -> NDArray[np.float32]:
        image = session.fill(request, on_step).image
        _check_form(image, request)
        return image

    def _fill_batch_in(
        self,
        session: BatchSession,
        request: FillRequest,
        seeds: Sequence[int],
        on_step: OnStep = lambda step: None,
    ) -> list[NDArray[np.float32]]:
        images = [result.image for result in session.fill_batch(request, seeds, on_step)]
        assert len(images) == len(seeds)
        for image in images:
            _check_form(image, request)
        return images

    def test_info_is_stable_and_names_known_operations(self) -> None:
        info = self.make_engine().info()
        assert info == self.make_engine().info()
        assert info.operations
        assert set(info.operations) <= {name.value for name in OperationName}

    def test_same_seed_gives_the_same_bits(self) -> None:
        request = self.make_request(48, 64, np.s_[12:36, 20:44], seed=5)
        with self.opened() as session:
            first = self._fill_in(session, request)
            self._fill_in(session, self.make_request(48, 64, np.s_[12:36, 20:44], seed=6))
            again = self._fill_in(session, request)
        assert np.array_equal(first, again)
        assert np.array_equal(first, self.fill(request))

    def test_another_seed_gives_another_result(self) -> None:
        hole = np.s_[12:36, 20:44]
        requests = [self.make_request(48, 64, hole, seed=seed) for seed in range(3)]
        with self.opened() as session:
            results = [self._fill_in(session, request)[hole] for request in requests]
        assert not np.array_equal(results[0], results[1])
        assert not np.array_equal(results[1], results[2])

    def test_the_layer_leaves_unselected_pixels_alone(self) -> None:
        request = self.make_request(40, 40, np.s_[10:30, 5:25])
        selection = request.mask * np.linspace(0, 1, 40, dtype=np.float32)
        layer = cut_layer(self.fill(request), selection)
        window = np.s_[layer.target.top : layer.target.bottom, layer.target.left : layer.target.right]
        assert np.array_equal(layer.raster.alpha, selection[window])
        assert not layer.raster.rgb[layer.raster.alpha == 0].any()

    def test_the_request_is_not_written_to(self) -> None:
        request = self.make_request(32, 32, np.s_[8:20, 8:20])
        for array in (request.image, request.mask, request.known):
            array.flags.writeable = False
        self.fill(request)

    def test_any_size_and_any_mask(self) -> None:
        with self.opened() as session:
            for height, width, hole in (
                (1, 2, np.s_[0:1, 0:1]),
                (3, 3, np.s_[1:2, 1:2]),
                (5, 61, np.s_[0:5, 30:61]),
                (33, 47, np.s_[16:17, 23:24]),
                (33, 47, np.s_[0:33, 0:10]),
                (31, 29, np.s_[::4, ::3]),
                (40, 40, np.s_[1:, :]),
            ):
                self._fill_in(session, self.make_request(height, width, hole))

    def test_each_operation(self) -> None:
        known = np.ones((32, 48), np.bool_)
        known[:, 32:] = False
        with self.opened() as session:
            for name in self.make_engine().info().operations:
                request = self.make_request(32, 48, np.s_[:, 32:], known=known, operation=OperationName(name))
                self._fill_in(session, request)

    def test_nothing_known(self) -> None:
        request = self.make_request(24, 24, np.s_[:, :])
        try:
            self.fill(request)
        except NothingToSample:
            assert self.make_engine().info().needs_surroundings
        else:
            assert not self.make_engine().info().needs_surroundings

    def test_an_empty_canvas_is_painted_from_the_request_alone(self) -> None:
        info = self.make_engine().info()
        if info.needs_surroundings:
            return
        hole = np.s_[4:28, 8:40]
        request = self.make_request(32, 48, hole, known=np.zeros((32, 48), np.bool_))
        with self.opened() as session:
            first = self._fill_in(session, request, _look)
            assert np.array_equal(first, self._fill_in(session, request))
            other_seed = replace(request, seed=request.seed + 1)
            assert not np.array_equal(first[hole], self._fill_in(session, other_seed)[hole])
            other_rest = replace(request, image=1 - request.image)
            assert np.array_equal(first[hole], self._fill_in(session, other_rest)[hole])

    def test_an_edit_depends_on_what_it_changes(self) -> None:
        if OperationName.EDIT not in self.make_engine().info().operations:
            return
        hole = np.s_[8:24, 12:36]
        request = self.make_request(32, 48, hole, operation=OperationName.EDIT)
        other = request.image.copy()
        other[hole] = 1 - other[hole]
        with self.opened() as session:
            first = self._fill_in(session, request, _look)
            assert np.array_equal(first, self._fill_in(session, request))
            assert not np.array_equal(
                first[hole], self._fill_in(session, replace(request, image=other))[hole]
            )

    def test_what_is_not_offered_is_refused(self) -> None:
        offered = self.make_engine().info().operations
        with self.opened() as session:
            for operation in OperationName:
                if operation in offered:
                    continue
                try:
                    request = self.make_request(32, 48, np.s_[8:24, 12:36], operation=operation)
                    self._fill_in(session, request)
                except UnsupportedOperation:
                    continue
                raise AssertionError(f"{operation} is not offered and was done")

    def test_loras_count_and_leave_no_trace(self) -> None:
        loras = self.make_engine().info().loras
        if not loras:
            return
        hole = np.s_[8:24, 12:36]
        plain = self.make_request(32, 48, hole)
        mixes = dict.fromkeys(
            tuple(LoraWeight(id=lora.id, weight=weight) for lora in loras[:count])
            for count, weight in ((1, 1.0), (1, 0.5), (len(loras), 1.0))
        )
        with self.opened() as session:
            before = self._fill_in(session, plain)
            results = [before]
            for mix in mixes:
                request = replace(plain, settings=replace(plain.settings, loras=mix))
                image = self._fill_in(session, request)
                assert not any(np.array_equal(image[hole], other[hole]) for other in results), mix
                results.append(image)
            # The last of them, since all that was mixed before could have left something in it.
            last = list(mixes)[-1]
            alone = self.fill(replace(plain, settings=replace(plain.settings, loras=last)))
            assert np.array_equal(results[-1], alone), last
            assert np.array_equal(before, self._fill_in(session, plain))
            unknown = (LoraWeight(id="nobody-has-this-lora"),)
            try:
                self._fill_in(session, replace(plain, settings=replace(plain.settings, loras=unknown)))
            except RequestError:
                pass
            else:
                raise AssertionError("a LoRA that is not installed was used")

    def test_what_must_not_be_read_changes_nothing(self) -> None:
        if not self.make_engine().info().needs_surroundings:
            return  # an engine that paints anew may start from what lies under the mask
        hole = np.s_[10:30, 10:30]
        known = np.ones((40, 48), np.bool_)
        known[:, 40:] = False
        request = self.make_request(40, 48, hole, known=known)
        other = request.image.copy()
        other[hole] = 1 - other[hole]
        other[~known] = 1 - other[~known]
        changed = self.make_request(40, 48, hole, known=known, image=other)
        with self.opened() as session:
            first = self._fill_in(session, request)
            assert np.array_equal(first[hole], self._fill_in(session, changed)[hole])

    def test_progress_rises_to_one(self) -> None:
        fractions: list[float] = []

        def note(step: Step) -> None:
            fractions.append(step.fraction)
            _look(step)

        self.fill(self.make_request(96, 96, np.s_[20:70, 20:70]), note)
        assert len(fractions) >= 2
        assert fractions == sorted(fractions)
        assert fractions[0] >= 0
        assert fractions[-1] == 1

    def test_cancel_is_heard_at_once_and_the_session_lives_on(self) -> None:
        request = self.make_request(48, 48, np.s_[12:36, 12:36])
        calls: list[Step] = []

        def cancel(step: Step) -> None:
            calls.append(step)
            raise Cancelled

        with self.opened() as session:
            undisturbed = self._fill_in(session, request)
            cancelled = False
            try:
                session.fill(request, cancel)
            except Cancelled:
                cancelled = True
            assert cancelled
            assert len(calls) == 1
            assert np.array_equal(self._fill_in(session, request), undisturbed)

    def test_a_batch_is_what_its_seeds_give_alone(self) -> None:
        hole, seeds = np.s_[12:36, 20:44], (7, 3, 8)
        request = self.make_request(48, 64, hole, seed=1)
        with self.opened() as session:
            if not isinstance(session, BatchSession):
                return  # it promises none, and its variants are made one by one
            shown_alone: list[NDArray[np.float32]] = []
            alone = [self._fill_in(session, replace(request, seed=seeds[0]), _collect([], shown_alone))]
            alone += [self._fill_in(session, replace(request, seed=seed)) for seed in seeds[1:]]
            fractions: list[float] = []
            shown: list[NDArray[np.float32]] = []
            together = self._fill_batch_in(session, request, seeds, _collect(fractions, shown))
            for one, other in zip(alone, together, strict=True):
                assert np.abs(one - other).max() < self.rounding
            assert np.abs(together[0] - together[1])[hole].max() > self.rounding
            assert fractions == sorted(fractions)
            assert len(fractions) >= 2
            assert fractions[-1] == 1
            for picture in shown:
                assert any(
                    picture.shape == other.shape and np.abs(picture - other).max() < self.rounding
                    for other in shown_alone
                ), "a preview of another variant than the first"
            again = self._fill_batch_in(session, replace(request, seed=2), seeds)
            assert all(np.array_equal(one, other) for one, other in zip(together, again, strict=True))
            (single,) = self._fill_batch_in(session, request, seeds[1:2])
            assert np.array_equal(single, alone[1])

    def test_a_batch_can_be_cancelled_and_says_how_large_it_may_be(self) -> None:
        request = self.make_request(48, 48, np.s_[12:36, 12:36])
        calls: list[Step] = []

        def cancel(step: Step) -> None:
            calls.append(step)
            raise Cancelled

        with self.opened() as session:
            if not isinstance(session, BatchSession):
                return
            assert session.batch_limit(request) >= 1
            cancelled = False
            try:
                session.fill_batch(request, (1, 2), cancel)
            except Cancelled:
                cancelled = True
            assert cancelled
            assert len(calls) == 1
            self._fill_batch_in(session, request, (1, 2))
            assert session.batch_limit(request) >= 1

    def test_a_bleed_is_a_whole_number_of_px(self) -> None:
        with self.opened() as session:
            if not isinstance(session, BleedSession):
                return  # it wants none
            for name in self.make_engine().info().operations:
                for hole in (np.s_[12:36, 12:36], np.s_[:, :], np.s_[0:0, 0:0]):
                    request = self.make_request(48, 48, hole, operation=OperationName(name))
                    bleed_px = session.bleed_px(request)
                    assert isinstance(bleed_px, int)
                    assert bleed_px >= 0

    def test_ten_fills_leak_nothing(self) -> None:
        process = psutil.Process()
        request = self.make_request(96, 96, np.s_[20:70, 20:70])
        with self.opened() as session:
            self._fill_in(session, request)
            before = process.memory_info().rss
            threads = process.num_threads()
            for _ in range(10):
                self._fill_in(session, request)
            assert process.memory_info().rss - before < _MAX_GROWTH_BYTES
            assert process.num_threads() <= threads

    def test_what_it_needs_is_known_before_it_is_opened(self) -> None:
        needed = self.make_engine().weight_bytes(self.device)
        assert needed >= 0
        with self.opened():
            pass
        assert self.make_engine().weight_bytes(self.device) == needed

    def test_room_is_not_made_without_need(self) -> None:
        calls: list[None] = []

        def make_room() -> bool:
            calls.append(None)
            return True

        with self.opened(make_room) as session:
            self._fill_in(session, self.make_request(32, 32, np.s_[8:20, 8:20]))
        assert not calls

    def test_closed_sessions_leave_nothing_behind(self) -> None:
        process = psutil.Process()
        request = self.make_request(48, 48, np.s_[12:36, 12:36])
        self.fill(request)
        before = process.memory_info().rss
        for _ in range(5):
            self.fill(request)
        assert process.memory_info().rss - before < _MAX_GROWTH_BYTES

    def test_closing_twice_is_fine(self) -> None:
        session = self.make_engine().open(self.device)
        session.close()
        session.close()


def _check_form(image: NDArray[np.float32], request: FillRequest) -> None:
    assert image.dtype == np.float32
    assert image.shape == request.image.shape
    assert np.isfinite(image).all()


def _collect(fractions: list[float], shown: list[NDArray[np.float32]]) -> OnStep:
    def collect(step: Step) -> None:
        fractions.append(step.fraction)
        if step.preview is not None:
            shown.append(step.preview())

    return collect


def _look(step: Step) -> None:
    """Make the step's preview, if there is one, and check its form."""
    if step.preview is not None:
        preview = step.preview()
        assert preview.ndim == 3
        assert preview.shape[2] == 3
        assert preview.dtype == np.float32
