"""The embedded and the test engine keep the promises of engines; the embedded one's own on top."""

import dataclasses
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from typing import ClassVar

import numpy as np
import pytest

from overpaint_backend.engines.base import Cancelled, Device, Engine, FillRequest, OperationName
from overpaint_backend.engines.embedded import EmbeddedEngine
from overpaint_backend.engines.registry import ENTRY_POINT_GROUP, EngineRegistry
from overpaint_backend.engines.testing import EngineConformance, InvertEngine
from overpaint_backend.executors.base import EnginesChanged
from overpaint_backend.executors.watch import WATCH_INTERVAL_S, EngineWatch
from overpaint_backend.imaging.resample import resize
from overpaint_protocol.errors import EngineError, NothingToSample, UnknownEngine
from overpaint_protocol.geometry import Size


class TestEmbeddedEngine(EngineConformance):
    def make_engine(self):
        return EmbeddedEngine()

    def test_a_sliver_of_known_pixels_is_continued_by_color(self):
        image = np.zeros((40, 60, 3), np.float32)
        image[:20] = (0.8, 0.2, 0.2)
        image[20:] = (0.2, 0.2, 0.8)
        request = self.make_request(40, 60, np.s_[:, 3:], image=image, operation=OperationName.EXPAND)
        painted = self.fill(request)
        assert np.abs(painted[:15, 3:8] - image[:15, 3:8]).mean() < 0.03
        assert np.abs(painted[25:, 3:8] - image[25:, 3:8]).mean() < 0.03
        assert painted.min() >= image.min() - 1e-6
        assert painted.max() <= image.max() + 1e-6

    def test_one_known_pixel_spreads(self):
        image = self.make_picture(20, 30)
        mask = np.ones((20, 30), np.float32)
        mask[7, 9] = 0
        painted = self.fill(self.make_request(20, 30, np.s_[0:0, 0:0], image=image, mask=mask))
        assert np.abs(painted - image[7, 9]).max() <= 0.5 / 255 + 1e-6

    def test_everything_masked_is_refused_in_a_sentence(self):
        with pytest.raises(NothingToSample, match="Leave some of the picture unselected"):
            self.fill(self.make_request(20, 20, np.s_[:, :]))

    def test_nothing_masked_returns_the_picture(self):
        request = self.make_request(20, 20, np.s_[0:0, 0:0])
        assert np.array_equal(self.fill(request), request.image)

    def test_known_pixels_far_from_the_hole_are_found(self):
        known = np.zeros((16, 900), np.bool_)
        known[:, 880:] = True
        request = self.make_request(16, 900, np.s_[4:12, 4:12], known=known)
        colors = request.image[known]
        painted = self.fill(request)[4:12, 4:12]
        assert painted.min() >= colors.min() - 0.5 / 255
        assert painted.max() <= colors.max() + 0.5 / 255

    def test_a_large_hole_is_painted_smaller_and_scaled_up(self):
        image = np.tile(self.make_picture(100, 100), (15, 20, 1))
        request = self.make_request(1500, 2000, np.s_[100:1300, 100:1900], image=image)
        steps = []

        def stop_after_sketch(step):
            steps.append(step.fraction)
            if step.fraction > 0:
                preview = step.preview()
                assert preview.shape == image.shape
                assert abs(preview[200:1200, 200:1800].mean() - image.mean()) < 0.1
                raise Cancelled

        with pytest.raises(Cancelled):
            self.fill(request, stop_after_sketch)
        assert len(steps) == 2

    def test_variants_show_different_things(self):
        hole = np.s_[100:200, 150:250]
        rng = np.random.default_rng(8)
        image = sum(
            resize(rng.random((rows, rows, 3), np.float32), Size(400, 320)) / 4 for rows in (4, 12, 40, 120)
        )
        variants = [
            self.fill(self.make_request(320, 400, hole, image=image, seed=seed))[hole] for seed in range(4)
        ]
        for index, one in enumerate(variants):
            for other in variants[:index]:
                assert np.abs(one - other).mean() > 0.02


class TestInvertEngine(EngineConformance):
    def make_engine(self):
        return InvertEngine()

    def test_seed_zero_inverts_exactly(self):
        request = self.make_request(8, 8, np.s_[2:4, 2:4])
        painted = self.fill(request)
        assert np.array_equal(painted[2:4, 2:4], 1 - request.image[2:4, 2:4])
        assert np.array_equal(painted[5:], request.image[5:])

    def test_the_prompt_sets_the_steps(self):
        fractions = []
        request = self.make_request(8, 8, np.s_[2:4, 2:4], prompt="steps=2 delay=0")
        self.fill(request, lambda step: fractions.append(step.fraction))
        assert fractions == [0, 0.5, 1]

    @pytest.mark.parametrize(("word", "error"), [("fail", EngineError), ("bug", RuntimeError)])
    def test_the_prompt_makes_it_fail(self, word, error):
        with pytest.raises(error):
            self.fill(self.make_request(8, 8, np.s_[2:4, 2:4], prompt=word))


def entry(name, value):
    return EntryPoint(name, value, ENTRY_POINT_GROUP)


EMBEDDED = entry("embedded", "overpaint_backend.engines.embedded:EmbeddedEngine")


def test_the_registry_finds_the_products_engine():
    registry = EngineRegistry.installed({})
    assert registry.ids[0] == "embedded"
    assert isinstance(registry.get("embedded"), Engine)
    assert registry.get("embedded") is registry.get("embedded")
    assert "test-invert" not in registry.ids


def test_the_test_engine_needs_the_variable():
    registry = EngineRegistry.installed({"OVERPAINT_TEST_ENGINES": "1"})
    assert "test-invert" in registry.ids
    assert registry.get("test-invert").info().id == "test-invert"


def test_an_unknown_id_is_answered_with_the_known_ones():
    with pytest.raises(UnknownEngine, match=r"'sdxl'.*embedded, broken"):
        EngineRegistry([EMBEDDED, entry("broken", "no_such_module:Engine")]).get("sdxl")


def test_a_broken_engine_is_reported_and_harms_no_other():
    registry = EngineRegistry([entry("broken", "no_such_module:Engine"), EMBEDDED])
    assert [info.id for info in registry.infos()] == ["embedded"]
    (broken,) = registry.broken()
    assert broken.id == "broken"
    assert "no_such_module" in broken.reason
    with pytest.raises(UnknownEngine, match="cannot be loaded"):
        registry.get("broken")


def test_an_engine_under_another_name_is_broken():
    registry = EngineRegistry([entry("other", EMBEDDED.value)])
    assert registry.infos() == ()
    assert "'embedded'" in registry.broken()[0].reason


def test_of_two_engines_with_one_id_the_first_stays_and_the_other_is_reported():
    registry = EngineRegistry([EMBEDDED, entry("embedded", "elsewhere:Engine")])
    assert registry.ids == ("embedded",)
    assert isinstance(registry.get("embedded"), EmbeddedEngine)
    (refused,) = registry.broken()
    assert refused.id == "embedded"
    assert EMBEDDED.value in refused.reason
    assert "uninstall the package of elsewhere:Engine" in refused.reason


def test_one_engine_announced_twice_is_no_conflict():
    registry = EngineRegistry([EMBEDDED, EMBEDDED])
    assert registry.ids == ("embedded",)
    assert registry.broken() == ()


def test_engines_are_not_imported_before_they_are_asked_for():
    registry = EngineRegistry([entry("broken", "no_such_module:Engine"), EMBEDDED])
    registry.get("embedded")
    assert registry._broken == {}


def test_a_session_survives_a_refusal():
    session = EmbeddedEngine().open(Device())
    image = np.full((16, 16, 3), 0.25, np.float32)
    everything = np.ones((16, 16), np.bool_)

    def request(mask):
        return FillRequest(
            image=image, mask=mask.astype(np.float32), known=everything, operation=OperationName.FILL
        )

    with pytest.raises(NothingToSample):
        session.fill(request(everything), lambda step: None)
    some = np.zeros((16, 16))
    some[4:8, 4:8] = 1
    painted = session.fill(request(some), lambda step: None).image
    assert np.abs(painted - 0.25).max() < 1 / 255


class TwoEngines:
    """A provider; its second engine has a name that is taken."""

    def engines(self):
        return [InvertEngine(), EmbeddedEngine()]


class NoLibrary:
    def engines(self):
        raise EngineError("Install the library first.")


def test_a_provider_offers_engines_under_their_own_ids():
    registry = EngineRegistry([EMBEDDED, entry("several", f"{__name__}:TwoEngines")])
    assert registry.ids == ("embedded", "test-invert")
    assert registry.get("test-invert").info().id == "test-invert"
    assert [info.id for info in registry.infos()] == ["embedded", "test-invert"]
    (broken,) = registry.broken()
    assert (broken.id, broken.reason) == ("several", "its engine 'embedded' has the name of another one")


def test_a_provider_that_cannot_run_says_why():
    (broken,) = EngineRegistry([entry("several", f"{__name__}:NoLibrary")]).broken()
    assert (broken.id, broken.reason) == ("several", "Install the library first.")


def test_an_empty_provider_is_no_engine(tmp_path, monkeypatch):
    monkeypatch.setenv("OVERPAINT_MODELS_DIR", str(tmp_path))
    registry = EngineRegistry.installed({})
    assert registry.ids == ("embedded",)
    assert registry.broken() == ()
    with pytest.raises(UnknownEngine, match="'diffusion'"):
        registry.get("diffusion")


class Shelf:
    """A provider of engines that come and go; ``on_it`` maps ids to what is loaded for them."""

    on_it: ClassVar[dict[str, str] | None] = {}

    def stamp(self):
        return None if self.on_it is None else tuple(self.on_it.items())

    def engines(self):
        if self.on_it is None:
            raise EngineError("The shelf fell.")
        return [ShelfEngine(key, content) for key, content in self.on_it.items()]


@dataclass(frozen=True)
class ShelfEngine:
    id: str
    content: str

    def info(self):
        return dataclasses.replace(InvertEngine().info(), id=self.id)


@pytest.fixture
def shelf(monkeypatch):
    """The registry of a Shelf and the embedded engine, and a function that puts other things on the shelf."""
    monkeypatch.setattr(Shelf, "on_it", {"a": "1", "b": "1"})
    registry = EngineRegistry([EMBEDDED, entry("shelf", f"{__name__}:Shelf")])
    assert registry.ids == ("embedded", "a", "b")
    return registry, lambda on_it: monkeypatch.setattr(Shelf, "on_it", on_it)


def test_engines_that_came_and_went_are_noticed(shelf):
    registry, put = shelf
    embedded = registry.get("embedded")
    assert registry.refresh() is None
    put({"b": "1", "c": "1"})
    assert registry.refresh() == {"a"}
    assert [info.id for info in registry.infos()] == ["embedded", "b", "c"]
    assert registry.get("c") == ShelfEngine("c", "1")
    with pytest.raises(UnknownEngine, match="'a'"):
        registry.get("a")
    assert registry.get("embedded") is embedded
    assert registry.refresh() is None


def test_an_engine_that_was_replaced_is_not_what_it_was(shelf):
    registry, put = shelf
    put({"b": "2", "a": "1"})
    assert registry.refresh() == {"b"}
    assert registry.get("b") == ShelfEngine("b", "2")


def test_a_provider_that_fails_for_a_while_is_asked_again(shelf):
    registry, put = shelf
    put(None)
    assert registry.refresh() == {"a", "b"}
    assert [(broken.id, broken.reason) for broken in registry.broken()] == [("shelf", "The shelf fell.")]
    assert registry.ids == ("embedded",)
    put({"a": "1"})
    assert registry.refresh() == frozenset()
    assert registry.broken() == ()
    assert registry.ids == ("embedded", "a")


def test_a_new_engine_with_a_taken_name_is_reported_and_replaces_none(shelf):
    registry, put = shelf
    embedded = registry.get("embedded")
    put({"embedded": "1", "a": "1"})
    assert registry.refresh() == {"b"}
    assert registry.get("embedded") is embedded
    assert "'embedded'" in registry.broken()[0].reason


def test_the_watch_looks_now_and_then_ends_useless_sessions_and_tells(shelf):
    registry, put = shelf
    closed, told = [], []
    watch = EngineWatch(registry, closed.append, told.append, now=10.0)
    put({"b": "1"})
    watch.look(10.0 + WATCH_INTERVAL_S / 2)
    assert (closed, told) == ([], [])
    watch.look(10.0 + WATCH_INTERVAL_S)
    assert closed == ["a"]
    assert told == [EnginesChanged(engines=registry.infos(), broken_engines=())]
    assert [info.id for info in told[0].engines] == ["embedded", "b"]
    watch.look(10.0 + 2 * WATCH_INTERVAL_S)
    assert (len(closed), len(told)) == (1, 1)
