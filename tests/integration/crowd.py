"""Clients in processes of their own, for tests of many at once. Linux's monotonic clock is the same in all of them."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import zmq
from tests.integration.daemon_process import Client, submission

from overpaint_client.controller import Controller
from overpaint_client.jobs import EditRequest, JobPhase
from overpaint_client.loop import SelectorLoop
from overpaint_client.settings import ClientSettings
from overpaint_client.testing.fake_editor import FakeEditor
from overpaint_protocol import framing
from overpaint_protocol.connection import ConnectionInfo
from overpaint_protocol.geometry import Rect, Size
from overpaint_protocol.messages import (
    AckJob,
    Edges,
    ErrorReply,
    Fill,
    JobAccepted,
    JobAcked,
    JobDone,
    JobFailed,
    JobVariant,
)

_CONTEXT = multiprocessing.get_context("spawn")


@dataclass(frozen=True)
class Wish:
    """A job somebody wants of the inverting engine. color: of the even picture, which tells its result from all others."""

    job_id: str
    color: int
    prompt: str
    size: Size
    is_batch: bool = False


@dataclass(frozen=True)
class Fulfilled:
    """What became of a wish. colors: of the layers. ended_at: on the monotonic clock. took_s: of the worker."""

    job_id: str
    colors: tuple[int, ...]
    ended_at: float
    took_s: float


@contextmanager
def process(target, *args):
    """Runs ``target(pipe, *args)`` in a process; gives the other end of the pipe."""
    ours, theirs = _CONTEXT.Pipe()
    running = _CONTEXT.Process(target=target, args=(theirs, *args), daemon=True)
    running.start()
    theirs.close()
    try:
        yield ours
    finally:
        running.kill()
        running.join()
        running.close()
        ours.close()


def connect(connection_path: str, session_id: str) -> Client:
    """A client that was welcomed."""
    info = ConnectionInfo.read(Path(connection_path))
    client = Client(info.endpoints[0], info.token)
    client.hello(session_id)
    return client


def want(pipe, connection_path: str, name: str, wishes: list[Wish]) -> None:
    """Submit everything, say so, and report what came."""
    client = connect(connection_path, name)
    for wish in wishes:
        answer = client.submit(
            wish.job_id, color=wish.color, prompt=wish.prompt, size=wish.size, is_batch=wish.is_batch
        )
        assert isinstance(answer, JobAccepted), answer
    pipe.send("all submitted")
    colors: dict[str, list[int]] = {wish.job_id: [] for wish in wishes}
    fulfilled: list[Fulfilled] = []
    while len(fulfilled) < len(wishes):
        envelope = client.receive()
        message = envelope.message
        if isinstance(message, JobVariant):
            colors[message.job_id].append(_color(message, envelope.payload))
        elif isinstance(message, JobFailed):
            raise AssertionError(message.error)
        elif isinstance(message, JobDone):
            took_s = sum(message.timings_ms.values()) / 1000
            fulfilled.append(
                Fulfilled(message.job_id, tuple(colors[message.job_id]), time.monotonic(), took_s)
            )
    for wish in wishes:
        assert isinstance(client.ask(AckJob(job_id=wish.job_id)), JobAcked)
    assert client.is_silent(), "something came twice"
    pipe.send(fulfilled)
    client.close()


def _color(variant: JobVariant, payload) -> int:
    data = b"".join(bytes(frame) for frame in payload)
    middle = (variant.image.size.height // 2 * variant.image.size.width + variant.image.size.width // 2) * 4
    return data[middle]


def flood(pipe, connection_path: str, small: int, large: int, large_side_px: int) -> None:
    """Send submits without waiting for answers, then report how many jobs were accepted, and the codes of the refusals."""
    client = connect(connection_path, "flooder")
    client.socket.sndtimeo = 30_000
    accepted, codes, serials = 0, set(), itertools.count()

    def drain() -> None:
        nonlocal accepted
        while client.socket.poll(0):
            message = framing.decode(client.socket.recv_multipart()).message
            accepted += isinstance(message, JobAccepted)
            if isinstance(message, ErrorReply):
                codes.add(message.error.code)

    for count, side_px in ((large, large_side_px), (small, 16), (large, large_side_px)):
        size = Size(side_px, side_px)
        request, payload = submission("flood", prompt="steps=4 delay=0.02", size=size)
        for _ in range(count):
            client.send(replace(request, job_id=f"flood-{next(serials)}"), payload)
            drain()
    while client.socket.poll(500, zmq.POLLIN):
        drain()
    pipe.send((accepted, codes))
    client.close()


def edit(pipe, connection_path: str, folder: str, jobs: int, selected: Size, variants: int) -> None:
    """An editor with the plug-in's controller: ask for ``jobs`` in a picture of its own each, and say its process's number
    once they are accepted; when all are over, report the layers of each picture beside its background."""
    editor, loop = FakeEditor(name="editor"), SelectorLoop()
    settings = ClientSettings(
        clients_dir=Path(folder), find_daemon=lambda: ConnectionInfo.read(Path(connection_path))
    )
    controller = Controller(editor, loop, settings)
    controller.start()
    area, wanted = Rect.from_size(selected), []
    for number in range(jobs):
        color = bytes((number, number, number, 255))
        document = editor.open_document(f"{number}", selected, color * selected.area, f"/{number}.png")
        editor.select(document, area, b"\xff" * area.area)
        request = EditRequest(
            operation=Fill(prompt="steps=1"),
            engine="test-invert",
            variants=variants,
            edges=Edges(grow_px=0, blend_px=0),
        )
        wanted.append((document, controller.submit(request)))
        assert loop.run_until(lambda job=wanted[-1][1]: job.phase is JobPhase.QUEUED, 60), wanted[-1][1].phase
    pipe.send(os.getpid())
    assert loop.run_until(lambda: all(job.phase.is_final for _, job in wanted), 120)
    assert loop.run_until(lambda: controller.is_settled, 60), "every result is acknowledged"
    loop.run_until(lambda: False, 0.5)  # nothing comes twice
    pipe.send([(job.phase.value, len(editor.layers(document)) - 1) for document, job in wanted])
    controller.close()
    loop.close()
