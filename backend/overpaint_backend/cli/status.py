"""``overpaint status`` and ``overpaint stop``. What is shown is put into words in ``situation``."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import asdict

import psutil
from rich.console import Console
from rich.live import Live
from rich.text import Text

from overpaint_backend.config import DaemonSettings
from overpaint_backend.recipes.offer import infos
from overpaint_backend.recipes.store import RecipeStore
from overpaint_client.request import ask
from overpaint_protocol import connection
from overpaint_protocol.connection import ConnectionInfo
from overpaint_protocol.errors import (
    DaemonError,
    DaemonNotRunning,
    LinkError,
    LinkRefused,
    OverpaintError,
    ShuttingDown,
)
from overpaint_protocol.messages import DaemonReport, InspectDaemon, ShutDown

from .outcome import FAILED, OK, print_json, say
from .recipes import describe_recipes
from .situation import Storage, describe, look_at_storage

__all__ = ["inspect_daemon", "relay_target", "run_status", "run_stop"]

_STOP_TIMEOUT_S = 15.0
_WATCH_S = 1.0
_LOOK_S = 0.05


def inspect_daemon(timeout_s: float = 10.0) -> DaemonReport:
    """How the daemon is.

    Raises:
        DaemonNotRunning, LinkRefused: none runs.
        OverpaintError: it cannot be asked.
    """
    answer = ask(InspectDaemon(), timeout_s)
    if not isinstance(answer, DaemonReport):
        raise DaemonError(f"The daemon answered something else ({type(answer).__name__}). Update Overpaint.")
    return answer


def relay_target() -> str:
    """The address of the daemon that a relay on this machine passes everything on to; empty if none runs."""
    try:
        return connection.find().relay_to
    except OverpaintError:
        return ""


def run_status(*, as_json: bool, watch: bool = False) -> int:
    """Print what the daemon does; 0 if one runs, else 1. watch: again every second, until Ctrl+C or the daemon's end."""
    try:
        report = inspect_daemon()
    except (DaemonNotRunning, LinkRefused) as error:
        if as_json:
            print_json({"ok": True, "running": False})
        else:
            say(error.message)
        return FAILED
    if watch:
        return _watch(report)
    relay_to = relay_target()
    storage = _storage()
    # A daemon elsewhere has its own recipes, which are not files here.
    recipes = () if relay_to else infos(RecipeStore.from_environment().entries(), report.engines)
    if as_json:
        more = {
            "relay_to": relay_to,
            "storage": None if storage is None else asdict(storage),
            "recipes": [asdict(recipe) for recipe in recipes],
        }
        print_json({"ok": True, "running": True, **asdict(report), **more})
        return OK
    if relay_to:
        say(f"A relay runs here and passes everything on to {relay_to}. Of the daemon there:")
    for line in describe(report, storage):
        say(line)
    for engine in report.engines:
        loras = f" LoRAs: {', '.join(lora.id for lora in engine.loras)}." if engine.loras else ""
        say(f"Engine {engine.id}: {engine.name} ({', '.join(engine.operations)}).{loras}")
    for broken in report.broken_engines:
        say(f"Engine {broken.id} does not work: {broken.reason}")
    describe_recipes(recipes)
    return OK


def _watch(report: DaemonReport) -> int:
    console = Console(markup=False, highlight=False)
    try:
        with Live(console=console, auto_refresh=False) as live:
            while True:
                text = "\n".join(describe(report, _storage()))
                if console.is_terminal:
                    live.update(Text(text), refresh=True)
                else:
                    say(f"{text}\n")
                time.sleep(_WATCH_S)
                report = inspect_daemon()
    except KeyboardInterrupt:
        return OK
    except (DaemonNotRunning, LinkRefused, LinkError):
        say("Overpaint's daemon has ended.")
        return OK


def _storage() -> Storage | None:
    """What the kept jobs take; None if they are on another machine."""
    return None if relay_target() else look_at_storage(DaemonSettings.from_environment().jobs_dir)


def run_stop(*, as_json: bool, drain: bool = False) -> int:
    """End the daemon and wait until it is gone; 0 also if none runs.

    Editors do not start it again before they are asked for something new. drain: it finishes its jobs first; if that has been
    asked for already, or with Ctrl+C, it ends at once.
    """
    try:
        info = connection.find()
        answer = ask(ShutDown(drain=drain), info=info)
    except (DaemonNotRunning, LinkRefused):
        DaemonSettings.from_environment().mark_stopped()
        if as_json:
            print_json({"ok": True, "was_running": False})
        else:
            say("Overpaint's daemon does not run.")
        return OK
    if isinstance(answer, DaemonReport):
        _wait_for_jobs(info, answer, is_quiet=as_json)
    if not _is_gone(info.pid, time.monotonic() + _STOP_TIMEOUT_S):
        raise DaemonError(
            f"The {'relay' if info.relay_to else 'daemon'} (process {info.pid}) does not end. End that process yourself."
        )
    if as_json:
        print_json({"ok": True, "was_running": True})
    elif info.relay_to:
        say(f"The relay has ended; the daemon at {info.relay_to} goes on.")
    else:
        say("Overpaint's daemon has ended.")
    return OK


def _wait_for_jobs(info: ConnectionInfo, report: DaemonReport, *, is_quiet: bool) -> None:
    """Wait until the daemon has finished its jobs and is about to end, or until Ctrl+C, which has it end at once."""
    told = -1
    try:
        while True:
            left = len(report.jobs)
            if left != told and not is_quiet:
                say(f"{left} job{'' if left == 1 else 's'} to finish; Ctrl+C ends the daemon at once.")
            told = left
            if _is_gone(info.pid, time.monotonic() + _WATCH_S):
                return
            answer = ask(InspectDaemon(), info=info)
            if isinstance(answer, DaemonReport):
                report = answer
    except KeyboardInterrupt:
        with suppress(LinkError, ShuttingDown):  # it has just ended by itself
            ask(ShutDown(), info=info)
    except (LinkError, ShuttingDown):
        pass  # it is ending


def _is_gone(pid: int, deadline: float) -> bool:
    """Whether the process ends in time. One that an editor started stays as a zombie until that editor ends."""
    while True:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(_LOOK_S)
