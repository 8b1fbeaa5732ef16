"""One worker process: started, listened to, watched, killed and replaced."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

import zmq

from overpaint_protocol import codec
from overpaint_protocol.errors import OverpaintError, ProtocolError
from overpaint_protocol.pixels import Bytes

from .base import (
    PixelsAt,
    Ready,
    RunJob,
    RunOver,
    RunPixels,
    RunVariant,
    StopRun,
    WorkerEvent,
    WorkerGone,
    WorkerSettings,
    WorkerStart,
    pack,
    unpack,
)
from .line import Line, Watched, pair

if TYPE_CHECKING:
    from .shared import SharedByDaemon

__all__ = ["ProcessExecutor", "copy_to_log"]

_COMMAND = (sys.executable, "-m", "overpaint_backend.executors.worker")
_FIRST_BACKOFF_S = 0.5
_LONGEST_BACKOFF_S = 30.0
_STEADY_S = 10.0
"""A worker that ended by itself before this age counts as one that did not start."""

_REST_S = 10.0
"""Memory that only large jobs need is given back when none has come for so long."""
_MAX_MESSAGES_A_TURN = 64
_MAX_LOG_LINE = 2000

_log = logging.getLogger(__name__)
_worker_log = logging.getLogger("overpaint_backend.worker")


@dataclass(slots=True)
class _Worker:
    process: subprocess.Popen[bytes]
    socket: zmq.Socket[bytes]
    line: Line
    started_at: float
    socket_path: Path | None
    shared: SharedByDaemon | None
    is_ready: bool = False
    is_killed: bool = False
    told: RunVariant | None = None
    """A variant whose pixels are still to come."""
    placing: tuple[RunJob, Sequence[Bytes]] | None = None
    """A job whose pixels are just being laid down for it."""
    is_running: bool = False
    rests_since: float = 0.0


class ProcessExecutor:
    """Keeps one worker process running.

    Each worker gets a socket and a token of its own, so that nothing an earlier one said can be taken for its
    words. It is told both through its standard input, which no other user can read; when that pipe closes, because
    the daemon ended in whatever way, the worker ends too.

    Args:
        context: the daemon's ZeroMQ context.
        authorize: called with the executor's ZAP domain, its own name, and the token that from now on opens it.
        runtime_dir: private folder for the worker's Unix socket, or None to use loopback TCP.
        name: of this executor and no other in the context; the names of its sockets begin with it.
        start_timeout_s: how long a worker may take to say Ready.
        worker_settings: what each worker is told, if not the defaults.
        environ: variables each worker gets beside the daemon's.
        before_start: called before each start.
        is_lost: whether something that the worker needs has ended meanwhile, so that another one has to be started.
        command: what to start.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        authorize: Callable[[str, str], None],
        *,
        runtime_dir: Path | None,
        name: str = "worker",
        start_timeout_s: float = 120.0,
        worker_settings: WorkerSettings | None = None,
        environ: Mapping[str, str] | None = None,
        before_start: Callable[[], None] = lambda: None,
        is_lost: Callable[[], bool] = lambda: False,
        command: Sequence[str] = _COMMAND,
    ) -> None:
        self._context = context
        self._authorize = authorize
        self._runtime_dir = runtime_dir
        self._name = name
        self._start_timeout_s = start_timeout_s
        self._worker_settings = worker_settings or WorkerSettings()
        self._environ = dict(environ or {})
        self._before_start = before_start
        self._is_lost = is_lost
        self._command = list(command)
        self._worker: _Worker | None = None
        self._starts = 0
        self._failures = 0
        self._next_start = 0.0

    @property
    def watched(self) -> tuple[Watched, ...]:
        """See Executor."""
        if self._worker is None:
            return ()
        shared = self._worker.shared
        return self._worker.line.watched if shared is None else (*self._worker.line.watched, shared.bell)

    @property
    def restarts(self) -> int:
        """How often a worker had to be replaced."""
        return max(0, self._starts - 1)

    @property
    def pid(self) -> int | None:
        """The worker's process, if there is one."""
        return None if self._worker is None else self._worker.process.pid

    def poll(self, now: float) -> list[tuple[WorkerEvent, tuple[Bytes, ...]]]:
        """What happened since the last call, oldest first; starts a worker if it is time to."""
        if self._worker is None:
            if now < self._next_start:
                return []
            try:
                self._worker = self._start(now)
            except (OSError, zmq.ZMQError) as error:
                return [(self._give_up(now, f"cannot be started: {error}"), ())]
        worker = self._worker
        self._send_placed(worker)
        events = self._receive(worker, now)
        if events:
            return events
        if worker.shared is not None and not worker.is_running and now - worker.rests_since >= _REST_S:
            worker.shared.give_back()
        exit_code = worker.process.poll()
        if exit_code is not None:
            while last_words := self._receive(worker, now):
                events += last_words
            events.append((self._give_up(now, f"ended with code {exit_code}"), ()))
        elif self._is_lost():
            worker.process.kill()
        elif not worker.is_ready and now - worker.started_at > self._start_timeout_s:
            _log.warning("worker %d did not get ready in time", worker.process.pid)
            worker.process.kill()
        return events

    def run(self, job: RunJob, payload: Sequence[Bytes]) -> None:
        """Hand a job to a worker that said Ready and is not running any."""
        self._send(pack(job))
        worker = self._worker
        if worker is None:
            return
        worker.is_running = True
        if worker.shared is not None and worker.shared.place_apart(payload):
            worker.placing = job, payload
            return
        self._send_pixels(job, payload, None if worker.shared is None else worker.shared.place(payload))

    def cancel(self, run: int) -> None:
        """Ask the worker to stop ``run``."""
        self._send(pack(StopRun(run=run)))

    def kill(self) -> None:
        """End the worker at once; WorkerGone follows and a new one is started."""
        if self._worker is not None:
            self._worker.is_killed = True
            self._worker.process.kill()

    def stop(self, timeout_s: float) -> None:
        """End the worker for good, by force after ``timeout_s``."""
        worker, self._worker = self._worker, None
        self._next_start = float("inf")
        if worker is None:
            return
        self._close_input(worker)
        try:
            worker.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            worker.process.kill()
            worker.process.wait()
        self._close(worker)

    # ------------------------------------------------------------ starting and ending

    def _start(self, now: float) -> _Worker:
        self._before_start()
        self._starts += 1
        path = None if self._runtime_dir is None else self._runtime_dir / f"{self._name}-{self._starts}.sock"
        token = secrets.token_urlsafe(32)
        self._authorize(self._name, token)
        # DEALER rather than PAIR: a peer that fails the handshake must not take the only place.
        socket = self._context.socket(zmq.DEALER)
        shared, ends = _shared(), None
        try:
            ends = pair()
            socket.setsockopt(zmq.LINGER, 0)
            # No bound: one job at a time is under way, and its pictures are counted elsewhere.
            socket.setsockopt(zmq.SNDHWM, 0)
            socket.setsockopt(zmq.RCVHWM, 0)
            socket.setsockopt(zmq.PLAIN_SERVER, 1)
            socket.setsockopt_string(zmq.ZAP_DOMAIN, self._name)
            socket.bind("tcp://127.0.0.1:*" if path is None else f"ipc://{path}")
            endpoint = socket.getsockopt_string(zmq.LAST_ENDPOINT)
            start = WorkerStart(
                endpoint=endpoint,
                token=token,
                settings=self._worker_settings,
                shared=None if shared is None else shared.descriptor,
                packets=None if ends is None else ends[1].fileno(),
            )
            process = self._spawn(start)
        except BaseException:
            _close_socket(socket, path)
            if shared is not None:
                shared.close()
            for end in ends or ():
                end.close()
            raise
        if ends is not None:
            ends[1].close()
        _log.info("worker %d started as %s", process.pid, self._name)
        line = Line(socket, None if ends is None else ends[0])
        return _Worker(process, socket, line, now, path, shared)

    def _spawn(self, start: WorkerStart) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            # A Ctrl+C in the daemon's terminal is for the daemon, which then ends the worker in order.
            start_new_session=True,
            creationflags=subprocess.CREATE_NO_WINDOW if sys.platform == "win32" else 0,
            env={**os.environ, **self._environ, "PYTHONUNBUFFERED": "1"},
            pass_fds=[descriptor for descriptor in (start.shared, start.packets) if descriptor is not None],
        )
        assert process.stdin is not None and process.stdout is not None  # noqa: S101 - asked for above
        threading.Thread(target=copy_to_log, args=(process.stdout,), name="worker-log", daemon=True).start()
        with contextlib.suppress(OSError):  # it died at once; poll() will see that
            process.stdin.write(json.dumps(codec.to_plain(start)).encode() + b"\n")
            process.stdin.flush()
        return process

    def _give_up(self, now: float, reason: str) -> WorkerGone:
        worker, self._worker = self._worker, None
        if worker is not None:
            reason = f"worker {worker.process.pid} {reason}"
            is_steady = worker.is_killed or now - worker.started_at >= _STEADY_S
            self._failures = 0 if worker.is_ready and is_steady else self._failures + 1
            self._close(worker)
        else:
            self._failures += 1
        backoff = _FIRST_BACKOFF_S * 2 ** (self._failures - 1) if self._failures else 0.0
        self._next_start = now + min(_LONGEST_BACKOFF_S, backoff)
        _log.warning("%s", reason)
        return WorkerGone(reason=reason)

    def _close(self, worker: _Worker) -> None:
        self._close_input(worker)
        worker.line.close()
        _close_socket(worker.socket, worker.socket_path)
        if worker.shared is not None:
            worker.shared.close()

    @staticmethod
    def _close_input(worker: _Worker) -> None:
        if worker.process.stdin is not None:
            with contextlib.suppress(OSError):  # what was not flushed has no reader any more
                worker.process.stdin.close()

    # ------------------------------------------------------------ messages

    def _send_placed(self, worker: _Worker) -> None:
        """Tell the worker of pixels that were laid down apart, if they are there."""
        if worker.placing is None or worker.shared is None or not worker.shared.is_placed:
            return
        (job, payload), worker.placing = worker.placing, None
        self._send_pixels(job, payload, worker.shared.placed())

    def _send_pixels(self, job: RunJob, payload: Sequence[Bytes], placed: PixelsAt | None) -> None:
        """Tell the worker where the job's pixels are, or send them."""
        self._send(pack(RunPixels(run=job.run, at=placed), () if placed is not None else payload))

    def _send(self, frames: Sequence[Bytes]) -> None:
        if self._worker is not None:
            # A worker that is just dying has no connection; its end is noticed by poll().
            with contextlib.suppress(zmq.Again, OSError):
                self._worker.line.send(frames)

    def _receive(self, worker: _Worker, now: float) -> list[tuple[WorkerEvent, tuple[Bytes, ...]]]:
        events: list[tuple[WorkerEvent, tuple[Bytes, ...]]] = []
        while len(events) < _MAX_MESSAGES_A_TURN:
            try:
                frames = worker.line.receive()
                if frames is None:
                    break
                message, payload = unpack(frames)
                if isinstance(message, RunVariant):
                    worker.told = message
                    continue
                if isinstance(message, RunPixels):
                    events.append(_variant(worker, message, payload))
                    break  # pixels go on before the next word is read
            except OverpaintError:
                _log.exception("worker %d is not understood and gets replaced", worker.process.pid)
                worker.process.kill()
                break
            if isinstance(message, Ready):
                worker.is_ready = True
            if isinstance(message, RunOver):
                worker.is_running, worker.rests_since = False, now
            if isinstance(message, WorkerEvent):
                events.append((message, payload))
        return events


def _shared() -> SharedByDaemon | None:
    """Memory to share with a worker, where there is such."""
    if sys.platform != "linux":
        return None
    from .shared import SharedByDaemon  # needs a module that other systems lack

    try:
        return SharedByDaemon()
    except OSError as error:
        _log.info("no memory is shared with the worker: %s", error)
        return None


def _variant(
    worker: _Worker, pixels: RunPixels, payload: tuple[Bytes, ...]
) -> tuple[RunVariant, tuple[Bytes, ...]]:
    """The variant that the worker told of, with its pixels."""
    variant, worker.told = worker.told, None
    if variant is None or variant.run != pixels.run:
        raise ProtocolError("The worker sent pixels that belong to nothing.")
    return variant, payload if pixels.at is None else _take(worker, pixels.at)


def _take(worker: _Worker, pixels: PixelsAt) -> tuple[Bytes, ...]:
    if worker.shared is None:
        raise ProtocolError("The worker shares pixels in memory that there is not.")
    return worker.shared.take(pixels)


def _close_socket(socket: zmq.Socket[bytes], path: Path | None) -> None:
    """Close and remove the file as well, which libzmq leaves behind."""
    socket.close()
    if path is not None:
        path.unlink(missing_ok=True)


def copy_to_log(stream: IO[bytes]) -> None:
    """Log what a worker, or another process around it, and its libraries print, until it ends."""
    with stream:
        while line := stream.readline(_MAX_LOG_LINE):
            text = line.decode("utf-8", "replace").rstrip()
            if text:
                _worker_log.info("%s", text)
