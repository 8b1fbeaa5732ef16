"""Links to a daemon elsewhere: what the watch knows of them, and how much a bridge holds back."""

from __future__ import annotations

import contextlib
import time

import pytest
import zmq
from tests.integration.daemon_process import free_port

from overpaint_backend.config import DaemonSettings
from overpaint_backend.remote.addresses import RemoteAddress
from overpaint_backend.remote.keys import KeyPair, RelayKey
from overpaint_backend.remote.link import Bridge, LinkState, Watch
from overpaint_backend.server.router import REMOTE_DOMAIN, Router
from overpaint_backend.server.zap import Authenticator

DAEMON, OWN = KeyPair.new(), KeyPair.new()
KEY = RelayKey(OWN, DAEMON.public)
WAIT_S = 30


class FarEnd:
    """What a daemon shows to other machines, turned by hand."""

    def __init__(self, folder, port):
        self.context = zmq.Context()
        self.admitted = {OWN.public}
        self.gate = Authenticator(self.context)
        self.gate.admit(REMOTE_DOMAIN, self.admitted)
        self.router = Router(
            self.context, DaemonSettings(state_dir=folder, runtime_dir=folder), self.admitted
        )
        self.router.bind_remote(f"tcp://127.0.0.1:{port}", DAEMON.serve)
        self.heard = []

    def turn(self):
        self.gate.answer()
        self.heard += self.router.receive()

    def close(self):
        self.router.close()
        self.gate.close()
        self.context.term()


@pytest.fixture
def port():
    return free_port()


@pytest.fixture
def far(tmp_path, port):
    far = FarEnd(tmp_path, port)
    yield far
    far.close()


@pytest.fixture
def watching(port):
    with contextlib.ExitStack() as stack:

        def watch(key=KEY):
            context = stack.enter_context(zmq.Context())
            made = Watch(context, RemoteAddress("127.0.0.1", port), key)
            stack.callback(made.close)
            return made

        yield watch


def until(condition, *ends):
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        for end in ends:
            end.turn()
        if condition():
            return
        time.sleep(0.002)
    raise AssertionError("it never happened")


def reaches(watch, state, *ends):
    def is_there():
        watch.hear(time.monotonic())
        return watch.state is state

    until(is_there, *ends)


def test_a_daemon_that_lets_us_in_is_up(far, watching):
    reaches(watching(), LinkState.UP, far)


def test_nobody_there_is_silent_and_found_when_it_comes(tmp_path, port, watching):
    watch = watching()
    reaches(watch, LinkState.SILENT)
    far = FarEnd(tmp_path, port)
    try:
        reaches(watch, LinkState.UP, far)
    finally:
        far.close()
    reaches(watch, LinkState.LOST)


def test_a_key_that_is_not_on_the_list_is_refused_until_it_is(far, watching):
    far.admitted.clear()
    watch = watching()
    reaches(watch, LinkState.REFUSED, far)
    far.admitted.add(OWN.public)
    reaches(watch, LinkState.UP, far)


def test_a_daemon_without_room_is_not_taken_for_one_that_refuses_the_key(far, watching):
    room = []
    far.gate.limit(REMOTE_DOMAIN, lambda: bool(room))
    watch = watching()
    reaches(watch, LinkState.FULL, far)
    room.append("for one")
    reaches(watch, LinkState.UP, far)


def test_a_daemon_that_does_not_have_the_known_key_is_told_apart(far, watching):
    reaches(watching(RelayKey(OWN, KeyPair.new().public)), LinkState.MISTAKEN, far)


def test_a_watch_that_says_nothing_is_cut_off_too_when_its_key_is_revoked(far, watching):
    watch = watching()
    reaches(watch, LinkState.UP, far)
    until(lambda: far.heard, far)  # the one message by which the daemon knows whose connection it is
    far.admitted.clear()
    far.router.end_revoked()
    reaches(watch, LinkState.REFUSED, far)


def test_a_bridge_counts_what_waits_for_the_link_and_passes_it_on_in_order(far, port):
    with zmq.Context() as context:
        bridge = Bridge(
            context, RemoteAddress("127.0.0.1", port), KEY, max_frame_bytes=1 << 20, max_waiting_messages=2
        )
        for index in range(6):
            bridge.push([b"%d" % index, bytes(1000)])
        assert bridge.pending_bytes == 4 * 1001, "two fit into the socket before there is a connection"

        def passed():
            bridge.pump()
            return len(far.heard) == 6

        until(passed, far)
        assert bridge.pending_bytes == 0
        assert [bytes(incoming.frames[0]) for incoming in far.heard] == [b"%d" % index for index in range(6)]
        assert not bridge.has_ended()
        far.router.end(far.heard[0].peer)
        until(bridge.has_ended, far)
        bridge.close()


def test_a_bridge_to_nobody_ends(port):
    with zmq.Context() as context:
        bridge = Bridge(
            context, RemoteAddress("127.0.0.1", port), KEY, max_frame_bytes=1 << 20, max_waiting_messages=2
        )
        until(bridge.has_ended)
        bridge.close()
