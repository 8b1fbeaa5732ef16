"""EditorContract: what ``EditorPort`` promises, as checks that run under pytest and inside a real editor alike.

An editor's tests supply a ``Harness`` and either subclass ``EditorContract`` for pytest with a ``harness`` fixture, or
call ``run_contract`` where there is no pytest (inside Krita's or GIMP's Python).
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from overpaint_client.editor import EditorPort, Insertion, LayerPlan
from overpaint_protocol.errors import NoDocument, UnsupportedFormat
from overpaint_protocol.geometry import Margins, Point, Rect, Size
from overpaint_protocol.pixels import ColorSpace

from .kinds import DocumentKind, difference, ramp, swap_red_and_blue

__all__ = ["EditorContract", "Harness", "LayerState", "run_contract"]


@dataclass(frozen=True, slots=True)
class LayerState:
    """A paint layer as the editor has it: place in canvas coordinates, straight-alpha RGBA8 pixels of that place.

    An editor may trim fully transparent borders or keep a larger rectangle; the checks compare ``pixel``.
    group: name of the group it lies in, or empty.
    """

    name: str
    rect: Rect
    is_visible: bool
    group: str
    rgba8: bytes

    def pixel(self, at: Point) -> tuple[int, int, int, int]:
        """Color at a canvas position; transparent outside the layer."""
        if not self.rect.contains(Rect(at.x, at.y, 1, 1)):
            return (0, 0, 0, 0)
        start = ((at.y - self.rect.y) * self.rect.width + at.x - self.rect.x) * 4
        r, g, b, a = self.rgba8[start : start + 4]
        return (r, g, b, a)


class Harness(Protocol):
    """What a test must be able to do to an editor, beside its port. Documents are 8-bit RGBA in sRGB, unless they are of a stated kind."""

    port: EditorPort
    undo_steps_fill: int
    """Undo steps an insertion without margins takes: 1."""
    undo_steps_expand: int
    """Undo steps an insertion with margins takes: as few as the editor's interface allows."""
    kinds: Sequence[DocumentKind]
    """Every kind of document that the editor has and the port supports; of profiles, one or a few of each model."""

    def open_document(self, title: str, size: Size, rgba8: bytes) -> str:
        """Make a document with one layer ``Background``, make it the active one, return the port's id for it."""
        ...

    def open_kind(self, title: str, size: Size, kind: DocumentKind, pixels: bytes) -> str:
        """The same with a document of one of ``kinds``; the pixels are its own numbers in its own format."""
        ...

    def numbers(self, document_id: str, rect: Rect) -> bytes:
        """The top-most paint layer's own numbers in ``rect``, in the format of the document's kind."""
        ...

    def open_unsupported(self) -> bool:
        """Make an active document of a color model the port refuses; False if there is no such thing here."""
        ...

    def select(self, document_id: str, rect: Rect, mask: bytes | None) -> None:
        """Select ``rect`` softly as ``mask`` says (one byte a pixel); with None, nothing is selected."""
        ...

    def layers(self, document_id: str) -> list[LayerState]:
        """Every paint layer, top-most first."""
        ...

    def undo(self, document_id: str) -> None:
        """One undo step, as the artist would."""
        ...

    def close_document(self, document_id: str) -> None:
        """Close without saving or asking."""
        ...

    def settle(self) -> None:
        """Let the editor finish what it does in the background."""
        ...


_SIZE = Size(40, 24)


def _picture(size: Size = _SIZE) -> bytes:
    """An opaque picture in which every pixel is different from its neighbors."""
    out = bytearray()
    for y in range(size.height):
        for x in range(size.width):
            out += bytes(((x * 6) % 256, (y * 10) % 256, (x * y * 3 + 7) % 256, 255))
    return bytes(out)


def _solid(size: Size, rgba: tuple[int, int, int, int]) -> bytes:
    return bytes(rgba) * size.area


def _write(
    harness: Harness, document_id: str, insertion: Insertion, pictures: list[bytes], rows: int = 7
) -> None:
    """Write pictures in bands and commit: RGBA8 for an 8-bit RGB document, else the document's own numbers."""
    pixel_format = harness.port.document(document_id).format
    size = pixel_format.bytes_per_pixel
    writer = harness.port.begin_insertion(document_id, insertion)
    for index, (plan, picture) in enumerate(zip(insertion.layers, pictures, strict=True)):
        for band in plan.rect.bands(rows):
            start = (band.y - plan.rect.y) * plan.rect.width * size
            writer.write(index, band, picture[start : start + band.area * size])
    writer.commit()
    writer.abort()
    harness.settle()


def _write_rgba8(harness: Harness, document_id: str, insertion: Insertion, pictures: list[bytes]) -> None:
    pixel_format = harness.port.document(document_id).format
    _write(
        harness, document_id, insertion, [swap_red_and_blue(picture, pixel_format) for picture in pictures]
    )


def _read(harness: Harness, document_id: str, rect: Rect) -> bytes:
    reader = harness.port.open_reader(document_id, rect)
    try:
        return bytes(reader.pixels(rect))
    finally:
        reader.close()
        reader.close()


def _read_rgba8(harness: Harness, document_id: str, rect: Rect) -> bytes:
    return swap_red_and_blue(_read(harness, document_id, rect), harness.port.document(document_id).format)


def _cut(numbers: bytes, rect: Rect, kind: DocumentKind) -> bytes:
    """The part ``rect`` of a picture of ``_SIZE``."""
    size = kind.format.bytes_per_pixel
    starts = ((y * _SIZE.width + rect.left) * size for y in range(rect.top, rect.bottom))
    return b"".join(numbers[start : start + rect.width * size] for start in starts)


def _raises(kind: type[Exception], call: Callable[[], object]) -> Exception:
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} was not raised")


class EditorContract:
    """The checks; each takes a Harness with no document open that the check relies on."""

    def test_active_document_is_described(self, harness: Harness) -> None:
        document_id = harness.open_document("Described", _SIZE, _picture())
        info = harness.port.active_document()
        assert info.document_id == document_id
        assert info.canvas == _SIZE, info.canvas
        assert 1 <= len(document_id) <= 64
        assert all(c.isascii() and (c.isalnum() or c in "-_.") for c in document_id), document_id
        assert harness.port.document(document_id) == info
        assert info.path == "", "a document that was never saved has no path"

    def test_ids_tell_documents_apart_and_stay(self, harness: Harness) -> None:
        first = harness.open_document("First", _SIZE, _picture())
        second = harness.open_document("Second", Size(8, 9), _picture(Size(8, 9)))
        assert first != second
        assert harness.port.document(first).canvas == _SIZE
        assert harness.port.document(second).canvas == Size(8, 9)

    def test_pixels_are_read_exactly(self, harness: Harness) -> None:
        document_id = harness.open_document("Exact", _SIZE, _picture())
        assert _read_rgba8(harness, document_id, Rect.from_size(_SIZE)) == _picture()
        part = Rect(3, 5, 11, 6)
        rows = [_picture()[(y * 40 + 3) * 4 : (y * 40 + 14) * 4] for y in range(5, 11)]
        assert _read_rgba8(harness, document_id, part) == b"".join(rows)

    def test_a_part_of_a_large_document_is_read_exactly(self, harness: Harness) -> None:
        size = Size(1400, 900)
        row = b"".join(bytes((x % 256, x // 7 % 256, 255 - x % 256, 255)) for x in range(size.width))
        document_id = harness.open_document("Large", size, row * size.height)
        rect = Rect(1100, 700, 60, 40)
        document = harness.port.open_reader(document_id, rect)
        info = harness.port.document(document_id)
        part = Rect(1110, 705, 50, 30)
        read = swap_red_and_blue(document.pixels(part), info.format)
        document.close()
        assert read == row[part.left * 4 : part.right * 4] * part.height

    def test_transparent_pixels_have_alpha_0(self, harness: Harness) -> None:
        picture = bytearray(_picture())
        picture[0:4] = bytes(4)
        document_id = harness.open_document("Transparent", _SIZE, bytes(picture))
        read = _read_rgba8(harness, document_id, Rect(0, 0, 2, 1))
        assert read[3] == 0
        assert read[4:8] == bytes(picture[4:8])

    def test_nothing_selected_is_none(self, harness: Harness) -> None:
        document_id = harness.open_document("Unselected", _SIZE, _picture())
        assert harness.port.selection_bounds(document_id) is None
        reader = harness.port.open_reader(document_id, Rect.from_size(_SIZE))
        assert bytes(reader.selection(Rect(3, 2, 6, 5))) == bytes(30)
        reader.close()
        assert _read_rgba8(harness, document_id, Rect.from_size(_SIZE)) == _picture()

    def test_soft_selection_is_read_exactly(self, harness: Harness) -> None:
        document_id = harness.open_document("Soft", _SIZE, _picture())
        rect = Rect(10, 6, 12, 8)
        mask = bytes(1 + (i * 37) % 255 for i in range(rect.area))
        harness.select(document_id, rect, mask)
        bounds = harness.port.selection_bounds(document_id)
        assert bounds is not None
        assert bounds.contains(rect), bounds
        reader = harness.port.open_reader(document_id, Rect.from_size(_SIZE))
        whole = bytes(reader.selection(Rect.from_size(_SIZE)))
        part = bytes(reader.selection(rect))
        reader.close()
        assert part == mask
        outside = sum(
            value
            for i, value in enumerate(whole)
            if not rect.contains(Rect(i % _SIZE.width, i // _SIZE.width, 1, 1))
        )
        assert outside == 0
        assert len(whole) == _SIZE.area

    def test_reading_leaves_no_trace(self, harness: Harness) -> None:
        document_id = harness.open_document("Untouched", _SIZE, _picture())
        harness.select(document_id, Rect(1, 1, 5, 5), bytes([200]) * 25)
        before = harness.layers(document_id)
        _read_rgba8(harness, document_id, Rect.from_size(_SIZE))
        harness.settle()
        assert harness.layers(document_id) == before
        assert harness.port.selection_bounds(document_id) == Rect(1, 1, 5, 5)

    def test_inserted_layer_is_as_planned(self, harness: Harness) -> None:
        document_id = harness.open_document("Insert", _SIZE, _picture())
        before = harness.layers(document_id)
        rect = Rect(5, 4, 10, 12)
        picture = b"".join(bytes((i % 256, 90, 200, 1 + i % 255)) for i in range(rect.area))
        _write_rgba8(
            harness,
            document_id,
            Insertion(name="Fill", layers=(LayerPlan(name="Fill", rect=rect),)),
            [picture],
        )
        layers = harness.layers(document_id)
        assert len(layers) == len(before) + 1
        top = layers[0]
        assert top.name == "Fill", top.name
        assert top.is_visible
        for i in range(rect.area):
            at = Point(rect.x + i % rect.width, rect.y + i // rect.width)
            expected = tuple(picture[i * 4 : i * 4 + 4])
            assert top.pixel(at) == expected, (at, top.pixel(at), expected)
        assert top.pixel(Point(4, 4))[3] == 0, "nothing outside the planned rectangle"
        assert layers[1:] == before, "every other layer is untouched"

    def test_inserted_layer_shows(self, harness: Harness) -> None:
        document_id = harness.open_document("Shows", _SIZE, _picture())
        rect = Rect(5, 4, 10, 12)
        plan = LayerPlan(name="Fill", rect=rect)
        _write_rgba8(
            harness,
            document_id,
            Insertion(name="Fill", layers=(plan,)),
            [_solid(rect.size, (9, 99, 199, 255))],
        )
        assert _read_rgba8(harness, document_id, rect) == _solid(rect.size, (9, 99, 199, 255))
        left = Rect(0, 0, 5, 24)
        rows = [_picture()[y * 160 : y * 160 + 20] for y in range(24)]
        assert _read_rgba8(harness, document_id, left) == b"".join(rows)

    def test_variants_come_in_one_group_first_on_top(self, harness: Harness) -> None:
        document_id = harness.open_document("Group", _SIZE, _picture())
        rect = Rect(2, 2, 6, 6)
        plans = tuple(LayerPlan(name=f"V{i}", rect=rect, is_visible=i == 0) for i in range(3))
        pictures = [_solid(rect.size, (10 + i, 0, 0, 255)) for i in range(3)]
        _write_rgba8(harness, document_id, Insertion(name="Three", layers=plans), pictures)
        top = harness.layers(document_id)[:3]
        assert [layer.name for layer in top] == ["V0", "V1", "V2"]
        assert [layer.is_visible for layer in top] == [True, False, False]
        assert {layer.group for layer in top} == {"Three"}
        assert [layer.pixel(Point(3, 3)) for layer in top] == [(10 + i, 0, 0, 255) for i in range(3)]
        assert _read_rgba8(harness, document_id, Rect(3, 3, 1, 1)) == bytes((10, 0, 0, 255))

    def test_fill_is_undone_in_one_step(self, harness: Harness) -> None:
        document_id = harness.open_document("Undo", _SIZE, _picture())
        before = harness.layers(document_id)
        rect = Rect(2, 2, 6, 6)
        plans = tuple(LayerPlan(name=f"V{i}", rect=rect) for i in range(2))
        pictures = [_solid(rect.size, (1, 2, 3, 255))] * 2
        _write_rgba8(harness, document_id, Insertion(name="Two", layers=plans), pictures)
        assert harness.undo_steps_fill == 1
        harness.undo(document_id)
        harness.settle()
        assert harness.layers(document_id) == before
        assert _read_rgba8(harness, document_id, Rect.from_size(_SIZE)) == _picture()

    def test_expand_grows_the_same_document(self, harness: Harness) -> None:
        document_id = harness.open_document("Expand", _SIZE, _picture())
        margins = Margins(left=3, top=2, right=5, bottom=4)
        grown = Rect.from_size(_SIZE).expand(margins)
        plan = LayerPlan(name="Expand", rect=grown)
        color = (40, 50, 60, 255)
        picture = bytearray()
        for y in range(grown.top, grown.bottom):
            for x in range(grown.left, grown.right):
                inside = 0 <= x < _SIZE.width and 0 <= y < _SIZE.height
                picture += bytes(4) if inside else bytes(color)
        _write_rgba8(
            harness, document_id, Insertion(name="Expand", layers=(plan,), margins=margins), [bytes(picture)]
        )
        info = harness.port.document(document_id)
        assert info.canvas == grown.size, info.canvas
        assert _read_rgba8(harness, document_id, Rect(3, 2, _SIZE.width, _SIZE.height)) == _picture()
        assert _read_rgba8(harness, document_id, Rect(0, 0, 3, 2)) == _solid(Size(3, 2), color)
        corner = Rect(grown.width - 5, grown.height - 4, 5, 4)
        assert _read_rgba8(harness, document_id, corner) == _solid(corner.size, color)

    def test_expand_is_undone_in_the_stated_steps(self, harness: Harness) -> None:
        document_id = harness.open_document("UndoExpand", _SIZE, _picture())
        before = harness.layers(document_id)
        margins = Margins(right=6, bottom=2)
        plan = LayerPlan(name="Expand", rect=Rect(40, 0, 6, 26))
        picture = _solid(plan.rect.size, (7, 8, 9, 255))
        _write_rgba8(
            harness, document_id, Insertion(name="Expand", layers=(plan,), margins=margins), [picture]
        )
        for _ in range(harness.undo_steps_expand):
            harness.undo(document_id)
            harness.settle()
        assert harness.port.document(document_id).canvas == _SIZE
        assert harness.layers(document_id) == before
        assert _read_rgba8(harness, document_id, Rect.from_size(_SIZE)) == _picture()

    def test_selection_survives_an_insertion(self, harness: Harness) -> None:
        document_id = harness.open_document("KeepsSelection", _SIZE, _picture())
        rect = Rect(4, 4, 8, 8)
        mask = bytes(10 + i for i in range(rect.area))
        harness.select(document_id, rect, mask)
        plan = LayerPlan(name="Fill", rect=rect)
        _write_rgba8(
            harness, document_id, Insertion(name="Fill", layers=(plan,)), [_solid(rect.size, (1, 1, 1, 255))]
        )
        reader = harness.port.open_reader(document_id, rect)
        kept = bytes(reader.selection(rect))
        reader.close()
        assert kept == mask

    def test_abort_changes_nothing(self, harness: Harness) -> None:
        document_id = harness.open_document("Abort", _SIZE, _picture())
        before = harness.layers(document_id)
        plan = LayerPlan(name="Fill", rect=Rect(0, 0, 4, 4))
        writer = harness.port.begin_insertion(document_id, Insertion(name="Fill", layers=(plan,)))
        writer.write(0, Rect(0, 0, 4, 4), _solid(Size(4, 4), (5, 5, 5, 255)))
        writer.abort()
        writer.abort()
        harness.settle()
        assert harness.layers(document_id) == before

    def test_a_closed_document_is_gone(self, harness: Harness) -> None:
        keep = harness.open_document("Keep", _SIZE, _picture())
        document_id = harness.open_document("Closed", _SIZE, _picture())
        plan = LayerPlan(name="Fill", rect=Rect(0, 0, 4, 4))
        writer = harness.port.begin_insertion(document_id, Insertion(name="Fill", layers=(plan,)))
        writer.write(0, Rect(0, 0, 4, 4), _solid(Size(4, 4), (5, 5, 5, 255)))
        harness.close_document(document_id)
        harness.settle()
        _raises(NoDocument, writer.commit)
        writer.abort()
        _raises(NoDocument, lambda: harness.port.document(document_id))
        _raises(NoDocument, lambda: harness.port.selection_bounds(document_id))
        _raises(NoDocument, lambda: harness.port.open_reader(document_id, Rect(0, 0, 4, 4)))
        assert harness.port.document(keep).canvas == _SIZE

    def test_every_kind_of_document_is_read_and_gets_layers_in_its_own_numbers(
        self, harness: Harness
    ) -> None:
        assert harness.kinds
        for kind in harness.kinds:
            numbers = ramp(_SIZE, kind.format)
            document_id = harness.open_kind("Kind", _SIZE, kind, numbers)
            info = harness.port.document(document_id)
            assert DocumentKind(info.format, info.color, info.profile) == kind, f"{kind}: {info}"
            assert (info.profile is not None) == (info.color is ColorSpace.ICC), kind
            assert _read(harness, document_id, Rect.from_size(_SIZE)) == numbers, f"{kind}: read converted"
            part = Rect(3, 5, 11, 6)
            assert _read(harness, document_id, part) == _cut(numbers, part, kind), kind

            rect = Rect(5, 4, 10, 12)
            picture = ramp(rect.size, kind.format)
            plan = LayerPlan(name="Fill", rect=rect)
            _write(harness, document_id, Insertion(name="Fill", layers=(plan,)), [picture])
            assert harness.numbers(document_id, rect) == picture, f"{kind}: written converted"
            shown = _read(harness, document_id, rect)
            off = difference(shown, picture, kind.format)
            assert off <= kind.composite_error, f"{kind}: does not show, off by {off}"
            for beside in (Rect(0, 0, 40, 4), Rect(0, 4, 5, 20), Rect(15, 4, 25, 20), Rect(5, 16, 10, 8)):
                off = difference(
                    _read(harness, document_id, beside), _cut(numbers, beside, kind), kind.format
                )
                assert off <= kind.composite_error, f"{kind}: {beside} is off by {off}"
            harness.close_document(document_id)

    def test_an_unsupported_color_model_is_refused_with_advice(self, harness: Harness) -> None:
        if not harness.open_unsupported():
            return
        error = _raises(UnsupportedFormat, harness.port.active_document)
        assert len(str(error)) > 20, error


def run_contract(make_harness: Callable[[], Harness]) -> list[tuple[str, str]]:
    """Run every check with a fresh harness; returns (name, traceback), the latter empty for a check that passed."""
    results = []
    for name in [name for name in vars(EditorContract) if name.startswith("test_")]:
        try:
            getattr(EditorContract(), name)(make_harness())
            results.append((name, ""))
        except Exception:
            results.append((name, traceback.format_exc()))
    return results
