"""Capture: read what a job needs of a document, in bands, and lay it out as ``job.submit``."""

from __future__ import annotations

import hashlib
from collections.abc import Generator

from overpaint_protocol.errors import EmptySelection
from overpaint_protocol.geometry import Rect
from overpaint_protocol.messages import Expand, JobId, SubmitJob
from overpaint_protocol.pixels import Bytes, ImageHeader, PixelFormat, band_rows

from .context import Scope
from .editor import DocumentInfo, EditorPort
from .jobs import Content, EditRequest

__all__ = ["BAND_BYTES", "Payload", "capture", "content_of", "read_content"]

BAND_BYTES = 1024 * 1024
"""Pixels read or written between two turns of the editor's loop: a few milliseconds of its main thread."""

_MOST_BANDS = 256
"""Larger pictures are read in larger bands. Whole rows make fewer than twice as many, so that picture, selection and
profile together stay within the frames of one message (MAX_PAYLOAD_FRAMES)."""

Payload = tuple[Bytes, ...]


def capture(
    port: EditorPort, info: DocumentInfo, scope: Scope, request: EditRequest, job_id: JobId
) -> Generator[None, None, tuple[SubmitJob, Payload]]:
    """Read the Context's pixels and, where only a part of it changes, the selection; yields between two bands.

    Returns:
        The message and its payload frames.

    Raises:
        EmptySelection: nothing in the Context is selected, not even faintly.
        NoDocument, UnsupportedFormat: as ``EditorPort.open_reader``.
    """
    context = scope.context
    visible = context.intersect(Rect.from_size(info.canvas))
    has_mask = not isinstance(request.operation, Expand)
    image: list[Bytes] = []
    mask: list[Bytes] = []
    reader = port.open_reader(info.document_id, visible)
    try:
        for band in visible.bands(_rows_at_once(visible, info.format)):
            image.append(reader.pixels(band))
            yield
        if has_mask:
            for band in context.bands(_rows_at_once(context, PixelFormat.GRAY8)):
                mask.append(b"\xff" * band.area if scope.is_whole else reader.selection(band))
                yield
    finally:
        reader.close()
    # count(0) takes 9 ms for 16 MiB of zeros, any() 86 ms: too long for the editor's main thread
    if has_mask and all(len(band) == bytes(band).count(0) for band in mask):
        raise EmptySelection("The selection is empty. Select the area that should change, then try again.")
    profile = () if info.profile is None else (info.profile,)
    payload = (*image, *mask, *profile)
    message = SubmitJob(
        job_id=job_id,
        document_id=info.document_id,
        operation=request.operation,
        engine=request.engine,
        recipe=request.recipe,
        variants=request.variants,
        seed=request.seed,
        canvas=info.canvas,
        context=context,
        image=ImageHeader(
            size=visible.size,
            format=info.format,
            color=info.color,
            frames=tuple(range(len(image))),
            profile=len(payload) - 1 if profile else None,
        ),
        mask=ImageHeader(
            size=context.size,
            format=PixelFormat.GRAY8,
            frames=tuple(range(len(image), len(image) + len(mask))),
        )
        if has_mask
        else None,
        edges=request.edges,
        is_batch=request.is_batch,
        slot=request.slot,
    )
    return message, payload


def content_of(message: SubmitJob, payload: Payload) -> Generator[None, None, Content]:
    """The look of what ``capture`` read; yields between two bands."""
    digest = hashlib.blake2b(digest_size=32)
    for band in message.image.take(payload):
        digest.update(band)
        yield
    return Content(area=message.visible, digest=digest.hexdigest())


def read_content(port: EditorPort, info: DocumentInfo, area: Rect) -> Generator[None, None, Content]:
    """The look of a part of a document's canvas now; yields between two bands.

    Raises:
        NoDocument, UnsupportedFormat: as ``EditorPort.open_reader``.
    """
    digest = hashlib.blake2b(digest_size=32)
    reader = port.open_reader(info.document_id, area)
    try:
        for band in area.bands(_rows_at_once(area, info.format)):
            digest.update(reader.pixels(band))
            yield
    finally:
        reader.close()
    return Content(area=area, digest=digest.hexdigest())


def _rows_at_once(rect: Rect, pixel_format: PixelFormat) -> int:
    image_bytes = rect.area * pixel_format.bytes_per_pixel
    return band_rows(rect.width, pixel_format, max(BAND_BYTES, -(-image_bytes // _MOST_BANDS)))
