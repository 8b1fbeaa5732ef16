"""The daemon's composition root: makes the parts, runs the loop, takes everything down again.

One thread and one poller do all input and output; engines run in the worker's process. ``run_daemon`` is all that
``overpaint serve`` needs.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import logging.handlers
import os
import secrets
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import filelock
import psutil
import zmq

from overpaint_protocol.connection import STATE_DIR_VARIABLE, ConnectionInfo
from overpaint_protocol.endpoint import MAX_IPC_PATH_BYTES
from overpaint_protocol.errors import DaemonError, OverpaintError
from overpaint_protocol.version import MAJOR, PRODUCT_VERSION

from .config import RUNTIME_DIR_VARIABLE, DaemonSettings
from .durability.archive import Archive
from .durability.keeper import Keeper
from .durability.stories import StoryBook
from .energy import EnergyMeter, installed_sources
from .executors.base import WorkerSettings
from .executors.process import ProcessExecutor
from .recipes.offer import RecipeBook
from .recipes.store import RecipeStore
from .remote.keys import AllowList, own_key
from .server.chronicle import Chronicle
from .server.descriptors import DescriptorLimit
from .server.router import CLIENT_DOMAIN, REMOTE_DOMAIN, Router, private_dir
from .server.service import Service
from .server.zap import Authenticator

__all__ = ["run_daemon"]

_OLDEST_LIBZMQ = (4, 3, 5)
"""Earlier ones have known holes in front of the authentication."""

_SHORTER_ELSEWHERE_BYTES = 4
"""macOS and the BSDs have this much less room for a socket's path than Linux."""

_RETRY_MS = 5
_LOCK_OWNER_WAIT_S = 1.0

_log = logging.getLogger("overpaint_backend.daemon")


def run_daemon(settings: DaemonSettings) -> int:
    """Serve until a signal, a client's ``daemon.shutdown`` or idleness ends it.

    Returns:
        The exit code: 0 after an ordered end, 1 if it could not start; the reason is on standard error.
    """
    os.umask(0o077)
    try:
        _check_libzmq()
        private_dir(settings.state_dir)
        private_dir(settings.runtime_dir)
        with _only_daemon(settings), _log_file(settings):
            _Daemon(settings).serve()
    except OverpaintError as error:
        sys.stderr.write(f"{error.message}\n")
        return 1
    except (OSError, zmq.ZMQError) as error:
        where = f"{error.filename}: " if isinstance(error, OSError) and error.filename else ""
        sys.stderr.write(
            f"The daemon cannot start: {where}{error.strerror}. “overpaint doctor” says more; {STATE_DIR_VARIABLE} and "
            f"{RUNTIME_DIR_VARIABLE} choose other folders.\n"
        )
        return 1
    return 0


class _Daemon:
    """Everything a running daemon holds."""

    def __init__(self, settings: DaemonSettings) -> None:
        self._settings = settings
        self._is_signalled = False
        self._next_tick = 0.0
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._gate = Authenticator(self._context)
        descriptors = DescriptorLimit()
        for domain in (CLIENT_DOMAIN, REMOTE_DOMAIN):
            self._gate.limit(domain, descriptors.has_room)
        self._allowed = AllowList(settings.allowed_path)
        self._router = Router(self._context, settings, self._allowed)
        # Two daemons with one runtime folder and two state folders must not take each other's sockets.
        self._prefix = hashlib.sha256(os.fsencode(settings.state_dir.resolve())).hexdigest()[:8]
        self._socket_dir = settings.runtime_dir if self._can_use_ipc() else None
        self._executor = ProcessExecutor(
            self._context,
            self._gate.allow,
            runtime_dir=self._socket_dir,
            socket_prefix=f"{self._prefix}-worker",
            start_timeout_s=settings.worker_start_s,
            worker_settings=WorkerSettings(
                idle_unload_s=settings.idle_unload_s, pace_path=str(settings.pace_path)
            ),
        )
        self._archive = Archive(str(settings.jobs_dir))
        self._keeper = Keeper(settings.jobs_dir, self._archive)
        self._stories = StoryBook(settings.stories_path, settings.keep_s)
        self._service = Service(
            settings,
            self._executor,
            self._router.send,
            RecipeBook(RecipeStore.from_environment()),
            self._keeper,
            time.monotonic(),
            Chronicle(self._stories, self._archive),
            EnergyMeter(installed_sources(), time.monotonic()),
        )

    def serve(self) -> None:
        """Listen, work, and leave nothing behind."""
        previous = {number: signal.signal(number, self._on_signal) for number in _ending_signals()}
        try:
            self._remove_sockets()
            self._listen()
            while not (self._is_signalled or self._service.is_stopping):
                self._turn()
                if self._service.is_idle(time.monotonic()):
                    _log.info("nobody needs the daemon, it ends")
                    break
            if self._service.is_told_to_end:  # before clients see that this daemon is gone
                self._settings.mark_stopped()
            self._settings.connection_path.unlink(missing_ok=True)
            self._say_goodbye()
        finally:
            self._settings.connection_path.unlink(missing_ok=True)
            self._let_go_of_files()
            self._executor.stop(self._settings.stop_s)
            self._router.close()
            self._gate.close()
            self._context.term()
            self._remove_sockets()
            for number, handler in previous.items():
                signal.signal(number, handler)
        _log.info("ended")

    def _listen(self) -> None:
        settings = self._settings
        token = secrets.token_urlsafe(32)
        self._gate.allow(CLIENT_DOMAIN, token)
        self._router.bind(None if self._socket_dir is None else self._socket_dir / f"{self._prefix}.sock")
        if settings.listen:
            self._allowed.look()
            self._gate.admit(REMOTE_DOMAIN, self._allowed)
            self._router.bind_remote(settings.listen, own_key(settings.key_path).serve)
        ConnectionInfo(
            endpoints=self._router.endpoints,
            token=token,
            pid=os.getpid(),
            started_at=time.time(),
            product_version=PRODUCT_VERSION,
            major=MAJOR,
            remote=settings.listen,
        ).write(settings.connection_path)
        where = (*self._router.endpoints, *filter(None, [settings.listen]))
        _log.info("version %s, process %d, at %s", PRODUCT_VERSION, os.getpid(), where)

    def _can_use_ipc(self) -> bool:
        longest = self._settings.runtime_dir / f"{self._prefix}-worker-{10**6}.sock"
        limit = (
            MAX_IPC_PATH_BYTES if sys.platform == "linux" else MAX_IPC_PATH_BYTES - _SHORTER_ELSEWHERE_BYTES
        )
        if self._settings.use_ipc and len(os.fsencode(longest)) > limit:
            _log.warning("no Unix sockets: %s is too long a path", self._settings.runtime_dir)
            return False
        return self._settings.use_ipc

    def _turn(self) -> None:
        """Wait for something, deal with it, send what came of it."""
        is_left = self._service.flush(time.monotonic())
        timeout_ms = _RETRY_MS if is_left else round(self._settings.tick_s * 1000)
        poller = zmq.Poller()
        for socket in (self._gate.socket, self._router.socket, self._router.monitor, self._executor.socket):
            if socket is not None:
                poller.register(socket, zmq.POLLIN)
        poller.register(self._archive.socket, zmq.POLLIN)
        poller.poll(timeout_ms)
        if self._settings.listen and self._allowed.look():
            self._router.end_revoked()
        self._gate.answer()
        self._archive.poll()
        for incoming in self._router.receive():
            self._service.on_message(incoming, time.monotonic())
        now = time.monotonic()
        for peer in self._router.take_gone():
            self._service.on_gone(peer, now)
        for event, payload in self._executor.poll(now):
            self._service.on_worker(event, payload, now)
        if now >= self._next_tick:  # with many sessions it is more work than most messages
            self._next_tick = now + self._settings.tick_s / 2
            self._service.tick(now)

    def _say_goodbye(self) -> None:
        """Tell the clients, and give those that read a moment to hear it."""
        _log.info("ending")
        now = time.monotonic()
        self._service.stop(now)
        self._let_go_of_files()
        while self._service.flush(time.monotonic()) and time.monotonic() < now + self._settings.stop_s:
            time.sleep(_RETRY_MS / 1000)

    def _let_go_of_files(self) -> None:
        """Wait until the disk has what it is to keep."""
        if self._archive.close(self._settings.disk_s):
            self._keeper.close()
            self._stories.close()
        else:
            _log.warning("the disk did not take everything in time")

    def _on_signal(self, *_: object) -> None:
        self._is_signalled = True

    def _remove_sockets(self) -> None:
        """Sockets of a daemon that was killed stay behind; the lock says that none of them is in use."""
        for path in self._settings.runtime_dir.glob(f"{self._prefix}*.sock"):
            path.unlink(missing_ok=True)


def _ending_signals() -> list[signal.Signals]:
    names = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
    return [getattr(signal, name) for name in names if hasattr(signal, name)]


def _check_libzmq() -> None:
    if zmq.zmq_version_info() < _OLDEST_LIBZMQ:
        wanted = ".".join(map(str, _OLDEST_LIBZMQ))
        raise DaemonError(
            f"libzmq {zmq.zmq_version()} is too old: {wanted} is needed. Run: pip install --upgrade pyzmq"
        )


@contextlib.contextmanager
def _only_daemon(settings: DaemonSettings) -> Iterator[None]:
    """Hold the lock that makes this the only daemon of its state folder.

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
            f"Overpaint's daemon already runs {who}. Stop it with “overpaint stop” to start another."
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
    logger = logging.getLogger(__package__)
    handler = logging.handlers.RotatingFileHandler(
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


if __name__ == "__main__":
    raise SystemExit(run_daemon(DaemonSettings.from_environment()))
