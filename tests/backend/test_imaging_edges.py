"""From a selection to what is painted and what shows: reach, softness, specks and holes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from overpaint_backend.engines.base import Device
from overpaint_backend.engines.embedded import EmbeddedEngine
from overpaint_backend.imaging.edges import derive_reach, expand_area, selected_area
from overpaint_backend.imaging.mask import bounds, distance, feather, fill_holes, flood
from overpaint_backend.imaging.pipeline import FillJob, run_fill
from overpaint_protocol.errors import EmptySelection
from overpaint_protocol.geometry import Margins, Rect, Size
from overpaint_protocol.messages import Edges, Remove
from overpaint_protocol.pixels import ColorSpace, PixelFormat

PROTECTED = Edges(grow_px=0, blend_px=0)
HEIGHT, WIDTH = 34, 41


def blank(height=HEIGHT, width=WIDTH):
    return np.zeros((height, width), np.float32)


def marked(*wheres, level=1.0, height=HEIGHT, width=WIDTH):
    selection = blank(height, width)
    for where in wheres:
        selection[where] = level
    return selection


def in_bytes(selection):
    """As it comes over the wire, in 255ths."""
    return np.rint(selection * 255).astype(np.float32) / np.float32(255)


def noisy(seed):
    rng = np.random.default_rng(seed)
    return in_bytes(rng.random((HEIGHT, WIDTH)) * (rng.random((HEIGHT, WIDTH)) < 0.3) ** 2)


SHAPES = {
    "a corner": marked(np.s_[0:1, 0:1]),
    "everything": marked(np.s_[:, :]),
    "a border": marked(np.s_[:3, :]),
    "two apart": marked(np.s_[2:9, 3:11], np.s_[20:33, 30:36]),
    "half of it": marked(np.s_[8:25, 9:30], level=0.5),
    "feathered": in_bytes(feather(marked(np.s_[4:30, 3:37]), 11)),
    "feathered, never full": in_bytes(feather(marked(np.s_[4:30, 3:37], level=0.7), 30)),
    "a ramp": in_bytes(np.linspace(0, 1, WIDTH, dtype=np.float32)[None].repeat(HEIGHT, axis=0)),
    "a ring": marked(np.s_[5:29, 5:35]) - marked(np.s_[11:23, 12:28]),
}

selections = (
    st.sampled_from(list(SHAPES.values()))
    | st.builds(
        lambda y, x: marked(np.s_[y : y + 1, x : x + 1]),
        st.integers(0, HEIGHT - 1),
        st.integers(0, WIDTH - 1),
    )
    | st.integers(0, 99).map(noisy)
)
lengths = st.none() | st.integers(0, 20)
all_edges = st.builds(Edges, grow_px=lengths, blend_px=lengths, feather_px=lengths, fill_holes=st.booleans())


def reach_of(selection, edges, removes):
    """What the result may reach beyond the selection, in px."""
    box = bounds(selection)
    derived = max(5, 0.004 * np.hypot(box.width, box.height))
    if edges.grow_px is not None and edges.blend_px is not None:
        return edges.grow_px + edges.blend_px
    return derived + (edges.grow_px or 0) + (edges.blend_px or 0)


@given(selections, all_edges, st.booleans())
def test_nothing_is_painted_or_shown_beyond_the_reach(selection, edges, removes):
    area = selected_area(selection, edges, removes=removes)
    source = fill_holes(selection) if edges.fill_holes else selection
    away = distance(source > 0, 200)
    outside = away > reach_of(selection, edges, removes)
    assert not area.alpha[outside].any()
    assert not area.mask[outside].any()


@given(selections, all_edges, st.booleans())
def test_the_engine_paints_all_that_shows(selection, edges, removes):
    area = selected_area(selection, edges, removes=removes)
    assert (area.mask[area.alpha > 0] > 0).all()
    assert (area.mask >= area.alpha).all()
    assert area.alpha.min() >= 0
    assert area.mask.max() <= 1


@given(selections, lengths, lengths, st.booleans())
def test_without_feather_no_less_than_the_selection_shows(selection, grow_px, blend_px, removes):
    area = selected_area(selection, Edges(grow_px=grow_px, blend_px=blend_px), removes=removes)
    meant = np.where(without_specks(selection), selection, 0)
    assert (area.alpha >= meant).all()


@given(selections)
def test_a_protected_selection_shows_exactly_as_it_is(selection):
    area = selected_area(selection, PROTECTED)
    assert np.array_equal(area.alpha, np.where(without_specks(selection), selection, 0))


def without_specks(selection):
    """(H, W) bool: what hangs together with something of at least 2 %. Pixel by pixel, to compare with."""
    kept = selection >= 0.02
    queue = list(zip(*np.nonzero(kept), strict=True))
    while queue:
        y, x = queue.pop()
        for to in ((y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)):
            if 0 <= to[0] < HEIGHT and 0 <= to[1] < WIDTH and selection[to] > 0 and not kept[to]:
                kept[to] = True
                queue.append(to)
    return kept


# ---------------------------------------------------------------- reach


@pytest.mark.parametrize(("side", "most_px"), [(1, 5), (20, 5), (100, 5), (600, 5), (1000, 5), (1500, 8)])
@pytest.mark.parametrize("removes", [False, True])
def test_the_derived_reach_is_bounded(side, most_px, removes):
    selection = marked(np.s_[10 : 10 + side, 10 : 10 + side], height=side + 20, width=side + 20)
    reach = derive_reach(selection, removes=removes)
    assert 3 <= reach.total_px <= most_px
    assert reach.blend_px > 0


@pytest.mark.parametrize("frame_px", [1, 2, 3, 5])
@pytest.mark.parametrize("edges", [Edges(), Edges(blend_px=0), Edges(grow_px=0)], ids=repr)
@pytest.mark.parametrize("removes", [False, True])
def test_what_is_derived_leaves_at_least_half_of_narrow_surroundings(frame_px, edges, removes):
    selection = marked(np.s_[frame_px : 90 - frame_px, frame_px : 110 - frame_px], height=90, width=110)
    area = selected_area(selection, edges, removes=removes)
    assert 2 * np.count_nonzero(area.mask == 0) >= np.count_nonzero(selection == 0)


def test_what_is_unknown_is_no_surroundings():
    selection = marked(np.s_[:, 4:90], height=90, width=110)
    known = np.zeros(selection.shape, bool)
    known[:, :90] = True
    widest = selected_area(selection, Edges())
    area = selected_area(selection, Edges(), known=known)
    assert not (widest.mask == 0)[:, :90].any()
    assert (area.mask == 0)[:, :2].all()


def test_lengths_in_pixels_are_kept_whatever_they_leave():
    selection = marked(np.s_[3:87, 3:107], height=90, width=110)
    assert selected_area(selection, Edges(grow_px=2, blend_px=4)).mask.all()


def test_many_small_things_far_apart_get_the_reach_of_small_things():
    selection = blank(900, 900)
    for place in range(20, 900, 80):
        selection[place : place + 5, place : place + 5] = 1
    assert derive_reach(selection).total_px == 3


def test_what_is_removed_grows_by_more_than_it_may_be_too_tight():
    for side in (1, 10, 60, 300):
        selection = marked(np.s_[2 : 2 + side, 2 : 2 + side], height=side + 4, width=side + 4)
        assert derive_reach(selection, removes=True).grow_px >= 4


def test_smoothed_stairs_are_a_hard_edge_and_a_wide_feather_needs_no_blend():
    rows, columns = np.mgrid[:300, :300]
    disk = in_bytes(np.clip(100.5 - np.hypot(rows - 150, columns - 150), 0, 1))
    assert derive_reach(disk) == derive_reach((disk >= 0.5).astype(np.float32))
    assert derive_reach(in_bytes(feather(disk, 40))).total_px == 0


def test_each_length_can_be_set_and_the_other_stays():
    selection = marked(np.s_[100:200, 100:200], height=300, width=300)
    derived = derive_reach(selection)
    row = selected_area(selection, Edges(grow_px=20)).alpha[150]
    assert (row[80:100] == 1).all()
    assert 0 < row[79] < 1
    assert np.flatnonzero(row)[0] == 100 - 20 - derived.blend_px
    row = selected_area(selection, Edges(blend_px=0)).alpha[150]
    assert np.flatnonzero(row)[0] == 100 - derived.grow_px
    assert set(np.unique(row)) == {0, 1}


def test_a_blend_fades_smoothly():
    row = selected_area(marked(np.s_[:, 60:], height=8, width=99), Edges(grow_px=5, blend_px=30)).alpha[4]
    steps = np.diff(row)
    assert (row[55:] == 1).all()
    assert not row[:25].any()
    assert (steps >= 0).all()
    assert steps.max() < 2 / 30


# ---------------------------------------------------------------- softness


def test_half_a_selection_gives_half_a_layer_and_a_whole_repaint():
    selection = marked(np.s_[20:60, 20:60], level=0.5, height=80, width=80)
    area = selected_area(selection, Edges())
    assert (area.alpha[20:60, 20:60] == 0.5).all()
    assert area.alpha.max() == 0.5
    assert set(np.unique(area.mask)) == {
        0,
        0.5,
    }  # as engines take it: all of it, measured against the highest
    assert area.mask[19, 40] == 0.5


def test_a_soft_selection_that_is_widened_stays_soft():
    selection = in_bytes(feather(marked(np.s_[:, 50:], height=4, width=200), 80))
    alpha = selected_area(selection, Edges(grow_px=10, blend_px=10)).alpha[2]
    assert (np.diff(alpha) >= 0).all()
    assert np.diff(alpha).max() < 0.05
    assert alpha[45] > 0
    assert (alpha >= selection[2]).all()


def test_a_feather_fades_inwards():
    selection = marked(np.s_[10:90, 10:90], height=100, width=100)
    row = selected_area(selection, Edges(grow_px=0, blend_px=0, feather_px=9)).alpha[50]
    assert row[10] == pytest.approx(0.1)
    assert row[20] == 1
    assert not row[:10].any()


# ---------------------------------------------------------------- specks and holes


def test_a_faint_tail_stays_and_a_faint_speck_goes_with_a_note():
    selection = marked(np.s_[5:9, 5:9])
    selection[8, 9:20] = 1 / 255
    selection[9:14, 20] = 1 / 255  # around a corner
    area = selected_area(selection, PROTECTED)
    assert np.array_equal(area.alpha, selection)
    assert area.notes == ()
    selection[20, 30] = 5 / 255
    area = selected_area(selection, PROTECTED)
    assert area.alpha[20, 30] == area.mask[20, 30] == 0
    assert area.alpha[8, 15] > 0
    assert len(area.notes) == 1
    assert "less than 2 %" in area.notes[0]


@pytest.mark.parametrize(("level", "words"), [(0, "Nothing is selected"), (5 / 255, "more strongly")])
def test_nothing_to_change_is_refused(level, words):
    with pytest.raises(EmptySelection, match=words):
        selected_area(marked(np.s_[3:9, 3:9], level=level), Edges())


def test_holes_are_filled_only_if_asked():
    ring = SHAPES["a ring"]
    assert not selected_area(ring, PROTECTED).alpha[12:22, 13:27].any()
    filled = selected_area(ring, Edges(grow_px=0, blend_px=0, fill_holes=True)).alpha
    assert np.array_equal(filled, marked(np.s_[5:29, 5:35]))


def test_a_hole_of_a_soft_ring_is_filled_to_its_crest():
    ring = in_bytes(feather(SHAPES["a ring"], 4))
    filled = fill_holes(ring)
    crest = ring[:, 20][:15].max()
    assert (filled[8:26, 20] >= crest).all()
    assert np.array_equal(filled[:7], ring[:7])


def test_what_is_open_to_the_edge_of_the_picture_is_no_hole():
    selection = marked(np.s_[10:20, :20]) - marked(np.s_[13:17, :17])
    assert np.array_equal(fill_holes(selection), selection)


@given(st.integers(0, 999))
def test_a_hole_is_as_deep_as_the_easiest_way_out(seed):
    rng = np.random.default_rng(seed)
    selection = (rng.integers(0, 5, (9, 11)) / np.float32(4)).astype(np.float32)
    expected = selection.copy()
    expected[1:-1, 1:-1] = 1
    for _ in range(99):  # each pixel comes down to its lowest neighbor, but not below the selection
        lowest = expected.copy()
        lowest[1:] = np.minimum(lowest[1:], expected[:-1])
        lowest[:-1] = np.minimum(lowest[:-1], expected[1:])
        lowest[:, 1:] = np.minimum(lowest[:, 1:], expected[:, :-1])
        lowest[:, :-1] = np.minimum(lowest[:, :-1], expected[:, 1:])
        expected = np.maximum(selection, lowest)
    assert np.array_equal(fill_holes(selection), expected)


def test_a_flood_takes_every_turn_of_a_way():
    way = np.zeros((13, 13), np.bool_)
    way[::2] = True
    way[1::4, -1] = way[3::4, 0] = True
    seed = np.zeros_like(way)
    seed[0, 0] = True
    assert np.array_equal(flood(seed, way, diagonally=False), way)


# ---------------------------------------------------------------- expanding

CANVAS = Size(200, 120)


def expanded(margins, edges):
    grown = Rect.from_size(CANVAS).expand(margins)
    return expand_area(CANVAS, margins, grown, edges), grown


def test_an_expand_fades_into_the_original_on_growing_sides_only():
    area, _ = expanded(Margins(right=2), Edges(grow_px=0, blend_px=3))
    row = area.alpha[60]
    assert (row[200:] == 1).all()
    assert np.flatnonzero(row)[0] == 197
    assert (np.diff(row[196:201]) > 0).all()
    assert not area.alpha[:, :197].any()


@given(st.integers(1, 3000), st.tuples(st.integers(1, 700), st.integers(1, 700)), st.sampled_from("trbl"))
def test_an_expand_reaches_at_most_64_px_into_the_original(margin, sides, side):
    names = {"t": "top", "r": "right", "b": "bottom", "l": "left"}
    canvas = Size(*sides)
    margins = Margins(**{names[side]: margin})
    grown = Rect.from_size(canvas).expand(margins)
    context = grown.intersect(Rect.from_size(canvas).grow(5))
    area = expand_area(canvas, margins, context, Edges())
    original = Rect.from_size(canvas).intersect(context).relative_to(context.origin)
    inside = area.alpha[original.top : original.bottom, original.left : original.right]
    along = inside.any(axis=1 if side in "tb" else 0)
    assert along.sum() <= min(64, max(8, min(sides) / 100), max(1, min(sides) // 3))


def test_a_protected_original_is_not_touched_and_all_of_the_new_is_covered():
    margins = Margins(left=30, top=7, bottom=9)
    for edges in (PROTECTED, Edges(), Edges(feather_px=20)):
        area, grown = expanded(margins, edges)
        original = np.zeros((grown.height, grown.width), np.bool_)
        original[7:127, 30:] = True
        assert (area.alpha[~original] == 1).all()
        assert area.alpha[original].any() == (edges != PROTECTED)


# ---------------------------------------------------------------- removing, with a real fill


def meadow(height, width):
    """Green, uneven, and nowhere red."""
    rng = np.random.default_rng(7)
    rows, columns = np.mgrid[:height, :width]
    light = 110 + 40 * np.sin(columns / 17) * np.cos(rows / 23) + rng.normal(0, 6, (height, width))
    return np.stack([light * 0.4, light, light * 0.5], axis=-1)


def test_nearly_everything_can_be_removed():
    pixels = np.full((60, 80, 4), 255, np.uint8)
    pixels[..., :3] = meadow(60, 80)
    selection = np.zeros((60, 80), np.uint8)
    selection[3:57, 3:77] = 255
    size = Size(80, 60)
    job = FillJob(
        canvas=size,
        context=Rect.from_size(size),
        operation=Remove(),
        image_bands=(pixels.tobytes(),),
        image_size=size,
        pixel_format=PixelFormat.RGBA8,
        color=ColorSpace.SRGB,
        mask_bands=(selection.tobytes(),),
        seed=0,
    )
    target = run_fill(job, EmbeddedEngine().open(Device()), lambda step: None).target
    assert Rect(3, 3, 74, 54).intersect(target) == Rect(3, 3, 74, 54)
    assert target != Rect.from_size(size)


@pytest.mark.parametrize("shape", ["disk", "square"])
def test_a_thing_selected_too_tightly_goes_without_a_halo(shape):
    height, width, radius = 200, 240, 34
    rows, columns = np.mgrid[:height, :width]
    offsets = np.abs(rows - 100), np.abs(columns - 120)
    away = np.hypot(*offsets) if shape == "disk" else np.maximum(*offsets)
    cover = np.clip(radius + 0.5 - away, 0, 1)[..., None]  # with a smoothed outline
    picture = meadow(height, width) * (1 - cover) + np.array([230, 20, 30]) * cover
    pixels = np.full((height, width, 4), 255, np.uint8)
    pixels[..., :3] = np.clip(np.rint(picture), 0, 255)
    tight = ((away <= radius - 3) * 255).astype(np.uint8)

    def redness_left(edges):
        job = FillJob(
            canvas=Size(width, height),
            context=Rect(0, 0, width, height),
            operation=Remove(),
            image_bands=(pixels.tobytes(),),
            image_size=Size(width, height),
            pixel_format=PixelFormat.RGBA8,
            color=ColorSpace.SRGB,
            mask_bands=(tight.tobytes(),),
            seed=0,
            edges=edges,
        )
        output = run_fill(job, EmbeddedEngine().open(Device()), lambda step: None)
        target = output.target
        layer = np.frombuffer(output.data, np.uint8).reshape(target.height, target.width, 4).astype(float)
        shown = pixels[..., :3].astype(float)
        part = shown[target.top : target.bottom, target.left : target.right]
        part += (layer[..., :3] - part) * layer[..., 3:] / 255
        return (shown[..., 0] - shown[..., 1]).max()

    assert redness_left(Edges()) < 0  # every pixel is greener than red, as the meadow is
    assert redness_left(PROTECTED) > 150
