"""An upload that stops in its middle and never resumes takes nothing for good.

libzmq hands over whole messages only, so a half one is memory of its own until the connection ends. It ends three heartbeats
after a peer has fallen silent: 15 s in a daemon as it is installed. Of one that is not silent it ends when the message has stood
still for long enough or is longer than any may be.
"""

from __future__ import annotations

import select
import socket
import sys
import threading
import time

import psutil
import pytest
from tests.integration.daemon_process import Client, DaemonProcess, free_port, submission, wait_until

from overpaint_backend.remote.keys import KeyPair, own_key
from overpaint_client.link import USERNAME
from overpaint_protocol import framing
from overpaint_protocol.endpoint import Endpoint
from overpaint_protocol.geometry import Size
from overpaint_protocol.messages import Hello, InspectDaemon, JobAccepted, Ping, Pong
from overpaint_protocol.zmtp import PingReceived, ZmtpClient
from overpaint_protocol.zmtp_frames import MORE, encode_command, encode_header

MIB = 1 << 20
SIZE = Size(3464, 2310)


def write(sock, client, most_bytes=None):
    """Send what the client has to say, up to ``most_bytes`` of it."""
    written = 0
    while (data := client.data_to_send(MIB)) and (most_bytes is None or written < most_bytes):
        length = sum(map(len, data))
        sock.sendall(b"".join(data))
        client.data_sent(length)
        written += length


def connect(info, kind):
    """A connection by ``ipc`` or ``tcp`` that has said hello, and the client that speaks on it."""
    (endpoint,) = [e for e in map(Endpoint.parse, info.endpoints) if e.kind == kind]
    sock = socket.socket(socket.AF_UNIX if kind == "ipc" else socket.AF_INET)
    sock.settimeout(30)
    sock.connect(endpoint.path or (endpoint.host, endpoint.port))
    client = ZmtpClient(username=USERNAME, password=info.token)
    while not client.is_connected:
        write(sock, client)
        client.receive_data(sock.recv(1 << 16))
    client.send_message(framing.encode(hello(), id="h"))
    write(sock, client)
    return sock, client


def hello():
    return Hello(
        session_id="half",
        client_version="0",
        editor="Test",
        editor_version="0",
        oldest_minor=0,
        newest_minor=0,
    )


class LivelyPeer:
    """A connection that has said hello and answers heartbeats between the frames of a message that it never ends."""

    def __init__(self, info):
        self.sock, self._client = connect(info, "tcp")
        self._ponged = 0

    def send_frame(self, body):
        self.sock.sendall(encode_header(MORE, len(body)))
        self.sock.sendall(body)

    def is_connected(self):
        """Answer what heartbeats have come, and tell whether the daemon has hung up."""
        while select.select([self.sock], [], [], 0)[0]:
            try:
                data = self.sock.recv(1 << 16)
            except ConnectionResetError:
                return False
            if not data:
                return False
            self._client.receive_data(data)
            for event in self._client.events():
                if isinstance(event, PingReceived):
                    self._ponged += 1
                    self.sock.sendall(encode_command(b"PONG", b""))
        return True

    @property
    def heartbeats(self):
        return self._ponged


linux_only = pytest.mark.skipif(sys.platform != "linux", reason="what has come is counted by Linux alone")


@linux_only
def test_an_upload_that_stops_while_its_client_lives_is_forgotten_too(tmp_path):
    message, payload = submission("job", size=SIZE)
    upload_bytes = sum(map(len, payload))
    with DaemonProcess.start(tmp_path, heartbeat_s=0.5, upload_pause_s=4.0) as daemon:
        memory = psutil.Process(daemon.process.pid).memory_info
        before = memory().rss
        half = LivelyPeer(daemon.info)
        with half.sock:
            sent = 0
            for frame in framing.encode(message, id="u", payload=payload):
                half.send_frame(frame)
                sent += len(frame)
                if sent > upload_bytes * 0.37:
                    break
            wait_until(
                lambda: half.is_connected() and memory().rss - before > 0.3 * upload_bytes,
                "the half has come",
            )
            wait_until(lambda: not half.is_connected(), "the daemon hangs up")
            assert half.heartbeats >= 4, "it was alive for longer than a silent one would have been"
        assert "stopped in its middle" in daemon.log
        wait_until(lambda: memory().rss - before < 0.1 * upload_bytes, "its memory is free")
        again = daemon.client("half")
        assert isinstance(again.submit("job", size=SIZE), JobAccepted)


@linux_only
def test_a_message_without_an_end_is_ended_and_harms_nobody_else(tmp_path):
    limit = 32 * MIB
    with DaemonProcess.start(tmp_path, heartbeat_s=0.5, max_message_bytes=limit) as daemon:
        other = daemon.client("other", endpoint=1)
        memory = psutil.Process(daemon.process.pid).memory_info
        before, most = memory().rss, 0
        peer, frame, sent = LivelyPeer(daemon.info), bytes(MIB), 0
        with peer.sock:
            try:
                while peer.is_connected():
                    peer.send_frame(frame)
                    sent += MIB
                    most = max(most, memory().rss - before)
                    time.sleep(
                        0.02
                    )  # as over a network of half a gigabit: what comes between two looks is not held back
                    assert other.ask(Ping(nonce=sent)) == Pong(nonce=sent)
                    assert sent < 32 * limit, "it goes on without an end"
            except (BrokenPipeError, ConnectionResetError):
                pass
        assert sent >= limit
        assert most >= limit / 2, "it was kept until then"
        assert "without an end" in daemon.log
        wait_until(lambda: memory().rss - before < limit / 4, "its memory is free")
        assert other.ask(Ping(nonce=1)) == Pong(nonce=1)


class StallingLink:
    """Passes one TCP connection on to a port, of what comes from its client ``most_bytes`` only: the rest waits for ever."""

    def __init__(self, port, most_bytes):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._target, self._left = ("127.0.0.1", port), most_bytes
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        client, _ = self._listener.accept()
        with client, socket.create_connection(self._target) as server:
            while True:
                waiting = [server, client] if self._left else [server]
                for source in select.select(waiting, [], [])[0]:
                    data = source.recv(min(1 << 16, self._left) if source is client else 1 << 16)
                    if not data:
                        return
                    if source is client:
                        self._left -= len(data)
                        server.sendall(data)
                    else:
                        client.sendall(data)

    def wait_for_the_end(self):
        """Until the daemon has hung up."""
        self._thread.join(30)
        assert not self._thread.is_alive(), "the daemon never hung up"
        self._listener.close()


@linux_only
def test_half_an_upload_from_another_machine_is_forgotten(tmp_path):
    """Encrypted, and ended long before the silence would be noticed."""
    key, size = KeyPair.new(), Size(1732, 1155)
    message, payload = submission("job", size=size)
    upload_bytes = sum(map(len, payload))
    listen = f"tcp://127.0.0.1:{free_port()}"
    with DaemonProcess.start(tmp_path, listen=listen, upload_pause_s=2.0, remote_silence_s=60.0) as daemon:
        daemon.allowed.add("anna", key.public)
        memory = psutil.Process(daemon.process.pid).memory_info
        before = memory().rss
        link = StallingLink(Endpoint.parse(daemon.info.remote).port, upload_bytes // 2)
        server = own_key(daemon.state / "keys" / "daemon.key").public
        client = Client(f"tcp://127.0.0.1:{link.port}", "", keys=(key, server))
        client.hello("half")
        client.send(message, payload)
        wait_until(lambda: memory().rss - before > 0.4 * upload_bytes, "the half upload has come")
        link.wait_for_the_end()
        client.close()
        assert "stopped in its middle" in daemon.log
        wait_until(lambda: memory().rss - before < 0.2 * upload_bytes, "its memory is free")
        again = daemon.remote(key)
        again.hello("half")
        assert isinstance(again.submit("job", size=size), JobAccepted)


@pytest.mark.skipif(sys.platform != "linux", reason="resident memory is compared")
def test_an_upload_that_stops_is_forgotten_and_its_client_may_begin_anew(tmp_path):
    message, payload = submission("job", size=SIZE)
    upload_bytes = sum(map(len, payload))
    with DaemonProcess.start(
        tmp_path, heartbeat_s=2.0, max_held_bytes=upload_bytes, max_principal_held_bytes=upload_bytes
    ) as daemon:
        other = daemon.client("other")
        memory = psutil.Process(daemon.process.pid).memory_info
        before = memory().rss
        half, client = connect(daemon.info, "ipc")
        with half:
            client.send_message(framing.encode(message, id="u", payload=payload))
            write(half, client, upload_bytes * 37 // 100)
            wait_until(lambda: memory().rss - before > 0.3 * upload_bytes, "the half upload has come")
            while half.recv(
                1 << 16
            ):  # it says nothing more, to no heartbeat either, until the daemon hangs up
                pass
        wait_until(lambda: memory().rss - before < 0.1 * upload_bytes, "its memory is free")
        assert other.ask(InspectDaemon()).kept_bytes == 0
        again = daemon.client("half")
        assert isinstance(again.submit("job", size=SIZE), JobAccepted)
