"""A daemon with two workers, as processes and as actors of Ray: two jobs at once, and one's death is no matter of the other's."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import psutil
import pytest
from tests.integration.daemon_process import WAIT_S, DaemonProcess, wait_until

from overpaint_protocol.messages import CancelJob, DaemonReport, InspectDaemon, JobDone, JobState, JobVariant


@pytest.fixture(scope="module", params=[None, ""], ids=["process", "ray"])
def daemon(request, tmp_path_factory):
    # Ray and what it stands on warn of things of their own.
    environ = {"PYTHONWARNINGS": "default"}
    folder = tmp_path_factory.mktemp("workers")
    with DaemonProcess.start(folder, environ=environ, workers=2, ray=request.param) as daemon:
        yield daemon


def report_with(client, *worker_states: str) -> DaemonReport:
    """The report once there are workers in these states, whichever of them."""

    def look():
        report = client.ask(InspectDaemon())
        return sorted(worker.state for worker in report.workers) == sorted(worker_states) and report

    return wait_until(look, f"the workers are {worker_states}", 3 * WAIT_S)  # Ray takes its time to start


def test_two_jobs_run_at_once_and_a_third_waits_for_two(daemon):
    client = daemon.client()
    report_with(client, "idle", "idle")
    for name in ("one", "two"):
        client.submit(name, prompt="hang")
    assert client.submit("three").position == 2
    report = report_with(client, "busy", "busy")
    assert [job.state for job in report.jobs] == [JobState.RUNNING, JobState.RUNNING, JobState.QUEUED]
    client.ask(CancelJob(job_id="two"))
    assert isinstance(client.until_over("three")[-1].message, JobDone)
    client.ask(CancelJob(job_id="one"))


def test_the_job_of_a_killed_worker_goes_on_with_the_other(daemon):
    client = daemon.client()
    before = report_with(client, "idle", "idle")
    client.submit("job", prompt="steps=60 delay=0.05", variants=2)
    busy = [worker.state for worker in report_with(client, "busy", "idle").workers].index("busy")
    process = re.findall(rf"worker (\d+) started as \w+-worker{busy + 1}\n", daemon.log)[-1]
    os.kill(int(process), signal.SIGKILL)
    *messages, done = [envelope.message for envelope in client.until_over("job")]
    assert isinstance(done, JobDone)
    assert [message.variant for message in messages if isinstance(message, JobVariant)] == [0, 1]
    assert f"attempt 2, with worker {2 - busy}" in daemon.log
    after = report_with(client, "idle", "idle")
    restarts = [new.restarts - old.restarts for old, new in zip(before.workers, after.workers, strict=True)]
    assert restarts[busy] == sum(restarts) == 1


def test_a_killed_daemon_leaves_nothing_of_ray(tmp_path):
    long = tmp_path / ("long" * 30)
    long.mkdir()
    environ = {"PYTHONWARNINGS": "default", "TMPDIR": str(long)}
    with DaemonProcess.start(tmp_path, environ=environ, ray="") as daemon:
        report_with(daemon.client(), "idle")
        processes = psutil.Process(daemon.process.pid).children(recursive=True)
        assert {"gcs_server", "raylet"} <= {process.name() for process in processes}
        (folder,) = {
            Path(process.cmdline()[-1]) for process in processes if "import head" in str(process.cmdline())
        }
        assert folder.stat().st_mode & 0o777 == 0o700
        daemon.process.kill()
        _, alive = psutil.wait_procs(processes, WAIT_S)
        assert alive == []
        assert not folder.exists()
