from __future__ import annotations

import sys

import pytest
import zmq

from overpaint_backend.executors import line as lines
from overpaint_backend.executors.line import Line, pair
from overpaint_protocol.errors import ProtocolError

WAIT_S = 30

has_packets = pytest.mark.skipif(sys.platform != "linux", reason="other systems keep no packets apart")
SMALL, LARGE = b"s" * 1000, b"l" * 200_000


@pytest.fixture(params=[pytest.param(True, marks=has_packets), False], ids=["packets", "libzmq"])
def ends(request):
    """The daemon's line and the worker's."""
    context = zmq.Context()
    links = [context.socket(zmq.DEALER) for _ in range(2)]
    for link in links:
        link.setsockopt(zmq.LINGER, 0)
    links[0].bind("inproc://line")
    links[1].connect("inproc://line")
    halves = pair() if request.param else (None, None)
    made = [Line(link, half) for link, half in zip(links, halves, strict=True)]
    yield made
    for line, link in zip(made, links, strict=True):
        line.close()
        link.close()
    context.term()


def hear(line):
    """The next message as bytes."""
    for _ in range(3):  # a packet may have to say first that the message is elsewhere
        frames = line.receive()
        if frames is not None:
            return [bytes(frame) for frame in frames]
        line.wait(WAIT_S)
    raise AssertionError("nothing came")


def test_messages_come_as_they_went_and_in_their_order_whichever_way_they_take(ends):
    daemon, worker = ends
    said = [
        [b"first"],
        [b"a", b"", SMALL],
        [b"b", LARGE],
        [b"c"],
        [LARGE, LARGE],
        [b"", b""],
        [memoryview(SMALL)],
    ]
    said += [[b"x"] * 255, [b"x"] * 256]
    for speaker, listener in ((daemon, worker), (worker, daemon)):
        for frames in said:
            speaker.send(frames)
        assert [hear(listener) for _ in said] == [[bytes(frame) for frame in frames] for frames in said]
        assert listener.receive() is None


def test_whoever_waits_is_woken_by_either_way(ends):
    daemon, worker = ends
    for frames in ([b"first"], [SMALL], [LARGE]):
        worker.send(frames)
        poller = zmq.Poller()
        for socket in daemon.watched:
            poller.register(socket, zmq.POLLIN)
        assert poller.poll(WAIT_S * 1000)
        assert hear(daemon) == frames


@has_packets
@pytest.mark.parametrize("ends", [True], indirect=True)
def test_words_do_not_pass_through_libzmq_but_for_the_first(ends, monkeypatch):
    daemon, worker = ends
    taken = []
    send = lines.send_frames
    monkeypatch.setattr(lines, "send_frames", lambda link, frames: (taken.append(frames), send(link, frames)))
    for frames in ([b"first"], [b"word"], [LARGE]):
        worker.send(frames)
        assert hear(daemon) == frames
    assert taken == [[b"first"], [LARGE]]


@has_packets
@pytest.mark.parametrize("ends", [True], indirect=True)
def test_the_daemon_neither_waits_for_a_worker_that_does_not_listen_nor_fails_with_one_that_is_gone(ends):
    daemon, worker = ends
    daemon.send([b"first"])
    with pytest.raises(BlockingIOError):
        for _ in range(10_000):
            daemon.send([SMALL])
    worker.close()
    assert daemon.receive() is None
    with pytest.raises(OSError):
        daemon.send([SMALL])


@has_packets
@pytest.mark.parametrize("ends", [True], indirect=True)
def test_packets_behind_a_message_on_its_way_through_libzmq_wake_nobody(ends, monkeypatch):
    daemon, worker = ends
    late = []
    with monkeypatch.context() as patch:
        patch.setattr(lines, "send_frames", lambda link, frames: late.append((link, frames)))
        worker.send([LARGE])
    worker.send([SMALL])
    assert daemon.receive() is None
    poller = zmq.Poller()
    for socket in daemon.watched:
        poller.register(socket, zmq.POLLIN)
    assert not poller.poll(0)
    lines.send_frames(*late[0])
    assert poller.poll(WAIT_S * 1000)
    assert [hear(daemon), hear(daemon)] == [[LARGE], [SMALL]]


@has_packets
@pytest.mark.parametrize(
    "packet", [b"\x02", b"\x01\x05\x00\x00\x00abc", b"\x01\x01\x00\x00\x00abc", b"\xff" * 9]
)
def test_a_packet_that_is_none_is_refused(packet):
    context = zmq.Context()
    link = context.socket(zmq.DEALER)
    ours, theirs = pair()
    line = Line(link, ours)
    theirs.send(packet)
    with pytest.raises(ProtocolError):
        line.receive()
    assert line.receive() is None
    theirs.close()
    line.close()
    link.close()
    context.term()
