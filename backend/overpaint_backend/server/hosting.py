"""What surrounds a process that editors connect to, a daemon or a relay: one of them at a time, its log, its end."""

from __future__ import annotations

import contextlib
import logging
import logging.handlers
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import filelock
import psutil
import zmq

from overpaint_backend.config import RUNTIME_DIR_VARIABLE, DaemonSettings
from overpaint_protocol.connection import STATE_DIR_VARIABLE
from overpaint_protocol.errors import DaemonError, OverpaintError

from .router import private_dir

__all__ = ["check_libzmq", "host", "until_signalled"]

_OLDEST_LIBZMQ = (4, 3, 5)
"""Earlier ones have known holes in front of the authentication."""

_PACKAGE = "overpaint_backend"
_LOCK_OWNER_WAIT_S = 1.0

_log = logging.getLogger(__name__)


def host(settings: DaemonSettings, serve: Callable[[], None]) -> int:
    """Run ``serve`` as the only process of the state folder that editors connect to, with private folders and a log.

    Returns:
        The exit code: 0 after an ordered end, 1 if it could not start; the reason is on standard error.
    """
    os.umask(0o077)
    try:
        check_libzmq()
        private_dir(settings.state_dir)
        private_dir(settings.runtime_dir)
        with _only_one(settings), _log_file(settings):
            serve()
    except OverpaintError as error:
        sys.stderr.write(f"{error.message}\n")
        return 1
    except (OSError, zmq.ZMQError) as error:
        where = f"{error.filename}: " if isinstance(error, OSError) and error.filename else ""
        sys.stderr.write(
            f"Overpaint cannot start: {where}{error.strerror}. “overpaint doctor” says more; {STATE_DIR_VARIABLE} and "
            f"{RUNTIME_DIR_VARIABLE} choose other folders.\n"
        )
        return 1
    return 0


@contextlib.contextmanager
def until_signalled() -> Iterator[Callable[[], bool]]:
    """Yields what tells whether a signal has asked for the end; signals do nothing else meanwhile."""
    is_signalled = False

    def on_signal(*_: object) -> None:
        nonlocal is_signalled
        is_signalled = True

    previous = {number: signal.signal(number, on_signal) for number in _ending_signals()}
    try:
        yield lambda: is_signalled
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def check_libzmq() -> None:
    """Refuse a libzmq that must not be exposed to anybody.

    Raises:
        DaemonError: it is too old; the sentence says what to do.
    """
    if zmq.zmq_version_info() < _OLDEST_LIBZMQ:
        wanted = ".".join(map(str, _OLDEST_LIBZMQ))
        raise DaemonError(
            f"libzmq {zmq.zmq_version()} is too old: {wanted} is needed. Run: pip install --upgrade pyzmq"
        )


class _LogFile(logging.handlers.RotatingFileHandler):
    """As its base, which lays every line out twice and asks the disk for the file each time: two thirds of what a line costs."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record) + self.terminator
            if self.stream is not None and self.stream.tell() + len(line.encode()) > self.maxBytes:
                self.doRollover()
            self.stream = self.stream or self._open()
            self.stream.write(line)
            self.stream.flush()
        except Exception:
            self.handleError(record)


def _ending_signals() -> list[signal.Signals]:
    names = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
    return [getattr(signal, name) for name in names if hasattr(signal, name)]


@contextlib.contextmanager
def _only_one(settings: DaemonSettings) -> Iterator[None]:
    """Hold the lock that makes this the only daemon or relay of its state folder.

    Raises:
        DaemonError: there is one already; the sentence names its process.
    """
    lock = filelock.FileLock(settings.lock_path, timeout=0, mode=0o600)
    try:
        lock.acquire()
    except filelock.Timeout:
        pid = _lock_owner(settings.pid_path)
        who = f"in process {pid}" if pid else "and is just starting"
        raise DaemonError(
            f"Overpaint's daemon or relay already runs {who}. Stop it with “overpaint stop” to start another."
        ) from None
    try:
        settings.connection_path.unlink(missing_ok=True)
        settings.stopped_path.unlink(missing_ok=True)
        settings.pid_path.write_text(str(os.getpid()), encoding="ascii")
        yield
    finally:
        settings.pid_path.unlink(missing_ok=True)
        lock.release()


def _lock_owner(path: Path) -> int | None:
    """The process that holds the lock. It may have taken it a moment ago and not have said so yet."""
    deadline = time.monotonic() + _LOCK_OWNER_WAIT_S
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, ValueError):
            pid = int(path.read_text(encoding="ascii"))
            if psutil.pid_exists(pid):
                return pid
        time.sleep(0.01)
    return None


@contextlib.contextmanager
def _log_file(settings: DaemonSettings) -> Iterator[None]:
    """Log this package to a file that is started anew when it gets long. Never holds prompts or pixels."""
    logger = logging.getLogger(_PACKAGE)
    handler = _LogFile(
        settings.log_path, maxBytes=settings.log_bytes, backupCount=settings.old_logs, encoding="utf-8"
    )
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    previous_level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    except Exception:
        _log.exception("the daemon failed")
        raise
    finally:
        logger.removeHandler(handler)
        logger.setLevel(previous_level)
        handler.close()
