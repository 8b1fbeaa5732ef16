"""Real daemons in processes of their own, and a client on pyzmq to talk to them.

Other suites may use both::

    with DaemonProcess.start(tmp_path) as daemon:           # returns when the connection file is there
        client = daemon.client("a-session-id")              # connects and says hello
        client.submit(...); client.receive_until(JobDone)
    # daemon.environ starts other programs that shall find this daemon
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from pathlib import Path

import psutil
import zmq

from overpaint_backend.remote.keys import AllowList, KeyPair, own_key
from overpaint_protocol import framing
from overpaint_protocol.connection import ConnectionInfo
from overpaint_protocol.errors import DaemonNotRunning
from overpaint_protocol.geometry import Rect, Size
from overpaint_protocol.messages import Edges, ErrorReply, Fill, Hello, JobDone, JobFailed, SubmitJob, Welcome
from overpaint_protocol.pixels import ImageHeader, PixelFormat, split_bands

ROOT = Path(__file__).resolve().parents[2]
_SOURCES = [ROOT / name for name in ("protocol", "backend", "plugins/common")]
MAIN = """
import dataclasses, json, sys
from overpaint_backend.config import DaemonSettings
from overpaint_backend.daemon import run_daemon
sys.exit(run_daemon(dataclasses.replace(DaemonSettings.from_environment(), **json.loads(sys.argv[1]))))
"""
SMALL = Size(16, 12)
WAIT_S = 30.0
"""Longest wait for anything that must happen; a failure then, never a measure of speed."""


def wait_until(condition, what="what was waited for", timeout_s=WAIT_S):
    """Poll until ``condition()`` is true and return it."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.01)
    raise AssertionError(f"it never happened: {what}")


def free_port() -> int:
    """A port of the loopback that nobody uses, and the one after it neither."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as first:
            port = first.getsockname()[1]
            with contextlib.suppress(OSError, OverflowError), socket.create_server(("127.0.0.1", port + 1)):
                return port


def install_plugin(folder: Path, engine_id: str, made_by: str, source: str = "") -> None:
    """Have a package with an engine for daemons of ``folder``. made_by: ``module:class``, the module having ``source``."""
    info = folder / "plugins" / f"{engine_id}-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {engine_id}\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[overpaint.engines]\n{engine_id} = {made_by}\n")
    if source:
        (folder / "plugins" / f"{made_by.partition(':')[0]}.py").write_text(source)


def daemon_environ(folder: Path) -> dict[str, str]:
    """Environment of a daemon that keeps everything below ``folder`` and has the engines for tests.

    Packages in ``folder/plugins`` count as installed.
    """
    environ = {key: value for key, value in os.environ.items() if not key.startswith("OVERPAINT_")}
    return {
        **environ,
        "PYTHONPATH": os.pathsep.join(str(path) for path in (*_SOURCES, folder / "plugins")),
        "PYTHONWARNINGS": "error",
        "OVERPAINT_STATE_DIR": str(folder / "state"),
        "OVERPAINT_RUNTIME_DIR": str(folder / "run"),
        "OVERPAINT_RECIPES_DIR": str(folder / "recipes"),
        "OVERPAINT_TEST_ENGINES": "1",
    }


class DaemonProcess:
    """A running daemon."""

    def __init__(self, process: subprocess.Popen[bytes], environ: dict[str, str], folder: Path) -> None:
        self.process = process
        self.environ = environ
        self.folder = folder
        self.state = Path(environ["OVERPAINT_STATE_DIR"])
        self._clients: list[Client] = []

    @classmethod
    def spawn(
        cls,
        folder: Path,
        *,
        environ: dict[str, str] | None = None,
        main: str = MAIN,
        prefix: tuple[str, ...] = (),
        **settings,
    ) -> DaemonProcess:
        """Start one without waiting.

        environ: variables it gets beside ``daemon_environ``. main: the program; its first argument are the settings.
        prefix: a command that runs the rest of its line in another place. settings: replace fields of DaemonSettings.
        """
        environ = {**daemon_environ(folder), **(environ or {})}
        process = subprocess.Popen(
            [*prefix, sys.executable, "-c", main, json.dumps(settings)],
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        return cls(process, environ, folder)

    @classmethod
    def start(cls, folder: Path, **how) -> DaemonProcess:
        """Start one as ``spawn`` does, and wait until it listens."""
        daemon = cls.spawn(folder, **how)
        try:
            wait_until(daemon.is_listening, "the daemon listens")
        except BaseException:
            daemon.close()
            raise
        return daemon

    @property
    def connection_path(self) -> Path:
        return self.state / "daemon.json"

    @property
    def log(self) -> str:
        return (self.state / "daemon.log").read_text(encoding="utf-8")

    @property
    def info(self) -> ConnectionInfo:
        return ConnectionInfo.read(self.connection_path)

    def is_listening(self) -> bool:
        assert self.process.poll() is None, self.process.stderr.read().decode()
        try:
            return self.info.pid == self.process.pid
        except DaemonNotRunning:
            return False

    def worker(self) -> psutil.Process:
        """The worker's process, once there is one."""
        return wait_until(self._find_worker, "a worker runs")

    def _find_worker(self) -> psutil.Process | None:
        for child in psutil.Process(self.process.pid).children():
            if (
                child.status() != psutil.STATUS_ZOMBIE
                and "overpaint_backend.executors.worker" in child.cmdline()
            ):
                return child
        return None

    def client(
        self, session_id: str | None = None, *, endpoint: int = 0, receive_hwm: int = 1000, **hello
    ) -> Client:
        """A connected client that has been welcomed. endpoint: 0 for ipc, 1 for tcp.

        receive_hwm: how many messages libzmq reads ahead for it.
        """
        client = Client(self.info.endpoints[endpoint], self.info.token, receive_hwm)
        self._clients.append(client)
        client.hello(session_id or secrets.token_hex(8), **hello)
        return client

    def stranger(self, token: str | None = None, endpoint: int = 0) -> Client:
        """A client that only connects, with ``token`` or the right one."""
        client = Client(self.info.endpoints[endpoint], self.info.token if token is None else token)
        self._clients.append(client)
        return client

    def remote(self, key: KeyPair, server: str | None = None) -> Client:
        """A client as on another machine, that only connects. server: the daemon's key, by default the right one."""
        own = own_key(self.folder / "state" / "keys" / "daemon.key").public
        client = Client(self.info.remote, "", keys=(key, server or own))
        self._clients.append(client)
        return client

    @property
    def allowed(self) -> AllowList:
        """The list of those who may come from other machines."""
        return AllowList(self.folder / "state" / "keys" / "allowed.json")

    def terminate(self) -> int:
        """SIGTERM; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(WAIT_S)

    def close(self) -> None:
        """End the daemon, its worker and the clients, in whatever state they are."""
        for client in self._clients:
            client.close()
        if self.process.poll() is None:
            self.terminate()
        self.process.stderr.close()

    def __enter__(self) -> DaemonProcess:
        return self

    def __exit__(self, *_) -> None:
        self.close()


class Client:
    """A DEALER that speaks the protocol."""

    def __init__(
        self, endpoint: str, token: str, receive_hwm: int = 1000, keys: tuple[KeyPair, str] | None = None
    ) -> None:
        """Connect. keys: this client's and the daemon's public one, instead of a token."""
        self._context = zmq.Context()
        self.socket = self._context.socket(zmq.DEALER)
        self.socket.linger = 0
        self.socket.rcvhwm = receive_hwm
        if keys is None:
            self.socket.plain_username = b"overpaint"
            self.socket.plain_password = token.encode()
        else:
            own, server = keys
            own.call(self.socket, server)
        self._next_id = framing.message_ids()
        self.welcome: Welcome | None = None
        self._waiting: deque[framing.Envelope] = deque()
        """What came while an answer was waited for."""
        self.monitor = self.socket.get_monitor_socket()
        self.socket.connect(endpoint)

    def close(self) -> None:
        if not self.socket.closed:
            self.socket.disable_monitor()
            self.monitor.close()
            self.socket.close()
            self._context.term()

    def send(self, message: object, payload=()) -> str:
        message_id = self._next_id()
        self.socket.send_multipart(framing.encode(message, id=message_id, payload=payload), copy=False)
        return message_id

    def receive(self, timeout_s: float = WAIT_S) -> framing.Envelope:
        """The next message."""
        return self._waiting.popleft() if self._waiting else self._read(timeout_s)

    def receive_until(self, *kinds: type) -> list[framing.Envelope]:
        """Everything up to the first message of one of ``kinds``, which comes last."""
        received = [self.receive()]
        while not isinstance(received[-1].message, kinds):
            received.append(self.receive())
        return received

    def until_over(self, job_id: str) -> list[framing.Envelope]:
        """What comes of that job, its end included; what comes of others in between is still to be received."""
        of_job, of_others = [], []
        while not (of_job and isinstance(of_job[-1].message, (JobDone, JobFailed))):
            envelope = self.receive()
            mine = getattr(envelope.message, "job_id", None) == job_id
            (of_job if mine else of_others).append(envelope)
        self._waiting.extendleft(reversed(of_others))
        return of_job

    def ask(self, message: object, payload=()) -> object:
        """The answer to ``message``; what comes before it is still to be received."""
        message_id = self.send(message, payload)
        while (envelope := self._read()).header.re != message_id:
            self._waiting.append(envelope)
        return envelope.message

    def _read(self, timeout_s: float = WAIT_S) -> framing.Envelope:
        assert self.socket.poll(round(timeout_s * 1000)), "the daemon said nothing"
        return framing.decode([frame.buffer for frame in self.socket.recv_multipart(copy=False)])

    def is_silent(self, seconds: float = 0.3) -> bool:
        """Whether nothing has come that was not received, and nothing comes for so long."""
        return not self._waiting and not self.socket.poll(round(seconds * 1000))

    def hello(self, session_id: str, **changes) -> Welcome | ErrorReply:
        fields = {
            "client_version": "0.1.0",
            "editor": "Test",
            "editor_version": "1",
            "oldest_minor": 0,
            "newest_minor": 0,
            **changes,
        }
        answer = self.ask(Hello(session_id=session_id, **fields))
        if isinstance(answer, Welcome):
            self.welcome = answer
        return answer

    def submit(self, job_id: str, **changes):
        """Ask for the job of ``submission``; returns the answer."""
        return self.ask(*submission(job_id, **changes))


def submission(job_id: str, *, prompt: str = "", color: int = 10, size: Size = SMALL, **changes):
    """A fill of the middle of an evenly colored picture and nothing beside it: the message and its payload."""
    image, mask, payload = picture(size, color)
    fields = {
        "job_id": job_id,
        "document_id": "document",
        "operation": Fill(prompt=prompt),
        "engine": "test-invert",
        "canvas": size,
        "context": Rect.from_size(size),
        "image": image,
        "mask": mask,
        "edges": Edges(grow_px=0, blend_px=0),
        "seed": 0,
        **changes,
    }
    return SubmitJob(**fields), payload


def picture(size: Size, color: int):
    """Headers and payload of an opaque picture of one grey and a mask of its middle third."""
    width, height = size.width, size.height
    pixels = bytes((color, color, color, 255)) * size.area
    row = bytes(width // 3) + b"\xff" * (width - 2 * (width // 3)) + bytes(width // 3)
    mask = b"".join(row if height // 3 <= y < height - height // 3 else bytes(width) for y in range(height))
    bands = split_bands(pixels, Rect.from_size(size), PixelFormat.RGBA8)
    if len(bands) == 1:  # a client may cut anywhere, so even the smallest comes in two
        bands = [bands[0][:100], bands[0][100:]]
    mask_bands = split_bands(mask, Rect.from_size(size), PixelFormat.GRAY8)
    last = len(bands) + len(mask_bands)
    return (
        ImageHeader(size=size, format=PixelFormat.RGBA8, frames=tuple(range(len(bands)))),
        ImageHeader(size=size, format=PixelFormat.GRAY8, frames=tuple(range(len(bands), last))),
        (*bands, *mask_bands),
    )
