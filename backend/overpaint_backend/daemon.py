"""The daemon's composition root: makes the parts, runs the loop, takes everything down again.

One thread and one poller do all input and output; engines run in the worker's process. ``run_daemon`` is all that
``overpaint serve`` needs.
"""

from __future__ import annotations

import gc
import logging
import time
from typing import TYPE_CHECKING, Any

import zmq

from .config import DaemonSettings
from .durability.archive import Archive
from .durability.keeper import Keeper
from .durability.stories import StoryBook
from .energy import EnergyMeter, installed_sources
from .executors.base import Executor, WorkerSettings
from .executors.placement import Placement, cuda_devices, placements
from .executors.process import ProcessExecutor
from .executors.ray import RayCluster, RayExecutor
from .freed_memory import FreedMemory
from .recipes.offer import RecipeBook
from .recipes.store import RecipeStore
from .remote.keys import AllowList, own_key
from .server.chronicle import Chronicle
from .server.descriptors import DescriptorLimit
from .server.entrance import Entrance
from .server.hosting import host, until_signalled
from .server.report import make_report
from .server.router import CLIENT_DOMAIN, REMOTE_DOMAIN
from .server.service import Service
from .server.sessions import LOCAL

if TYPE_CHECKING:
    from .metrics import MetricsServer

__all__ = ["run_daemon"]

_RETRY_MS = 5
_PUBLISH_S = 1.0

_log = logging.getLogger("overpaint_backend.daemon")


def run_daemon(settings: DaemonSettings) -> int:
    """Serve until a signal, a client's ``daemon.shutdown`` or idleness ends it.

    Returns:
        The exit code: 0 after an ordered end, 1 if it could not start; the reason is on standard error.
    """

    def serve() -> None:
        metrics = None if settings.metrics is None else _serve_metrics(settings.metrics)
        try:
            _Daemon(settings, metrics).serve()
        finally:
            if metrics is not None:
                metrics.close()

    return host(settings, serve)


class _Daemon:
    """Everything a running daemon holds."""

    def __init__(self, settings: DaemonSettings, metrics: MetricsServer | None) -> None:
        self._settings = settings
        self._next_tick = 0.0
        self._watched: tuple[zmq.Poller, tuple[zmq.Socket[bytes] | int, ...]] | None = None
        self._freed_memory = FreedMemory(lambda give_back: self._archive.submit_last(give_back))
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._allowed = AllowList(settings.allowed_path)
        self._entrance = Entrance(self._context, settings, self._allowed)
        descriptors = DescriptorLimit()
        for domain in (CLIENT_DOMAIN, REMOTE_DOMAIN):
            self._entrance.gate.limit(domain, descriptors.has_room)
        self._cluster = None if settings.ray is None else RayCluster(settings.ray_address_path, settings.ray)
        where = placements(settings.workers, cuda_devices())
        self._executors = [
            self._make_executor(worker, len(where), placement) for worker, placement in enumerate(where)
        ]
        self._metrics = metrics
        self._published_at = float("-inf")
        self._archive = Archive(str(settings.jobs_dir))
        self._keeper = Keeper(settings.jobs_dir, self._archive)
        self._stories = StoryBook(settings.stories_path, settings.keep_s)
        self._service = Service(
            settings,
            self._executors,
            self._entrance.router.send,
            RecipeBook(RecipeStore.from_environment()),
            self._keeper,
            time.monotonic(),
            Chronicle(self._stories, self._archive),
            EnergyMeter(installed_sources(), time.monotonic()),
        )

    def _make_executor(self, worker: int, workers: int, placement: Placement) -> Executor:
        settings, allow = self._settings, self._entrance.gate.allow
        options: dict[str, Any] = {
            "runtime_dir": self._entrance.socket_dir,
            "name": f"{self._entrance.prefix}-worker{worker + 1}",
            "start_timeout_s": settings.worker_start_s,
            "worker_settings": WorkerSettings(
                idle_unload_s=settings.idle_unload_s,
                pace_path=str(settings.pace_path(worker)),
                place=placement.place,
            ),
        }
        if self._cluster is not None:  # which places its actors itself
            return RayExecutor(self._context, allow, self._cluster, workers, **options)
        return ProcessExecutor(self._context, allow, environ=placement.environ, **options)

    def serve(self) -> None:
        """Listen, work, and leave nothing behind."""
        with until_signalled() as is_signalled:
            try:
                self._listen()
                _spare_what_stays()
                while not (is_signalled() or self._service.is_stopping):
                    self._turn()
                    if self._service.is_idle(time.monotonic()):
                        _log.info("nobody needs the daemon, it ends")
                        break
                if self._service.is_told_to_end:  # before clients see that this daemon is gone
                    self._settings.mark_stopped()
                self._entrance.hide()
                self._say_goodbye()
            finally:
                self._entrance.hide()
                self._let_go_of_files()
                for executor in self._executors:
                    executor.stop(self._settings.stop_s)
                if self._cluster is not None:
                    self._cluster.stop(self._settings.stop_s)
                self._entrance.close()
                self._context.term()
        _log.info("ended")

    def _listen(self) -> None:
        remote = self._settings.listen
        if not remote:
            self._entrance.open()
            return
        self._allowed.look()
        self._entrance.gate.admit(REMOTE_DOMAIN, self._allowed)
        self._entrance.open(remote=remote, curve=own_key(self._settings.key_path).serve)

    def _turn(self) -> None:
        """Send what came of the last turn, wait for something, deal with it."""
        is_left = self._service.flush(time.monotonic())
        self._archive.hand_over()
        timeout_ms = _RETRY_MS if is_left else round(self._settings.tick_s * 1000)
        ready = dict(self._poller().poll(timeout_ms))
        gate, router = self._entrance.gate, self._entrance.router
        if self._settings.listen and self._allowed.look():
            router.end_revoked()
        if gate.socket in ready:
            gate.answer()
        if self._archive.socket.fileno() in ready:
            self._archive.poll()
        if router.socket in ready:
            for incoming in router.receive():
                self._service.on_message(incoming, time.monotonic())
                self._freed_memory.saw(incoming.frames)
        now = time.monotonic()
        is_due = now >= self._next_tick
        if is_due:
            router.end_endless(now)
        if is_due or router.socket in ready or router.monitor in ready:
            for peer in router.take_gone():
                self._service.on_gone(peer, now)
        for worker, executor in enumerate(self._executors):
            if is_due or any(socket in ready for socket in executor.watched):
                for event, payload in executor.poll(now):
                    self._service.on_worker(worker, event, payload, now)
                    self._service.flush(now)  # pixels do not wait for what the worker said after them
        if is_due:  # with many sessions it is more work than most messages
            self._next_tick = now + self._settings.tick_s / 2
            self._service.tick(now)
            if self._service.worker_state == "busy":
                self._freed_memory.use()
            self._freed_memory.look(now)
            self._publish(now)

    def _poller(self) -> zmq.Poller:
        """Watches all that may have news; made anew when a worker was replaced."""
        workers = tuple(socket for executor in self._executors for socket in executor.watched)
        if self._watched is None or self._watched[1] != workers:
            poller = zmq.Poller()
            entrance = self._entrance
            for socket in (entrance.gate.socket, entrance.router.socket, entrance.router.monitor, *workers):
                poller.register(socket, zmq.POLLIN)
            poller.register(self._archive.socket, zmq.POLLIN)
            self._watched = poller, workers
        return self._watched[0]

    def _publish(self, now: float) -> None:
        if self._metrics is None or now - self._published_at < _PUBLISH_S:
            return
        self._published_at = now
        self._metrics.publish(make_report(self._service, LOCAL, now), self._service.chronicle.tally)

    def _say_goodbye(self) -> None:
        """Tell the clients, and give those that read a moment to hear it."""
        _log.info("ending")
        now = time.monotonic()
        self._service.stop(now)
        self._let_go_of_files()
        while self._service.flush(time.monotonic()) and time.monotonic() < now + self._settings.stop_s:
            time.sleep(_RETRY_MS / 1000)

    def _let_go_of_files(self) -> None:
        """Wait until the disk has what it is to keep."""
        if self._archive.close(self._settings.disk_s):
            self._keeper.close()
            self._stories.close()
        else:
            _log.warning("the disk did not take everything in time")


def _serve_metrics(address: tuple[str, int]) -> MetricsServer:
    from .metrics import MetricsServer  # brings a web server, and nearly nobody asks for one

    return MetricsServer(address)


def _spare_what_stays() -> None:
    """Have the collector of garbage leave alone what is there for good: to look through it takes the loop 20 ms each time."""
    gc.collect()
    gc.freeze()


if __name__ == "__main__":
    raise SystemExit(run_daemon(DaemonSettings.from_environment()))
