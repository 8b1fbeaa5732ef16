"""A Service with scripted surroundings: clients that are lists, a worker that says what the test says."""

from __future__ import annotations

from pathlib import Path

from tests.backend.keepers import NoDisk

from overpaint_backend.config import DaemonSettings
from overpaint_backend.executors.base import Ready, RunJob, RunVariant
from overpaint_backend.recipes.offer import RecipeBook
from overpaint_backend.recipes.store import RecipeStore
from overpaint_backend.server.router import Incoming, Sent
from overpaint_backend.server.service import Service
from overpaint_backend.server.sessions import LOCAL
from overpaint_protocol import framing
from overpaint_protocol.geometry import Rect, Size
from overpaint_protocol.messages import EngineInfo, Fill, Hello, SubmitJob
from overpaint_protocol.pixels import ImageHeader, PixelFormat

SETTINGS = DaemonSettings(
    state_dir=Path("unused"),
    runtime_dir=Path("unused"),
    max_jobs=3,
    max_kept_bytes=1000,
    max_image_pixels=100,
    max_message_bytes=10_000,
    max_sessions=4,
    max_outbox=5,
)
PAINTER = EngineInfo(
    id="painter",
    name="Painter",
    operations=("fill", "expand"),
    follows_prompt=True,
    follows_negative_prompt=True,
    needs_surroundings=False,
)
ERASER = EngineInfo(
    id="eraser",
    name="Eraser",
    operations=("remove",),
    follows_prompt=False,
    follows_negative_prompt=False,
    needs_surroundings=True,
)
READY = Ready(engines=(PAINTER, ERASER), broken_engines=())
RGBA = PixelFormat.RGBA8


def submit(job_id="job-1", *, size=4, **changes):
    fields = {
        "job_id": job_id,
        "document_id": "doc",
        "operation": Fill(prompt="a red door"),
        "canvas": Size(20, 20),
        "context": Rect(2, 2, size, size),
        "image": ImageHeader(size=Size(size, size), format=RGBA, frames=(0,)),
        "mask": ImageHeader(size=Size(size, size), format=PixelFormat.GRAY8, frames=(1,)),
        "seed": 7,
        **changes,
    }
    return SubmitJob(**fields)


def pixels(size=4):
    return (bytes(size * size * 4), bytes(size * size))


def variant(run, index=0):
    return RunVariant(
        run=run,
        variant=index,
        seed=7 + index,
        engine="painter",
        target=Rect(2, 2, 1, 1),
        image=ImageHeader(size=Size(1, 1), format=RGBA, frames=(0,)),
    )


class ScriptedExecutor:
    """Notes what it is told; the test says what the worker says."""

    def __init__(self):
        self.runs: list[RunJob] = []
        self.cancelled: list[int] = []
        self.kills = 0
        self.restarts = 0
        self.socket = None

    def poll(self, now):
        return []

    def run(self, job, payload):
        self.runs.append(job)
        self.payload = payload

    def cancel(self, run):
        self.cancelled.append(run)

    def kill(self):
        self.kills += 1

    def stop(self, timeout_s):
        pass


class Daemon:
    """A Service with clients that are lists."""

    def __init__(
        self, settings=SETTINGS, *, workers=1, ready=True, recipes=Path("no recipes here"), keeper=None
    ):
        self.now = 100.0
        self.executors = [ScriptedExecutor() for _ in range(workers)]
        self.executor = self.executors[0]
        book = RecipeBook(RecipeStore(recipes))
        self.service = Service(settings, self.executors, self._deliver, book, keeper or NoDisk(), self.now)
        self.inboxes: dict[bytes, list] = {}
        self.blocked: set[bytes] = set()
        self.passes: set[bytes] = set()
        self.gone: set[bytes] = set()
        self.principals: dict[bytes, str] = {}
        """Who clients are that are not the daemon's own user."""
        self._ids = framing.message_ids()
        if ready:
            for worker in range(workers):
                self.worker(READY, of=worker)

    @property
    def kept_bytes(self):
        return sum(session.kept_bytes for session in self.service.sessions.values())

    def outbox(self, peer):
        return self.service._connections[peer].outbox

    def let_one_through(self, peer):
        """A client that is blocked reads one message."""
        self.passes.add(peer)
        self.service.flush(self.now)

    def _deliver(self, peer, frames):
        if peer in self.gone:
            return Sent.GONE
        if peer in self.blocked and peer not in self.passes:
            return Sent.BLOCKED
        self.passes.discard(peer)
        self.inboxes.setdefault(peer, []).append(framing.decode(frames))
        return Sent.DONE

    def deliver(self, peer, frames):
        """Have the service hear frames of a client, without looking at what comes back."""
        principal = self.principals.get(peer, LOCAL)
        self.service.on_message(
            Incoming(peer, principal, tuple(memoryview(bytes(f)) for f in frames)), self.now
        )

    def send_frames(self, peer, frames):
        self.deliver(peer, frames)
        return self.take(peer)

    def send(self, peer, message, payload=()):
        """Send and return what came back, as messages."""
        return self.send_frames(peer, framing.encode(message, id=self._ids(), payload=payload))

    def post(self, peer, message, payload=()):
        """Send without looking at what comes back."""
        self.deliver(peer, framing.encode(message, id=self._ids(), payload=payload))

    def take(self, peer):
        self.service.flush(self.now)
        return [envelope.message for envelope in self.inboxes.pop(peer, [])]

    def hello(self, peer, session_id="anna", **changes):
        fields = {
            "client_version": "0.1",
            "editor": "Test",
            "editor_version": "1",
            "oldest_minor": 0,
            "newest_minor": 0,
            **changes,
        }
        return self.send(peer, Hello(session_id=session_id, **fields))

    def session(self, session_id, principal=LOCAL):
        return self.service.sessions[principal, session_id]

    def worker(self, event, payload=(), of=0):
        """One of the workers says something."""
        self.service.on_worker(of, event, payload, self.now)

    def wait(self, seconds):
        self.now += seconds
        self.service.tick(self.now)
