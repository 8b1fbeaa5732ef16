"""The ROUTER socket: slow clients, clients that leave without a word, and who may connect at all."""

from __future__ import annotations

import contextlib
import itertools
import socket
import sys
import time

import pytest
import zmq
from zmq.utils.monitor import parse_monitor_message

from overpaint_backend.config import DaemonSettings
from overpaint_backend.remote.keys import KeyPair
from overpaint_backend.server import router as router_module
from overpaint_backend.server.router import CLIENT_DOMAIN, REMOTE_DOMAIN, Router, Sent, private_dir
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
        self.admitted = set()
        self.router = Router(
            self.context,
            DaemonSettings(state_dir=folder, runtime_dir=folder, max_waiting_messages=4, **settings),
            self.admitted,
        )
        self.router.bind(folder / "d.sock", "identity")
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


def test_large_messages_are_taken_a_few_at_a_time(desk):
    clients = [desk.client() for _ in range(6)]
    half = bytes(8 * 1024 * 1024)
    for client in clients:
        client.send_multipart([half, half], copy=False)
    turns = []
    while sum(turns) < len(clients):
        turns.append(len(desk.turn_until(desk.router.receive)))
    assert max(turns) <= 2


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


# ---------------------------------------------------------------- other machines


SERVER, ANNA, STRANGER = KeyPair.new(), KeyPair.new(), KeyPair.new()


def open_to_others(desk):
    """Have other machines reach it, too. ``desk.admitted`` holds their keys."""
    desk.gate.admit(REMOTE_DOMAIN, desk.admitted)
    desk.router.bind_remote("tcp://127.0.0.1:*", SERVER.serve)
    desk.remote = desk.router.socket.getsockopt_string(zmq.LAST_ENDPOINT)
    desk.admitted.add(ANNA.public)
    return desk


@pytest.fixture
def open_desk(desk):
    return open_to_others(desk)


def curve(own, server=SERVER):
    return lambda socket: own.call(socket, server.public)


def plain(socket):
    socket.plain_username, socket.plain_password = b"local", TOKEN.encode()


def caller(desk, prepare):
    client = desk.stack.enter_context(desk.client_context.socket(zmq.DEALER))
    client.linger = 0
    prepare(client)
    client.connect(desk.remote)
    return client


def test_a_key_on_the_list_is_its_own_principal_beside_the_local_user(open_desk):
    anna, local = caller(open_desk, curve(ANNA)), open_desk.client()
    anna.send(b"far")
    incoming = open_desk.receive()
    assert (incoming.principal, bytes(incoming.frames[0])) == (ANNA.public, b"far")
    assert open_desk.router.send(incoming.peer, [b"back"]) is Sent.DONE
    assert anna.recv() == b"back"
    local.send(b"near")
    assert open_desk.receive().principal == "local"


@pytest.mark.parametrize(
    "prepare",
    [curve(STRANGER), curve(ANNA, STRANGER), lambda socket: None, plain],
    ids=["key not on the list", "another server's key", "no key", "the local token"],
)
def test_strangers_reach_nobody_from_another_machine(open_desk, prepare):
    stranger, anna = caller(open_desk, prepare), caller(open_desk, curve(ANNA))
    stranger.send(b"let me in")
    events = stranger.get_monitor_socket(
        zmq.EVENT_HANDSHAKE_FAILED_AUTH
        | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
        | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
        | zmq.EVENT_DISCONNECTED
        | zmq.EVENT_CONNECT_RETRIED
    )
    open_desk.turn_until(lambda: events.poll(0))
    anna.send(b"hello")
    assert bytes(open_desk.receive().frames[0]) == b"hello"
    assert open_desk.router.receive() == []
    stranger.disable_monitor()
    events.close()


def test_a_key_does_not_open_the_doors_of_this_machine(open_desk):
    client = open_desk.stack.enter_context(open_desk.client_context.socket(zmq.DEALER))
    client.linger = 0
    ANNA.call(client, SERVER.public)
    client.connect(open_desk.router.endpoints[1])
    client.send(b"x")
    honest = open_desk.client()
    honest.send(b"y")
    assert bytes(open_desk.receive().frames[0]) == b"y"


@pytest.mark.parametrize(
    "says",
    [
        b"GET / HTTP/1.1\r\nHost: gpu-box\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
    ],
    ids=["HTTP", "TLS"],
)
def test_other_protocols_get_no_answer_of_theirs_and_reach_nobody(open_desk, says):
    with socket.create_connection(("127.0.0.1", int(open_desk.remote.rpartition(":")[2]))) as other:
        other.sendall(says)
        other.settimeout(WAIT_S)
        heard = b""
        with contextlib.suppress(ConnectionResetError):
            while chunk := other.recv(1024):
                heard += chunk
    assert heard[:1] in (b"", b"\xff"), "at most a greeting of ZMTP"
    anna = caller(open_desk, curve(ANNA))
    anna.send(b"hello")
    assert bytes(open_desk.receive().frames[0]) == b"hello"


def test_who_is_revoked_is_cut_off_and_what_it_still_sends_is_not_heard(open_desk):
    anna, local = caller(open_desk, curve(ANNA)), open_desk.client()
    anna.send(b"one")
    peer = open_desk.receive().peer
    monitor = anna.get_monitor_socket(zmq.EVENT_DISCONNECTED | zmq.EVENT_HANDSHAKE_FAILED_AUTH)
    anna.send(b"two")
    open_desk.admitted.clear()
    open_desk.router.end_revoked()
    assert open_desk.router.take_gone()[0] == peer
    seen = []
    while zmq.EVENT_HANDSHAKE_FAILED_AUTH not in seen:
        open_desk.turn_until(lambda: monitor.poll(0))
        seen.append(parse_monitor_message(monitor.recv_multipart())["event"])
    assert seen[0] == zmq.EVENT_DISCONNECTED
    with contextlib.suppress(zmq.Again):  # there may be nowhere to send it to
        anna.send(b"three", zmq.NOBLOCK)
    local.send(b"mine")
    assert bytes(open_desk.receive().frames[0]) == b"mine"
    assert open_desk.router.receive() == []
    anna.disable_monitor()
    monitor.close()


def test_a_connection_that_is_ended_is_told_as_gone(desk):
    client = desk.client()
    client.send(b"x")
    peer = desk.receive().peer
    desk.router.end(peer)
    assert desk.turn_until(desk.router.take_gone) == [peer]
    assert desk.router.send(peer, [b"?"]) is Sent.GONE


def test_however_many_are_refused_the_log_has_a_line_a_second_at_most(caplog, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(router_module.time, "monotonic", lambda: clock[0])
    refusals = router_module._Refusals()
    lines = []
    for _ in range(2000):
        refusals.note()
        if caplog.records:
            lines.append(clock[0])
            caplog.clear()
        clock[0] += 0.01
    assert lines[0] == 100.0
    assert all(later - earlier >= 1.0 for earlier, later in itertools.pairwise(lines))
    assert 3 <= len(lines) <= 20


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts what comes")
@pytest.mark.parametrize("is_far", [False, True], ids=["near", "far"])
def test_nothing_of_whole_messages_is_taken_for_half_a_message(tmp_path, is_far):
    """Whatever they take on the wire, in clear or encrypted; if anything were left over, it would stand still for too long."""
    with contextlib.closing(open_to_others(Desk(tmp_path, upload_pause_s=0.5))) as desk:
        client = caller(desk, curve(ANNA)) if is_far else desk.client(endpoint=1)
        now = time.monotonic()
        for index, size in enumerate((0, 1, 222, 223, 255, 256, 300, 70_000) * 20):
            client.send_multipart([b"%d" % index, bytes(size), bytes(min(size, 99))])
            assert bytes(desk.receive().frames[0]) == b"%d" % index
        for _ in range(5):
            now += 0.3
            desk.router.end_endless(now)
        client.send(b"still here")
        assert bytes(desk.receive().frames[0]) == b"still here"
        assert desk.router.take_gone() == []
