"""The bundle for reports of faults: secrets are planted wherever one could be, and none may be in it. And bounded logs."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
from tests.integration.daemon_process import DaemonProcess, install_plugin, wait_until
from tests.integration.test_stories import overpaint

from overpaint_backend.cli.redaction import Redactor
from overpaint_protocol.messages import AckJob, JobAccepted

SECRET = "zanzibar"

# Its id, what it prints, logs and raises, and its file are secrets.
GOSSIP = """
import logging
from dataclasses import replace

from overpaint_backend.engines.testing import InvertEngine


class Gossip(InvertEngine):
    def info(self):
        return replace(super().info(), id="zanzibar-engine", name="Zanzibar's engine")

    def open(self, device, make_room=None):
        return Session(super().open(device))


class Session:
    def __init__(self, session):
        self.close = session.close

    def fill(self, request, on_step):
        print("painting", request.prompt)
        logging.getLogger("zanzibar.library").warning("the prompt was cut: %s", request.prompt)
        raise RuntimeError(f"cannot paint {request.prompt}\\nwith /home/zanzibar/picture.kra")
"""


@pytest.fixture
def daemon(tmp_path):
    folder = tmp_path / SECRET
    folder.mkdir()
    install_plugin(folder, "zanzibar-engine", "zanzibar_module:Gossip", GOSSIP)
    (folder / "recipes").mkdir()
    (folder / "recipes" / "zanzibar.toml").write_text(
        'format = 1\nname = "Zanzibar"\nprompt = "zanzibar {prompt}"\n'
    )
    environ = {"HOME": str(folder / "home of zanzibar"), "LOGNAME": "zanzibaruser"}
    with DaemonProcess.start(folder, environ=environ) as daemon:
        yield daemon


def contents(path):
    with zipfile.ZipFile(path) as bundle:
        return {name: bundle.read(name).decode() for name in bundle.namelist()}


def test_the_bundle_tells_what_helps_and_nothing_of_the_artist(daemon, tmp_path):
    session_id = "5e55-zanzibar-session"
    client = daemon.client(session_id, editor="Zanzibar's editor")
    prompt = "a door in zanzibar"
    asked = {"prompt": prompt, "document_id": "zanzibar.kra"}
    accepted = client.submit("zanzibar-job-1", engine="zanzibar-engine", **asked)
    assert isinstance(accepted, JobAccepted), accepted
    client.until_over("zanzibar-job-1")
    client.submit("zanzibar-job-2", **asked)
    client.until_over("zanzibar-job-2")
    client.submit("zanzibar-job-3", recipe="zanzibar", **asked)
    client.until_over("zanzibar-job-3")
    client.ask(AckJob(job_id="zanzibar-job-1"))
    log = daemon.folder / "state" / "daemon.log"
    wait_until(
        lambda: "cannot paint" in log.read_text(), "the log has the secret that the bundle must not have"
    )
    token = daemon.info.token
    bundle = tmp_path / "bundle.zip"
    told = overpaint(daemon, "doctor", "--bundle", str(bundle))
    assert told.returncode == 0, told.stderr
    parts = contents(bundle)
    for name, text in parts.items():
        assert SECRET not in text.lower(), name
        assert SECRET not in name.lower()
        assert token not in text and str(daemon.folder) not in text and str(tmp_path) not in text
    assert bundle.stat().st_mode & 0o077 == 0

    assert json.loads(parts["about.json"])["packages"]["pyzmq"]
    assert json.loads(parts["settings.json"])["max_jobs"] == 32
    assert {check["name"] for check in json.loads(parts["doctor.json"])} >= {"Python", "Daemon", "Engines"}
    status = json.loads(parts["status.json"])
    assert status["running"] and [one["code"] for one in status["failures"]] == ["engine.failed"]
    assert json.loads(parts["journal.json"])["parts"]["order"] == 2
    whats = [[entry["what"] for entry in story] for story in json.loads(parts["stories.json"])]
    assert whats[-1][0] == "submitted" and "failed" in whats[-1]
    log_lines = parts["log/daemon.log"]
    assert "job 1 failed (engine.failed)" in log_lines
    assert "run 1: the engine failed" in log_lines
    assert 'File "overpaint_backend/executors/worker.py"' in log_lines
    assert "RuntimeError: [message]" in log_lines
    assert "a line that is not Overpaint's own was left out" in log_lines


def test_a_bundle_is_made_without_a_daemon_and_a_place_that_cannot_be_written_is_told(daemon, tmp_path):
    daemon.terminate()
    bundle = tmp_path / "bundle.zip"
    assert overpaint(daemon, "doctor", "--bundle", str(bundle)).returncode == 0
    assert json.loads(contents(bundle)["status.json"]) == {"running": False, "error": "link.not_running"}
    told = overpaint(daemon, "doctor", "--bundle", str(tmp_path / "missing" / "bundle.zip"))
    assert told.returncode == 1 and "cannot be written" in told.stderr


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("in /home/anna b/x/y.kra, ok", "in [path], ok"),
        ("in /home/anna b", "in ~"),
        ("at ('ipc:///run/user/1/o.sock', 'tcp://127.0.0.1:40123')", "at ('[address]', '[address]')"),
        (r"in C:\Users\anna\x.kra.", "in [path]"),
        ("token AbCdEfGhIjKlMnOpQrStUvWx-_12", "token [id]"),
        ("anna asked anna-maria, not annabel", "[name] asked [name]-maria, not annabel"),
        ("3 jobs, 1.5 GB, and/or", "3 jobs, 1.5 GB, and/or"),
    ],
)
def test_what_is_redacted(text, redacted):
    assert Redactor(Path("/home/anna b"), ("anna", "pc")).text(text) == redacted


def test_logs_are_bounded_in_size_and_number(tmp_path):
    with DaemonProcess.start(tmp_path, log_bytes=2000, old_logs=2) as daemon:
        client = daemon.client()
        for number in range(30):
            client.submit(f"job-{number}")
            client.until_over(f"job-{number}")
            client.ask(AckJob(job_id=f"job-{number}"))
    logs = sorted((tmp_path / "state").glob("daemon.log*"))
    assert [log.name for log in logs] == ["daemon.log", "daemon.log.1", "daemon.log.2"]
    assert all(log.stat().st_size <= 2000 and log.stat().st_mode & 0o077 == 0 for log in logs)
    assert "job 30 done" in "".join(log.read_text() for log in logs)
