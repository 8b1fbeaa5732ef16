"""The msgpack used by the codec: the pure-Python copy the installer bundles, else the installed package.

In an editor nothing compiled can be relied on, so the installer puts msgpack's own pure files into
``overpaint_protocol/_vendor/msgpack``. They are never committed. Elsewhere the installed msgpack serves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import msgpack
else:
    try:
        from ._vendor import msgpack
    except ImportError:
        import msgpack

__all__ = ["msgpack"]
