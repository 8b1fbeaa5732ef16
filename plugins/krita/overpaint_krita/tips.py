"""Tool tips with words in them that others wrote: recipes, models, engines."""

from __future__ import annotations

from html import escape

__all__ = ["plain_tip"]


def plain_tip(text: str) -> str:
    """``text`` so that Qt shows it as it is: what looks like tags it takes for them, and loads the pictures they name."""
    return f"<p>{escape(text)}</p>" if "<" in text else text
