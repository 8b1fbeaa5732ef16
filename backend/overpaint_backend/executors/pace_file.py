"""Where the paces of runs outlive the worker: a small file in the daemon's state folder."""

from __future__ import annotations

import logging
from pathlib import Path

from overpaint_protocol import codec
from overpaint_protocol.errors import OverpaintError

from .pace import History

__all__ = ["read_history", "write_history"]

_log = logging.getLogger(__name__)


def read_history(path: Path) -> History:
    """What was written last; an empty history if there is none or it is of no use, since it only saves learning anew."""
    try:
        return codec.unpack(path.read_bytes(), History)
    except FileNotFoundError:
        return History()
    except (OSError, OverpaintError) as error:
        _log.warning("earlier runs are forgotten: %s", error)
        return History()


def write_history(path: Path, history: History) -> None:
    """Replace the file in one step. A disk that is full is no reason for a job to fail, so it is only logged."""
    new = path.with_suffix(".new")
    try:
        new.write_bytes(codec.pack(history))
        new.replace(path)
    except OSError as error:
        _log.warning("this run will be forgotten: %s", error)
