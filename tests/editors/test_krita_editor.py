"""KritaEditor keeps the EditorContract inside the real Krita, and QtLoop the promises of Loop."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.editors.driving import EditorRoot, KritaDriver, fresh_driver
from tests.editors.krita_install import PROJECT, install_plug_in

_RUN_CONTRACT = f"""
import sys
sys.dont_write_bytecode = True
sys.path.append({str(PROJECT)!r})
import overpaint_client  # the bundle's, which leaves out what is for tests only
overpaint_client.__path__.append({str(PROJECT / "plugins/common/overpaint_client")!r})
from overpaint_client.testing.contract import run_contract
from tests.editors.krita_harness import KritaHarness
harnesses = []
def make():
    for harness in harnesses:
        harness.close_all()
    harnesses[:] = [KritaHarness(spin)]
    return harnesses[0]
result = run_contract(make)
"""

_NEW_LOOP = """
import socket
from overpaint_krita.net import QtLoop
loop = QtLoop()
"""


@pytest.fixture(scope="module")
def krita(editor_root: EditorRoot, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KritaDriver]:
    with fresh_driver(KritaDriver, editor_root, binds=[PROJECT]) as driver:
        install_plug_in(driver)
        yield driver.start()


def test_krita_editor_keeps_the_contract(krita: KritaDriver) -> None:
    results = krita.run(_RUN_CONTRACT)
    assert len(results) >= 15
    failures = [f"{name}\n{trace}" for name, trace in results if trace]
    assert not failures, "\n\n".join(failures)


def test_callbacks_run_one_at_a_time_even_if_one_turns_the_loop(krita: KritaDriver) -> None:
    result = krita.run(
        _NEW_LOOP
        + """
order = []
near, far = socket.socketpair()
def read():
    order.append(far.recv(100).decode())
watch = loop.watch(far.fileno(), read, lambda: order.append("writable"))
def outer():
    order.append("outer begins")
    near.send(b"bytes")
    spin(0.1)
    order.append("outer ends")
loop.call_later(0, outer)
loop.call_later(0.02, lambda: order.append("timer"))
loop.call_later(0.03, lambda: order.append("cancelled")).cancel()
wait_until(lambda: len(order) >= 4, 5.0)
spin(0.1)
result = order
"""
    )
    assert result[:2] == ["outer begins", "outer ends"]
    assert sorted(result[2:]) == ["bytes", "timer"]


def test_a_socket_is_watched_until_it_is_read_and_for_writing_only_on_demand(krita: KritaDriver) -> None:
    result = krita.run(
        _NEW_LOOP
        + """
near, far = socket.socketpair()
seen = []
def read_one_byte():
    seen.append(far.recv(1))
def writable():
    seen.append("writable")
    watch.want_write(False)
watch = loop.watch(far.fileno(), read_one_byte, writable)
near.send(b"abc")
wait_until(lambda: len(seen) >= 3, 5.0)
reads = len(seen)
watch.want_write(True)
wait_until(lambda: "writable" in seen, 5.0)
spin(0.05)
count = len(seen)
watch.close()
near.send(b"d")
spin(0.1)
result = [reads, count, len(seen)]
"""
    )
    assert result == [3, 4, 4], "every byte was announced, writing once, nothing after close"


def test_an_error_in_a_callback_is_logged_and_the_loop_goes_on(krita: KritaDriver) -> None:
    result = krita.run(
        _NEW_LOOP
        + """
import logging
records = []
class Catch(logging.Handler):
    def emit(self, record):
        records.append(record.getMessage())
handler = Catch()
logging.getLogger("overpaint_krita.net").addHandler(handler)
after = []
loop.call_later(0, lambda: 1 / 0)
loop.call_later(0.01, lambda: after.append(True))
wait_until(lambda: after, 5.0)
logging.getLogger("overpaint_krita.net").removeHandler(handler)
result = [len(records), len(after)]
"""
    )
    assert result == [1, 1]


def test_a_shape_only_adds_to_the_canvas(krita: KritaDriver) -> None:
    result = krita.run("""
from overpaint_krita.widgets import margins_for_aspect
from overpaint_protocol.geometry import Size
def grown(width, height, across, down):
    m = margins_for_aspect(Size(width, height), across, down)
    return [m.left, m.top, m.right, m.bottom]
result = [grown(640, 427, 1, 1), grown(100, 100, 16, 9), grown(1600, 900, 16, 9), grown(1, 1, 3, 2), grown(300, 200, 2, 3)]
""")
    assert result == [[0, 106, 0, 107], [39, 0, 39, 0], [0, 0, 0, 0], [0, 0, 1, 0], [0, 125, 0, 125]]
