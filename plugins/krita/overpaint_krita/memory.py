"""Choices that outlive a session, in kritarc."""

from __future__ import annotations

from krita import Krita

__all__ = ["keep", "recall"]

_GROUP = "overpaint"


def recall(name: str) -> str:
    """What was kept under ``name``, or empty."""
    return Krita.instance().readSetting(_GROUP, name, "")


def keep(name: str, value: str) -> None:
    """Remember ``value`` under ``name``; empty forgets it."""
    Krita.instance().writeSetting(_GROUP, name, value)
