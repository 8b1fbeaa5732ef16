"""Ending the daemon: at once and for good, or after its jobs."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from tests.integration.daemon_process import DaemonProcess
from tests.integration.test_controller import WAIT_S, Artist, select
from tests.integration.test_stories import overpaint, wait_running

from overpaint_client.jobs import JobPhase
from overpaint_client.request import ask
from overpaint_protocol import connection
from overpaint_protocol.errors import DaemonNotRunning, DaemonStopped
from overpaint_protocol.messages import (
    DaemonReport,
    DaemonStopping,
    ErrorReply,
    Fill,
    JobDone,
    ShutDown,
)

SLOW = "steps=40 delay=0.05"


@pytest.fixture
def folder():
    with tempfile.TemporaryDirectory(prefix="ov-") as path:  # short: a Unix socket's path has little room
        yield Path(path)


@pytest.fixture
def someone(folder, tmp_path):
    """An artist whose plug-in notes in ``tmp_path / "started"`` that it would start a daemon."""
    command = (sys.executable, "-c", f"open({str(tmp_path / 'started')!r}, 'w').close()")
    path = folder / "state" / "daemon.json"
    artist = Artist(tmp_path / "clients", lambda: connection.find([path]), daemon_command=command)
    yield artist
    artist.leave()


def begin(artist):
    artist.connect()
    select(artist, artist.open())
    return artist.wait(artist.ask(Fill(prompt=SLOW)), JobPhase.RUNNING)


def stop(daemon, *options):
    stopped = overpaint(daemon, "stop", *options)
    assert stopped.returncode == 0, stopped.stderr
    daemon.process.wait()
    return stopped.stdout


def end(daemon):
    """As ``overpaint stop``, before the job that runs can be over."""
    assert isinstance(ask(ShutDown(), info=daemon.info), DaemonStopping)
    daemon.process.wait()


def test_a_daemon_that_was_stopped_is_not_started_for_jobs_asked_for_before(folder, someone, tmp_path):
    with DaemonProcess.start(folder) as daemon:
        job = begin(someone)
        end(daemon)
    assert someone.loop.run_until(lambda: someone.controller.link.is_stopped, WAIT_S)
    # Several looks at the link go by, each of which used to start a daemon.
    assert not someone.loop.run_until((tmp_path / "started").exists, 2.0)
    assert job.phase is JobPhase.WAITING
    with DaemonProcess.start(folder):  # as “overpaint serve” does
        assert someone.wait(job).phase is JobPhase.DONE


def test_asking_for_something_new_starts_it_again_and_the_old_job_goes_on(folder, someone, tmp_path):
    with DaemonProcess.start(folder) as daemon:
        job = begin(someone)
        end(daemon)
    assert someone.loop.run_until(lambda: someone.controller.link.is_stopped, WAIT_S)
    another = someone.ask()
    assert someone.loop.run_until((tmp_path / "started").exists, WAIT_S)
    with DaemonProcess.start(folder):
        assert someone.wait(job).phase is someone.wait(another).phase is JobPhase.DONE


def test_a_daemon_that_ended_otherwise_is_started_for_its_jobs(folder, someone, tmp_path):
    with DaemonProcess.start(folder) as daemon:
        begin(someone)
        daemon.terminate()
    assert someone.loop.run_until((tmp_path / "started").exists, WAIT_S)


def test_who_does_not_outwait_a_stop_is_told(folder, tmp_path):
    path = folder / "state" / "daemon.json"
    with DaemonProcess.start(folder) as daemon:
        artist = Artist(tmp_path / "clients", lambda: connection.find([path]), outwaits_stop=False)
        try:
            job = begin(artist)
            end(daemon)
            assert artist.wait(job).error.code == "link.stopped"
        finally:
            artist.leave()


def test_the_mark_is_made_by_stop_alone_and_goes_with_the_next_daemon(folder):
    paths = [folder / "state" / "daemon.json"]
    with DaemonProcess.start(folder) as daemon:
        stop(daemon)
    with pytest.raises(DaemonStopped):
        connection.find(paths)
    with DaemonProcess.start(folder) as daemon:
        assert connection.find(paths)
        daemon.terminate()
        with pytest.raises(DaemonNotRunning) as ended:
            connection.find(paths)
        assert not isinstance(ended.value, DaemonStopped)
        stop(daemon)  # none runs, and none is wanted
    with pytest.raises(DaemonStopped):
        connection.find(paths)


def test_draining_finishes_what_runs_and_waits_takes_nothing_new_and_ends(own_daemon):
    client = own_daemon.client("anna", editor="Krita")
    client.submit("runs", prompt=SLOW)
    wait_running(client, "runs")
    client.submit("waits", prompt="steps=3 delay=0.05")
    draining = client.ask(ShutDown(drain=True))
    assert draining.is_draining and len(draining.jobs) == 2
    refused = client.submit("late")
    assert isinstance(refused, ErrorReply) and refused.error.code == "daemon.shutting_down"
    messages = [envelope.message for envelope in client.receive_until(DaemonStopping)]
    assert [m.job_id for m in messages if isinstance(m, JobDone)] == ["runs", "waits"]
    assert isinstance(messages[-1], DaemonStopping)
    assert own_daemon.process.wait(30) == 0
    with pytest.raises(DaemonStopped):
        connection.find([own_daemon.connection_path])


@pytest.mark.parametrize("again", [ShutDown(drain=True), ShutDown()], ids=["drain", "stop"])
def test_a_second_word_ends_a_draining_daemon_at_once(own_daemon, again):
    client = own_daemon.client("anna")
    client.submit("endless", prompt="hang")
    wait_running(client, "endless")
    assert isinstance(client.ask(ShutDown(drain=True)), DaemonReport)
    assert isinstance(client.ask(again), DaemonStopping)
    assert own_daemon.process.wait(30) == 0
    with DaemonProcess.start(own_daemon.folder) as following:  # and the job is not lost
        (kept,) = following.client("anna").welcome.jobs
        assert kept.job_id == "endless" and not kept.state.is_final


def test_ctrl_c_while_it_drains_ends_it_at_once(own_daemon):
    client = own_daemon.client("anna")
    client.submit("endless", prompt="hang")
    wait_running(client, "endless")
    draining = subprocess.Popen(
        [sys.executable, "-m", "overpaint_backend", "stop", "--drain"],
        env=own_daemon.environ,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert draining.stdout.readline().startswith("1 job to finish")
    draining.send_signal(signal.SIGINT)
    told, _ = draining.communicate(timeout=60)
    assert told.endswith("Overpaint's daemon has ended.\n")
    assert draining.returncode == 0
    assert own_daemon.process.wait(30) == 0


def test_draining_without_jobs_ends_it(own_daemon):
    own_daemon.client()
    assert stop(own_daemon, "--drain").endswith("Overpaint's daemon has ended.\n")
