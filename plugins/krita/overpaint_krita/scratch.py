"""Scratch documents: of one pixel, in no view, for what Krita's API can do only in a document and must not do in the artist's.

Undo steps of nodes that such a document made go to it and end with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from krita import Document, Krita

__all__ = ["scratch_like"]


@contextmanager
def scratch_like(app: Krita, document: Document) -> Iterator[Document]:
    """A scratch document in the color space of ``document``, closed without a question at the end."""
    scratch = app.createDocument(
        1, 1, "", document.colorModel(), document.colorDepth(), document.colorProfile(), 100.0
    )
    scratch.setBatchmode(True)
    try:
        yield scratch
    finally:
        scratch.setModified(False)
        scratch.close()
