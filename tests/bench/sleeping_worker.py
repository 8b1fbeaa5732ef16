"""A worker whose jobs take their time without computing: so several of them need no more than one processor.

It sends back what it was given, and first tells which process does the job, as the stage of a progress. ``main`` is the daemon that
has it, with processes or with Ray.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import sys
import time
from dataclasses import replace

from overpaint_backend.engines.testing import InvertEngine
from overpaint_backend.executors.base import Ready, RunOver, RunProgress, RunVariant

JOB_S = 0.25
_LOOK_S = 0.01

_WORKER = "from tests.bench.sleeping_worker import serve; from overpaint_backend.executors.{} import main; main(serve)"

MAIN = "from tests.bench.sleeping_worker import main; main()"
"""The daemon's program; its first argument are settings."""


def serve(link, settings):
    """Be the worker."""
    engine = InvertEngine().info()
    link.send(Ready(engines=(engine,), broken_engines=()))
    while True:
        work = link.next_job(1.0)
        if work is None:
            continue
        job, payload = work
        link.send(RunProgress(run=job.run, stage=str(os.getpid()), fraction=None))
        until = time.monotonic() + JOB_S
        while time.monotonic() < until and not link.is_stopped(job.run):
            time.sleep(_LOOK_S)
        frames = job.request.image.take(payload)
        made = RunVariant(
            run=job.run,
            variant=0,
            seed=job.seed,
            engine=engine.id,
            target=job.request.context,
            image=replace(job.request.image, frames=tuple(range(len(frames)))),
        )
        link.send(made, frames)
        link.send(RunOver(run=job.run))


def main():
    """Run a daemon with such workers."""
    from overpaint_backend import daemon
    from overpaint_backend.config import DaemonSettings

    command = (sys.executable, "-c", _WORKER.format("worker"))
    daemon.ProcessExecutor = functools.partial(daemon.ProcessExecutor, command=command)
    daemon.RayExecutor = functools.partial(daemon.RayExecutor, program=_WORKER.format("ray_worker"))
    settings = dataclasses.replace(DaemonSettings.from_environment(), **json.loads(sys.argv[1]))
    sys.exit(daemon.run_daemon(settings))
