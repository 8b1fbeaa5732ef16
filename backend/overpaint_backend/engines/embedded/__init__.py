"""The engine that needs no model: it continues the surroundings.

A fill is a draft, fields and detail. The draft is painted by PatchMatch (Barnes et al. 2009, the library is PyPatchMatch) at a
quarter of a bounded resolution and refined to the whole of it. The field says for each pixel which known pixel it resembles, and
neighbors agree on it. Along it, detail is copied from the picture itself, at its own resolution and in its own precision. Where
straight lines cross the hole, the draft is painted at half that resolution, guided along them, and each field is straightened.
Where the picture comes again, as walls do, the field is a map of its periods instead, and needs no draft.
It invents nothing and follows no prompt.
"""

from .engine import EmbeddedEngine

__all__ = ["EmbeddedEngine"]
