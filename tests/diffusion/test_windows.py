"""Areas that are many times what a model works at, painted in windows."""

from __future__ import annotations

import numpy as np
import pytest
from tests.diffusion.sessions import part_of, request

from overpaint_backend.engines.base import Cancelled, GenerationSettings, OperationName
from overpaint_backend.engines.diffusion.frame import Frame
from overpaint_backend.engines.diffusion.windows import plan_windows
from overpaint_protocol.geometry import Rect, Size

NATIVE = (512, 1024, 1328)


def plan(size, hole, native_px, detail=None):
    mask = np.zeros((size.height, size.width), np.bool_)
    mask[hole.top : hole.bottom, hole.left : hole.right] = True
    return plan_windows(Rect.from_size(size), mask, native_px, detail), mask


def scales(windows, native_px, multiple_px=16):
    """Working pixels by pixel of the canvas, along one side, and by those of the model's square."""
    frames = [Frame.plan(window.rect.size, native_px, multiple_px) for window in windows]
    return [
        ((frame.work.area / frame.padded.area) ** 0.5, frame.work.area / native_px**2) for frame in frames
    ]


@pytest.mark.parametrize("native_px", NATIVE)
@pytest.mark.parametrize("multiple_px", [16, 32, 64])
@pytest.mark.parametrize("width", [64, 256, 640, 777, 1500, 5504])
@pytest.mark.parametrize("height", [64, 300, 640, 1365, 4000])
def test_a_model_works_at_its_own_number_of_pixels_and_never_above(native_px, multiple_px, width, height):
    frame = Frame.plan(Size(width, height), native_px, multiple_px)
    assert 0.89 <= frame.work.area / native_px**2 <= 1


@pytest.mark.parametrize("native_px", NATIVE)
@pytest.mark.parametrize(
    ("size", "hole"),
    [
        (Size(640, 640), Rect(192, 192, 256, 256)),
        (Size(1500, 1500), Rect(450, 450, 600, 600)),
        (Size(3375, 2875), Rect(940, 940, 1500, 1000)),
        (Size(2500, 4000), Rect(0, 0, 1064, 4000)),
        (Size(5000, 700), Rect(0, 0, 5000, 700)),
    ],
)
def test_large_areas_keep_their_detail(size, hole, native_px):
    windows, mask = plan(size, hole, native_px)
    assert all(scale >= 0.75 and filled >= 0.89 for scale, filled in scales(windows, native_px))
    shown = np.zeros(mask.shape, np.float32)
    for window in windows:
        rect = window.rect
        assert Rect.from_size(size).contains(rect)
        inside = np.s_[rect.top : rect.bottom, rect.left : rect.right]
        shown[inside] = np.maximum(shown[inside], window.weights())
        assert window.left_px == 0 or window.left_px >= rect.width // 6
        assert window.top_px == 0 or window.top_px >= rect.height // 6
    assert (shown[mask] == 1).all()


def test_the_expand_of_the_issue_takes_few_windows():
    windows, _ = plan(Size(2500, 4000), Rect(0, 0, 1064, 4000), 1024)
    assert 2 <= len(windows) <= 5


def test_a_small_hole_is_painted_at_once_and_all_of_it_seen():
    windows, _ = plan(Size(640, 640), Rect(192, 192, 256, 256), 1024)
    assert [window.rect for window in windows] == [Rect(0, 0, 640, 640)]


@pytest.mark.parametrize("detail", [0.3, 1.0, 2.0])
def test_the_detail_can_be_set(detail):
    windows, _ = plan(Size(2000, 2000), Rect(500, 500, 1000, 1000), 512, detail)
    assert min(scale for scale, _ in scales(windows, 512)) >= detail * 0.95
    frame = Frame.plan(Size(100, 100), 1024, 16, detail=detail)
    assert frame.work.area <= (100 * detail) ** 2


def test_there_is_a_limit_to_windows():
    windows, _ = plan(Size(8000, 8000), Rect(0, 0, 8000, 8000), 512, 4.0)
    assert 30 < len(windows) <= 64


# ---------------------------------------------------------------- with real pipelines

SIZE = 192
HOLE = np.s_[:, 60:]


def large(**changes):
    """A hole of nine times what the toys work at, beside a smooth picture."""
    rows, columns = np.mgrid[:SIZE, :SIZE] / np.float32(SIZE)
    mask = np.zeros((SIZE, SIZE), np.float32)
    mask[HOLE] = 1
    fields = {
        "image": np.stack([0.3 + 0.4 * rows, 0.3 + 0.4 * columns, 0.5 + 0 * rows], -1).astype(np.float32),
        "mask": mask,
        "known": mask == 0,
        "operation": OperationName.EXPAND,
        "settings": GenerationSettings(steps=2),
        **changes,
    }
    return request(**fields)


def paint(session, asked):
    steps = []
    image = session.fill(asked, steps.append).image
    return image, [step.fraction for step in steps]


@pytest.mark.parametrize("family_id", ["sd15", "sd15-inpaint", "flux1-dev", "kandinsky22"])
def test_no_window_can_be_told_from_the_next(open_session, family_id):
    session = open_session(family_id)
    asked = large()
    windows = session._starts.windows(asked, 1.0)
    assert len(windows) >= 4
    image, fractions = paint(session, asked)
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    assert len({round(fraction, 3) for fraction in fractions}) > len(windows)
    assert np.array_equal(image[:, :60], asked.image[:, :60])
    # where a window begins to show, the picture jumps no more than anywhere else
    across = np.abs(np.diff(image, axis=1)).mean(axis=(0, 2))
    down = np.abs(np.diff(image[HOLE], axis=0)).mean(axis=(1, 2))
    for window in windows:
        for jumps, place, shared, first in (
            (across, window.rect.left, window.left_px, 61),
            (down, window.rect.top, window.top_px, 0),
        ):
            for border in (place, place + shared // 2, place + shared) if shared else ():
                if border > first:
                    assert jumps[border - 1] <= 1.5 * np.median(jumps[first:]) + 0.02


def test_windows_depend_on_the_seed_alone(open_session):
    session = open_session("sd15")
    first, again, other = (paint(session, large(seed=seed))[0] for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    together = session.fill_batch(large(), (2, 1), lambda step: None)
    assert np.array_equal(together[0].image, other)
    assert np.array_equal(together[1].image, first)
    assert session.batch_limit(large()) == 1


def test_a_cancel_between_windows_stops_within_one_step(open_session):
    session = open_session("sd15")
    steps = []
    part_of(session, "unet").register_forward_pre_hook(lambda module, arguments: steps.append(1))
    at_cancel = []

    def stop(step):
        if step.fraction > 0.6:
            at_cancel.append(len(steps))
            raise Cancelled

    with pytest.raises(Cancelled):
        session.fill(large(settings=GenerationSettings(steps=8)), stop)
    assert len(steps) == at_cancel[0]
    complete = len(steps)
    session.fill(large(settings=GenerationSettings(steps=8)), lambda step: None)
    assert len(steps) - complete > complete


def test_windows_are_shown_in_their_place(open_session):
    shown = []

    def look(step):
        if step.preview is not None:
            shown.append(step.preview())

    asked = large()
    open_session("sd15").fill(asked, look)
    assert len(shown) > 6
    assert all(abs(picture.shape[1] / picture.shape[0] - 1) < 0.2 for picture in shown)
    late = shown[-3]
    assert np.abs(late[:, :40] - asked.image[:, :40]).max() < 0.02
