"""Several variants in one call of the pipeline."""

from __future__ import annotations

import numpy as np
import pytest
from tests.diffusion.sessions import Starved, part_of, request

from overpaint_backend.engines.base import Cancelled, OperationName
from overpaint_backend.engines.diffusion.memory import Placement, Thrift
from overpaint_backend.imaging.pipeline import batch_size
from overpaint_backend.models.families import FAMILIES

SEEDS = (5, 9, 2)
_ROUNDING = 1e-3


def fill_batch(session, on_step=lambda step: None, seeds=SEEDS, **changes):
    return [result.image for result in session.fill_batch(request(**changes), seeds, on_step)]


@pytest.mark.parametrize("family_id", FAMILIES)
def test_a_batch_holds_what_each_seed_gives_alone(open_session, small_edits, family_id):
    session = open_session(family_id)
    tasks = [{}, {"mask": np.ones((64, 64), np.float32), "known": np.zeros((64, 64), np.bool_)}]
    if FAMILIES[family_id].pipelines.edit:
        tasks.append({"operation": OperationName.EDIT})
    for task in tasks:
        alone = [session.fill(request(seed=seed, **task), lambda step: None).image for seed in SEEDS]
        together = fill_batch(session, **task)
        for one, other in zip(alone, together, strict=True):
            assert np.abs(one - other).max() < _ROUNDING
        assert np.abs(together[0] - together[1]).max() > 10 * _ROUNDING


def test_a_batch_takes_the_steps_of_one(open_session):
    session = open_session()
    steps = []
    part_of(session, "unet").register_forward_pre_hook(lambda module, arguments: steps.append(1))
    fractions = []
    fill_batch(session, lambda step: fractions.append(step.fraction))
    assert len(steps) == 4
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1


def test_a_batch_can_be_cancelled(open_session):
    session = open_session()

    def stop(step):
        if step.fraction > 0.3:
            raise Cancelled

    with pytest.raises(Cancelled):
        fill_batch(session, stop)
    assert len(fill_batch(session)) == len(SEEDS)


@pytest.mark.parametrize("times", [1, 2])
def test_a_batch_that_finds_no_room_is_made_in_parts_at_no_price(open_session, times):
    session = open_session()
    expected = fill_batch(session)
    starved = Starved(session, "unet", times)
    made = fill_batch(session)
    assert starved.left == 0
    for one, other in zip(expected, made, strict=True):
        assert np.abs(one - other).max() < _ROUNDING
    assert session._model.placement.thrift is Thrift.NONE


def test_only_a_single_picture_without_room_is_made_thriftily(open_session):
    session = open_session()
    starved = Starved(session, "unet", 3)  # all three, the first two, the first
    made = fill_batch(session)
    assert starved.left == 0
    assert session._model.placement.thrift is Thrift.TILED
    assert len(made) == len(SEEDS)
    assert all(np.isfinite(picture).all() for picture in made)


@pytest.mark.parametrize(("family_id", "first_part"), [("sd15-inpaint", 2 / 3), ("kandinsky22", 1 / 3)])
def test_a_batch_in_parts_shows_its_first_variant_alone_and_each_part_moves_on(
    open_session, family_id, first_part
):
    session = open_session(family_id)
    alone, told = [], []
    session.fill(request(seed=SEEDS[0]), lambda step: alone.append(step.preview and step.preview()))
    if family_id == "sd15-inpaint":  # the other one makes no batches in the first place
        Starved(session, "unet", 1)
    fill_batch(session, lambda step: told.append((step.fraction, step.preview and step.preview())))
    fractions = [fraction for fraction, _ in told]
    assert fractions == sorted(fractions)
    shown = [(fraction, picture) for fraction, picture in told[:-1] if picture is not None]
    firsts = [picture for picture in alone[:-1] if picture is not None]
    assert len(shown) == len(firsts) > 1
    for (fraction, picture), first in zip(shown, firsts, strict=True):
        assert fraction < first_part
        assert np.abs(picture - first).max() < _ROUNDING
    assert len({fraction for fraction in fractions[:-1] if fraction > first_part}) >= len(shown)


def test_a_cancel_between_the_parts_of_a_batch_is_heard(open_session):
    session = open_session()
    whole = fill_batch(session)
    Starved(session, "unet", 1)

    def stop(step):
        if step.fraction > 0.5:
            raise Cancelled

    with pytest.raises(Cancelled):
        fill_batch(session, stop)
    assert np.array_equal(fill_batch(session), whole)


def test_without_a_second_device_nothing_is_batched(open_session):
    session = open_session()
    fill_batch(session)
    assert session.batch_limit(request()) == 1


def test_as_many_as_there_is_room_for_and_wanted(open_session, monkeypatch):
    monkeypatch.setattr(Placement, "room_for", lambda self, work: 4)
    session = open_session()
    prepared = _Prepared(request())
    assert [batch_size(prepared, session, wanted) for wanted in (1, 3, 8)] == [1, 3, 4]
    assert batch_size(prepared, open_session("kandinsky22"), 8) == 1


class _Prepared:
    def __init__(self, made):
        self.request = made
