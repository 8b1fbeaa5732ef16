"""``overpaint status`` of a real daemon at work, and in words."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
import time

from tests.integration.daemon_process import wait_until
from tests.integration.test_stories import overpaint, wait_running

from overpaint_backend.cli.situation import Storage, describe, describe_bytes
from overpaint_protocol.messages import (
    CancelJob,
    DaemonReport,
    DeviceReport,
    EnergyReport,
    FailureReport,
    InspectDaemon,
    JobReport,
    JobState,
    LoadedReport,
    WorkerReport,
)


def test_status_tells_of_the_queue_the_device_and_the_disk_and_not_of_prompts_and_ids(own_daemon):
    busy, waiting = own_daemon.client(editor="GIMP"), own_daemon.client(editor="Krita")
    busy.submit("id-of-gimps-job", prompt="hang zanzibar")
    wait_running(busy, "id-of-gimps-job")
    waiting.submit("id-of-kritas-job", prompt="zanzibar")
    wait_until(
        lambda: (device := waiting.ask(InspectDaemon()).workers[0].device) is not None and device.loaded,
        "the worker has told what is open",
    )
    plain = overpaint(own_daemon, "status", "--json")
    told = json.loads(plain.stdout)
    assert [(job["editor"], job["state"], job["position"]) for job in told["jobs"]] == [
        ("GIMP", "running", 0),
        ("Krita", "queued", 1),
    ]
    device = told["workers"][0]["device"]
    assert 0 < device["free_bytes"] <= device["total_bytes"]
    assert device["resident_bytes"] > 10_000_000
    assert device["loaded"]
    assert told["kept_bytes"] > 0
    assert told["storage"]["used_bytes"] >= told["kept_bytes"]
    lines = overpaint(own_daemon, "status").stdout
    assert "Runs: fill for GIMP by test-invert: painting" in lines
    assert "Waits, 1 ahead: fill for Krita by test-invert." in lines
    for text in (plain.stdout, lines):
        assert "zanzibar" not in text and "id-of" not in text
    busy.ask(CancelJob(job_id="id-of-gimps-job"))


def test_the_words_for_several_workers():
    (busy,) = REPORT.workers
    report = dataclasses.replace(
        REPORT,
        workers=(
            dataclasses.replace(busy, device=dataclasses.replace(busy.device, place="cuda:0", loaded=())),
            WorkerReport(state="down", restarts=7),
        ),
    )
    lines = list(describe(report, None))
    assert lines[0].endswith("(process 7); its 2 workers: 1 busy, 1 down.")
    assert lines[1:3] == ["Worker 1 had to be replaced once.", "Worker 2 had to be replaced 7 times."]
    assert lines[4].startswith("Worker 1, busy. Graphics card (cuda:0): 3.5 GB of 12.0 GB memory free")
    assert lines[6] == "Worker 2, down. Device: unknown while no worker is ready."


def test_status_tells_of_failures_by_their_code(own_daemon):
    client = own_daemon.client(editor="Krita")
    client.submit("a", prompt="fail zanzibar")
    client.until_over("a")
    report = client.ask(InspectDaemon())
    assert [(failure.operation, failure.engine, failure.code) for failure in report.failures] == [
        ("fill", "test-invert", "engine.failed")
    ]
    assert "zanzibar" not in str(report)


def test_watching_goes_on_until_the_daemon_ends(own_daemon):
    watching = subprocess.Popen(
        [sys.executable, "-m", "overpaint_backend", "status", "--watch"],
        env=own_daemon.environ,
        stdout=subprocess.PIPE,
        text=True,
    )
    for _ in range(2):  # it comes again
        while "Overpaint's daemon" not in watching.stdout.readline():
            time.sleep(0.01)
    own_daemon.process.send_signal(signal.SIGTERM)
    rest, _ = watching.communicate(timeout=60)
    assert rest.endswith("Overpaint's daemon has ended.\n")
    assert watching.returncode == 0


def test_without_a_daemon_status_says_so_and_fails(tmp_path, own_daemon):
    own_daemon.terminate()
    told = overpaint(own_daemon, "status")
    assert told.returncode == 1 and "does not run" in told.stdout


REPORT = DaemonReport(
    daemon_id="d",
    product_version="1.2.3",
    pid=7,
    uptime_s=7300.0,
    worker="busy",
    workers=(
        WorkerReport(
            state="busy",
            restarts=1,
            device=DeviceReport(
                device="cuda",
                free_bytes=3_500_000_000,
                total_bytes=12_000_000_000,
                resident_bytes=900_000_000,
                loaded=(
                    LoadedReport(engine="sd", weight_bytes=2_000_000_000, idle_s=30.0),
                    LoadedReport(engine="flux", weight_bytes=6_000_000_000),
                ),
            ),
        ),
    ),
    engines=(),
    jobs=(
        JobReport(
            editor="Krita",
            operation="fill",
            engine="flux",
            state=JobState.RUNNING,
            position=0,
            stage="painting",
            fraction=0.25,
            time_left_s=61.0,
        ),
    ),
    kept_bytes=1500,
    max_kept_bytes=6_000_000_000,
    idle_unload_s=600.0,
    failures=(FailureReport(ago_s=60.0, operation="edit", engine="", code="capacity.out_of_memory"),),
    energy=(EnergyReport(source="nvml", joules=7200.0, watts=150.4),),
)


def test_the_words_for_all_of_it():
    assert list(describe(REPORT, Storage(2_000_000, 5_000_000_000))) == [
        "Overpaint's daemon 1.2.3 has run for 2 hours (process 7); its worker is busy.",
        "The worker had to be replaced once.",
        "Runs: fill for Krita by flux: painting, 25%, 1 minute left.",
        "Graphics card: 3.5 GB of 12.0 GB memory free; the worker's process takes 900.0 MB of main memory.",
        "Open: sd, 2.0 GB, unused for 30 seconds; leaves in 9 minutes.",
        "Open: flux, 6.0 GB, in use.",
        "Kept: pictures and results of 1.5 kB, of at most 6.0 GB; on the disk 2.0 MB; 5.0 GB of the disk are free.",
        "Energy, of all programs: graphics cards 2.0 Wh since the daemon's start, 150 W lately.",
        "Failed 1 minute ago: edit by any engine (capacity.out_of_memory).",
    ]
    assert describe_bytes(999) == "999 bytes"
