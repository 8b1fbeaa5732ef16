"""The engine that needs no model: it continues the surroundings.

A fill is drafts, fields and detail. Drafts are painted by PatchMatch (Barnes et al. 2009, the library is PyPatchMatch) at a
bounded resolution and at coarser ones. The field says for each pixel of a draft which known pixel it resembles, and neighbors
agree on it. The draft whose textures are least strange among their surroundings is taken, and detail is copied along its field
from the picture itself, at its own resolution and in its own precision. Where straight lines cross the hole, a single draft is
guided along them and its field straightened. It invents nothing and follows no prompt.
"""

from .engine import EmbeddedEngine

__all__ = ["EmbeddedEngine"]
