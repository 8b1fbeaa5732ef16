"""A scripted daemon with a real keeper, and what its client does in a life."""

from __future__ import annotations

from tests.backend.keepers import SteppedDisk
from tests.backend.scripted_daemon import SETTINGS, Daemon, pixels, submit, variant

from overpaint_backend.durability.keeper import Keeper
from overpaint_backend.executors.base import RunOver
from overpaint_protocol.messages import (
    AckJob,
    FetchJob,
    JobAccepted,
    JobAcked,
    JobDone,
    JobFailed,
    JobVariant,
    Welcome,
)

RESULTS = {0: b"abcd", 1: b"efgh"}
"""What the worker makes, by the variant's index."""


class KeptDaemon(Daemon):
    """A Daemon with a real keeper."""

    def __init__(self, folder, *, wall=lambda: 1e9, disk=None, settings=SETTINGS, **options):
        self.disk = disk or SteppedDisk()
        self.keeper = Keeper(folder / "jobs", self.disk, wall)
        super().__init__(settings, keeper=self.keeper, **options)

    def die(self):
        """As a killed process leaves the disk."""
        self.disk.die()
        self.keeper.close()


def only(messages, kind):
    (message,) = [m for m in messages if isinstance(m, kind)]
    return message


def files(folder):
    return sorted(path.name for path in (folder / "jobs" / "pixels").iterdir())


def client_of_the_product(daemon, job_id, told, variants=2):
    """What the plug-in does when it has a connection: fetch what is known, submit what is not."""
    (welcome,) = [m for m in daemon.hello(b"A") if isinstance(m, Welcome)]
    told["kept"] = job_id in [job.job_id for job in welcome.jobs]
    if told["kept"]:
        daemon.post(b"A", FetchJob(job_id=job_id))
    else:
        daemon.post(b"A", submit(job_id, variants=variants), pixels())


def listen(daemon, told):
    daemon.service.flush(daemon.now)
    for envelope in daemon.inboxes.pop(b"A", []):
        message = envelope.message
        if isinstance(message, JobAccepted):
            told["accepted"] = True
        elif isinstance(message, JobVariant):
            told.setdefault("painted", {}).setdefault(message.variant, []).append(
                b"".join(bytes(frame) for frame in envelope.payload)
            )
        elif isinstance(message, (JobDone, JobFailed)):
            told.setdefault("ends", set()).add(type(message).__name__)
        elif isinstance(message, JobAcked):
            told["acked"] = True


def work(daemon, told):
    """The worker does what it is given; the client listens."""
    for run in daemon.executor.runs[told.setdefault("runs_seen", 0) :]:
        told["runs_seen"] += 1
        told["runs"] = told.get("runs", 0) + 1
        for index in range(run.first_variant, run.request.variants):
            daemon.worker(variant(run.run, index), (RESULTS[index],))
            listen(daemon, told)
        daemon.worker(RunOver(run=run.run))
        listen(daemon, told)


def a_life(daemon, told, *, ack):
    client_of_the_product(daemon, "job-1", told)
    listen(daemon, told)
    work(daemon, told)
    daemon.disk.settle()
    listen(daemon, told)
    if ack and "ends" in told:
        daemon.post(b"A", AckJob(job_id="job-1"))
        listen(daemon, told)
