"""A worker without pictures: what is asked to be filled goes back as it came.

It stands in for ``overpaint_backend.executors.worker`` where the way of the bytes is measured and not what engines and
imaging do with them: the same start, link and messages. ``MAIN`` starts a daemon that has it.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace

from overpaint_backend.engines.testing import InvertEngine
from overpaint_backend.executors.base import Ready, RunOver, RunVariant, WorkerStart
from overpaint_backend.executors.link import WorkerLink, exit_with
from overpaint_backend.freed_memory import FreedMemory
from overpaint_protocol import codec

ENGINE = "test-invert"
"""The id it answers to, the one that clients of the tests ask for."""

MAIN = """
import dataclasses, functools, json, sys
from overpaint_backend import daemon
from overpaint_backend.config import DaemonSettings
command = (sys.executable, "-m", "tests.bench.echo_worker")
daemon.ProcessExecutor = functools.partial(daemon.ProcessExecutor, command=command)
settings = dataclasses.replace(DaemonSettings.from_environment(), **json.loads(sys.argv[1]))
sys.exit(daemon.run_daemon(settings))
"""


def main() -> None:
    """Serve the daemon until it closes standard input."""
    start = codec.from_plain(json.loads(sys.stdin.buffer.readline()), WorkerStart)
    exit_with(sys.stdin.buffer)
    freed_memory = FreedMemory(lambda give_back: give_back())  # as the worker has it
    link = WorkerLink(start)
    link.send(Ready(engines=(InvertEngine().info(),), broken_engines=()))
    while True:
        work = link.next_job(1.0)
        freed_memory.look(time.monotonic())
        if work is None:
            continue
        freed_memory.use()
        job, payload = work
        frames = job.request.image.take(payload)
        image = replace(job.request.image, frames=tuple(range(len(frames))), profile=None)
        for variant in range(job.first_variant, job.request.variants):
            made = RunVariant(
                run=job.run,
                variant=variant,
                seed=job.seed + variant,
                engine=ENGINE,
                target=job.request.context,
                image=image,
            )
            link.send(made, frames)
        link.send(RunOver(run=job.run))
        del work, payload, frames  # nothing is held between jobs


if __name__ == "__main__":
    main()
