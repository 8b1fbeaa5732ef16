"""Editors here, the daemon elsewhere, a relay between: the same experience, and links that die and come back."""

from __future__ import annotations

import subprocess

import pytest
import zmq
from PIL import Image
from tests.integration.daemon_process import DaemonProcess, free_port, wait_until
from tests.integration.relays import OVERPAINT, CuttableLink, RelayProcess
from zmq.utils.monitor import parse_monitor_message

from overpaint_backend.remote.keys import KeyPair
from overpaint_protocol import connection
from overpaint_protocol.errors import DaemonStopped
from overpaint_protocol.messages import (
    DaemonReport,
    ErrorReply,
    FetchJob,
    InspectDaemon,
    JobAccepted,
    JobDone,
    JobProgress,
    JobVariant,
    Ping,
    Pong,
    ShutDown,
    Welcome,
)


@pytest.fixture(scope="module")
def far(tmp_path_factory):
    """The daemon on the other machine."""
    folder = tmp_path_factory.mktemp("far")
    with DaemonProcess.start(folder, listen=f"tcp://127.0.0.1:{free_port()}") as daemon:
        yield daemon


@pytest.fixture(scope="module")
def near(far, tmp_path_factory):
    """The relay on this machine, over a link that nobody cuts."""
    with RelayProcess.to(far, tmp_path_factory.mktemp("near")) as relay:
        yield relay


@pytest.fixture
def link(far):
    link = CuttableLink(int(far.info.remote.rpartition(":")[2]))
    yield link
    link.close()


@pytest.fixture
def fragile(far, link, tmp_path):
    """A relay over a link that can be cut."""
    with RelayProcess.to(far, tmp_path / f"fragile-{link.port}", port=link.port) as relay:
        yield relay


def overpaint(relay, *arguments):
    return subprocess.run(
        [*OVERPAINT, *map(str, arguments)], env=relay.environ, capture_output=True, text=True, check=False
    )


def wait_cut_off(client):
    while True:
        assert client.monitor.poll(30_000), "it was not cut off"
        if parse_monitor_message(client.monitor.recv_multipart())["event"] == zmq.EVENT_DISCONNECTED:
            return


def said_of(relay):
    """What a client that says hello now is told."""
    client = relay.stranger()
    try:
        answer = client.hello("somebody")
        return answer.error if isinstance(answer, ErrorReply) else answer
    finally:
        client.close()


def denied_by(relay):
    error = said_of(relay)
    return error if getattr(error, "code", "") == "access.denied" else None


# ---------------------------------------------------------------- a link that holds


@pytest.mark.parametrize("endpoint", [0, 1], ids=["ipc", "tcp"])
def test_a_client_has_its_job_done_as_if_the_daemon_were_here(near, endpoint):
    client = near.client(endpoint=endpoint)
    assert isinstance(client.submit("job-1"), JobAccepted)
    *before, done = client.until_over("job-1")
    assert isinstance(done.message, JobDone)
    assert sum(isinstance(envelope.message, JobVariant) for envelope in before) == 1
    assert client.ask(Ping(nonce=7)) == Pong(nonce=7)


def test_a_fill_from_the_command_line_goes_through_the_relay(near, far, tmp_path):
    picture, mask, out = tmp_path / "in.png", tmp_path / "mask.png", tmp_path / "out.png"
    Image.new("RGB", (40, 30), (10, 20, 30)).save(picture)
    half = Image.new("L", (40, 30), 0)
    half.paste(255, (20, 0, 40, 30))
    half.save(mask)
    before = far.log.count(" done")
    options = ("--engine", "test-invert", "--grow", 0, "--blend", 0, "--seed", 0)
    answer = overpaint(near, "fill", picture, "--mask", mask, "--out", out, *options)
    assert answer.returncode == 0, answer.stderr
    filled = Image.open(out)
    assert filled.getpixel((2, 2)) == (10, 20, 30)
    assert filled.getpixel((38, 15)) == (245, 235, 225)
    assert far.log.count(" done") == before + 1, "it was the daemon elsewhere"


def test_two_machines_with_the_same_session_and_job_ids_do_not_meet(near, far, tmp_path):
    with RelayProcess.to(far, tmp_path / "other-machine") as other:
        first, second = near.client("the-same"), other.client("the-same")
        assert isinstance(first.submit("job-9"), JobAccepted)
        first.until_over("job-9")
        answer = second.ask(FetchJob(job_id="job-9"))
        assert answer.error.code == "request.unknown_job"
        editors = second.ask(InspectDaemon())
        assert isinstance(editors, DaemonReport) and len(editors.sessions) == 1


def test_status_says_that_it_is_a_relay_and_stop_leaves_the_daemon_alone(far, tmp_path):
    with RelayProcess.to(far, tmp_path / "to-be-stopped") as relay:
        assert relay.info.relay_to == far.info.remote
        status = overpaint(relay, "status")
        assert far.info.remote in status.stdout and status.returncode == 0
        doctor = overpaint(relay, "doctor")
        assert f"passed on to {far.info.remote}" in doctor.stdout
        relay.client().send(ShutDown())
        assert relay.process.wait(30) == 0
        with pytest.raises(DaemonStopped):  # nothing starts a daemon here before it is asked for
            connection.find([relay.connection_path])
    assert isinstance(far.client().welcome, Welcome)


def test_a_second_relay_or_daemon_on_this_machine_says_that_one_runs(near):
    answer = overpaint(near, "relay", "tcp://127.0.0.1:5577", "--daemon-key", "a" * 64)
    assert answer.returncode == 1
    assert f"process {near.process.pid}" in answer.stderr


def test_a_machine_that_is_paired_by_a_code_works_and_needs_no_code_again(far, tmp_path):
    showing = subprocess.Popen(
        [*OVERPAINT, "keys", "pair", "carla"], env=far.environ, stderr=subprocess.PIPE, text=True
    )
    code = next(line for line in showing.stderr if "--pair" in line).split("--pair ")[1].strip()
    with RelayProcess.of_command(tmp_path / "carla", far.info.remote, "--pair", code.lower()) as relay:
        wait_until(relay.is_listening, "the relay listens")
        assert showing.wait(30) == 0
        showing.stderr.close()
        assert "carla" in far.allowed.entries()
        client = relay.client()
        assert isinstance(client.submit("job-1"), JobAccepted)
        assert isinstance(client.until_over("job-1")[-1].message, JobDone)
    with RelayProcess.of_command(tmp_path / "carla", far.info.remote) as relay:
        wait_until(relay.is_listening, "the relay listens again")
        assert isinstance(said_of(relay), Welcome)
    keys = list((tmp_path / "carla" / "state" / "keys").iterdir())
    assert keys and all(path.stat().st_mode & 0o077 == 0 for path in keys)


# ---------------------------------------------------------------- keys that are not accepted


def test_a_key_that_is_not_on_the_list_ends_the_relay_with_what_to_do(far, tmp_path):
    key = KeyPair.new()
    relay = RelayProcess.begin(far, tmp_path / "stranger", key=key)
    with relay:
        assert relay.process.wait(60) == 1
        said = relay.process.stderr.read().decode()
        assert f"overpaint keys add NAME {key.public}" in said
        assert "127.0.0.1 does not accept" in said


def test_a_daemon_with_another_key_than_the_known_one_ends_the_relay(far, tmp_path):
    key = KeyPair.new()
    far.allowed.add("mistaken", key.public)
    with RelayProcess.begin(far, tmp_path / "mistaken", key=key, daemon=KeyPair.new().public) as relay:
        assert relay.process.wait(60) == 1
        assert "does not have the key that is known here" in relay.process.stderr.read().decode()


def test_without_the_daemons_key_the_command_says_where_it_stands(tmp_path, near):
    answer = overpaint(near, "relay", "tcp://gpu-box:5577", "--key", tmp_path / "none.json")
    assert answer.returncode == 1
    assert "overpaint keys pair NAME" in answer.stderr


def test_a_key_that_is_revoked_while_the_relay_runs_is_told_to_the_editor(far, tmp_path):
    with RelayProcess.to(far, tmp_path / "dismissed") as relay:
        client = relay.client()
        far.allowed.revoke("dismissed")
        wait_cut_off(client)
        error = wait_until(lambda: denied_by(relay), "the key is refused")
        assert "does not accept this machine's key" in error.message
        picture = tmp_path / "in.png"
        Image.new("RGB", (40, 30)).save(picture)
        fill = overpaint(relay, "fill", picture, "--prompt", "a boat", "--out", tmp_path / "out.png")
        assert fill.returncode == 1, "it does not wait for ever"
        assert "does not accept this machine's key" in fill.stderr
        assert relay.process.poll() is None, "it may be let in again"


# ---------------------------------------------------------------- links that die


def test_a_link_that_dies_is_told_and_the_job_is_fetched_when_it_is_back(far, fragile, link):
    client = fragile.client("resuming")
    client.submit("job-1", prompt="steps=20 delay=0.05")
    client.receive_until(JobProgress)
    link.cut()
    wait_cut_off(client)
    error = said_of(fragile)
    assert error.code == "daemon.unreachable"
    assert "127.0.0.1 is lost" in error.message
    link.mend()
    wait_until(lambda: isinstance(said_of(fragile), Welcome), "the link is up again")
    again = fragile.client("resuming")
    assert [job.job_id for job in again.welcome.jobs] == ["job-1"]
    again.send(FetchJob(job_id="job-1"))
    told = again.until_over("job-1")
    assert sum(isinstance(envelope.message, JobDone) for envelope in told) == 1
    # It may come with the replay and as it is made; a client takes a variant once.
    assert {e.message.variant for e in told if isinstance(e.message, JobVariant)} == {0}
    assert far.log.count("attempt 2") == 0


def test_the_command_line_waits_out_a_link_that_dies_and_gets_its_picture_once(far, fragile, link, tmp_path):
    picture, out = tmp_path / "in.png", tmp_path / "out.png"
    Image.new("RGB", (40, 30), (10, 20, 30)).save(picture)
    before = far.log.count(": fill by test-invert")
    arguments = (
        "fill",
        picture,
        "--prompt",
        "steps=60 delay=0.1",
        "--out",
        out,
        "--engine",
        "test-invert",
        "--seed",
        0,
    )
    fill = subprocess.Popen(
        [*OVERPAINT, *map(str, arguments)],
        env=fragile.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until(lambda: far.log.count(": fill by test-invert") > before, "the job has begun")
    link.cut()
    wait_until(lambda: "not connected" in fragile.log, "the relay has noticed")
    link.mend()
    _, complaints = fill.communicate(timeout=120)
    assert fill.returncode == 0, complaints
    assert Image.open(out).getpixel((38, 15)) == (245, 235, 225)
    assert far.log.count(": fill by test-invert") == before + 1, "it was asked for once"
    assert "delay=0.1" not in far.log + fragile.log, "prompts are private"


def test_a_daemon_that_is_not_there_is_told_and_found_when_it_comes(tmp_path):
    listen = f"tcp://127.0.0.1:{free_port()}"
    far = DaemonProcess.start(tmp_path / "far", listen=listen)
    with far:
        relay = RelayProcess.to(far, tmp_path / "near")
        with relay:
            client = relay.client("patient")
            client.submit("job-1")
            client.until_over("job-1")
            assert far.terminate() == 0
            wait_cut_off(client)
            assert said_of(relay).code == "daemon.unreachable"
            with DaemonProcess.start(tmp_path / "far", listen=listen):
                wait_until(lambda: isinstance(said_of(relay), Welcome), "the relay finds the next daemon")
                (job,) = relay.client("patient").welcome.jobs
                assert job.job_id == "job-1"
