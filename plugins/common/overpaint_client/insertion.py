"""Insertion: turn a job's results into layers, in bands, without the document changing before all is there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from overpaint_protocol.errors import NoDocument, RequestError
from overpaint_protocol.geometry import Rect
from overpaint_protocol.messages import JobVariant
from overpaint_protocol.pixels import band_rows

from .capture import BAND_BYTES, Payload, read_content
from .editor import DocumentInfo, EditorPort, Insertion, LayerPlan
from .jobs import Job

__all__ = ["Results", "check_belongs", "check_content", "insert_results"]

Results = Mapping[int, tuple[JobVariant, Payload]]
"""Variants by index, each with its frames."""


def insert_results(port: EditorPort, job: Job, results: Results) -> Iterator[None]:
    """Write the layers of ``job`` into its document and commit them; yields between two bands.

    Raises:
        NoDocument: the document is closed, or its canvas has changed.
        RequestError: its color mode or profile changed meanwhile.
    """
    variants = sorted(results)
    plans = tuple(
        LayerPlan(
            name=job.label if len(variants) == 1 else f"{job.label} ({place + 1})",
            rect=results[variant][0].target,
            is_visible=place == 0,
        )
        for place, variant in enumerate(variants)
    )
    _check_unchanged(port, job, results)
    insertion = Insertion(name=job.label, layers=plans, margins=job.margins)
    writer = port.begin_insertion(job.document_id, insertion)
    try:
        for place, variant in enumerate(variants):
            for rect, data in _bands(*results[variant]):
                writer.write(place, rect, data)
                yield
        # again: the artist may have cropped or converted the picture between two bands
        _check_unchanged(port, job, results)
        writer.commit()
    finally:
        writer.abort()


def check_content(port: EditorPort, job: Job, document_id: str) -> Iterator[None]:
    """Make sure that a document that no file name tells apart looks as it did when ``job`` read it; yields between two bands.

    Of a picture that was never saved there is nothing else to know it by once its editor has ended.

    Raises:
        NoDocument: it looks different, or is closed.
    """
    info = port.document(document_id)
    if job.content is None or (job.path and job.path == info.path):
        return
    if (yield from read_content(port, info, job.content.area)) != job.content:
        raise _wrong_document(job)


def _check_unchanged(port: EditorPort, job: Job, results: Results) -> None:
    info = port.document(job.document_id)
    _check_canvas(job, info)  # the canvas alone: it may have got another file name meanwhile
    for message, _ in results.values():
        _check_format(message, info)
    if job.profile_digest != info.profile_digest:
        raise RequestError(
            "The document's color profile changed while the job ran. Change it back, then insert the result."
        )


def check_belongs(job: Job, info: DocumentInfo) -> None:
    """Make sure that ``info`` is the document ``job`` was made for, as far as file and canvas tell.

    Raises:
        NoDocument: it is not.
    """
    if job.path and info.path and job.path != info.path:
        raise _wrong_document(job)
    _check_canvas(job, info)


def _check_canvas(job: Job, info: DocumentInfo) -> None:
    if info.canvas != job.canvas:
        raise _wrong_document(job)


def _wrong_document(job: Job) -> NoDocument:
    return NoDocument(
        f"This result belongs to “{job.title}” with a canvas of {job.canvas} px. Open it as it was, then insert "
        "the result."
    )


def _check_format(message: JobVariant, info: DocumentInfo) -> None:
    if message.image.format is not info.format or message.image.color is not info.color:
        raise RequestError(
            f"The document's color mode changed while the job ran (it is {info.format.value} now, the result is "
            f"{message.image.format.value}). Change it back, then insert the result."
        )


def _bands(message: JobVariant, frames: Payload) -> Iterator[tuple[Rect, memoryview]]:
    """Cut a result into bands of whole rows, each with its place on the canvas; copies only if frames split rows."""
    target, row_bytes = message.target, message.target.width * message.image.format.bytes_per_pixel
    if any(len(frame) % row_bytes for frame in frames):
        frames = (b"".join(frames),)
    rows = band_rows(target.width, message.image.format, BAND_BYTES)
    top = target.top
    for frame in frames:
        view = memoryview(frame)
        for start in range(0, len(view), rows * row_bytes):
            piece = view[start : start + rows * row_bytes]
            yield Rect(target.left, top, target.width, len(piece) // row_bytes), piece
            top += len(piece) // row_bytes
