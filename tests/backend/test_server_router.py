"""The ROUTER socket: slow clients, clients that leave without a word, and who may connect at all."""

from __future__ import annotations

import contextlib
import time

import pytest
import zmq

from overpaint_backend.config import DaemonSettings
from overpaint_backend.server.router import CLIENT_DOMAIN, Router, Sent, private_dir
from overpaint_backend.server.zap import Authenticator
from overpaint_protocol.errors import DaemonError

TOKEN = "right"
WAIT_S = 30


class Desk:
    """A Router with its Authenticator, turned by hand, and clients in a context of their own."""

    def __init__(self, folder, **settings):
        self.stack = contextlib.ExitStack()
        self.context = zmq.Context()
        self.gate = Authenticator(self.context)
        self.gate.allow(CLIENT_DOMAIN, TOKEN)
        self.router = Router(
            self.context,
            DaemonSettings(state_dir=folder, runtime_dir=folder, max_waiting_messages=4, **settings),
        )
        self.router.bind(folder / "d.sock")
        self.client_context = self.stack.enter_context(zmq.Context())

    def close(self):
        self.stack.close()
        self.router.close()
        self.gate.close()
        self.context.term()

    def client(self, token=TOKEN, endpoint=0):
        client = self.stack.enter_context(self.client_context.socket(zmq.DEALER))
        client.linger = 0
        client.rcvhwm = 1
        client.plain_username, client.plain_password = b"x", token.encode()
        client.connect(self.router.endpoints[endpoint])
        return client

    def turn_until(self, condition):
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            self.gate.answer()
            value = condition()
            if value:
                return value
            time.sleep(0.001)
        raise AssertionError("it never happened")

    def receive(self):
        (incoming,) = self.turn_until(self.router.receive)
        return incoming


@pytest.fixture
def desk(tmp_path):
    desk = Desk(tmp_path)
    yield desk
    desk.close()


@pytest.mark.parametrize("endpoint", [0, 1], ids=["ipc", "tcp"])
def test_frames_come_and_go_unchanged(desk, endpoint):
    client = desk.client(endpoint=endpoint)
    big = bytes(range(256)) * 4096
    client.send_multipart([b"a", b"", big])
    incoming = desk.receive()
    assert incoming.principal == "local"
    assert [bytes(frame) for frame in incoming.frames] == [b"a", b"", big]
    assert desk.router.send(incoming.peer, [b"b", memoryview(big)]) is Sent.DONE
    assert client.recv_multipart() == [b"b", big]


@pytest.mark.parametrize("endpoint", [0, 1], ids=["ipc", "tcp"])
def test_a_client_that_leaves_without_a_word_is_noticed(desk, endpoint):
    leaving, staying = desk.client(endpoint=endpoint), desk.client(endpoint=endpoint)
    leaving.send(b"x")
    peer = desk.receive().peer
    staying.send(b"y")
    other = desk.receive().peer
    leaving.close()
    assert desk.turn_until(desk.router.take_gone) == [peer]
    assert desk.router.send(peer, [b"?"]) is Sent.GONE
    assert desk.router.send(other, [b"!"]) is Sent.DONE


def test_descriptors_used_again_do_not_confuse_clients(desk):
    peers, gone = [], []
    for _ in range(20):
        client = desk.client()
        client.send(b"x")
        peers.append(desk.receive().peer)
        client.close()
        desk.turn_until(lambda: gone.extend(desk.router.take_gone()) or len(gone) == len(peers))
    assert gone == peers
    assert len(set(peers)) == len(peers)


def test_a_client_that_does_not_read_is_blocked_and_gets_everything_later(desk):
    slow, quick = desk.client(), desk.client()
    slow.send(b"x")
    peer = desk.receive().peer
    quick.send(b"y")
    other = desk.receive().peer
    sent = 0
    while desk.router.send(peer, [b"%d" % sent, bytes(1 << 20)]) is Sent.DONE:
        sent += 1
        assert sent < 1000
    assert desk.router.send(other, [b"hello"]) is Sent.DONE
    assert quick.recv() == b"hello"
    assert [slow.recv_multipart()[0] for _ in range(sent)] == [b"%d" % index for index in range(sent)]
    assert desk.turn_until(lambda: desk.router.send(peer, [b"more"]) is Sent.DONE)
    assert slow.recv() == b"more"


def test_only_the_newest_token_opens_the_door(desk):
    desk.gate.allow(CLIENT_DOMAIN, "newer")
    old, new = desk.client(TOKEN), desk.client("newer")
    old.send(b"old")
    new.send(b"new")
    assert bytes(desk.receive().frames[0]) == b"new"
    deadline = time.monotonic() + 0.3
    while time.monotonic() < deadline:
        desk.gate.answer()
        assert desk.router.receive() == []


def test_a_private_folder_is_made_and_kept_private(tmp_path):
    folder = private_dir(tmp_path / "a" / "b")
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o755)
    assert private_dir(folder).stat().st_mode & 0o777 == 0o700


def test_a_link_is_no_private_folder(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(DaemonError, match="link"):
        private_dir(tmp_path / "link")
