"""The commands of ``overpaint service``; the work is done in ``startup``, which is imported only then."""

from __future__ import annotations

import typer

from .options import Json
from .outcome import end_with

__all__ = ["service_app"]

service_app = typer.Typer(help="Start the daemon with your session, on any platform.", no_args_is_help=True)


@service_app.command("install")
def service_install(as_json: Json = False) -> None:
    """Have the daemon started with your session: systemd, launchd or the Startup folder."""

    def run() -> int:
        from .startup import run_service_install

        return run_service_install(as_json=as_json)

    end_with(run, as_json=as_json)


@service_app.command("uninstall")
def service_uninstall(as_json: Json = False) -> None:
    """Take that away again."""

    def run() -> int:
        from .startup import run_service_uninstall

        return run_service_uninstall(as_json=as_json)

    end_with(run, as_json=as_json)


@service_app.command("status")
def service_status(as_json: Json = False) -> None:
    """Say whether the daemon starts with your session."""

    def run() -> int:
        from .startup import run_service_status

        return run_service_status(as_json=as_json)

    end_with(run, as_json=as_json)
