"""``overpaint serve``."""

from __future__ import annotations

__all__ = ["run_serve"]


def run_serve(
    idle_exit_s: float | None,
    listen: str = "",
    *,
    on_every_address: bool = False,
    metrics: str = "",
    workers: int | None = None,
    ray: str | None = None,
) -> int:
    """Run the daemon until it is told to stop; returns its exit code. workers, ray: as in DaemonSettings.

    Raises:
        RequestError: ``listen`` is not empty and no address to listen at, or means all of them without ``on_every_address``;
            ``metrics`` is not empty and no address of the loopback; ``ray`` is not empty and no address of a private network.
    """
    from dataclasses import replace

    from overpaint_backend.config import DaemonSettings
    from overpaint_backend.daemon import run_daemon
    from overpaint_backend.executors.ray import cluster_address
    from overpaint_backend.metrics import loopback_address
    from overpaint_backend.remote.addresses import listen_address

    address = listen_address(listen, on_every_address=on_every_address) if listen else ""
    settings = DaemonSettings.from_environment(idle_exit_s=idle_exit_s, listen=address)
    return run_daemon(
        replace(
            settings,
            metrics=loopback_address(metrics) if metrics else None,
            workers=workers,
            ray=cluster_address(ray) if ray else ray,
        )
    )
