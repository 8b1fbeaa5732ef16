import pytest
from hypothesis import given
from hypothesis import strategies as st

from overpaint_client.context import ContextHints, Scope, plan_context, plan_expand_context, plan_scope
from overpaint_protocol.errors import EmptySelection, RequestError
from overpaint_protocol.geometry import Margins, Rect, Size
from overpaint_protocol.messages import Edit, Expand, Fill, Remove

HINTS = ContextHints(padding_frac=0.5, min_padding_px=10, min_side_px=100, max_pixels=1_000_000)


@pytest.mark.parametrize(
    ("selection", "canvas", "context"),
    [
        pytest.param(Rect(400, 400, 200, 100), Size(1000, 1000), Rect(325, 325, 350, 250), id="padded"),
        pytest.param(
            Rect(500, 500, 1, 1), Size(1000, 1000), Rect(451, 451, 100, 100), id="1 px gets a full side"
        ),
        pytest.param(Rect(0, 0, 1, 1), Size(1000, 1000), Rect(0, 0, 100, 100), id="corner"),
        pytest.param(Rect(999, 999, 1, 1), Size(1000, 1000), Rect(900, 900, 100, 100), id="far corner"),
        pytest.param(
            Rect(-50, -50, 100, 100), Size(80, 60), Rect(0, 0, 80, 60), id="over the edge, small canvas"
        ),
        pytest.param(Rect(0, 0, 1000, 1000), Size(1000, 1000), Rect(0, 0, 1000, 1000), id="everything"),
        pytest.param(
            Rect(0, 0, 1000, 900), Size(30_000, 30_000), Rect(0, 0, 1029, 929), id="padding cut to the limit"
        ),
    ],
)
def test_context_of_a_selection(selection, canvas, context):
    assert plan_context(selection, canvas, HINTS) == context


def test_nothing_selected_is_refused_with_advice():
    with pytest.raises(EmptySelection, match="Select the area"):
        plan_context(Rect(0, 0, 0, 0), Size(10, 10), HINTS)


def test_selection_outside_the_canvas_says_so():
    with pytest.raises(EmptySelection, match="outside the canvas"):
        plan_context(Rect(20, 20, 5, 5), Size(10, 10), HINTS)


def test_selection_beyond_the_limit_names_both_numbers():
    with pytest.raises(RequestError, match=r"30000 × 30000 px, more than the 1 megapixels"):
        plan_context(Rect(0, 0, 30_000, 30_000), Size(30_000, 30_000), HINTS)


@pytest.mark.parametrize(
    ("margins", "context"),
    [
        pytest.param(Margins(right=200), Rect(800, 0, 400, 500), id="right"),
        pytest.param(Margins(left=20), Rect(-20, 0, 100, 500), id="left, at least a side"),
        pytest.param(Margins(right=200, bottom=200), Rect(0, 0, 1200, 700), id="right and bottom"),
    ],
)
def test_context_of_an_expand(margins, context):
    assert plan_expand_context(Size(1000, 500), margins, HINTS) == context


def test_an_expand_by_nothing_is_refused():
    with pytest.raises(RequestError, match="at least one side"):
        plan_expand_context(Size(10, 10), Margins(), HINTS)


def test_a_result_that_reaches_further_gets_as_much_more_surrounding():
    canvas = Size(1000, 1000)
    near = plan_scope(Remove(), Rect(400, 400, 200, 100), canvas, HINTS)
    far = plan_scope(Remove(), Rect(400, 400, 200, 100), canvas, HINTS, reach_px=40)
    assert far.context == near.context.grow(40)
    expand = Expand(margins=Margins(right=200))
    assert plan_scope(expand, None, Size(1000, 500), HINTS, reach_px=40).context == Rect(760, 0, 440, 500)


@pytest.mark.parametrize("operation", [Fill(prompt="a door"), Edit(prompt="make it night")])
def test_a_prompt_with_nothing_selected_is_about_the_whole_canvas(operation):
    assert plan_scope(operation, None, Size(900, 700), HINTS) == Scope(Rect(0, 0, 900, 700), is_whole=True)
    with pytest.raises(RequestError, match="The picture spans 2000 × 1000 px"):
        plan_scope(operation, None, Size(2000, 1000), HINTS)


@pytest.mark.parametrize(
    ("operation", "advice"),
    [(Fill(prompt="  "), "write a prompt to paint the whole picture"), (Remove(), "then try again")],
)
def test_without_a_prompt_something_must_be_selected(operation, advice):
    with pytest.raises(EmptySelection, match=f"Nothing is selected.*{advice}"):
        plan_scope(operation, None, Size(900, 700), HINTS)


@pytest.mark.parametrize("operation", [Fill(), Fill(prompt="a door"), Remove(), Edit(prompt="make it night")])
def test_a_selection_is_about_its_surroundings(operation):
    selection, canvas = Rect(400, 400, 200, 100), Size(1000, 1000)
    assert plan_scope(operation, selection, canvas, HINTS) == Scope(plan_context(selection, canvas, HINTS))
    with pytest.raises(EmptySelection, match="outside the canvas"):
        plan_scope(operation, Rect(2000, 0, 5, 5), canvas, HINTS)


def test_an_expand_minds_no_selection():
    expand = Expand(margins=Margins(right=200))
    context = plan_expand_context(Size(1000, 500), expand.margins, HINTS)
    for selection in (None, Rect(0, 0, 5, 5)):
        assert plan_scope(expand, selection, Size(1000, 500), HINTS) == Scope(context)


sides = st.integers(1, 3000)
coordinates = st.integers(-3000, 3000)


@given(st.builds(Rect, coordinates, coordinates, sides, sides), st.builds(Size, sides, sides))
def test_a_context_holds_the_selection_and_lies_on_the_canvas(selection, canvas):
    whole = Rect.from_size(canvas)
    try:
        context = plan_context(selection, canvas, HINTS)
    except RequestError:
        target = selection.intersect(whole)
        assert target.is_empty or target.area > HINTS.max_pixels
        return
    assert whole.contains(context)
    assert context.contains(selection.intersect(whole))
    assert context.area <= HINTS.max_pixels


margin = st.integers(0, 800)


@given(st.builds(Size, sides, sides), st.builds(Margins, margin, margin, margin, margin))
def test_an_expand_context_holds_all_that_is_new(canvas, margins):
    old = Rect.from_size(canvas)
    new = old.expand(margins)
    try:
        context = plan_expand_context(canvas, margins, HINTS)
    except RequestError:
        return
    assert new.contains(context)
    left_out = new.area - context.area
    assert left_out <= old.area
    # what is left out is all old canvas
    assert old.area - old.intersect(context).area == left_out
    assert not context.intersect(old).is_empty
