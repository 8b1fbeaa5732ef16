"""Versions of the product and of the wire protocol, and how two peers agree on one (spec §6)."""

from __future__ import annotations

from .errors import UnsupportedVersion

__all__ = ["FEATURES", "MAJOR", "MINOR", "PRODUCT_VERSION", "negotiate"]

PRODUCT_VERSION = "0.1.0"

MAJOR = 1
"""Major version of the protocol, part of the magic of every message."""

MINOR = 0
"""Newest minor version this code knows."""

FEATURES: tuple[str, ...] = ()
"""Names of optional behavior this code offers; a peer uses one only if both list it."""


def negotiate(oldest_minor: int, newest_minor: int) -> int:
    """Choose the newest minor version that both peers know.

    Args:
        oldest_minor: the oldest minor version the client accepts.
        newest_minor: the newest minor version the client knows.

    Raises:
        UnsupportedVersion: the two ranges do not meet; its sentence names both.
    """
    if oldest_minor > newest_minor or newest_minor < 0:
        raise UnsupportedVersion(
            f"The plug-in named an impossible range of protocol versions ({oldest_minor} to {newest_minor})."
        )
    if oldest_minor > MINOR:
        raise UnsupportedVersion(
            f"The plug-in needs protocol {MAJOR}.{oldest_minor}, the daemon speaks up to {MAJOR}.{MINOR}. "
            "Update Overpaint's daemon."
        )
    return min(newest_minor, MINOR)
