"""GimpEditor: GIMP's images, layers and selection behind EditorPort.

Pixels are read from a merged duplicate, so neither the artist's layers nor the undo history notice. They are the
image's own numbers (``formats``), and the daemon's result comes back in the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from gi.repository import Gegl, Gimp

from overpaint_client.editor import DocumentInfo, Insertion
from overpaint_protocol.errors import ImageError, NoDocument, UnsupportedFormat
from overpaint_protocol.geometry import Margins, Rect, Size
from overpaint_protocol.pixels import Bytes, ColorSpace

from .formats import add_alpha, encoding_of

__all__ = ["GimpEditor", "identify"]

_SELECTION_FORMAT = "Y u8"
"""The numbers the selection is stored in. "Y' u8" would bend them through the sRGB curve."""

_FILTER_REACH_PX = 256
"""How far around what is read layers keep their pixels: filters on a layer, such as a blur, look that far."""


def identify(image: Gimp.Image) -> str:
    """The name of an image that no other has, nor ever had."""
    return f"{_prefix()}{image.get_id()}"


class GimpEditor:
    """An EditorPort for the image a procedure was called with; any other open image is found by its id.

    Args:
        image: the active document, or None if there is none.
    """

    name = "gimp"

    def __init__(self, image: Gimp.Image | None) -> None:
        self.version: str = Gimp.version()
        self._image = image
        self._prefix = _prefix()

    def active_document(self) -> DocumentInfo:
        """See EditorPort."""
        if self._image is None or not self._image.is_valid():
            raise NoDocument("The image was closed. Open it again, then try once more.")
        return self._describe(self._image)

    def document(self, document_id: str) -> DocumentInfo:
        """See EditorPort."""
        return self._describe(self._find(document_id))

    def selection_bounds(self, document_id: str) -> Rect | None:
        """See EditorPort."""
        found = Gimp.Selection.bounds(self._find(document_id))
        return Rect.from_edges(found.x1, found.y1, found.x2, found.y2) if found.non_empty else None

    def open_reader(self, document_id: str, area: Rect) -> _Reader:
        """See EditorPort."""
        image = self._find(document_id)
        return _Reader(image, self._describe(image), area)

    def begin_insertion(self, document_id: str, insertion: Insertion) -> _Writer:
        """See EditorPort."""
        image = self._find(document_id)
        self._describe(image)
        return _Writer(image, insertion)

    def _find(self, document_id: str) -> Gimp.Image:
        number = document_id.removeprefix(self._prefix)
        if number == document_id or not number.isdecimal() or not Gimp.Image.id_is_valid(int(number)):
            raise NoDocument("The image is not open any more. Open it again, then try once more.")
        return Gimp.Image.get_by_id(int(number))

    def _describe(self, image: Gimp.Image) -> DocumentInfo:
        if image.get_base_type() == Gimp.ImageBaseType.INDEXED:
            raise UnsupportedFormat(
                "This image is indexed: it can only show the colors of its palette. "
                "Choose Image > Mode > RGB, then try again."
            )
        file = image.get_xcf_file() or image.get_imported_file()
        encoding = encoding_of(image)
        return DocumentInfo(
            document_id=identify(image),
            # GIMP's own name of an image that is not an XCF file is decorated: [photo] (imported)
            title=file.get_basename() if file is not None else image.get_name(),
            path=(file.get_path() or "") if file is not None else "",
            canvas=Size(image.get_width(), image.get_height()),
            format=encoding.format,
            color=encoding.color,
            profile=encoding.profile,
        )


def _prefix() -> str:
    """Of this GIMP's documents: ids of images start again at 1 with every GIMP, and several may run.

    Ids of processes come again, too: in a sandbox every GIMP may have the same.
    """
    process = Gimp.getpid()
    try:
        status = Path(f"/proc/{process}/stat").read_text(encoding="ascii", errors="replace")
        started = status.rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        started = "0"
    return f"gimp-{process}-{started}-"


class _Reader:
    def __init__(self, image: Gimp.Image, info: DocumentInfo, area: Rect) -> None:
        self._bytes_per_pixel = info.format.bytes_per_pixel
        self._selection = _copy_of_selection(image)
        copy = image.duplicate()
        copy.undo_disable()
        self._copy: Gimp.Image | None = copy
        # Merging all of a large canvas for a small part takes long: 36 s for 30 000 px square, 0.7 s cropped.
        kept = area.grow(_FILTER_REACH_PX).intersect(Rect.from_size(info.canvas))
        copy.crop(kept.width, kept.height, kept.x, kept.y)
        encoding = encoding_of(image)
        # GIMP's own way to add alpha takes arithmetic: with a profile it is far off, and 32-bit numbers lose as much as the path of
        # conversions that babl measured as the quickest a moment ago happens to cost, on a busy machine up to 2e-5. It is quicker,
        # though: 0.5 s rather than 2.8 for 4096².
        if encoding.color is ColorSpace.ICC or encoding.format.bits == 32:
            for layer in _layers_below(copy):
                if not layer.has_alpha():
                    add_alpha(layer)
        # None if no layer is visible
        merged = copy.merge_visible_layers(Gimp.MergeType.CLIP_TO_IMAGE)
        self._buffer: Gegl.Buffer | None = None
        if merged is not None:
            self._buffer = merged.get_buffer()
            _, left, top = merged.get_offsets()
            self._left, self._top = left + kept.x, top + kept.y
            self._format = encoding.in_space_of(merged)

    def pixels(self, rect: Rect) -> Bytes:
        if self._buffer is None:
            return bytes(rect.area * self._bytes_per_pixel)
        place = Gegl.Rectangle.new(rect.x - self._left, rect.y - self._top, rect.width, rect.height)
        return self._buffer.get(place, 1.0, self._format, Gegl.AbyssPolicy.NONE)

    def selection(self, rect: Rect) -> Bytes:
        place = Gegl.Rectangle.new(rect.x, rect.y, rect.width, rect.height)
        return self._selection.get(place, 1.0, _SELECTION_FORMAT, Gegl.AbyssPolicy.NONE)

    def close(self) -> None:
        copy, self._copy = self._copy, None
        self._buffer = None
        if copy is not None:
            copy.delete()


def _layers_below(parent: Gimp.Image | Gimp.GroupLayer) -> Iterator[Gimp.Layer]:
    """All layers that are no groups, at any depth."""
    for layer in parent.get_layers() if isinstance(parent, Gimp.Image) else parent.get_children():
        if layer.is_group():
            yield from _layers_below(layer)
        else:
            yield layer


def _copy_of_selection(image: Gimp.Image) -> Gegl.Buffer:
    """The selection as it is now, in canvas coordinates: a change between two bands must not tear it.

    Of the image's own: GIMP stores the selection of a duplicate with another curve (seen in 3.0 and 3.2).
    """
    bounds = Gimp.Selection.bounds(image)
    place = Gegl.Rectangle.new(bounds.x1, bounds.y1, bounds.x2 - bounds.x1, bounds.y2 - bounds.y1)
    if not bounds.non_empty:
        place = Gegl.Rectangle.new(0, 0, 1, 1)
    own = Gegl.Buffer.new(_SELECTION_FORMAT, place.x, place.y, place.width, place.height)
    selected = image.get_selection().get_buffer()
    own.set(place, _SELECTION_FORMAT, selected.get(place, 1.0, _SELECTION_FORMAT, Gegl.AbyssPolicy.NONE))
    return own


class _Writer:
    """Fills layers that belong to the image and are in none of its stacks yet: undo knows nothing of them."""

    def __init__(self, image: Gimp.Image, insertion: Insertion) -> None:
        self._image = image
        self._insertion = insertion
        kind = {
            Gimp.ImageBaseType.RGB: Gimp.ImageType.RGBA_IMAGE,
            Gimp.ImageBaseType.GRAY: Gimp.ImageType.GRAYA_IMAGE,
        }[image.get_base_type()]
        self._layers = [
            Gimp.Layer.new(
                image, plan.name, plan.rect.width, plan.rect.height, kind, 100.0, Gimp.LayerMode.NORMAL
            )
            for plan in insertion.layers
        ]
        self._format = encoding_of(image).in_space_of(self._layers[0])

    def write(self, layer: int, rect: Rect, data: Bytes) -> None:
        self._check_open()
        place = rect.relative_to(self._insertion.layers[layer].rect.origin)
        buffer = self._layers[layer].get_buffer()
        buffer.set(Gegl.Rectangle.new(place.x, place.y, place.width, place.height), self._format, bytes(data))
        # at once: tiles that are still here when the image is closed or the layer deleted end the process
        buffer.flush()

    def commit(self) -> None:
        self._check_open()
        for layer, plan in zip(self._layers, self._insertion.layers, strict=True):
            layer.update(0, 0, plan.rect.width, plan.rect.height)
        self._image.undo_group_start()
        try:
            self._insert(self._insertion.margins or Margins())
        finally:
            self._image.undo_group_end()
        self._layers = []
        Gimp.displays_flush()

    def abort(self) -> None:
        for layer in self._layers:
            if layer.is_valid():
                layer.delete()
        self._layers = []

    def _check_open(self) -> None:
        if not self._image.is_valid():
            raise NoDocument(
                "The image was closed before the result came. Open it again, then try once more."
            )

    def _insert(self, margins: Margins) -> None:
        image = self._image
        floating = image.get_floating_sel()
        if floating is not None:
            # nothing can lie above it, and anchoring it would change the layer below
            _require(Gimp.floating_sel_to_layer(floating), "turning the floating selection into a layer")
        if not margins.is_empty:
            size = Rect(0, 0, image.get_width(), image.get_height()).expand(margins).size
            grown = image.resize(size.width, size.height, margins.left, margins.top)
            _require(grown, "growing the canvas")
        group = None
        if len(self._layers) > 1:
            group = Gimp.GroupLayer.new(image, self._insertion.name)
            _require(image.insert_layer(group, None, 0), "adding the layer group")
        # the last one in is the selected one: that shall be the top-most
        for layer, plan in zip(reversed(self._layers), reversed(self._insertion.layers), strict=True):
            layer.set_visible(plan.is_visible)
            layer.set_offsets(plan.rect.x + margins.left, plan.rect.y + margins.top)
            _require(image.insert_layer(layer, group, 0), "adding a layer")


def _require(done: bool, what: str) -> None:
    if not done:
        reason = Gimp.get_pdb().get_last_error()
        raise ImageError(
            "GIMP could not add the result to the image. Try again; if that fails too, save your work and restart GIMP.",
            detail=f"{what}: {reason}",
        )
