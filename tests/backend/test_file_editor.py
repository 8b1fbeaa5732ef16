"""FileEditor: the contract of every editor, and the flattening only it does."""

from __future__ import annotations

import numpy as np
import pytest

from overpaint_backend.cli.file_editor import PIXEL_DTYPES, FileEditor, FileLayer, lay_over
from overpaint_client.editor import Insertion, LayerPlan
from overpaint_client.testing.contract import EditorContract, LayerState
from overpaint_client.testing.kinds import DocumentKind
from overpaint_protocol.geometry import Margins, Rect, Size
from overpaint_protocol.pixels import PixelFormat


class FileHarness:
    """Drives a FileEditor for the contract."""

    undo_steps_fill = 1
    undo_steps_expand = 1
    kinds = tuple(DocumentKind(pixel_format) for pixel_format in PIXEL_DTYPES)

    def __init__(self) -> None:
        self.port = FileEditor()

    def open_document(self, title: str, size: Size, rgba8: bytes) -> str:
        pixels = np.frombuffer(rgba8, np.uint8).reshape(size.height, size.width, 4)
        return self.port.open(pixels, PixelFormat.RGBA8, title=title).document_id

    def open_kind(self, title: str, size: Size, kind: DocumentKind, pixels: bytes) -> str:
        shape = (size.height, size.width, kind.format.channels)
        own = np.frombuffer(pixels, PIXEL_DTYPES[kind.format]).reshape(shape)
        return self.port.open(own, kind.format, title=title).document_id

    def numbers(self, document_id: str, rect: Rect) -> bytes:
        top = self.port.layers(document_id)[0]
        assert top.rect == rect
        return top.pixels.tobytes()

    def open_unsupported(self) -> bool:
        return False  # a file of a color model that cannot be used is refused before it becomes a document

    def select(self, document_id: str, rect: Rect, mask: bytes | None) -> None:
        canvas = self.port.document(document_id).canvas
        selection = None
        if mask is not None:
            selection = np.zeros((canvas.height, canvas.width), np.uint8)
            soft = np.frombuffer(mask, np.uint8).reshape(rect.height, rect.width)
            selection[rect.top : rect.bottom, rect.left : rect.right] = soft
        self.port.select(document_id, selection)

    def layers(self, document_id: str) -> list[LayerState]:
        return [
            LayerState(layer.name, layer.rect, layer.is_visible, layer.group, layer.pixels.tobytes())
            for layer in self.port.layers(document_id)
        ]

    def undo(self, document_id: str) -> None:
        self.port.undo(document_id)

    def close_document(self, document_id: str) -> None:
        self.port.close(document_id)

    def settle(self) -> None:
        pass


class TestFileEditor(EditorContract):
    @pytest.fixture
    def harness(self) -> FileHarness:
        return FileHarness()


def noise(shape: tuple[int, ...], dtype: type, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


@pytest.mark.parametrize("pixel_format", list(PIXEL_DTYPES))
def test_every_format_is_read_and_written_exactly(pixel_format: PixelFormat):
    dtype = PIXEL_DTYPES[pixel_format].type
    pixels = noise((9, 7, pixel_format.channels), dtype)
    pixels[..., -1] = np.iinfo(dtype).max
    editor = FileEditor()
    info = editor.open(pixels, pixel_format)
    rect = Rect(2, 3, 4, 5)
    assert editor.open_reader(info.document_id, rect).pixels(rect) == pixels[3:8, 2:6].tobytes()

    layer = noise((5, 4, pixel_format.channels), dtype, seed=2)
    writer = editor.begin_insertion(
        info.document_id, Insertion(name="F", layers=(LayerPlan(name="F", rect=rect),))
    )
    writer.write(0, Rect(2, 3, 4, 2), layer[:2].tobytes())
    writer.write(0, Rect(2, 5, 4, 3), layer[2:].tobytes())
    writer.commit()
    assert np.array_equal(editor.inserted(info.document_id)[0].pixels, layer)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_lay_over_keeps_every_bit_where_the_layer_is_transparent(dtype: type):
    below = noise((600, 11, 4), dtype)
    above = noise((600, 11, 4), dtype, seed=2)
    above[::2, :, 3] = 0
    result = below.copy()
    lay_over(result, above)
    assert np.array_equal(result[::2], below[::2])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_lay_over_takes_every_bit_where_the_layer_is_opaque(dtype: type):
    below = noise((30, 11, 2), dtype)
    above = noise((30, 11, 2), dtype, seed=2)
    above[..., 1] = np.iinfo(dtype).max
    lay_over(below, above)
    assert np.array_equal(below, above)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_lay_over_blends_as_the_formula_says(dtype: type):
    top = np.iinfo(dtype).max
    below, above = noise((40, 13, 4), dtype), noise((40, 13, 4), dtype, seed=2)
    b, a = below.astype(np.float64) / top, above.astype(np.float64) / top
    alpha = a[..., 3:] + b[..., 3:] * (1 - a[..., 3:])
    safe = np.where(alpha > 0, alpha, 1)
    color = (a[..., :3] * a[..., 3:] + b[..., :3] * b[..., 3:] * (1 - a[..., 3:])) / safe
    expected = np.concatenate([color, alpha], axis=-1) * top
    shows = above[..., 3] > 0
    lay_over(below, above)
    assert np.abs(below - expected)[shows].max() <= 0.501


def test_flatten_shows_one_variant_at_a_time():
    editor = FileEditor()
    base = np.full((4, 4, 4), 255, np.uint8)
    info = editor.open(base, PixelFormat.RGBA8)
    rect = Rect(1, 1, 2, 2)
    plans = tuple(LayerPlan(name=f"V{i}", rect=rect, is_visible=i == 0) for i in range(2))
    writer = editor.begin_insertion(info.document_id, Insertion(name="G", layers=plans))
    for index in range(2):
        writer.write(index, rect, bytes([10 * index, 0, 0, 255]) * 4)
    writer.commit()
    first, second = editor.inserted(info.document_id)
    for value, layer in ((0, first), (10, second)):
        flat = editor.flatten(info.document_id, showing=layer)
        assert flat[1, 1].tolist() == [value, 0, 0, 255]
        assert flat[0, 0].tolist() == [255] * 4
    assert editor.flatten(info.document_id)[1, 1].tolist() == [0, 0, 0, 255]


def test_expand_moves_the_selection_along():
    editor = FileEditor()
    selection = np.zeros((3, 5), np.uint8)
    selection[1, 2] = 77
    info = editor.open(np.zeros((3, 5, 4), np.uint8), PixelFormat.RGBA8, selection=selection)
    plan = LayerPlan(name="E", rect=Rect(-2, -1, 9, 4))
    insertion = Insertion(name="E", layers=(plan,), margins=Margins(left=2, top=1, right=2))
    editor.begin_insertion(info.document_id, insertion).commit()
    assert editor.selection_bounds(info.document_id) == Rect(4, 2, 1, 1)


def test_open_refuses_arrays_that_do_not_fit():
    editor = FileEditor()
    with pytest.raises(ValueError, match="is not rgba8"):
        editor.open(np.zeros((2, 2, 2), np.uint8), PixelFormat.RGBA8)
    with pytest.raises(ValueError, match="a selection of"):
        editor.open(np.zeros((2, 2, 4), np.uint8), PixelFormat.RGBA8, selection=np.zeros((2, 3), np.uint8))


def test_file_layer_is_immutable():
    layer = FileLayer(name="a", rect=Rect(0, 0, 1, 1), pixels=np.zeros((1, 1, 4), np.uint8))
    with pytest.raises(AttributeError):
        layer.name = "b"  # pyright: ignore[reportAttributeAccessIssue]
