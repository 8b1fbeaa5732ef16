"""The way of the bytes: editor, daemon, worker and back, beside what the machine itself can do.

    python -m tests.bench.wire [--parts paths memory uploads cancel connections start] [--rounds 10] [--quick]

Run from the root with the source folders on ``PYTHONPATH``; Linux only, since it reads processor time and memory there. The
editor's side is the product's own client (standard library, no pyzmq), the daemon is the real one with journal and spool.
An *echo* is a job whose image comes back as it went, by a worker without pictures (``echo_worker``): it pays for the wire, the
disk and the daemon, and not for imaging. *painted* is the same job by the real worker and the engine for tests.

All rows of ``paths`` take turns, so that a machine that changes its speed changes it for all; read ratios, not milliseconds. Each
round has an order of its own: in a fixed one a row would always find what the same other row has left in the processor's caches,
and whoever came after memcpy its own pixels. memcpy copies the same bytes inside one process into memory that is there already. The raw
rows are pyzmq with ``copy=False`` and the same frames, one hop to a process and back. The product has two, to the daemon and on
to the worker, and by a relay three. *Without pixels* is a job of 64² among those of the size above it: what a job costs there however
its pixels travel, so that no other way for them, such as memory shared with the editor (P4), can do better.

``pixels`` is when the layer's last byte is there, ``accepted`` when the daemon says that the disk has the job, ``done`` when it says that
the layer is kept, which it never does before that. ``kept`` is when the journal has the layer: a daemon that is killed then has it for whoever asks
the next one, without another run (``tests/integration/test_daemon.py``). What the disk
itself takes stands beside it: plain ``write`` and ``fsync`` of a file of the same size, and of a small one.

Each part ends with its targets (P1 to P16 of the design), their must and stretch values. Exit code 1 if a must value is missed.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import os
import shutil
import sqlite3
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from random import Random
from time import perf_counter, sleep

import psutil
from tests.bench.echo_worker import MAIN as ECHO
from tests.bench.editor_client import EditorClient, JobTimes, Picture
from tests.bench.process_costs import cpu_s, forget_peak, peak_bytes, rss_bytes
from tests.bench.raw_zmq import RawEcho
from tests.bench.wire_load import PARTS as LOADS
from tests.bench.wire_targets import Verdict, summary
from tests.integration.daemon_process import ROOT, DaemonProcess, free_port, wait_until
from tests.integration.relays import RelayProcess

from overpaint_protocol.pixels import PixelFormat

SIZES = (
    ("512² RGBA8", 512, PixelFormat.RGBA8, 4),
    ("1024² RGBA8", 1024, PixelFormat.RGBA8, 3),
    ("2048² RGBA8", 2048, PixelFormat.RGBA8, 2),
    ("4096² RGBA8", 4096, PixelFormat.RGBA8, 1),
    ("4096² RGBA16", 4096, PixelFormat.RGBA16, 1),
)
"""Name, side in px, format, and how often in a round."""

_Found = tuple[str, float, float]
"""A row, its milliseconds and its seconds of processor time."""

_LARGE = ("1024² RGBA8", "2048² RGBA8", "4096² RGBA8")
_PAINTED = ("512² RGBA8", "1024² RGBA8", "2048² RGBA8")
_WITHOUT_PIXELS = "product ipc, without pixels"
_TINY = Picture.random(64)
_SOURCES = os.pathsep.join(map(str, [ROOT, *(ROOT / n for n in ("protocol", "backend", "plugins/common"))]))


@contextmanager
def daemon(folder: Path, **how: object) -> Iterator[DaemonProcess]:
    """A daemon of its own below ``folder``."""
    folder.mkdir()
    with DaemonProcess.start(folder, environ={"PYTHONPATH": _SOURCES}, **how) as running:
        wait_until(lambda: psutil.Process(running.process.pid).children(), "there is a worker")
        yield running


def processes(running: DaemonProcess) -> list[int]:
    """The editor's process, which is this one, the daemon's and the worker's."""
    children = psutil.Process(running.process.pid).children()
    return [os.getpid(), running.process.pid, *(child.pid for child in children)]


class Copy:
    """memcpy of what a job moves, into pages that have been touched."""

    def __init__(self, picture: Picture) -> None:
        self._there = [(frame, bytearray(frame)) for frame in picture.payload]
        self._back = self._there[: len(picture.image.frames)]

    def copy_ms(self) -> float:
        """Once there and back."""
        begun_at = perf_counter()
        for source, target in (*self._there, *self._back):
            memoryview(target)[:] = source
        return (perf_counter() - begun_at) * 1000


class Paths:
    """The rows, and what was measured: milliseconds by (row, size)."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self.ms: dict[tuple[str, str], list[float]] = defaultdict(list)
        self.cpu: dict[tuple[str, str], list[float]] = defaultdict(list)
        self._order = Random(0)
        self._raw = {}
        for kind in ("ipc", "tcp", "curve"):
            self._raw[kind] = RawEcho(kind, folder / f"raw-{kind}")
            stack.callback(self._raw[kind].close)
        listen = f"tcp://127.0.0.1:{free_port()}"
        echo = stack.enter_context(daemon(folder / "echo", main=ECHO, listen=listen))
        relay = stack.enter_context(RelayProcess.to(echo, folder / "relay"))
        in_memory = Path(tempfile.mkdtemp(prefix="ow-", dir="/dev/shm"))
        stack.callback(shutil.rmtree, in_memory, ignore_errors=True)
        state = {"OVERPAINT_STATE_DIR": str(in_memory)}
        (folder / "memory").mkdir()
        no_disk = DaemonProcess.spawn(folder / "memory", main=ECHO, environ={"PYTHONPATH": _SOURCES, **state})
        stack.callback(no_disk.close)
        wait_until(no_disk.is_listening, "the daemon without a disk listens")
        painting = stack.enter_context(daemon(folder / "paint"))
        self._journal = echo.state / "jobs" / "journal.sqlite"
        self._clients: dict[str, tuple[EditorClient, list[int]]] = {}
        for name, running, endpoint in (
            ("product ipc", echo, 0),
            ("product tcp", echo, 1),
            ("product tcp+curve, by a relay", relay, 0),
            ("product ipc, state in memory", no_disk, 0),
            ("product ipc, painted", painting, 0),
        ):
            client = EditorClient(running.info, endpoint)
            stack.callback(client.close)
            pids = processes(running)
            self._clients[name] = (client, pids + processes(echo)[1:] if running is relay else pids)

    def run(self, rounds: int, say: Callable[[str], None]) -> None:
        """All rows at all sizes, in turns. The first of each warms up and does not count."""
        for size, side_px, pixel_format, times in SIZES:
            picture = Picture.random(side_px, pixel_format)
            copy = Copy(picture)
            for turn in range(rounds * times + 1):
                self._turn(size, picture, copy, is_counted=turn > 0)
            say(f"  {size} measured {rounds * times} times")

    def _turn(self, size: str, picture: Picture, copy: Copy, *, is_counted: bool) -> None:
        rows: dict[str, Callable[[], list[_Found]]] = {
            "memcpy warm": lambda: [("memcpy warm", copy.copy_ms(), 0.0)],
            **{_raw_row(kind): partial(self._exchange, kind, picture) for kind in self._raw},
            **{
                name: partial(self._fill, name, picture)
                for name in self._clients
                if size in _PAINTED or not name.endswith("painted")
            },
            _WITHOUT_PIXELS: self._fill_tiny,
            "disk": lambda: [
                (f"disk: write + fsync {'image' if n else '4 KiB'}", _write_ms(picture, n), 0.0)
                for n in (0, 1)
            ],
        }
        found = {name: rows[name]() for name in self._order.sample(list(rows), len(rows))}
        if is_counted:
            for name in rows:  # the table has them as they are listed
                for row, took_ms, used_s in found[name]:
                    self.ms[row, size].append(took_ms)
                    self.cpu[row, size].append(used_s)

    def _exchange(self, kind: str, picture: Picture) -> list[_Found]:
        raw = self._raw[kind]
        pids = [os.getpid(), raw.process.pid]
        before_s = cpu_s(pids)
        took_ms = raw.exchange_ms(picture)
        return [(_raw_row(kind), took_ms, cpu_s(pids) - before_s)]

    def _fill(self, name: str, picture: Picture) -> list[_Found]:
        client, pids = self._clients[name]
        before_s = cpu_s(pids)
        times = client.fill(picture)
        found: list[_Found] = [(name, times.pixels_ms, cpu_s(pids) - before_s)]
        if name == "product ipc":
            found += [("  accepted", times.accepted_ms, 0.0), ("  done", times.done_ms, 0.0)]
            found.append(("  kept after pixels", self._kept_ms(client, picture), 0.0))
            self._check(times, picture)
        return found

    def _fill_tiny(self) -> list[_Found]:
        client, pids = self._clients["product ipc"]
        before_s = cpu_s(pids)
        times = client.fill(_TINY)
        return [(_WITHOUT_PIXELS, times.pixels_ms, cpu_s(pids) - before_s)]

    def _kept_ms(self, client: EditorClient, picture: Picture) -> float:
        """How long after its pixels are here another job's layer is kept."""
        took: list[float] = []

        def wait() -> None:
            here_at = perf_counter()
            while journal.execute("SELECT 1 FROM part WHERE name = 'made-0'").fetchone() is None:
                sleep(0.001)
            took.append((perf_counter() - here_at) * 1000)

        with closing(sqlite3.connect(f"file:{self._journal}?mode=ro", uri=True)) as journal:
            client.fill(picture, at_pixels=wait)
        return took[0]

    @staticmethod
    def _check(times: JobTimes, picture: Picture) -> None:
        sent = picture.payload[: len(picture.image.frames)]
        assert all(bytes(a) == bytes(b) for a, b in zip(times.pixels, sent, strict=True)), (
            "other bytes came back"
        )

    def p50(self, row: str, size: str) -> float:
        return statistics.median(self.ms[row, size])

    def table(self) -> str:
        """Milliseconds at the median, with the ratio to memcpy."""
        sizes = [size for size, *_ in SIZES]
        lines = [f"{'p50 ms (x memcpy warm)':<32}" + "".join(f"{size:>19}" for size in sizes)]
        for row in dict.fromkeys(row for row, _ in self.ms):
            cells = ""
            for size in sizes:
                if (row, size) not in self.ms:
                    cells += f"{'-':>19}"
                    continue
                ratio = self.p50(row, size) / self.p50("memcpy warm", size)
                is_path = not row.startswith((" ", "disk"))
                cells += f"{self.p50(row, size):>10.2f}" + (f"{f'({ratio:.1f}x)':>9}" if is_path else " " * 9)
            lines.append(f"{row:<32}{cells}")
        lines.append(f"{'processor ms, all processes':<32}")
        for row in dict.fromkeys(row for row, _ in self.cpu):
            if not row.startswith((" ", "disk", "memcpy")):
                used = [self.cpu.get((row, size)) for size in sizes]
                cells = "".join(
                    f"{statistics.mean(u) * 1000:>10.1f}{'':>9}" if u else f"{'-':>19}" for u in used
                )
                lines.append(f"{row:<32}{cells}")
        return "\n".join(lines)

    def verdicts(self) -> Iterator[Verdict]:
        """P1, P2, P3, P5, P9 and P11."""
        for size in _LARGE:
            ratio = self.p50("product ipc", size) / self.p50("zmq ipc", size)
            yield Verdict("P1", f"product ipc / zmq ipc, {size}", ratio, "x", 1.6, 1.25)
        for size in _LARGE:
            copied_ms = self.p50("memcpy warm", size)
            ratio = self.p50("product ipc", size) / copied_ms
            note = f"without pixels: {self.p50(_WITHOUT_PIXELS, size) / copied_ms:.1f}x"
            yield Verdict("P2", f"product ipc / memcpy warm, {size}", ratio, "x", 4.5, 3.0, note)
        for size in _LARGE:
            ratio = self.p50("product tcp+curve, by a relay", size) / self.p50("zmq tcp+curve", size)
            yield Verdict("P5", f"product by a relay / zmq tcp+curve, {size}", ratio, "x", 1.3, 1.1)
        yield Verdict("P3", "product ipc, 512²", self.p50("product ipc", "512² RGBA8"), "ms", 3.0, 1.5)
        for size in _LARGE:
            used = [statistics.mean(self.cpu[row, size]) for row in ("product ipc", "zmq ipc")]
            yield Verdict("P9", f"processor time / zmq ipc, {size}", used[0] / used[1], "x", 2.0, 1.3)
        size = "4096² RGBA8"
        yield Verdict(
            "P11",
            "64 MiB of pixels here until they are kept, safe from kill -9",
            self.p50("  kept after pixels", size),
            "ms",
            100.0,
            note=f"plain write + fsync: {self.p50('disk: write + fsync image', size):.0f} ms",
        )
        delays = [
            a - b
            for a, b in zip(
                self.ms["product ipc", size], self.ms["product ipc, state in memory", size], strict=True
            )
        ]
        share = statistics.median(delays) / self.p50("product ipc", size) * 100
        yield Verdict(
            "P11", "what the disk adds to the pixels, of 4096²", share, "%", 5.0, note="0 within noise"
        )


def _raw_row(kind: str) -> str:
    return f"zmq {'tcp+curve' if kind == 'curve' else kind}"


def _write_ms(picture: Picture, is_image: int) -> float:
    frames = picture.payload[: len(picture.image.frames)] if is_image else [bytes(4096)]
    with tempfile.NamedTemporaryFile(buffering=0) as out:
        begun_at = perf_counter()
        for frame in frames:
            out.write(frame)
        os.fsync(out.fileno())
        return (perf_counter() - begun_at) * 1000


def measure_paths(folder: Path, rounds: int, say: Callable[[str], None]) -> list[Verdict]:
    """The table of rows."""
    with ExitStack() as stack:
        paths = Paths(stack, folder)
        paths.run(rounds, say)
        say(paths.table())
        return list(paths.verdicts())


def measure_memory(folder: Path, rounds: int, say: Callable[[str], None]) -> list[Verdict]:
    """P10: a daemon that has done a small job only meets a large one."""
    verdicts = []
    for side_px in (2048, 4096):
        picture = Picture.random(side_px)
        with daemon(folder / str(side_px), main=ECHO) as running:
            client = EditorClient(running.info)
            client.fill(Picture.random(64))
            pids = processes(running)
            gc.collect()
            ctypes.CDLL(None).malloc_trim(
                0
            )  # else what building the picture left behind hides what the job takes
            before = [rss_bytes([pid]) for pid in pids]
            forget_peak(pids)
            client.fill(picture)
            peaks = [peak_bytes([pid]) - rss for pid, rss in zip(pids, before, strict=True)]
            client.close()
        shares = [peak / picture.image_bytes for peak in peaks]
        note = "editor {:.1f}, daemon {:.1f}, worker {:.1f}".format(*shares)
        verdicts.append(
            Verdict(
                "P10",
                f"peak memory / pixels, {side_px}², client + daemon",
                sum(shares[:2]),
                "x",
                4.0,
                3.0,
                note,
            )
        )
    return verdicts


PARTS = {"paths": measure_paths, "memory": measure_memory, **LOADS}


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--quick", action="store_true", help="one round, to see that it runs")
    options = parser.parse_args()
    rounds = 1 if options.quick else options.rounds
    verdicts: list[Verdict] = []
    for part in options.parts:
        folder = Path(tempfile.mkdtemp(prefix="ow-"))  # short: a Unix socket's path has little room
        print(f"{part}: load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors", flush=True)
        try:
            found = PARTS[part](folder, rounds, lambda text: print(text, flush=True))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        for verdict in found:
            print(verdict, flush=True)
        verdicts += found
    print(summary(verdicts))
    return 0 if all(verdict.holds for verdict in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
