"""Work over a rough link that is cut, and see that every job ends once.

    python -m tests.bench.rough_link [--jobs 20] [--cut 30] [--cuts 1] [--delay 200] [--jitter 100] [--loss 1] [--seed 1]

Linux, as root. Two network namespaces are two machines: one has a daemon, the other a relay and, through its Unix socket, a client
with the plug-ins' own session and link. Between them every IP packet passes through this program, which delays each by
``delay`` ± ``jitter`` ms, each way, lets packets overtake each other, loses ``loss`` % and, during a cut, all of them: TCP, CURVE
and heartbeats are the real ones. It tells how long it took until the client knew that the link was dead, how long until it was
open again, and holds together what was asked and what came. With a job that did not end exactly once the exit code is 1.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import heapq
import os
import random
import select
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.integration.daemon_process import DaemonProcess, picture
from tests.integration.relays import RelayProcess

from overpaint_client.link import Link
from overpaint_client.loop import SelectorLoop
from overpaint_client.session import Deliver, Session
from overpaint_protocol.geometry import Rect, Size
from overpaint_protocol.messages import Edges, Fill, Hello, JobDone, JobFailed, JobVariant, SubmitJob

_NEAR, _FAR = "overpaint-near", "overpaint-far"
_NEAR_ADDRESS, _FAR_ADDRESS = "10.77.0.1", "10.77.0.2"
_PORT = 5577
_SIZE = Size(128, 96)
_SET_INTERFACE, _NO_INFO_TUN = 0x400454CA, 0x1001
_PATIENCE_S = 600.0


class RoughLink:
    """Two namespaces and the wire between them, which this process is."""

    def __init__(self, delay_s: float, jitter_s: float, loss_frac: float, seed: int) -> None:
        self.is_cut = False
        self.passed = self.lost = 0
        self._delay_s, self._jitter_s, self._loss_frac = delay_s, jitter_s, loss_frac
        self._random = random.Random(seed)
        self._ends = [self._tun(name) for name in ("overpaint0", "overpaint1")]
        for namespace, device, address in (
            (_NEAR, "overpaint0", _NEAR_ADDRESS),
            (_FAR, "overpaint1", _FAR_ADDRESS),
        ):
            _ip("netns", "add", namespace)
            _ip("link", "set", device, "netns", namespace)
            _ip("-n", namespace, "addr", "add", f"{address}/30", "dev", device)
            _ip("-n", namespace, "link", "set", device, "up")
            _ip("-n", namespace, "link", "set", "lo", "up")
        self._is_closed = False
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def close(self) -> None:
        self._is_closed = True
        self._thread.join()
        for end in self._ends:
            os.close(end)

    @staticmethod
    def _tun(name: str) -> int:
        end = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(end, _SET_INTERFACE, struct.pack("16sH", name.encode(), _NO_INFO_TUN))
        return end

    def _run(self) -> None:
        on_the_way: list[tuple[float, int, int, bytes]] = []
        count = 0
        while not self._is_closed:
            now = time.monotonic()
            while on_the_way and on_the_way[0][0] <= now:
                _, _, end, packet = heapq.heappop(on_the_way)
                with contextlib.suppress(OSError):  # the queue of the device is full: lost, as anywhere
                    os.write(end, packet)
            wait_s = min(0.05, on_the_way[0][0] - now) if on_the_way else 0.05
            for end in select.select(self._ends, [], [], wait_s)[0]:
                with contextlib.suppress(OSError):
                    packet = os.read(end, 65_536)
                    if self.is_cut or self._random.random() < self._loss_frac:
                        self.lost += 1
                        continue
                    self.passed += 1
                    count += 1
                    late_s = self._delay_s + self._random.uniform(-self._jitter_s, self._jitter_s)
                    other = self._ends[1 - self._ends.index(end)]
                    heapq.heappush(on_the_way, (time.monotonic() + late_s, count, other, packet))


class Editor:
    """What a plug-in does with its jobs, and notes of when the link was open."""

    def __init__(self, relay: RelayProcess) -> None:
        self.loop = SelectorLoop()
        self.done: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.variants: Counter[str] = Counter()
        self.sentences: list[str] = []
        hello = Hello(
            session_id="rough",
            client_version="0.1",
            editor="bench",
            editor_version="1",
            oldest_minor=0,
            newest_minor=0,
        )
        self._session = Session(hello)
        self.link = Link(self.loop, self._session, lambda: relay.info, self._take, self._changed)
        self.link.start()

    def submit(self, job_id: str) -> None:
        image, mask, payload = picture(_SIZE, 10)
        request = SubmitJob(
            job_id=job_id,
            document_id="document",
            operation=Fill(prompt="steps=10 delay=0.1"),
            engine="test-invert",
            canvas=_SIZE,
            context=Rect.from_size(_SIZE),
            image=image,
            mask=mask,
            edges=Edges(grow_px=0, blend_px=0),
            seed=0,
        )
        self.link.perform(self._session.submit(request, payload))

    def _take(self, effect: object) -> None:
        if not isinstance(effect, Deliver):
            return
        message = effect.message
        if isinstance(message, JobVariant):
            self.variants[message.job_id] += 1
        elif isinstance(message, JobDone):
            self.done[message.job_id] += 1
            self.link.perform(self._session.ack(message.job_id))
        elif isinstance(message, JobFailed):
            self.failed[message.job_id] += 1

    def _changed(self) -> None:
        if not self.sentences or self.sentences[-1] != self.link.status.sentence:
            self.sentences.append(self.link.status.sentence)


def run(options: argparse.Namespace, folder: Path, link: RoughLink) -> bool:
    """Do it and print what came of it; returns whether every job ended once."""
    daemon = DaemonProcess.start(
        folder / "far", prefix=("ip", "netns", "exec", _FAR), listen=f"tcp://{_FAR_ADDRESS}:{_PORT}"
    )
    with daemon, RelayProcess.to(daemon, folder / "near", prefix=("ip", "netns", "exec", _NEAR)) as relay:
        editor = Editor(relay)
        jobs = [f"job-{index}" for index in range(options.jobs)]
        for job_id in jobs:
            editor.submit(job_id)
        detected, reopened = [], []
        for _ in range(options.cuts):
            before = len(editor.done)
            wanted = min(before + max(1, options.jobs // (options.cuts + 1)), options.jobs - 1)
            _wait(editor, lambda wanted=wanted: len(editor.done) >= wanted, "jobs are done")
            link.is_cut = True
            began = editor.loop.now()
            _wait(editor, lambda: not editor.link.status.is_open, "the cut is noticed")
            detected.append(editor.loop.now() - began)
            editor.loop.run_until(lambda: False, max(0.0, options.cut - detected[-1]))
            link.is_cut = False
            began = editor.loop.now()
            _wait(editor, lambda: editor.link.status.is_open, "the link is open again")
            reopened.append(editor.loop.now() - began)
        _wait(editor, lambda: len(editor.done) + len(editor.failed) >= len(jobs), "all jobs have ended")
        editor.loop.run_until(lambda: False, 5.0)
        editor.link.close()
        editor.loop.close()
        log = daemon.log
    once = [j for j in jobs if editor.done[j] == 1 and editor.variants[j] == 1 and not editor.failed[j]]
    print(f"packets: {link.passed} passed, {link.lost} lost")
    print(f"link known dead after: {', '.join(f'{s:.2f} s' for s in detected)}")
    print(f"open again after: {', '.join(f'{s:.2f} s' for s in reopened)}")
    print(f"times the relay lost the link: {relay.log.count('not connected')}")
    print(
        f"jobs: {len(jobs)} asked for, {len(once)} ended once with one variant, {log.count(', attempt 1')} begun"
    )
    for sentence in dict.fromkeys(editor.sentences):
        print(f"  told: {sentence}")
    return len(once) == len(jobs) == log.count(", attempt 1") and ", attempt 2" not in log


def _wait(editor: Editor, condition: object, what: str) -> None:
    if not editor.loop.run_until(condition, _PATIENCE_S):
        raise SystemExit(f"it never happened: {what}")


@contextlib.contextmanager
def _machines(options: argparse.Namespace) -> Iterator[RoughLink]:
    link = RoughLink(options.delay / 1000, options.jitter / 1000, options.loss / 100, options.seed)
    try:
        yield link
    finally:
        link.close()
        for namespace in (_NEAR, _FAR):
            _ip("netns", "del", namespace)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def main() -> int:
    """Read the options and go."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default, kind in (
        ("jobs", 20, int),
        ("cut", 30.0, float),
        ("cuts", 1, int),
        ("delay", 200.0, float),
        ("jitter", 100.0, float),
        ("loss", 1.0, float),
        ("seed", 1, int),
    ):
        parser.add_argument(f"--{name}", type=kind, default=default)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, _machines(options) as link:
        return 0 if run(options, Path(folder), link) else 1


if __name__ == "__main__":
    sys.exit(main())
