"""A real daemon that other machines may reach: who gets in, who does not, and what is open at all.

Only loopback addresses are used; what makes a connection a remote one is the port it comes to.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest
import zmq
from tests.integration.daemon_process import DaemonProcess, free_port, wait_until
from zmq.utils.monitor import parse_monitor_message

from overpaint_backend.remote.keys import KeyPair
from overpaint_protocol.messages import (
    DaemonReport,
    ErrorReply,
    InspectDaemon,
    JobAccepted,
    JobDone,
    Ping,
    Pong,
    ShutDown,
    Welcome,
)

ANNA, BO, STRANGER = KeyPair.new(), KeyPair.new(), KeyPair.new()


@pytest.fixture(scope="module")
def far_daemon(tmp_path_factory):
    """A daemon that listens for other machines and has ANNA and BO on its list."""
    folder = tmp_path_factory.mktemp("far")
    with DaemonProcess.start(folder, listen=f"tcp://127.0.0.1:{free_port()}") as daemon:
        daemon.allowed.add("anna", ANNA.public)
        daemon.allowed.add("bo", BO.public)
        yield daemon


def refused(client):
    """Until the handshake has failed; returns the event that said so."""
    while True:
        assert client.monitor.poll(30_000), "nothing happened"
        event = parse_monitor_message(client.monitor.recv_multipart())["event"]
        assert event != zmq.EVENT_HANDSHAKE_SUCCEEDED
        if event & (zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_DISCONNECTED):
            return event


def sessions(daemon):
    report = daemon.client().ask(InspectDaemon())
    assert isinstance(report, DaemonReport)
    return report.sessions


def test_another_machine_with_a_key_has_its_jobs_done(far_daemon):
    anna = far_daemon.remote(ANNA)
    assert isinstance(anna.hello("anna-1"), Welcome)
    assert isinstance(anna.submit("job-1"), JobAccepted)
    assert isinstance(anna.until_over("job-1")[-1].message, JobDone)


def test_the_same_session_id_is_another_session_for_each_key_and_for_the_local_user(far_daemon):
    for index, client in enumerate((far_daemon.remote(ANNA), far_daemon.remote(BO), far_daemon.client())):
        welcome = client.hello("the-same")
        assert welcome.jobs == ()
        assert isinstance(client.submit("job-1", color=10 + index), JobAccepted)
        client.until_over("job-1")
    again = far_daemon.remote(ANNA).hello("the-same")
    assert [job.job_id for job in again.jobs] == ["job-1"]


def test_another_machine_sees_its_own_sessions_only_and_cannot_stop_the_daemon(far_daemon):
    far_daemon.client("local-one")
    bo = far_daemon.remote(BO)
    bo.hello("bo-alone", editor="Bo's editor")
    report = bo.ask(InspectDaemon())
    assert {session.editor for session in report.sessions} <= {"Bo's editor", "Test"}
    assert len(report.sessions) < len(sessions(far_daemon))
    refusal = bo.ask(ShutDown())
    assert isinstance(refusal, ErrorReply) and refusal.error.code == "access.denied"
    assert bo.ask(Ping(nonce=1)) == Pong(nonce=1)


def test_an_unknown_key_and_an_old_key_of_the_daemon_are_refused_in_the_handshake(far_daemon):
    stranger, mistaken = far_daemon.remote(STRANGER), far_daemon.remote(ANNA, server=STRANGER.public)
    assert refused(stranger) == zmq.EVENT_HANDSHAKE_FAILED_AUTH
    assert refused(mistaken) == zmq.EVENT_DISCONNECTED


def test_what_strangers_send_reaches_nobody_and_the_log_stays_short(tmp_path):
    with DaemonProcess.start(tmp_path, listen=f"tcp://127.0.0.1:{free_port()}") as daemon:
        daemon.allowed.add("anna", ANNA.public)
        port = int(daemon.info.remote.rpartition(":")[2])
        before = len(daemon.log.splitlines())
        for _ in range(20):
            for key, server in ((STRANGER, None), (ANNA, STRANGER.public)):
                client = daemon.remote(key, server)
                client.send(Ping(nonce=1))
                refused(client)
                client.close()
            for says in (b"GET / HTTP/1.1\r\n\r\n" * 4, b"\x16\x03\x01\x02\x00\x01" + bytes(500)):
                with socket.create_connection(("127.0.0.1", port)) as other:
                    other.sendall(says)
                    with contextlib.suppress(ConnectionResetError):
                        while other.recv(1024):
                            pass
        assert [session.editor for session in sessions(daemon)] == ["Test"], "only the one that asks"
        said = daemon.log.splitlines()[before:]
        lines = [line for line in said if "refused" in line]
        assert 1 <= len(lines) <= 7, "80 refusals: told ever more rarely, at 1, 2, 4 … 64 at the most"
        assert "Traceback" not in daemon.log
        assert daemon.remote(ANNA).hello("anna").limits is not None


def test_who_is_revoked_is_out_at_once_and_who_comes_back_finds_the_results(far_daemon):
    carl = KeyPair.new()
    far_daemon.allowed.add("carl", carl.public)
    client = far_daemon.remote(carl)
    client.hello("carl-1")
    client.submit("job-1")
    client.until_over("job-1")
    far_daemon.allowed.revoke("carl")
    while True:
        assert client.monitor.poll(30_000), "it was not cut off"
        if parse_monitor_message(client.monitor.recv_multipart())["event"] == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            break
    assert client.is_silent()
    far_daemon.allowed.add("carl-again", carl.public)
    (job,) = far_daemon.remote(carl).hello("carl-1").jobs
    assert job.job_id == "job-1"


def test_exactly_what_was_asked_for_is_open(far_daemon):
    processes = [psutil.Process(far_daemon.process.pid), far_daemon.worker()]
    listening = {
        f"tcp://{c.laddr.ip}:{c.laddr.port}"
        for process in processes
        for c in process.net_connections("inet")
        if c.status == psutil.CONN_LISTEN or c.type == socket.SOCK_DGRAM
    }
    assert listening == {far_daemon.info.endpoints[1], far_daemon.info.remote}


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() != 0, reason="only root can be somebody else")
def test_another_user_of_the_machine_reaches_neither_socket_nor_token():
    with contextlib.ExitStack() as stack:
        # Everybody may enter the folders above: what keeps the other user out are those the daemon made.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/tmp")))
        folder.chmod(0o755)
        daemon = stack.enter_context(DaemonProcess.start(folder))
        path, address = daemon.info.endpoints[0].removeprefix("ipc://"), daemon.info.endpoints[1]
        tries = f"""
import os, socket
os.listdir({str(folder)!r})
for attempt in (
    lambda: socket.socket(socket.AF_UNIX).connect({path!r}),
    lambda: open({str(daemon.connection_path)!r}),
    lambda: os.listdir({str(folder / "run")!r}),
    lambda: os.listdir({str(folder / "state")!r}),
):
    try:
        attempt()
        print("got in")
    except PermissionError:
        print("refused")
"""
        python = shutil.which("python3", path="/usr/bin:/bin") or sys.executable
        other = subprocess.run(
            [python, "-I", "-c", tries],
            user=65534,
            group=65534,
            extra_groups=[],
            cwd="/",
            capture_output=True,
            text=True,
        )
        assert other.stdout.split("\n")[:-1] == ["refused"] * 4, other.stderr
        # TCP on the loopback is open to all, and the token, which the other user cannot read, is asked for there.
        guess = daemon.stranger("guessed", endpoint=1)
        assert address.startswith("tcp://127.0.0.1:")
        assert refused(guess) == zmq.EVENT_HANDSHAKE_FAILED_AUTH
        assert wait_until(lambda: "refused" in daemon.log, "the refusal is in the log")
