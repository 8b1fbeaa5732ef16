"""Metrics for Prometheus, for who asks for them with ``overpaint serve --metrics``: at an address of this machine's own only.

A thread serves what the daemon's loop published last, so that nobody who asks can hold the loop up. Labels are operations, states,
ids of engines, numbers of workers, places of devices and kinds of meters; never clients, jobs or words of theirs. Needs the package ``prometheus-client``.
"""

from __future__ import annotations

import ipaddress
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from overpaint_backend.server.tally import Tally
from overpaint_protocol.errors import DaemonError, RequestError
from overpaint_protocol.messages import DaemonReport, WorkerReport

__all__ = ["MetricsServer", "loopback_address"]

_EXAMPLE = "127.0.0.1:9187"
_HOSTS = ("127.0.0.1", "localhost", "[::1]")
_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """How the daemon was at one moment."""

    report: DaemonReport
    submitted: dict[str, int]
    ended: dict[tuple[str, str], int]
    variants: int
    engine_s: dict[str, float]


def loopback_address(text: str) -> tuple[str, int]:
    """Read ``127.0.0.1:PORT`` or ``[::1]:PORT``.

    Raises:
        RequestError: it is nothing of the kind, or can be reached from other machines.
    """
    host, _, digits = text.rpartition(":")
    try:
        address = ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
        port = int(digits)
    except ValueError:
        raise RequestError(f"“{text[:200]}” is no address for metrics. Write it like {_EXAMPLE}.") from None
    if not address.is_loopback or not 1 <= port <= 65_535:
        raise RequestError(
            f"Metrics are for this machine only, and their port is 1 to 65535: “{text[:200]}” is not served. Write {_EXAMPLE}."
        )
    return str(address), port


class MetricsServer:
    """Serves the metrics until ``close``.

    Args:
        address: what ``loopback_address`` gave.

    Raises:
        DaemonError: prometheus-client is not installed, or the port is taken.
    """

    def __init__(self, address: tuple[str, int]) -> None:
        try:
            from prometheus_client import (  # pyright: ignore[reportMissingImports] - an extra
                CollectorRegistry,
                make_wsgi_app,
            )
        except ImportError:
            raise DaemonError(
                "Metrics need prometheus-client. Install it: pip install 'overpaint[metrics]'"
            ) from None
        self._snapshot: _Snapshot | None = None
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Collector(lambda: self._snapshot))
        host, port = address
        try:
            self._server = make_server(host, port, _local(make_wsgi_app(registry)), _Server, _Handler)
        except OSError as error:
            raise DaemonError(
                f"Metrics cannot be served at {host}:{port}: {error.strerror}. Choose another port."
            ) from error
        self._thread = threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True)
        self._thread.start()

    def publish(self, report: DaemonReport, tally: Tally) -> None:
        """Serve this from now on. The tally may go on meanwhile."""
        self._snapshot = _Snapshot(
            report, dict(tally.submitted), dict(tally.ended), tally.variants, dict(tally.engine_s)
        )

    def close(self) -> None:
        """End the thread and give the port back."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Handler(WSGIRequestHandler):
    timeout = _TIMEOUT_S

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: a line for each scrape would fill the terminal."""


def _local(app: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
    """The app for those who ask by a name of this machine: no web page can, by pointing a name of its own here."""

    def serve(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        host = str(environ.get("HTTP_HOST", ""))
        if host.rpartition(":")[0] not in _HOSTS and host not in _HOSTS:
            start_response("403 Forbidden", [("Content-Type", "text/plain")])
            return [b"For this machine only.\n"]
        return app(environ, start_response)

    return serve


class _Collector:
    """Turns the last snapshot into families of metrics."""

    def __init__(self, snapshot: Callable[[], _Snapshot | None]) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Any]:
        """The families; none before the first snapshot."""
        snapshot = self._snapshot()
        if snapshot is not None:
            yield from _of_counts(snapshot)
            yield from _of_report(snapshot.report)


def _of_counts(counts: _Snapshot) -> Iterator[Any]:
    from prometheus_client.core import CounterMetricFamily  # pyright: ignore[reportMissingImports] - an extra

    submitted = CounterMetricFamily("overpaint_jobs_submitted", "Jobs asked for.", labels=["operation"])
    for operation, count in counts.submitted.items():
        submitted.add_metric([operation], count)
    yield submitted
    ended = CounterMetricFamily(
        "overpaint_jobs_ended", "Jobs by how they ended.", labels=["operation", "state"]
    )
    for (operation, state), count in counts.ended.items():
        ended.add_metric([operation, state], count)
    yield ended
    yield CounterMetricFamily("overpaint_variants", "Variants painted.", value=counts.variants)
    seconds = CounterMetricFamily("overpaint_engine_seconds", "Time spent on runs.", labels=["engine"])
    for engine, took_s in counts.engine_s.items():
        seconds.add_metric([engine], took_s)
    yield seconds


def _of_report(report: DaemonReport) -> Iterator[Any]:
    from prometheus_client.core import (  # pyright: ignore[reportMissingImports] - an extra
        CounterMetricFamily,
        GaugeMetricFamily,
        InfoMetricFamily,
    )

    yield InfoMetricFamily("overpaint", "The daemon.", value={"version": report.product_version})
    jobs = GaugeMetricFamily("overpaint_jobs", "Unfinished jobs.", labels=["state"])
    for state in ("queued", "running"):
        jobs.add_metric([state], sum(job.state.value == state for job in report.jobs))
    yield jobs
    energy = CounterMetricFamily("overpaint_energy_joules", "Of all programs.", labels=["source"])
    for one in report.energy:
        energy.add_metric([one.source], one.joules)
    yield energy
    numbers = {
        "uptime_seconds": ("Since the daemon's start.", report.uptime_s),
        "clients": ("Connected clients.", sum(session.connected for session in report.sessions)),
        "kept_bytes": ("Pictures and results of all clients.", report.kept_bytes),
    }
    for name, (meaning, value) in numbers.items():
        yield GaugeMetricFamily(f"overpaint_{name}", meaning, value=value)
    yield from _of_workers(report.workers)


def _of_workers(workers: tuple[WorkerReport, ...]) -> Iterator[Any]:
    from prometheus_client.core import (  # pyright: ignore[reportMissingImports] - an extra
        CounterMetricFamily,
        GaugeMetricFamily,
    )

    ready = GaugeMetricFamily("overpaint_worker_ready", "1 if the worker can run jobs.", labels=["worker"])
    restarts = CounterMetricFamily(
        "overpaint_worker_restarts", "How often it had to be replaced.", labels=["worker"]
    )
    loaded = GaugeMetricFamily(
        "overpaint_loaded_bytes", "Weights of open engines.", labels=["worker", "engine"]
    )
    memory = {
        field: GaugeMetricFamily(f"overpaint_{name}", meaning, labels=["worker", "place"])
        for field, name, meaning in (
            ("free_bytes", "memory_free_bytes", "Where its engines compute."),
            ("total_bytes", "memory_total_bytes", "Where its engines compute."),
            ("resident_bytes", "worker_resident_bytes", "Main memory of the worker."),
        )
    }
    for number, worker in enumerate(workers, start=1):
        ready.add_metric([str(number)], worker.state in ("idle", "busy"))
        restarts.add_metric([str(number)], worker.restarts)
        if worker.device is not None:
            for field, family in memory.items():
                family.add_metric([str(number), worker.device.place], getattr(worker.device, field))
            for engine in worker.device.loaded:
                loaded.add_metric([str(number), engine.engine], engine.weight_bytes)
    yield from (ready, restarts, loaded, *memory.values())
