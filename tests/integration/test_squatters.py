"""Somebody else listens where a daemon was, and gets neither picture nor words, nor anything that opens a door."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import sys
import threading
from pathlib import Path

import pytest
from tests.integration.daemon_process import DaemonProcess
from tests.integration.test_controller import Artist, select
from tests.protocol import zmtp_server_bytes as server

from overpaint_client.jobs import JobPhase
from overpaint_protocol.connection import ConnectionInfo
from overpaint_protocol.endpoint import Endpoint
from overpaint_protocol.messages import Fill

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a killed daemon leaves a Unix socket here")

WAIT_S = 30.0


class Squatter:
    """Lets everybody in by the book, with an identity of its own, and keeps what it is told."""

    def __init__(self, family: int, address) -> None:
        self.heard = b""
        self._peer: socket.socket | None = None
        self._listener = socket.socket(family, socket.SOCK_STREAM)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(address)
        self._listener.listen()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            with peer, contextlib.suppress(OSError):
                self._peer = peer
                peer.sendall(server.greeting(b"PLAIN"))
                self._hear_until(peer, b"HELLO")
                peer.sendall(server.WELCOME)
                self._hear_until(peer, b"INITIATE")
                peer.sendall(server.ready(identity=b"mine"))
                self._hear_until(peer, b"never said")

    def _hear_until(self, peer: socket.socket, word: bytes) -> None:
        heard = b""
        while word not in heard and (piece := peer.recv(1 << 16)):
            heard += piece
            self.heard += piece

    def close(self) -> None:
        for end in (self._listener, self._peer):
            with contextlib.suppress(OSError):  # the other side has gone
                if end is not None:
                    end.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def __enter__(self) -> Squatter:
        return self

    def __exit__(self, *_) -> None:
        self.close()


@pytest.fixture
def left_behind(tmp_path):
    """The connection file of a daemon that was killed, and its Unix socket."""
    with DaemonProcess.start(tmp_path) as daemon:
        info = daemon.info
        daemon.process.kill()
        daemon.process.wait()
    return info


@pytest.fixture
def hire(tmp_path):
    """Makes artists with a picture in which something is selected."""
    hired = []

    def make(find):
        hired.append(Artist(tmp_path / "clients", find))
        select(hired[-1], hired[-1].open())
        return hired[-1]

    yield make
    for someone in hired:
        someone.leave()


def at_port(info: ConnectionInfo) -> Squatter:
    endpoint = Endpoint.parse(info.endpoints[1])
    return Squatter(socket.AF_INET, (endpoint.host, endpoint.port))


def test_who_took_a_dead_daemons_port_gets_no_message_and_the_next_daemon_does_the_job(
    tmp_path, left_behind, hire
):
    with at_port(left_behind) as squatter:
        someone = hire(lambda: ConnectionInfo.read(tmp_path / "state" / "daemon.json"))
        job = someone.ask(Fill(prompt="a secret"))
        assert someone.loop.run_until(lambda: "Another program" in someone.controller.link.sentence, WAIT_S)
        assert someone.loop.run_until(lambda: job.phase is JobPhase.FAILED, WAIT_S)
        assert "overpaint serve" in job.sentence
        heard = squatter.heard
        assert b"INITIATE" in heard, "it was talked to"
        assert b"OVP1" not in heard and b"a secret" not in heard
        with DaemonProcess.start(tmp_path) as daemon:
            assert daemon.info.token.encode() not in heard, "what it was shown opens nothing"
            assert someone.loop.run_until(lambda: someone.controller.link.is_open, WAIT_S)
            again = someone.ask(Fill(prompt="a secret"))
            assert someone.loop.run_until(lambda: again.phase is JobPhase.DONE, WAIT_S), again.sentence


def test_a_connection_file_that_tells_no_identity_would_have_it_told_everything(left_behind, hire):
    """What the identity is for: the squatter of these tests is believed by who does not ask for it."""
    with at_port(left_behind) as squatter:
        someone = hire(lambda: dataclasses.replace(left_behind, identity=""))
        someone.ask(Fill(prompt="a secret"))
        assert someone.loop.run_until(lambda: b"OVP1" in squatter.heard, WAIT_S)


def test_a_socket_in_a_folder_others_can_enter_is_not_connected_to(left_behind, hire):
    path = Path(Endpoint.parse(left_behind.endpoints[0]).path)
    path.unlink()
    with Squatter(socket.AF_UNIX, str(path)) as squatter:
        path.parent.chmod(0o777)
        someone = hire(lambda: dataclasses.replace(left_behind, endpoints=left_behind.endpoints[:1]))
        someone.ask(Fill(prompt="a secret"))
        assert someone.loop.run_until(
            lambda: "Other users can enter" in someone.controller.link.sentence, WAIT_S
        )
        assert squatter.heard == b""
        path.parent.chmod(0o700)
        assert someone.loop.run_until(lambda: b"INITIATE" in squatter.heard, WAIT_S), (
            "only the folder kept it off"
        )
        assert someone.loop.run_until(lambda: "Another program" in someone.controller.link.sentence, WAIT_S)
        assert b"OVP1" not in squatter.heard
