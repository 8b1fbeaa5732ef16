from __future__ import annotations

import pytest

from overpaint_protocol.endpoint import MAX_IPC_PATH_BYTES, Endpoint
from overpaint_protocol.errors import ProtocolError


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        (
            "ipc:///run/user/1000/overpaint/daemon.sock",
            Endpoint(kind="ipc", path="/run/user/1000/overpaint/daemon.sock"),
        ),
        ("ipc:///with space/ü.sock", Endpoint(kind="ipc", path="/with space/ü.sock")),
        ("tcp://127.0.0.1:5555", Endpoint(kind="tcp", host="127.0.0.1", port=5555)),
        ("tcp://localhost:1", Endpoint(kind="tcp", host="localhost", port=1)),
        ("tcp://[::1]:65535", Endpoint(kind="tcp", host="::1", port=65535)),
    ],
)
def test_parse_reads_what_str_writes(text, endpoint):
    assert Endpoint.parse(text) == endpoint
    assert str(endpoint) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ipc",
        "ipc://",
        "ipc://relative.sock",
        "ipc://@abstract",
        "ipc:///nul\0",
        "ipc:///\ud800",
        "IPC:///tmp/x",
        "inproc://x",
        "http://127.0.0.1:80",
        "tcp://",
        "tcp://127.0.0.1",
        "tcp://127.0.0.1:",
        "tcp://127.0.0.1:*",
        "tcp://*:5555",
        "tcp://:5555",
        "tcp://127.0.0.1:0",
        "tcp://127.0.0.1:65536",
        "tcp://127.0.0.1:-1",
        "tcp://127.0.0.1:+1",
        "tcp://127.0.0.1:１",
        "tcp://127.0.0.1:" + "0" * 5000 + "1",
        "tcp://gpu-box:5555",
        "tcp://::1:5555",
        "tcp://[127.0.0.1]:5555",
        "tcp://[localhost]:5555",
        "tcp://127.0.0.1:5555/x",
    ],
)
def test_parse_refuses_what_cannot_be_connected_to(text):
    with pytest.raises(ProtocolError):
        Endpoint.parse(text)


def test_parse_takes_a_path_of_the_greatest_length_and_no_longer():
    longest = "/" + "p" * (MAX_IPC_PATH_BYTES - 1)
    assert Endpoint.parse("ipc://" + longest).path == longest
    with pytest.raises(ProtocolError) as caught:
        Endpoint.parse("ipc://" + longest + "p")
    assert f"{MAX_IPC_PATH_BYTES + 1} bytes, at most {MAX_IPC_PATH_BYTES}" in caught.value.detail


@pytest.mark.parametrize(
    ("text", "is_loopback"),
    [
        ("ipc:///tmp/x", True),
        ("tcp://localhost:1", True),
        ("tcp://127.9.9.9:1", True),
        ("tcp://[::1]:1", True),
        ("tcp://192.168.0.7:1", False),
        ("tcp://0.0.0.0:1", False),
        ("tcp://[fe80::1]:1", False),
    ],
)
def test_is_loopback(text, is_loopback):
    assert Endpoint.parse(text).is_loopback is is_loopback
