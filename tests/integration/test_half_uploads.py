"""An upload that stops in its middle and never resumes takes nothing for good.

libzmq hands over whole messages only, so a half one is memory of its own until the connection ends. It ends three heartbeats
after a peer has fallen silent: 15 s in a daemon as it is installed.
"""

from __future__ import annotations

import socket
import sys

import psutil
import pytest
from tests.integration.daemon_process import DaemonProcess, submission, wait_until

from overpaint_client.link import USERNAME
from overpaint_protocol import framing
from overpaint_protocol.endpoint import Endpoint
from overpaint_protocol.geometry import Size
from overpaint_protocol.messages import Hello, InspectDaemon, JobAccepted
from overpaint_protocol.zmtp import ZmtpClient

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


def connect(info):
    """A connection that has said hello, and the client that speaks on it."""
    endpoint = Endpoint.parse(info.endpoints[1])
    sock = socket.create_connection((endpoint.host, endpoint.port), 30)
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
        half, client = connect(daemon.info)
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
