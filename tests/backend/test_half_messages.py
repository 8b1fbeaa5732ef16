"""What may come of a message that is not whole: at the limits and beyond, and nothing of what is."""

from __future__ import annotations

import dataclasses
import socket
import sys
from pathlib import Path

import pytest

from overpaint_backend.config import DaemonSettings
from overpaint_backend.server.half_messages import HalfMessages, received_bytes

MIB = 1 << 20
SETTINGS = DaemonSettings(
    state_dir=Path("unused"),
    runtime_dir=Path("unused"),
    max_message_bytes=50 * MIB,
    max_principal_held_bytes=80 * MIB,
    max_held_bytes=120 * MIB,
    upload_pause_s=60.0,
)


class Wires:
    """Connections by descriptor, and what each has received."""

    def __init__(self, **changes) -> None:
        self.received: dict[int, int | None] = {}
        self.now = 100.0
        self.halves = HalfMessages(dataclasses.replace(SETTINGS, **changes), lambda d: self.received.get(d))

    def connect(self, descriptor, principal=""):
        self.received[descriptor] = 0
        self.halves.began(descriptor, self.now)
        if principal:
            self.says(descriptor, principal, 100)

    def says(self, descriptor, principal, byte_length, frames=1):
        """A whole message, as it takes the least on the wire: over PLAIN, in short frames."""
        self.received[descriptor] += byte_length + 2 * frames
        self.halves.spoke(descriptor, principal, byte_length, frames)

    def look(self, seconds=0.5):
        self.now += seconds
        return self.halves.look(self.now)

    def look_twice(self):
        return {**self.look(), **self.look()}


def test_a_message_may_be_as_long_as_allowed_and_no_longer():
    wires = Wires()
    wires.connect(1, "anna")
    wires.received[1] += 50 * MIB
    assert wires.look_twice() == {}
    wires.received[1] += 1 * MIB
    assert wires.look_twice() == {1: "a message without an end"}
    assert wires.look_twice() == {}, "it is told once"


def test_what_is_whole_by_the_next_look_is_no_half_message():
    wires = Wires()
    wires.connect(1, "anna")
    for _ in range(10):
        wires.received[1] += 51 * MIB  # seen before it was taken
        assert wires.look() == {}
        wires.halves.spoke(1, "anna", 51 * MIB, 13)
        assert wires.look() == {}


def test_thousands_of_whole_messages_add_up_to_nothing_and_are_no_credit():
    wires = Wires()
    wires.connect(1, "anna")
    for _ in range(1000):
        wires.says(1, "anna", 30, frames=3)
        assert wires.look(0.25) == {}
    wires.received[1] += 51 * MIB
    assert wires.look_twice() == {1: "a message without an end"}


def test_heartbeats_are_no_message_for_however_long():
    wires = Wires(upload_pause_s=5.0)
    wires.connect(1, "anna")
    for _ in range(10_000):
        wires.received[1] += 60
        assert wires.look(1.0) == {}


def test_a_message_that_stands_still_is_ended_after_its_time_and_one_that_goes_on_is_not():
    wires = Wires()
    for descriptor in (1, 2):
        wires.connect(descriptor, "anna")
        wires.received[descriptor] += 10 * MIB
    for _ in range(59):
        wires.received[1] += 60  # its heartbeats
        wires.received[2] += 2000
        assert wires.look(1.0) == {}
    ended = [wires.look(1.0) for _ in range(5)]
    assert [end for end in ended if end] == [{1: "a message that stopped in its middle"}]
    for _ in range(200):
        wires.received[2] += 2000
        assert wires.look(1.0) == {}


def test_who_has_not_said_hello_may_send_no_more_than_that():
    wires = Wires()
    wires.connect(1)
    wires.received[1] = 4 * MIB
    assert wires.look_twice() == {}
    wires.received[1] = 5 * MIB
    assert wires.look_twice() == {1: "a first message that is too long"}


def test_the_messages_of_a_principal_together_have_a_limit_and_the_largest_goes():
    wires = Wires()
    for descriptor, megabytes in ((1, 20), (2, 45), (3, 14)):
        wires.connect(descriptor, "anna")
        wires.received[descriptor] += megabytes * MIB
    wires.connect(4, "bo")
    wires.received[4] += 40 * MIB
    assert wires.look_twice() == {}
    wires.received[3] += 2 * MIB
    assert wires.look_twice() == {2: "too much of messages that are not whole"}
    assert wires.look_twice() == {}


def test_the_messages_of_all_together_have_a_limit():
    wires = Wires()
    for descriptor, principal in enumerate("abcde"):
        wires.connect(descriptor, principal)
        wires.received[descriptor] += 23 * MIB + descriptor
    assert wires.look_twice() == {}
    wires.received[4] += 6 * MIB
    assert list(wires.look_twice()) == [4]


def test_a_descriptor_that_is_used_again_is_another_connection_and_one_that_is_not_counted_is_let_be():
    wires = Wires()
    wires.connect(1, "anna")
    wires.received[1] += 51 * MIB
    wires.look()
    wires.halves.ended(1)
    wires.connect(1, "bo")
    assert wires.look_twice() == {}
    wires.received[1] = None
    assert wires.look_twice() == {}


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts")
def test_the_system_counts_for_tcp_and_not_for_unix_sockets_and_files(tmp_path):
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as client,
    ):
        server, _ = listener.accept()
        with server:
            assert received_bytes(server.fileno()) == 0
            client.sendall(bytes(12_345))
            assert len(server.recv(12_345, socket.MSG_WAITALL)) == 12_345
            assert received_bytes(server.fileno()) == 12_345
            server.sendall(b"it is still open")
    one, other = socket.socketpair()
    one_that_is_closed = 10_000
    with one, other, (tmp_path / "file").open("w") as file:
        assert received_bytes(one.fileno()) is None
        assert received_bytes(file.fileno()) is None
    assert received_bytes(one_that_is_closed) is None
