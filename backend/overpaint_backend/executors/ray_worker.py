"""The processes of RayExecutor, the only ones that import Ray.

``head`` is a Ray of our own, on the loopback alone; it ends with its standard input. ``main`` stands where a worker's process would:
it speaks with the daemon over the same link and has the work done by an actor of Ray, on whichever machine and device Ray finds
for it. It ends when the actor does, and the actor ends with it. So Ray, which ends its drivers when it loses its own head, takes no
daemon with it, and all that came of a job is with the daemon before it hears that the job is over.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import shutil
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import psutil
import ray
from numpy.typing import NDArray
from ray.exceptions import RayError

from overpaint_protocol import codec
from overpaint_protocol.pixels import Bytes
from overpaint_protocol.version import PRODUCT_VERSION

from .base import Link, RunJob, Serve, WorkerSettings, WorkerStart
from .link import WorkerLink, exit_with

__all__ = ["head", "main"]

_LOOK_S = 0.05
"""How often the file with Ray's address is looked for."""
_LISTEN_S = 5.0
_END_S = 1.0
"""How long killed processes are waited for."""
_VITAL = ("gcs_server", "raylet")
_THREADS = "OMP_NUM_THREADS"
_SHARES = 10_000
"""Ray gives out devices in parts of this."""

_log = logging.getLogger("ray_worker")

_Pixels = NDArray[np.uint8]
"""A frame of a payload, (length,): Ray passes the memory of arrays on without copying it on one machine."""
_Said = tuple[object, tuple[_Pixels, ...]]


def head() -> None:
    """Run Ray on the loopback until standard input ends, or Ray itself.

    Arguments: the file that is to hold its address, and a folder of ours alone for its own files, removed at the end.
    """
    address_path, folder = Path(sys.argv[1]), Path(sys.argv[2])
    is_over = threading.Event()
    _set_after(sys.stdin.buffer.read, is_over)
    try:
        started: Any = ray.init(
            address="local",
            num_cpus=0,
            include_dashboard=False,
            log_to_driver=False,
            configure_logging=False,
            _temp_dir=str(folder / "ray"),  # which Ray opens to everybody
        )
        for process in _vital_processes():
            _set_after(process.wait, is_over)
        if not is_over.is_set():  # else the file may be the next daemon's by now
            new = address_path.with_suffix(".new")
            new.write_text(started.address_info["gcs_address"], encoding="ascii")
            new.replace(address_path)
        is_over.wait()
    except Exception:
        _log.exception("Ray could not be started")
    finally:
        _end_ray(folder)


def _set_after(wait: Callable[[], object], event: threading.Event) -> None:
    """Set ``event`` when ``wait`` has returned, in a thread of its own."""

    def run() -> None:
        wait()
        event.set()

    threading.Thread(target=run, daemon=True).start()


def _vital_processes() -> list[psutil.Process]:
    """Those of our Ray without which nothing can begin in it, and that it outlives, for a minute or for ever."""
    processes = psutil.Process().children()
    return [process for process in processes if process.name().partition(".")[0] in _VITAL]


def _end_ray(folder: Path) -> NoReturn:
    """End this process and all of its Ray, not in Ray's way: that waits for what may have ended, for ever if it has."""
    processes = psutil.Process().children(recursive=True)
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, _END_S)
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)


def _serve_with_engines(link: Link, settings: WorkerSettings) -> None:
    from .worker import serve_with_engines  # only where it is needed: in the actor

    serve_with_engines(link, settings)


def main(serve: Serve = _serve_with_engines) -> None:
    """Serve the daemon until it closes standard input. serve: what the actor does; a function Ray can find by its name.

    Arguments: the file with Ray's address, and how many workers share the devices.
    """
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    start = codec.from_plain(json.loads(sys.stdin.buffer.readline()), WorkerStart)
    exit_with(sys.stdin.buffer)
    ray.init(address=_read_address(Path(sys.argv[1])), configure_logging=False)
    share = min(1.0, ray.cluster_resources().get("GPU", 0.0) / int(sys.argv[2]))
    # 0 CPUs: it is the devices that are shared out, and what an engine does beside them nobody can tell.
    options = {"num_cpus": 0, "num_gpus": int(share * _SHARES) / _SHARES, "scheduling_strategy": "SPREAD"}
    threads = os.environ.get(_THREADS, "")
    actor = _Actor.options(**options).remote(serve, start.settings, PRODUCT_VERSION, threads)
    said = _Spoken()
    threading.Thread(target=_listen, args=(actor, said), name="listen", daemon=True).start()
    _carry(WorkerLink(start), actor, said)


def _read_address(path: Path) -> str:
    """Ray's address, as soon as it is known; the daemon's patience ends the wait."""
    while True:
        try:
            return path.read_text(encoding="ascii")
        except FileNotFoundError:
            time.sleep(_LOOK_S)


class _Spoken:
    """What the actor has said, from the thread that listens to the one that has the link to the daemon. bell: readable if there is any."""

    def __init__(self) -> None:
        self._messages: queue.SimpleQueue[_Said] = queue.SimpleQueue()
        self.bell, self._ringer = socket.socketpair()
        self.bell.setblocking(False)

    def put(self, said: Sequence[_Said]) -> None:
        for message in said:
            self._messages.put(message)
        self._ringer.send(b"\0")

    def take(self) -> Iterator[_Said]:
        with suppress(BlockingIOError):
            self.bell.recv(4096)
        while not self._messages.empty():
            yield self._messages.get()


def _carry(link: WorkerLink, actor: Any, said: _Spoken) -> None:
    """Carry jobs and cancels to the actor, and what it says to the daemon, for ever."""
    run, is_stopped = 0, True
    while True:
        link.wait(_LISTEN_S, said.bell)
        for message, payload in said.take():
            link.send(message, tuple(pixels.data for pixels in payload))
        work = link.next_job(0.0)
        if work is not None:
            job, payload = work
            run, is_stopped = job.run, False
            actor.take.remote(job, _arrays(payload))
        if not is_stopped and link.is_stopped(run):
            is_stopped = True
            actor.stop.remote(run)


def _listen(actor: Any, heard: _Spoken) -> None:
    """Hear what the actor says, and end with it."""
    # One call waits behind the other, so that what is said while a return travels does not wait for the next call to arrive. The
    # actor has one thread for them: they are carried out, and their returns read, in their order.
    calls = deque([actor.listen.remote(), actor.listen.remote()])
    try:
        while True:
            said = ray.get(calls.popleft())
            calls.append(actor.listen.remote())
            if said:
                heard.put(said)
    except RayError as error:
        _log.error("%s", error)
        os._exit(1)


def _arrays(payload: Sequence[Bytes]) -> tuple[_Pixels, ...]:
    return tuple(np.asarray(memoryview(frame).cast("B")) for frame in payload)


class _ActorLink:
    """Link between the thread that works and the actor's methods."""

    def __init__(self) -> None:
        self.jobs: queue.SimpleQueue[tuple[RunJob, tuple[_Pixels, ...]]] = queue.SimpleQueue()
        self.said: queue.SimpleQueue[_Said] = queue.SimpleQueue()
        self.stopped: set[int] = set()

    def send(self, message: object, payload: Sequence[Bytes] = ()) -> None:
        self.said.put((message, _arrays(payload)))

    def next_job(self, timeout_s: float) -> tuple[RunJob, tuple[Bytes, ...]] | None:
        try:
            job, payload = self.jobs.get(timeout=timeout_s)
        except queue.Empty:
            return None
        return job, tuple(pixels.data for pixels in payload)

    def is_stopped(self, run: int) -> bool:
        return run in self.stopped


class _RayWorker:
    """A worker in a process of Ray's. Jobs and cancels are heard while ``listen`` waits and while an engine works."""

    def __init__(self, serve: Serve, settings: WorkerSettings, version: str, threads: str) -> None:
        if version != PRODUCT_VERSION:
            raise RuntimeError(
                f"Overpaint is {PRODUCT_VERSION} on {ray.util.get_node_ip_address()} and {version} where its daemon runs. "
                "Install the same version on both."
            )
        # Ray lets who asks for no processor have one thread. Libraries look when they are loaded, torch with the first model.
        os.environ.pop(_THREADS, None)
        if threads:
            os.environ[_THREADS] = threads
        self._link = _ActorLink()
        settings = replace(settings, place=_place(), pace_path="")  # the file is the daemon's machine's
        threading.Thread(target=self._serve, args=(serve, settings), name="worker", daemon=True).start()

    def _serve(self, serve: Serve, settings: WorkerSettings) -> None:
        try:
            serve(self._link, settings)
        except BaseException:
            _log.exception("the worker failed")
        os._exit(1)  # a worker's process ends with its work, and so does Ray's

    @ray.method(concurrency_group="orders")
    def take(self, job: RunJob, payload: tuple[_Pixels, ...]) -> None:
        """Do this job."""
        self._link.jobs.put((job, payload))

    @ray.method(concurrency_group="orders")
    def stop(self, run: int) -> None:
        """Stop that run at its next step."""
        self._link.stopped.add(run)

    def listen(self) -> list[_Said]:
        """What the worker says next, or nothing after a while."""
        said: list[_Said] = []
        try:
            said.append(self._link.said.get(timeout=_LISTEN_S))
            while True:
                said.append(self._link.said.get_nowait())
        except queue.Empty:
            return said


_remote: Any = ray.remote  # its types know no concurrency groups
_Actor = _remote(
    concurrency_groups={"orders": 1},
    max_restarts=0,
    max_task_retries=0,
    enable_task_events=False,  # else Ray keeps something of every call, for a dashboard
)(_RayWorker)


def _place() -> str:
    """What people call the actor's device: its machine, if that is another than the daemon's may be, and its cards."""
    host = ray.util.get_node_ip_address()
    cards = ",".join(f"cuda:{number}" for number in ray.get_gpu_ids())
    return " ".join(part for part in ("" if host == "127.0.0.1" else host, cards) if part)
