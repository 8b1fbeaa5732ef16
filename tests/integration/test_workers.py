"""A daemon with two workers: two jobs at once, and one worker's death is no matter of the other's."""

from __future__ import annotations

import os
import re
import signal

import pytest
from tests.integration.daemon_process import DaemonProcess, wait_until

from overpaint_protocol.messages import CancelJob, DaemonReport, InspectDaemon, JobDone, JobState


@pytest.fixture
def daemon(tmp_path):
    with DaemonProcess.start(tmp_path, workers=2) as daemon:
        yield daemon


def report_with(client, worker_states) -> DaemonReport:
    def look():
        report = client.ask(InspectDaemon())
        return [worker.state for worker in report.workers] == worker_states and report

    return wait_until(look, f"the workers are {worker_states}")


def test_two_jobs_run_at_once_and_a_third_waits_for_two(daemon):
    client = daemon.client()
    report_with(client, ["idle", "idle"])
    for name in ("one", "two"):
        client.submit(name, prompt="hang")
    assert client.submit("three").position == 2
    report = report_with(client, ["busy", "busy"])
    assert [job.state for job in report.jobs] == [JobState.RUNNING, JobState.RUNNING, JobState.QUEUED]
    client.ask(CancelJob(job_id="two"))
    assert isinstance(client.until_over("three")[-1].message, JobDone)
    client.ask(CancelJob(job_id="one"))


def test_the_job_of_a_killed_worker_goes_on_with_the_other(daemon):
    client = daemon.client()
    report_with(client, ["idle", "idle"])
    client.submit("job", prompt="steps=60 delay=0.01")
    report_with(client, ["busy", "idle"])
    first, _ = re.findall(r"worker (\d+) started", daemon.log)
    os.kill(int(first), signal.SIGKILL)
    assert isinstance(client.until_over("job")[-1].message, JobDone)
    report = report_with(client, ["idle", "idle"])
    assert [worker.restarts for worker in report.workers] == [1, 0]
    assert "attempt 2, with worker 2" in daemon.log
