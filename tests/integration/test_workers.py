"""A daemon with two workers, as processes and as actors of Ray: two jobs at once, and one's death is no matter of the other's."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import psutil
import pytest
from tests.integration.daemon_process import WAIT_S, DaemonProcess, wait_until
from tests.integration.test_stories import story_of

from overpaint_protocol.messages import (
    CancelJob,
    DaemonReport,
    FetchJob,
    InspectDaemon,
    JobDone,
    JobFailed,
    JobState,
    JobVariant,
)

ENVIRON = {"PYTHONWARNINGS": "default"}
"""Ray and what it stands on warn of things of their own."""
SLOW = "steps=60 delay=0.05"


@pytest.fixture(scope="module", params=[None, ""], ids=["process", "ray"])
def daemon(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("workers")
    with DaemonProcess.start(folder, environ=ENVIRON, workers=2, ray=request.param) as daemon:
        yield daemon


def report_with(client, *worker_states: str) -> DaemonReport:
    """The report once there are workers in these states, whichever of them."""

    def look():
        report = client.ask(InspectDaemon())
        return sorted(worker.state for worker in report.workers) == sorted(worker_states) and report

    return wait_until(look, f"the workers are {worker_states}", 3 * WAIT_S)  # Ray takes its time to start


def restarts(report: DaemonReport) -> int:
    """Of all of its workers."""
    return sum(worker.restarts for worker in report.workers)


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
    client.submit("job-of-a-killed-worker", prompt=SLOW, variants=2)
    busy = [worker.state for worker in report_with(client, "busy", "idle").workers].index("busy")
    process = re.findall(rf"worker (\d+) started as \w+-worker{busy + 1}\n", daemon.log)[-1]
    os.kill(int(process), signal.SIGKILL)
    *messages, done = [envelope.message for envelope in client.until_over("job-of-a-killed-worker")]
    assert isinstance(done, JobDone)
    assert [message.variant for message in messages if isinstance(message, JobVariant)] == [0, 1]
    told = [entry["sentence"] for entry in story_of(daemon, "job-of-a-killed-worker")["entries"]]
    attempts = [sentence.partition(",")[0] for sentence in told if sentence.startswith("Attempt")]
    assert attempts == [
        f"Attempt 1 was begun with worker {busy + 1}",
        f"Attempt 2 was begun with worker {2 - busy}",
    ]
    after = report_with(client, "idle", "idle")
    assert after.workers[busy].restarts == before.workers[busy].restarts + 1
    assert restarts(after) == restarts(before) + 1


@pytest.mark.parametrize("prompt", ["fail", "bug"])
def test_an_engine_that_fails_fails_its_job_and_keeps_its_process(daemon, prompt):
    client = daemon.client()
    before = report_with(client, "idle", "idle")
    client.submit("bad", prompt=prompt)
    assert client.until_over("bad")[-1].message.error.code == "engine.failed"
    client.submit("good")
    assert isinstance(client.until_over("good")[-1].message, JobDone)
    assert restarts(report_with(client, "idle", "idle")) == restarts(before)


def test_a_job_that_kills_both_workers_fails_with_a_sentence_and_the_next_works(daemon):
    client = daemon.client()
    before = report_with(client, "idle", "idle")
    client.submit("poison", prompt="crash")
    failed = client.until_over("poison")[-1].message
    assert isinstance(failed, JobFailed) and failed.error.code == "engine.lost"
    client.submit("next")
    assert isinstance(client.until_over("next")[-1].message, JobDone)
    assert restarts(report_with(client, "idle", "idle")) == restarts(before) + 2


def test_a_second_daemon_names_the_first_and_leaves_its_workers_alone(daemon):
    client = daemon.client()
    before = report_with(client, "idle", "idle")
    second = DaemonProcess.spawn(daemon.folder, environ=ENVIRON, workers=2, ray="")
    assert second.process.wait(WAIT_S) == 1
    assert f"process {daemon.process.pid}" in second.process.stderr.read().decode()
    second.close()
    client.submit("job")
    assert isinstance(client.until_over("job")[-1].message, JobDone)
    assert restarts(report_with(client, "idle", "idle")) == restarts(before)


def test_a_killed_daemon_and_a_stopped_one_leave_nothing_of_ray_and_their_jobs_to_the_next(tmp_path):
    long = tmp_path / ("long" * 30)
    long.mkdir()
    environ = {**ENVIRON, "TMPDIR": str(long)}
    with DaemonProcess.start(tmp_path, environ=environ, ray="") as daemon:
        client = daemon.client("anna")
        report_with(client, "idle")
        client.submit("first", prompt=SLOW, seed=7)
        client.submit("second", prompt=SLOW, seed=8)
        report_with(client, "busy")
        processes, folder = of_ray(daemon)
        assert folder.stat().st_mode & 0o777 == 0o700
        daemon.process.kill()
        assert_gone(processes, folder)
    with DaemonProcess.start(tmp_path, environ=environ, ray="") as daemon:
        client = daemon.client("anna")
        report_with(client, "busy")
        client.send(FetchJob(job_id="first"))
        *_, variant, done = [envelope.message for envelope in client.until_over("first")]
        assert isinstance(done, JobDone) and variant.seed == 7
        report_with(client, "busy")
        processes, folder = of_ray(daemon)
        assert daemon.terminate() == 0
        assert_gone(processes, folder)
    with DaemonProcess.start(tmp_path) as daemon:  # with a process: the jobs know nothing of executors
        client = daemon.client("anna")
        client.send(FetchJob(job_id="second"))
        *_, variant, done = [envelope.message for envelope in client.until_over("second")]
        assert isinstance(done, JobDone) and variant.seed == 8


def of_ray(daemon) -> tuple[list[psutil.Process], Path]:
    """All processes of that daemon, and the folder of its Ray."""
    processes = psutil.Process(daemon.process.pid).children(recursive=True)
    assert {"gcs_server", "raylet"} <= {process.name() for process in processes}
    (folder,) = {
        Path(process.cmdline()[-1]) for process in processes if "import head" in str(process.cmdline())
    }
    return processes, folder


def assert_gone(processes, folder) -> None:
    _, alive = psutil.wait_procs(processes, WAIT_S)
    assert alive == []
    assert not folder.exists()
