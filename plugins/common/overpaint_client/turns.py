"""Run long work on an event loop in short pieces.

A piece of work is a generator that yields wherever the editor may breathe; the loop handles what is waiting (paint,
input, sockets) between two pieces.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from .loop import Loop

__all__ = ["run_in_turns"]


def run_in_turns(
    loop: Loop, work: Iterator[None], on_error: Callable[[Exception], None], *, first_at_once: bool = False
) -> Callable[[], None]:
    """Run ``work`` piece by piece; returns a function that stops it (its ``finally`` blocks run).

    An exception out of ``work`` ends it and goes to ``on_error``. With ``first_at_once`` the first piece is run before this
    returns.
    """
    is_stopped = False

    def turn() -> None:
        if is_stopped:
            return
        try:
            next(work)
        except StopIteration:
            return
        except Exception as error:  # the border of the work: whatever it was, the artist is told
            on_error(error)
            return
        loop.call_later(0, turn)

    def stop() -> None:
        nonlocal is_stopped
        if not is_stopped:
            is_stopped = True
            close = getattr(work, "close", None)
            if close is not None:
                close()

    if first_at_once:
        turn()
    else:
        loop.call_later(0, turn)
    return stop
