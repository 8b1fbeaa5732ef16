"""Transport: one connection to the daemon, driven by whatever watches its descriptor."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from overpaint_protocol.zmtp_events import Event, Frame

__all__ = ["Transport"]


class Transport(Protocol):
    """One connection, driven by the caller's event loop; nothing here blocks or keeps a thread.

    The caller watches ``fileno()`` for reading all the time and for writing while ``wants_write()``, and calls
    the two handlers, which do a bounded amount of work per call: watches are level-triggered, so what is left
    over brings the next call. Where a loop reports errors apart (``G_IO_ERR``, ``G_IO_HUP``), call
    ``handle_readable`` for them.

    Faults of the network or the peer are never raised: they arrive as the last event, ``Closed(error)``. The
    descriptor stays open until ``close()``, so that the caller can take its watch away first; it must do so when
    it sees ``Closed``, else a level-triggered watch fires for ever.

    There is no clock: the caller bounds how long it waits for ``Connected`` and for a sign of life.
    """

    def fileno(self) -> int:
        """The descriptor to watch; -1 once closed."""
        ...

    def wants_write(self) -> bool:
        """Whether ``handle_writable`` has something to do; ask again after each call of a method."""
        ...

    def handle_readable(self) -> list[Event]:
        """Receive what is there, up to a limit, and return what happened, oldest first."""
        ...

    def handle_writable(self) -> list[Event]:
        """Send what is queued, up to a limit; returns events only where sending showed that the end has come."""
        ...

    def send(self, frames: Iterable[Frame]) -> None:
        """Queue one message. Large bodies are not copied: leave them unchanged until they are sent.

        Raises:
            LinkError: not connected.
            ProtocolError: no frame, or over a limit.
        """
        ...

    def ping(self) -> bool:
        """Queue a request for a sign of life; False where it would be pointless (old peer, many unanswered).

        Raises:
            LinkError: not connected.
        """
        ...

    def pending_bytes(self) -> int:
        """Bytes that are queued and not yet handed to the system."""
        ...

    def close(self) -> None:
        """Close at once and drop what is queued; repeated calls do nothing."""
        ...
