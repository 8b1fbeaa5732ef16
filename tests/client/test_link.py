"""The link on a real loop, with a transport of no network."""

import socket

import pytest

from overpaint_client.link import Link
from overpaint_client.loop import SelectorLoop
from overpaint_client.session import Disconnect, Session
from overpaint_protocol.connection import ConnectionInfo
from overpaint_protocol.errors import UnsupportedVersion
from overpaint_protocol.messages import Hello
from overpaint_protocol.zmtp_events import Refused

INFO = ConnectionInfo(
    endpoints=("tcp://127.0.0.1:1",), token="t", pid=1, started_at=0.0, product_version="0", major=1
)
HELLO = Hello(
    session_id="s", client_version="0", editor="test", editor_version="0", oldest_minor=0, newest_minor=0
)


class SilentTransport:
    """Connected to something that says nothing."""

    def __init__(self):
        self._ends = socket.socketpair()

    def fileno(self):
        return self._ends[0].fileno()

    def wants_write(self):
        return False

    def pending_bytes(self):
        return 0

    def close(self):
        for end in self._ends:
            end.close()


@pytest.fixture
def loop():
    loop = SelectorLoop()
    yield loop
    loop.close()


def test_a_daemon_of_another_version_is_not_the_end_of_looking(loop, monkeypatch):
    monkeypatch.setattr("overpaint_client.link._LONGEST_RETRY_S", 0.01)
    opened = []

    def open_transport(*_):
        opened.append(SilentTransport())
        return opened[-1]

    link = Link(loop, Session(HELLO), lambda: INFO, lambda _: None, lambda: None, open_transport)
    link.start()
    assert len(opened) == 1
    link.perform([Disconnect(UnsupportedVersion("Update the daemon."), may_retry=False)])
    assert link.status.sentence == "Update the daemon."
    assert loop.run_until(lambda: len(opened) == 2, 10.0)
    link.close()


class RefusingTransport(SilentTransport):
    """The daemon does not let it in."""

    def __init__(self, reason):
        super().__init__()
        self._reason = reason
        self._ends[1].send(b"x")

    def handle_readable(self):
        return [Refused(self._reason)]


@pytest.mark.parametrize(
    ("reason", "sentence"), [("400", "did not accept this editor's token"), ("500", "Too many programs")]
)
def test_a_refusal_is_told_by_its_reason(loop, reason, sentence):
    link = Link(
        loop,
        Session(HELLO),
        lambda: INFO,
        lambda _: None,
        lambda: None,
        lambda *_: RefusingTransport(reason),
    )
    link.start()
    assert loop.run_until(lambda: sentence in link.status.sentence, 10.0)
    assert not link.status.is_open
    link.close()
