"""Pairing: keys get across with the right code, and with nothing else."""

from __future__ import annotations

import re
import threading
from contextlib import contextmanager

import pytest
import zmq
from tests.integration.daemon_process import free_port

from overpaint_backend.remote import pairing
from overpaint_backend.remote.addresses import RemoteAddress
from overpaint_backend.remote.keys import AllowList, KeyPair
from overpaint_backend.remote.pairing import MAX_REFUSALS, Offer, accept, checked_code, new_code
from overpaint_protocol.errors import AccessError, LinkRefused, LinkTimeout, RequestError

DAEMON = KeyPair.new()


class Door:
    """An Offer that waits in a thread."""

    def __init__(self, folder, seconds=30.0):
        self.code = new_code()
        self.address = RemoteAddress("127.0.0.1", free_port())
        self.allowed = AllowList(folder / "allowed.json")
        self.error = None
        self._seconds = seconds
        self._offer = Offer(self.address.pairing, self.code, DAEMON, "anna", self.allowed)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        try:
            self._offer.wait(self._seconds)
        except Exception as error:  # shown to the test
            self.error = error
        finally:
            self._offer.close()

    def join(self):
        self._thread.join()
        return self.error


@pytest.fixture
def door(tmp_path):
    door = Door(tmp_path)
    yield door
    door.join()


def other_code(code):
    while (another := new_code()) == code:
        pass
    return another


def test_both_sides_learn_the_other_ones_key(door):
    key = accept(door.address, checked_code(door.code))
    assert door.join() is None
    assert key.daemon == DAEMON.public
    assert door.allowed.entries() == {"anna": key.own.public}


def test_a_code_is_good_once(door):
    accept(door.address, door.code)
    door.join()
    with pytest.raises(LinkRefused, match="keys pair"):
        accept(door.address, door.code, timeout_s=5)
    assert len(door.allowed.entries()) == 1


def test_another_code_gets_nothing_and_leaves_the_door_to_the_right_one(door):
    with pytest.raises(AccessError, match="does not accept this code"):
        accept(door.address, other_code(door.code))
    assert door.allowed.entries() == {}
    assert accept(door.address, door.code).daemon == DAEMON.public


def test_a_connection_that_ends_before_anything_is_said_on_it_keeps_nobody_waiting(door, monkeypatch):
    calling = pairing._calling

    @contextmanager
    def calling_until_it_ends(*args):
        with calling(*args) as (socket, monitor):
            assert monitor.poll(30_000), "the connection ends"
            assert not socket.poll(500, zmq.POLLOUT), "nothing can be said any more"
            yield socket, monitor

    with monkeypatch.context() as patched, pytest.raises(AccessError, match="does not accept"):
        patched.setattr(pairing, "_calling", calling_until_it_ends)
        accept(door.address, other_code(door.code))
    accept(door.address, door.code)


def test_who_stands_in_the_daemons_place_without_the_code_learns_and_gives_nothing(tmp_path, door):
    impostor = Door(tmp_path / "impostor")
    with pytest.raises(AccessError):
        accept(impostor.address, door.code)
    assert impostor.allowed.entries() == {}
    accept(impostor.address, impostor.code)
    impostor.join()
    accept(door.address, door.code)


def test_who_knows_the_daemons_real_key_only_does_not_get_in(door):
    with zmq.Context() as context, context.socket(zmq.DEALER) as stranger:
        stranger.linger = 0
        KeyPair.new().call(stranger, DAEMON.public)
        stranger.connect(str(door.address.pairing))
        stranger.send_multipart([b"overpaint pairing 1", bytes(32)])
        assert not stranger.poll(500)
    assert door.allowed.entries() == {}
    accept(door.address, door.code)


def test_after_too_many_failures_the_code_is_void(tmp_path, monkeypatch):
    monkeypatch.setattr(pairing, "MAX_REFUSALS", 3)
    door = Door(tmp_path)
    for _ in range(3):
        with pytest.raises((AccessError, LinkRefused)):
            accept(door.address, other_code(door.code))
    assert isinstance(door.join(), AccessError)
    with pytest.raises(LinkRefused):
        accept(door.address, door.code, timeout_s=5)
    assert door.allowed.entries() == {}
    assert MAX_REFUSALS >= 3


def test_a_code_is_void_when_its_time_is_over(tmp_path):
    door = Door(tmp_path, seconds=0.1)
    assert isinstance(door.join(), LinkTimeout)
    with pytest.raises(LinkRefused):
        accept(door.address, door.code, timeout_s=5)


@pytest.mark.parametrize(
    "frames",
    [
        [b""],
        [b"overpaint pairing 1"],
        [b"overpaint pairing 1", bytes(31)],
        [b"overpaint pairing 2", bytes(32)],
    ],
    ids=repr,
)
def test_what_is_no_key_is_not_taken_for_one(door, frames):
    _, guest = pairing._pairs(door.code)
    daemon_side, _ = pairing._pairs(door.code)
    with zmq.Context() as context, context.socket(zmq.DEALER) as mistaken:
        mistaken.linger = 0
        guest.call(mistaken, daemon_side.public)
        mistaken.connect(str(door.address.pairing))
        mistaken.send_multipart(frames)
        assert not mistaken.poll(500)
    assert door.allowed.entries() == {}
    accept(door.address, door.code)


# ---------------------------------------------------------------- codes


def test_codes_are_long_enough_and_never_the_same():
    codes = {new_code() for _ in range(200)}
    assert len(codes) == 200
    assert all(re.fullmatch(r"([0-9A-HJKMNP-TV-Z]{5}-){3}[0-9A-HJKMNP-TV-Z]{5}", code) for code in codes)
    assert (len(pairing._LETTERS) ** pairing._RANDOM_LETTERS).bit_length() > 95


def test_a_code_may_be_typed_in_any_spelling():
    for _ in range(50):
        code = new_code()
        plain = code.replace("-", "")
        for typed in (
            code,
            plain,
            code.lower(),
            f" {plain[:7]} {plain[7:]}\n",
            code.replace("0", "O").replace("1", "l"),
        ):
            assert checked_code(typed) == plain


def test_every_wrong_letter_is_noticed():
    code = checked_code(new_code())
    for index, right in enumerate(code):
        for wrong in set(pairing._LETTERS) - {right}:
            with pytest.raises(RequestError, match="mistake"):
                checked_code(code[:index] + wrong + code[index + 1 :])


@pytest.mark.parametrize("text", ["", "0A1B2", "U" * 20, "0" * 21, "é" * 20])
def test_what_is_no_code_is_told(text):
    with pytest.raises(RequestError, match="20 letters"):
        checked_code(text)


def test_the_two_sides_and_two_codes_have_different_keys():
    first, second = pairing._pairs(new_code()), pairing._pairs(new_code())
    assert len({pair.secret for pair in (*first, *second)}) == 4
    code = new_code()
    assert pairing._pairs(code) == pairing._pairs(code.lower().replace("-", " "))
