"""Two workers against one, as processes and as actors of Ray, and what the death of one in the middle of a job costs.

    python -m tests.bench.workers [--executors process ray] [--jobs 12] [--rounds 3]

Run from the root with the source folders on ``PYTHONPATH``. Jobs sleep for a quarter of a second each (``sleeping_worker``), so that
the daemon, its disk and the way of the pixels are measured, and not how two engines share this machine's processor. Jobs per
minute count from the first that is asked for to the last that is done and on the disk, all of them asked for at once. A daemon with
one worker and one with two take turns, so that a machine that changes its speed changes it for both; the median of the rounds
counts, and before them each worker does two jobs that do not.

Then, with two workers, the process that does a job is killed with SIGKILL as soon as it has told that it begins. Lost is a job that is
not done, done more than once, or comes back with other pixels than it went. The delay is how much later than an undisturbed job
the killed one is done. Exit code 1 if a bar is missed.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tests.bench.sleeping_worker import JOB_S, MAIN
from tests.integration.daemon_process import ROOT, Client, DaemonProcess, submission, wait_until

from overpaint_protocol.messages import InspectDaemon, JobDone, JobFailed, JobProgress, JobVariant

EXECUTORS = {"process": None, "ray": ""}
"""The daemon's setting for each."""
_LEAST_SPEEDUP = 1.85
_MOST_DELAY_S = 5.0
_STARTED_S = 120.0
_WARM_UP = 2
"""Jobs for each worker before it is measured."""
_SOURCES = os.pathsep.join(map(str, [ROOT, *(ROOT / n for n in ("protocol", "backend", "plugins/common"))]))


@dataclass(frozen=True, slots=True)
class Kill:
    """What came of a kill. back_s: until there were two workers again."""

    lost: int
    delay_s: float
    back_s: float


@dataclass(frozen=True, slots=True)
class Measured:
    """Of one executor. one, two: jobs per minute of so many workers."""

    executor: str
    one: float
    two: float
    kill: Kill

    @property
    def verdicts(self) -> list[tuple[bool, str]]:
        """Whether each bar is kept, in words."""
        speedup = self.two / self.one
        return [
            (
                speedup >= _LEAST_SPEEDUP,
                f"{self.executor}: 2 workers do {self.two:.0f} jobs a minute, 1 does {self.one:.0f}: "
                f"{speedup:.2f} times as many (at least {_LEAST_SPEEDUP})",
            ),
            (self.kill.lost == 0, f"{self.executor}: kill -9 of one of two loses {self.kill.lost} jobs (0)"),
            (
                self.kill.delay_s <= _MOST_DELAY_S,
                f"{self.executor}: and delays its job by {self.kill.delay_s:.2f} s (at most {_MOST_DELAY_S:g}); "
                f"two workers again after {self.kill.back_s:.1f} s",
            ),
        ]


def measure(executor: str, folder: Path, jobs: int, rounds: int) -> Measured:
    """Run it all with one executor. jobs: for each worker in a round."""
    with started(folder / "one", executor, 1) as one, started(folder / "two", executor, 2) as two:
        rates: dict[int, list[float]] = {1: [], 2: []}
        for turn in range(rounds + 1):
            for workers, daemon in ((1, one), (2, two)):
                rate = _jobs_per_minute(daemon.client(), workers * (jobs if turn else _WARM_UP))
                if turn:
                    rates[workers].append(rate)
        kill = kill_one(two.client(), jobs)
    return Measured(executor, median(rates[1]), median(rates[2]), kill)


@contextmanager
def started(folder: Path, executor: str, workers: int) -> Iterator[DaemonProcess]:
    """A daemon with so many workers, all of them ready. folder: a new one for it."""
    folder.mkdir()
    environ = {"PYTHONPATH": _SOURCES, "PYTHONWARNINGS": "default"}  # Ray warns of things of its own
    how = {"workers": workers, "ray": EXECUTORS[executor]}
    with DaemonProcess.start(folder, environ=environ, main=MAIN, **how) as daemon:
        _wait_for_workers(daemon.client(), workers)
        yield daemon


def _wait_for_workers(client: Client, count: int) -> None:
    def are_ready() -> bool:
        states = [worker.state for worker in client.ask(InspectDaemon()).workers]
        return sum(state in ("idle", "busy") for state in states) == count

    wait_until(are_ready, f"{count} workers are ready", _STARTED_S)


def _jobs_per_minute(client: Client, jobs: int) -> float:
    began = time.perf_counter()
    for number in range(jobs):
        client.send(*submission(f"job-{number}"))
    left = jobs
    while left:
        message = client.receive().message
        if isinstance(message, JobFailed):
            raise RuntimeError(f"a job failed: {message.error.message}")
        left -= isinstance(message, JobDone)
    return jobs * 60 / (time.perf_counter() - began)


def kill_one(client: Client, jobs: int) -> Kill:
    """Ask a daemon with two workers for jobs, and kill the process that does the third or a later one."""
    colors = {f"job-{number}": number for number in range(jobs)}
    for job_id, color in colors.items():
        client.send(*submission(job_id, color=color))
    ends: Counter[str] = Counter()
    intact: Counter[str] = Counter()
    killed, killed_at, delay_s = "", 0.0, 0.0
    while len(ends) < jobs:
        envelope = client.receive()
        message = envelope.message
        if isinstance(message, JobProgress) and message.stage.isdigit() and not killed and len(ends) >= 2:
            os.kill(int(message.stage), signal.SIGKILL)
            killed, killed_at = message.job_id, time.perf_counter()
        elif isinstance(message, JobVariant):
            intact[message.job_id] += bytes(envelope.payload[0])[0] == colors[message.job_id]
        elif isinstance(message, (JobDone, JobFailed)):
            ends[message.job_id] += 1 if isinstance(message, JobDone) else 2
            if message.job_id == killed:
                delay_s = time.perf_counter() - killed_at - JOB_S
    _wait_for_workers(client, 2)
    lost = sum(ends[job_id] != 1 or intact[job_id] != 1 for job_id in colors)
    return Kill(lost, delay_s, time.perf_counter() - killed_at)


def main() -> int:
    """Measure, tell, and say by the exit code whether all bars are kept."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--executors", nargs="+", choices=EXECUTORS, default=list(EXECUTORS))
    parser.add_argument("--jobs", type=int, default=12, help="for each worker in a round, at most 16")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    are_kept = True
    with tempfile.TemporaryDirectory() as folder:
        for executor in options.executors:
            (Path(folder) / executor).mkdir()
            for is_kept, words in measure(
                executor, Path(folder) / executor, options.jobs, options.rounds
            ).verdicts:
                print("kept  " if is_kept else "MISSED", words, flush=True)
                are_kept = are_kept and is_kept
    return 0 if are_kept else 1


if __name__ == "__main__":
    sys.exit(main())
