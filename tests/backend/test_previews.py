"""How much of a run's time goes into showing it, with made-up times; and what one preview costs, in pixels."""

from __future__ import annotations

import numpy as np
import pytest

from overpaint_backend.executors.previews import PREVIEW_SHARE, PreviewTurns
from overpaint_backend.imaging.pipeline import FillJob, prepare, preview_backdrop
from overpaint_backend.imaging.preview import MAX_PREVIEW_PIXELS
from overpaint_protocol.geometry import Rect, Size
from overpaint_protocol.messages import Remove
from overpaint_protocol.pixels import ColorSpace, PixelFormat

BUDGET_BYTES = 32 * 1024


def paint(steps, step_s, costs_s, begun_at=1000.0):
    """Let a run go its way; the step numbers that were shown, what they cost, and how long all of it took.

    costs_s: of a preview at a step.
    """
    turns = PreviewTurns()
    now, shown, spent_s = begun_at, [], 0.0
    for step in range(1, steps + 1):
        now += step_s
        if turns.has_come(now):
            cost_s = costs_s(step)
            turns.taken(now, now + cost_s)
            now += cost_s
            spent_s += cost_s
            shown.append(step)
    return shown, spent_s, now - begun_at


@pytest.mark.parametrize("step_s", [0.001, 0.05, 0.4, 4.0])
@pytest.mark.parametrize("cost_s", [0.001, 0.01, 0.08, 0.3])
def test_previews_take_next_to_none_of_the_time(step_s, cost_s):
    shown, spent_s, took_s = paint(1000, step_s, lambda step: cost_s)
    assert shown[0] == 1
    assert spent_s <= max(cost_s, PREVIEW_SHARE * took_s)
    could_afford = min(999, int(took_s * PREVIEW_SHARE / cost_s), int(took_s / 0.25))
    assert len(shown) >= 0.7 * could_afford


def test_a_dear_first_one_is_made_up_for_by_those_after_it():
    shown, spent_s, took_s = paint(1000, 0.1, lambda step: 0.3 if step == 1 else 0.005)
    assert shown[0] == 1
    assert shown[1] >= 150  # what it took is two percent only then
    assert len(shown) > 200
    assert spent_s <= PREVIEW_SHARE * took_s


def test_one_that_gets_dearer_holds_up_the_next():
    shown, _, _ = paint(100, 1.0, lambda step: 0.5 if step == 50 else 0.01)
    assert shown[:49] == list(range(1, 50))
    after = [step for step in shown if step > 50]
    assert not after or after[0] > 55


def test_one_preview_works_on_few_pixels_and_keeps_its_budget_however_large_the_area_is():
    size = Size(2000, 1500)
    noise = np.random.default_rng(0).integers(0, 256, (size.height, size.width, 4), np.uint8)
    job = FillJob(
        canvas=size,
        context=Rect.from_size(size),
        operation=Remove(),
        image_bands=(noise.tobytes(),),
        image_size=size,
        pixel_format=PixelFormat.RGBA8,
        color=ColorSpace.SRGB,
        mask_bands=(bytes([255]) * size.area,),
        seed=0,
    )
    backdrop = preview_backdrop(prepare(job))
    assert backdrop.picture.shape[0] * backdrop.picture.shape[1] <= MAX_PREVIEW_PIXELS
    painted = np.random.default_rng(1).random((96, 128, 3), np.float32)
    preview = backdrop.show(painted, BUDGET_BYTES)
    assert preview is not None
    assert len(preview.jpeg) <= BUDGET_BYTES
    assert backdrop.show(painted, 0) is None
