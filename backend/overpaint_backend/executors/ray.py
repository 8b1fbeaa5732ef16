"""Workers as actors of Ray, where one machine is not enough: RayCluster is the Ray, RayExecutor one worker there.

The daemon itself has nothing to do with Ray. Each executor keeps one process as ProcessExecutor does, and it is that process which
has its work done by an actor (``ray_worker``). What an actor says passes through it, so the daemon hears that a job is over after
all of its results, copied out of Ray's memory. A process of its own also because Ray ends whoever uses it when it is lost.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import ipaddress
import logging
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import zmq

from overpaint_protocol.errors import DaemonError, RequestError

from .base import WorkerSettings
from .process import ProcessExecutor, copy_to_log

__all__ = ["WORKER_PROGRAM", "RayCluster", "RayExecutor", "cluster_address"]

WORKER_PROGRAM = "from overpaint_backend.executors.ray_worker import main; main()"
"""Python that is a worker's process."""
_HEAD_PROGRAM = "from overpaint_backend.executors.ray_worker import head; head()"

_EXAMPLE = "192.168.1.5:6379"

_PRIVATE = {
    "RAY_AUTH_MODE": "token",  # nobody without it may have Ray run anything
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_COLOR_PREFIX": "0",
}
_OURS = {
    # Ray turns 127.0.0.1 into the address of a network and listens on all of them, unless it is told not to be a cluster. The
    # name is from where that is the default.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    # Ray kills workers when the machine's memory is nearly full, whoever fills it, as an editor may. A process of ours would go on.
    "RAY_memory_monitor_refresh_ms": "0",
}

_FOLDERS = "/tmp" if os.name == "posix" else None  # noqa: S108 - for a folder that is ours alone
"""Where Ray's files go: the names of its sockets have a limit, which the temporary folders of macOS reach."""

_log = logging.getLogger(__name__)


def cluster_address(text: str) -> str:
    """Read the address of a running Ray, ``ADDRESS:PORT``.

    Raises:
        RequestError: it is nothing of the kind, or can be reached from the internet.
    """
    host, _, digits = text.rpartition(":")
    try:
        address = ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
        port = int(digits)
    except ValueError:
        raise RequestError(
            f"“{text[:200]}” is no address of a Ray cluster. Write it in digits, such as {_EXAMPLE}."
        ) from None
    if address.is_global or address.is_unspecified or address.is_multicast or not 1 <= port <= 65_535:
        raise RequestError(
            f"“{text[:200]}” is not used for Ray: whoever reaches a Ray cluster may be able to run programs in it, so it has to be at "
            f"an address of a private network, such as {_EXAMPLE}."
        )
    return text


class RayCluster:
    """The Ray that workers run in: one of our own on this machine, kept alive, or one that runs already.

    Args:
        address_path: file for its address, in a folder of ours alone.
        address: what ``cluster_address`` gave; empty for one of our own, on the loopback, that nobody else can use.

    Raises:
        DaemonError: Ray is not installed.
    """

    def __init__(self, address_path: Path, address: str = "") -> None:
        if importlib.util.find_spec("ray") is None:
            raise DaemonError("Ray is not installed. Install it: pip install 'overpaint[ray]'")
        self.address_path = address_path
        self._is_ours = not address
        self._head: subprocess.Popen[bytes] | None = None
        self._prefix = _folder_prefix(address_path)
        self.environ = dict(_PRIVATE)
        if self._is_ours:
            self.environ |= {**_OURS, "RAY_AUTH_TOKEN": secrets.token_hex(32)}
            self._clear()
        else:
            address_path.write_text(address, encoding="ascii")

    @property
    def pid(self) -> int | None:
        """The process that our own Ray ends with, while it runs."""
        return None if self._head is None or self._head.poll() is not None else self._head.pid

    def keep(self) -> int | None:
        """Start our own Ray if it does not run; it takes some seconds to be there. Returns ``pid``."""
        if not self._is_ours or self.pid is not None:
            return self.pid
        if self._head is not None:
            _log.warning("Ray ended with code %d and is started again", self._head.returncode)
            _close_input(self._head)
            self._clear()
        folder = tempfile.mkdtemp(prefix=self._prefix, dir=_FOLDERS)
        self._head = subprocess.Popen(
            [sys.executable, "-c", _HEAD_PROGRAM, str(self.address_path), folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            creationflags=subprocess.CREATE_NO_WINDOW if sys.platform == "win32" else 0,
            env={**os.environ, **self.environ},
        )
        _log.info("Ray started by process %d", self._head.pid)
        threading.Thread(target=copy_to_log, args=(self._head.stdout,), name="ray-log", daemon=True).start()
        return self._head.pid

    def stop(self, timeout_s: float) -> None:
        """End our own Ray, by force after ``timeout_s``."""
        head, self._head = self._head, None
        if head is None:
            return
        _close_input(head)
        try:
            head.wait(timeout_s)
        except subprocess.TimeoutExpired:
            head.kill()
            head.wait()
        self._clear()

    def _clear(self) -> None:
        """Remove what a Ray that has ended may have left, also one of a daemon before this one."""
        self.address_path.unlink(missing_ok=True)
        for folder in Path(_FOLDERS or tempfile.gettempdir()).glob(f"{self._prefix}*"):
            shutil.rmtree(folder, ignore_errors=True)


def _folder_prefix(address_path: Path) -> str:
    """What the names of our folders begin with, and those of no daemon with another state folder."""
    return f"overpaint-{hashlib.sha256(os.fsencode(address_path.resolve())).hexdigest()[:12]}-"


def _close_input(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:
        with contextlib.suppress(OSError):
            process.stdin.close()


class RayExecutor(ProcessExecutor):
    """Keeps one actor of Ray working, and the process between it and the daemon.

    Args:
        context, authorize, runtime_dir, name, start_timeout_s, worker_settings: as for ProcessExecutor.
        cluster: where the actor runs. workers: how many share its devices.
        program: Python that is the process; another one for tests.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        authorize: Callable[[str, str], None],
        cluster: RayCluster,
        workers: int = 1,
        *,
        runtime_dir: Path | None,
        name: str = "worker",
        start_timeout_s: float = 120.0,
        worker_settings: WorkerSettings | None = None,
        program: str = WORKER_PROGRAM,
    ) -> None:
        self._cluster = cluster
        self._ray: int | None = None
        command: Sequence[str] = (sys.executable, "-c", program, str(cluster.address_path), str(workers))
        super().__init__(
            context,
            authorize,
            runtime_dir=runtime_dir,
            name=name,
            start_timeout_s=start_timeout_s,
            worker_settings=worker_settings,
            environ=cluster.environ,
            command=command,
            before_start=self._join,
            is_lost=self._has_lost_ray,
        )

    def _join(self) -> None:
        self._ray = self._cluster.keep()

    def _has_lost_ray(self) -> bool:
        """Whether our own Ray has ended under the worker, who may not notice for minutes: Ray waits for itself to come back."""
        return self._cluster.pid != self._ray
