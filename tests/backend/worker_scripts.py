"""What workers do in the suite of executors: each function is one, in the place of ``serve_with_engines``."""

from __future__ import annotations

import os
import threading
from dataclasses import replace

from overpaint_backend.executors.base import (
    PixelsAt,
    Ready,
    RunOver,
    RunPixels,
    RunProgress,
    RunVariant,
    WorkerGone,
    pack,
)
from overpaint_protocol.errors import EngineError
from overpaint_protocol.geometry import Rect, Size
from overpaint_protocol.messages import ErrorInfo
from overpaint_protocol.pixels import ImageHeader, PixelFormat

READY = Ready(engines=(), broken_engines=())


def echo(link, settings):
    """Sends pictures back as they came.

    By the job's prompt: ``wait`` until it is stopped, or ``hang``, and hear nothing. First it tells its process in a progress.
    """
    link.send(READY)
    while True:
        work = link.next_job(1.0)
        if work is None:
            continue
        job, payload = work
        run, prompt = job.run, job.request.operation.prompt
        link.send(RunProgress(run=run, stage=str(os.getpid()), fraction=None))
        if prompt == "hang":
            threading.Event().wait()
        if prompt == "wait":
            while not link.is_stopped(run):
                threading.Event().wait(0.01)
            link.send(RunOver(run=run))
            continue
        image = replace(job.request.image, frames=tuple(range(len(payload))))
        for variant in range(job.request.variants):
            link.send(
                RunVariant(
                    run=run,
                    variant=variant,
                    seed=job.seed,
                    engine="echo",
                    target=job.request.context,
                    image=image,
                ),
                payload,
            )
        link.send(RunOver(run=run))


def tells_its_settings(link, settings):
    """Says in an error's words what it was told."""
    link.send(READY)
    told = (
        f"{settings.idle_unload_s} {os.environ.get('TOLD', '')} threads={os.environ.get('OMP_NUM_THREADS')}"
    )
    link.send(RunOver(run=1, error=ErrorInfo.of(EngineError(told))))
    threading.Event().wait()


def ends_with_its_first_job(link, settings):
    """Ends without a word."""
    link.send(READY)
    while link.next_job(1.0) is None:
        pass
    os._exit(0)


def fails_at_once(link, settings):
    """Never gets ready."""
    os._exit(3)


def hangs(link, settings):
    """Never gets ready, and does not end."""
    threading.Event().wait()


def misplaces_its_results(link, settings):
    """Says that pixels lie where the daemon's own are."""
    link.send(READY)
    _tell_of_a_variant(link)
    link.send(RunPixels(run=1, at=PixelsAt(at=4096, lengths=(4096,))))
    threading.Event().wait()


def ends_before_the_pixels(link, settings):
    """Tells of a variant and ends before it has sent its pixels."""
    link.send(READY)
    _tell_of_a_variant(link)
    while link.next_job(1.0) is None:
        pass
    os._exit(0)


def sends_pixels_of_another_run(link, settings):
    """Tells of a variant of one run, and sends the pixels of another."""
    link.send(READY)
    _tell_of_a_variant(link)
    link.send(RunPixels(run=2), (bytes(4),))
    threading.Event().wait()


def _tell_of_a_variant(link):
    """The first half of what ``link.send`` does with one."""
    made = RunVariant(
        run=1,
        variant=0,
        seed=0,
        engine="echo",
        target=Rect(0, 0, 1, 1),
        image=ImageHeader(size=Size(1, 1), format=PixelFormat.RGBA8, frames=(0,)),
    )
    link._line.send(pack(made))


def talks_nonsense(link, settings):
    """Says what no worker says."""
    link.send(READY)
    link.send(WorkerGone(reason="not for workers"))
    threading.Event().wait()
