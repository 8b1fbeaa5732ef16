"""Plan the Context: what of the canvas the engine gets to see around a selection or a new border, or all of it.

Pure geometry on canvas coordinates; resizing for an engine is the daemon's business.
"""

from __future__ import annotations

from dataclasses import dataclass

from overpaint_protocol.errors import EmptySelection, RequestError
from overpaint_protocol.geometry import Margins, Rect, Size
from overpaint_protocol.messages import Edit, Expand, Fill, Operation, canvas_after

__all__ = ["ContextHints", "Scope", "plan_context", "plan_expand_context", "plan_scope"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextHints:
    """How much surrounding to send.

    padding_frac: added on every side, as a fraction of the selection's mean side (for an Expand: of the widest
        margin). min_padding_px: but at least this.
    min_side_px: the Context is at least this wide and high where the canvas allows.
    max_pixels: the daemon's limit on the Context.
    """

    padding_frac: float = 0.75
    min_padding_px: int = 96
    min_side_px: int = 512
    max_pixels: int = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Scope:
    """What of a canvas a job is about.

    context: what the engine sees, in canvas coordinates.
    is_whole: nothing is selected, and that means all of the canvas.
    """

    context: Rect
    is_whole: bool = False


def plan_scope(
    operation: Operation, selection: Rect | None, canvas: Size, hints: ContextHints, reach_px: int = 0
) -> Scope:
    """Choose what a job is about.

    Args:
        operation: what shall be done. With nothing selected, a prompt is meant for the whole canvas.
        selection: the rectangle around everything selected, or None; of no account for an Expand.
        canvas: size of the canvas in px.
        hints: how much surrounding to add.
        reach_px: how far the result is asked to reach beyond what changes; that much more surrounding is added.

    Raises:
        EmptySelection: nothing is selected that could change.
        RequestError: what changes is larger than ``max_pixels``, or the canvas than any may be.
    """
    canvas_after(operation, canvas)
    if isinstance(operation, Expand):
        return Scope(plan_expand_context(canvas, operation.margins, hints, reach_px))
    if selection is None and isinstance(operation, (Fill, Edit)):
        if not operation.prompt.strip():
            raise EmptySelection(
                "Nothing is selected. Select the area that should change, or write a prompt to paint the whole picture."
            )
        whole = Rect.from_size(canvas)
        return Scope(_largest_allowed(whole, whole, 0, hints, what="picture"), is_whole=True)
    return Scope(plan_context(selection or Rect(0, 0, 0, 0), canvas, hints, reach_px))


def plan_context(selection: Rect, canvas: Size, hints: ContextHints, reach_px: int = 0) -> Rect:
    """Choose what the engine sees around a selection.

    The result holds the part of ``selection`` on the canvas, lies inside the canvas, and is padded as the hints say,
    with less padding where ``max_pixels`` does not allow more.

    Raises:
        EmptySelection: no part of ``selection`` lies on the canvas.
        RequestError: the selection alone is larger than ``max_pixels``.
    """
    whole = Rect.from_size(canvas)
    target = selection.intersect(whole)
    if target.is_empty:
        raise EmptySelection(
            "The selection lies outside the canvas. Select an area of the picture that should change."
            if not selection.is_empty
            else "Nothing is selected. Select the area that should change, then try again."
        )
    padding = max(hints.min_padding_px, round(hints.padding_frac * (target.width + target.height) / 2))
    return _largest_allowed(target, whole, padding + reach_px, hints, what="selection")


def plan_expand_context(canvas: Size, margins: Margins, hints: ContextHints, reach_px: int = 0) -> Rect:
    """Choose what the engine sees for an Expand: the new border and the picture beside it.

    The result lies inside the grown canvas and holds all that is new; its coordinates are those of the old canvas,
    negative to the left and above.

    Raises:
        RequestError: no margin is given, or the new border alone is larger than ``max_pixels``.
    """
    if margins.is_empty:
        raise RequestError("Say how many pixels to add on at least one side.")
    old = Rect.from_size(canvas)
    new = old.expand(margins)
    added = Rect(0, 0, 0, 0)
    for strip in (
        Rect.from_edges(new.left, new.top, old.left, new.bottom),
        Rect.from_edges(old.right, new.top, new.right, new.bottom),
        Rect.from_edges(new.left, new.top, new.right, old.top),
        Rect.from_edges(new.left, old.bottom, new.right, new.bottom),
    ):
        added = added.union(strip)
    widest = max(margins.left, margins.top, margins.right, margins.bottom)
    padding = max(hints.min_padding_px, hints.min_side_px // 2, round(2 * hints.padding_frac * widest))
    return _largest_allowed(added, new, padding + reach_px, hints, what="new border")


def _largest_allowed(target: Rect, whole: Rect, padding: int, hints: ContextHints, *, what: str) -> Rect:
    if target.area > hints.max_pixels:
        raise RequestError(
            f"The {what} spans {target.size} px, more than the {hints.max_pixels // 1_000_000} megapixels that can "
            "be worked on at once. Choose a smaller area, or scale the picture down."
        )
    while True:
        context = _at_least(target.grow(padding).intersect(whole), whole, hints.min_side_px)
        if context.area <= hints.max_pixels:
            return context
        if padding == 0:
            return target
        padding //= 2


def _at_least(rect: Rect, whole: Rect, side: int) -> Rect:
    """Widen ``rect`` evenly to ``side`` on each axis, shifted to stay inside ``whole``."""
    width = min(max(rect.width, side), whole.width)
    height = min(max(rect.height, side), whole.height)
    x = min(max(whole.left, rect.x - (width - rect.width) // 2), whole.right - width)
    y = min(max(whole.top, rect.y - (height - rect.height) // 2), whole.bottom - height)
    return Rect(x, y, width, height)
