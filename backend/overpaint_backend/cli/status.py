"""``overpaint status`` and ``overpaint stop``."""

from __future__ import annotations

import time
from dataclasses import asdict

import psutil

from overpaint_backend.recipes.offer import infos
from overpaint_backend.recipes.store import RecipeStore
from overpaint_client.request import ask
from overpaint_protocol import connection
from overpaint_protocol.errors import DaemonError, DaemonNotRunning, LinkRefused
from overpaint_protocol.messages import DaemonReport, InspectDaemon, ShutDown

from .outcome import FAILED, OK, print_json, say
from .recipes import describe_recipes

__all__ = ["describe_duration", "inspect_daemon", "run_status", "run_stop"]

_STOP_TIMEOUT_S = 15.0


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


def run_status(*, as_json: bool) -> int:
    """Print what the daemon does; 0 if one runs, else 1."""
    try:
        report = inspect_daemon()
    except (DaemonNotRunning, LinkRefused) as error:
        if as_json:
            print_json({"ok": True, "running": False})
        else:
            say(error.message)
        return FAILED
    recipes = infos(RecipeStore.from_environment().entries(), report.engines)
    if as_json:
        recipes_plain = [asdict(recipe) for recipe in recipes]
        print_json({"ok": True, "running": True, **asdict(report), "recipes": recipes_plain})
        return OK
    say(
        f"Overpaint's daemon {report.product_version} has run for {describe_duration(report.uptime_s)} "
        f"(process {report.pid}); its worker is {report.worker}."
    )
    if report.worker_restarts:
        say(f"The worker had to be replaced {report.worker_restarts} times.")
    for engine in report.engines:
        loras = f" LoRAs: {', '.join(lora.id for lora in engine.loras)}." if engine.loras else ""
        say(f"Engine {engine.id}: {engine.name} ({', '.join(engine.operations)}).{loras}")
    for broken in report.broken_engines:
        say(f"Engine {broken.id} does not work: {broken.reason}")
    describe_recipes(recipes)
    for session in report.sessions:
        jobs = session.queued + session.running + session.kept
        if jobs == 0 and (not session.connected or session.editor == "cli"):
            continue  # has left, or is this very question
        link = "connected" if session.connected else "away"
        say(
            f"{session.editor}, {link}: {session.queued} waiting, {session.running} running, "
            f"{session.kept} results kept."
        )
    return OK


def run_stop(*, as_json: bool) -> int:
    """End the daemon and wait until it is gone; 0 also if none runs."""
    try:
        info = connection.find()
        ask(ShutDown(), info=info)
    except (DaemonNotRunning, LinkRefused):
        if as_json:
            print_json({"ok": True, "was_running": False})
        else:
            say("Overpaint's daemon does not run.")
        return OK
    if not _is_gone(info.pid, time.monotonic() + _STOP_TIMEOUT_S):
        raise DaemonError(f"The daemon (process {info.pid}) does not end. End that process yourself.")
    if as_json:
        print_json({"ok": True, "was_running": True})
    else:
        say("Overpaint's daemon has ended.")
    return OK


def describe_duration(seconds: float) -> str:
    """A time span in the largest unit that fits it, such as ``3 minutes``."""
    for unit, length in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        count = int(seconds // length)
        if count:
            return f"{count} {unit}{'s' if count > 1 else ''}"
    return f"{int(seconds)} seconds"


def _is_gone(pid: int, deadline: float) -> bool:
    try:
        psutil.Process(pid).wait(timeout=max(0.0, deadline - time.monotonic()))
    except psutil.NoSuchProcess:
        return True
    except psutil.TimeoutExpired:
        return False
    return True
