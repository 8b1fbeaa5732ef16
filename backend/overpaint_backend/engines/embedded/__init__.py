"""The engine that needs no model: it continues the surroundings.

A fill is a draft, a field and detail. Drafts are painted by PatchMatch (Barnes et al. 2009, the library is PyPatchMatch)
at a bounded resolution and at coarser ones; the least strange among its surroundings is taken. The field says for each pixel of the draft which known pixel it resembles, and neighbors agree on
it. Detail is copied along the field from the picture itself, at its own resolution and in its own precision. It invents
nothing and follows no prompt.
"""

from .engine import EmbeddedEngine

__all__ = ["EmbeddedEngine"]
