"""Frames that no client would send, against a real daemon, while another client pings it.

    python -m tests.bench.fuzz [--frames 1000000] [--seed 1]

Two kinds take turns, drawn from the seed, over the Unix socket and over TCP:

* messages: a connection that has said hello sends every message of the protocol, and random bytes, changed in one to four
  places (bytes, lengths, whole frames lost, doubled or mixed); a changed ``job.submit`` may well be a valid one, and then
  it is run. ``daemon.shutdown`` is left out, since most of its changes mean the same;
* streams: a whole connection, ZMTP greeting and PLAIN handshake with the right token, then messages, changed at any octet of
  the first half or of the second, so that the mutations reach libzmq before, in and after its authentication.

It fails if connections of the first kind do not get in, if the daemon or its worker ends, if the log has a defect, if the daemon grows by more than 64 MiB, or if the
99th percentile of the other client's pings exceeds 5 ms. The tests run a bounded number of frames and leave the time out.
Linux only.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import secrets
import select
import shutil
import socket
import statistics
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.editor_client import Wire, hello
from tests.bench.process_costs import open_files, rss_bytes
from tests.fuzz.test_message_fuzz import mutate as mutate_message
from tests.integration.daemon_process import DaemonProcess
from tests.protocol.examples import EXAMPLES
from tests.protocol.golden import frames_of

from overpaint_client.link import USERNAME
from overpaint_protocol import framing
from overpaint_protocol.connection import ConnectionInfo
from overpaint_protocol.endpoint import Endpoint
from overpaint_protocol.messages import JobDone, ShutDown
from overpaint_protocol.zmtp_frames import METADATA, MORE, encode_command, encode_header, encode_hello

MAX_GROWTH_BYTES = 64 << 20
MAX_P99_MS = 5.0

_SEEDS = [frames_of(m, payload) for m, payload in EXAMPLES.values() if not isinstance(m, ShutDown)]
_MESSAGES_A_CONNECTION = 50
_STREAM_MESSAGES = 6
_REPORT_FRAMES = 2000
_QUIET_PINGS = 300
_PAUSE_S = 0.002
_PATIENCE_S = 10.0
_SPOILED_WELCOME_S = 0.05
"""Where the first half was changed: libzmq may wait for the rest of something."""
_GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x01" + b"PLAIN".ljust(20, b"\0") + bytes(32)


@dataclass(slots=True)
class Report:
    """What came of it. admitted: connections that authentication let through. growth_bytes: of the daemon. quiet_ms, pings_ms: pings before and meanwhile. faults: sentences, none if all is well."""

    frames: int = 0
    connections: int = 0
    admitted: int = 0
    growth_bytes: int = 0
    quiet_ms: list[float] = field(default_factory=list)
    pings_ms: list[float] = field(default_factory=list)
    files_before: int = 0
    files_after: int = 0
    faults: list[str] = field(default_factory=list)

    @property
    def p99_ms(self) -> float:
        """The other client's ping that one in a hundred exceeded."""
        return _p99(self.pings_ms)


class Attacker:
    """Sends what it is not supposed to; ``frames`` counts them."""

    def __init__(self, info: ConnectionInfo, seed: int) -> None:
        self.frames = 0
        self.connections = 0
        self.admitted = 0
        self._info = info
        self._chance = random.Random(seed)
        self._knock = _GREETING + encode_hello(USERNAME, info.token)
        self._enter = encode_command(b"INITIATE", METADATA) + _message(framing.encode(hello(), id="h"))

    def attack(self) -> None:
        """One connection of either kind."""
        with suppress(OSError):  # the daemon hung up on it, as it may
            if self._chance.random() < 0.5:
                self._messages()
            else:
                self._stream()

    def _messages(self) -> None:
        with self._connect() as sock:
            self._say(sock, self._knock, self._enter)
            for _ in range(_MESSAGES_A_CONNECTION):
                sock.sendall(self._mutated_message())
                self._drain(sock)

    def _stream(self) -> None:
        knock, data = bytearray(self._knock), bytearray(self._enter)
        self.frames += 3  # handshake and hello
        for _ in range(_STREAM_MESSAGES):
            frames = self._chance.choice(_SEEDS)
            self.frames += len(frames)
            data += _message(frames)
        changed = self._chance.choice((knock, data))
        for _ in range(self._chance.randint(1, 4)):
            self._mutate_stream(changed)
        with self._connect() as sock:
            self._say(sock, knock, data)
            self._drain(sock)

    def _say(self, sock: socket.socket, knock: bytes, rest: bytes) -> None:
        """Send both halves. libzmq wants the second after its WELCOME only."""
        sock.sendall(knock)
        sock.settimeout(_PATIENCE_S if knock == self._knock else _SPOILED_WELCOME_S)
        heard = b""
        with suppress(TimeoutError):
            while b"WELCOME" not in heard:
                more = sock.recv(1 << 16)
                if not more:
                    return
                heard += more
            self.admitted += 1
        sock.settimeout(_PATIENCE_S)
        sock.sendall(rest)

    def _mutated_message(self) -> bytes:
        if self._chance.random() < 0.1:
            count = self._chance.randint(1, 6)
            frames = [self._chance.randbytes(self._chance.randrange(200)) for _ in range(count)]
        else:
            frames = mutate_message(self._chance.choice(_SEEDS), self._chance) or [b""]
        self.frames += len(frames)
        return _message(frames)

    def _mutate_stream(self, data: bytearray) -> None:
        at = self._chance.randrange(len(data))
        match self._chance.randrange(5):
            case 0:
                data[at] = self._chance.randrange(256)
            case 1:
                data[at] ^= 1 << self._chance.randrange(8)
            case 2:
                del data[at : at + self._chance.randint(1, 64)]
            case 3:
                data[at:at] = self._chance.randbytes(self._chance.randint(1, 64))
            case _:
                data[at : at + 9] = b"\x02" + self._chance.randbytes(8)  # a length of any size

    def _connect(self) -> socket.socket:
        self.connections += 1
        endpoint = Endpoint.parse(self._chance.choice(self._info.endpoints))
        if endpoint.kind == "tcp":
            sock = socket.create_connection((endpoint.host, endpoint.port), _PATIENCE_S)
        else:
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(_PATIENCE_S)
            sock.connect(endpoint.path)
        return sock

    @staticmethod
    def _drain(sock: socket.socket) -> None:
        """Read what has come, so that the daemon can go on answering."""
        while select.select([sock], [], [], 0)[0] and sock.recv(1 << 16):
            pass


def _p99(values: list[float]) -> float:
    return statistics.quantiles(values, n=100)[98]


def _message(frames) -> bytes:
    last = len(frames) - 1
    return b"".join(
        encode_header(MORE if index < last else 0, len(frame)) + bytes(frame)
        for index, frame in enumerate(frames)
    )


def run_attacker(connection_path: str, seed: int, frames: int, pipe) -> None:
    """In another process: attack until ``frames`` are sent, telling how many in between."""
    attacker = Attacker(ConnectionInfo.read(Path(connection_path)), seed)
    told = 0
    while attacker.frames < frames:
        attacker.attack()
        if attacker.frames - told >= _REPORT_FRAMES:
            told = attacker.frames
            pipe.send((attacker.frames, attacker.connections, attacker.admitted, False))
    pipe.send((attacker.frames, attacker.connections, attacker.admitted, True))


def fuzz(folder: Path, frames: int, seed: int, say=lambda text: None) -> Report:
    """Attack a daemon of its own with ``frames`` frames."""
    report = Report()
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    with DaemonProcess.start(folder, max_messages_per_s=1e9, max_messages_at_once=1e9) as daemon:
        pid, worker = daemon.process.pid, daemon.worker().pid
        wire = Wire(daemon.info)
        wire.greet()
        for _ in range(_QUIET_PINGS):
            report.quiet_ms.append(wire.ping_ms())
            time.sleep(_PAUSE_S)
        before, report.files_before = rss_bytes([pid]), open_files(pid)
        attacker = context.Process(
            target=run_attacker, args=(str(daemon.connection_path), seed, frames, theirs), daemon=True
        )
        attacker.start()
        is_over = False
        said_at = time.monotonic()
        while not is_over:
            while ours.poll():
                report.frames, report.connections, report.admitted, is_over = ours.recv()
            if not attacker.is_alive() and not ours.poll() and not is_over:
                report.faults.append(f"the attacker failed with exit code {attacker.exitcode}")
                break
            if daemon.process.poll() is not None:
                report.faults.append(f"the daemon ended with code {daemon.process.returncode}")
                break
            report.pings_ms.append(wire.ping_ms())
            time.sleep(_PAUSE_S)
            if time.monotonic() - said_at > 30:
                said_at = time.monotonic()
                say(f"  {report.frames} frames, {(rss_bytes([pid]) - before) / 2**20:.1f} MiB more")
        attacker.join(30)
        if daemon.process.poll() is None:
            report.growth_bytes = rss_bytes([pid]) - before
            report.files_after = open_files(pid)
            _check(daemon, worker, wire, report)
        wire.close()
    return report


def _check(daemon: DaemonProcess, worker: int, wire: Wire, report: Report) -> None:
    if report.admitted < report.connections / 2:
        report.faults.append(f"only {report.admitted} of {report.connections} connections got in")
    if daemon.worker().pid != worker:
        report.faults.append("the worker was replaced")
    logs = "".join(path.read_text(encoding="utf-8") for path in daemon.state.glob("daemon.log*"))
    if "Traceback" in logs:
        report.faults.append("the log has a defect: " + logs[logs.index("Traceback") :][:3000])
    if report.growth_bytes > MAX_GROWTH_BYTES:
        report.faults.append(f"the daemon grew by {report.growth_bytes / 2**20:.0f} MiB")
    client = daemon.client(secrets.token_hex(8))
    client.submit("afterwards")
    if not isinstance(client.until_over("afterwards")[-1].message, JobDone):
        report.faults.append("no job is done any more")
    report.pings_ms.append(wire.ping_ms())


def main() -> int:
    """Attack and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="of-"))
    started = time.monotonic()
    report = fuzz(folder, options.frames, options.seed, lambda text: print(text, flush=True))
    print(
        f"{report.frames} frames in {report.connections} connections, {report.admitted} of them let in, seed {options.seed}, "
        f"{time.monotonic() - started:.0f} s"
    )
    print(f"the daemon grew by {report.growth_bytes / 2**20:.1f} MiB (most: {MAX_GROWTH_BYTES >> 20})")
    print(f"its descriptors: {report.files_before} before, {report.files_after} after")
    print(
        f"another client's ping: p50 {statistics.median(report.pings_ms):.2f}, p99 {report.p99_ms:.2f} ms "
        f"(most: {MAX_P99_MS:g}) of {len(report.pings_ms)}; "
        f"before the attack: p50 {statistics.median(report.quiet_ms):.2f}, p99 {_p99(report.quiet_ms):.2f} ms"
    )
    if report.p99_ms > MAX_P99_MS:
        report.faults.append("the other client's pings were too slow")
    print(f"faults: {len(report.faults)}")
    for fault in report.faults:
        print(f"  {fault}")
    shutil.rmtree(folder, ignore_errors=True)
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main())
