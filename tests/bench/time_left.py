"""What the daemon says about the time left, against the time it then took.

    python -m tests.bench.time_left [--engine toy|embedded] [--steps N] [--variants N] [--judged N]

Jobs run through a real daemon: three to learn from, then those that are judged, the last of them on a daemon that was
started anew, so that loading counts too. Each word about the time left is held against the truth, which is known when the
job is done. Printed are, for each judged job, the words nearest to 10, 25, 50, 75 and 90 % of its time, and the largest
error of all of them from 10 % on, the last second left out.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.integration.daemon_process import DaemonProcess, daemon_environ

from overpaint_protocol.geometry import Size
from overpaint_protocol.messages import Fill, GenerationSettings, JobDone, JobFailed, JobProgress

WEIGHTS = Path(__file__).parents[1] / "toy_model" / "weights"
LEARNT_FROM = 3
SHOWN_AT = (0.1, 0.25, 0.5, 0.75, 0.9)
_WAIT_S = 600.0


@dataclass(frozen=True, slots=True)
class Word:
    """One progress message: at which part of the job's time it came, and the seconds left as told and in truth."""

    part: float
    told_s: float | None
    true_s: float

    @property
    def error(self) -> float:
        """Of the true time left."""
        return 1.0 if self.told_s is None else abs(self.told_s - self.true_s) / self.true_s


def main() -> None:
    """Run the jobs and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--engine", choices=("toy", "embedded"), default="toy")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--variants", type=int, default=4)
    parser.add_argument(
        "--judged", type=int, default=4, help="jobs that are judged, the last after a restart"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="overpaint-bench-") as scratch:
        folder = Path(scratch)
        environ = {"OVERPAINT_MODELS_DIR": str(folder / "models")}
        subprocess.run(
            [sys.executable, "-m", "overpaint_backend", "models", "import", str(WEIGHTS), "--id", "toy"],
            env={**daemon_environ(folder), **environ},
            stdout=subprocess.DEVNULL,
            check=True,
        )
        with DaemonProcess.start(folder, environ=environ) as daemon:
            client = daemon.client()
            for number in range(LEARNT_FROM):
                run(client, f"learn-{number}", options)
            print(f"{options.engine}, load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
            for number in range(options.judged - 1):
                report(f"job {number + 1}", run(client, f"judge-{number}", options))
        with DaemonProcess.start(folder, environ=environ) as daemon:
            report("after a restart", run(daemon.client(), "restarted", options))


def run(client, job_id: str, options: argparse.Namespace) -> list[Word]:
    """Do a job; what was said of it."""
    settings = GenerationSettings(steps=options.steps)
    size = Size(64, 64) if options.engine == "toy" else Size(1024, 1024)
    began = time.monotonic()
    client.submit(
        job_id,
        engine=options.engine,
        operation=Fill(prompt=f"a red disc {job_id}", settings=settings),
        size=size,
        variants=options.variants,
    )
    heard: list[tuple[float, float | None]] = []
    while True:
        message = client.receive(_WAIT_S).message
        now = time.monotonic()
        if isinstance(message, JobFailed):
            raise SystemExit(message.error.message)
        if isinstance(message, JobDone):
            break
        if isinstance(message, JobProgress):
            heard.append((now, message.time_left_s))
    return [Word((at - began) / (now - began), told_s, now - at) for at, told_s in heard]


def report(title: str, words: list[Word]) -> None:
    """Print one job."""
    total_s = words[0].true_s / (1 - words[0].part)
    print(f"\n{title}: {total_s:.1f} s, {len(words)} words")
    for part in SHOWN_AT:
        word = min(words, key=lambda word: abs(word.part - part))
        told = "nothing" if word.told_s is None else f"{word.told_s:6.1f} s"
        print(f"  {word.part:4.0%}  told {told}  true {word.true_s:6.1f} s  error {word.error:4.0%}")
    judged = [word.error for word in words if word.part >= SHOWN_AT[0] and word.true_s > 1]
    print(f"  largest error from 10 % on: {max(judged, default=0.0):.0%} of {len(judged)} words")


if __name__ == "__main__":
    main()
