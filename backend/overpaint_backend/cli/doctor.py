"""``overpaint doctor``: what works, what does not, and what to do about it, in an artist's words."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from overpaint_backend.config import DaemonSettings
from overpaint_backend.durability.keeper import set_aside
from overpaint_backend.editors.install import InstallError, PluginState, inspect, needs_enabling
from overpaint_backend.editors.locate import Installation, locate
from overpaint_protocol import connection
from overpaint_protocol.connection import ConnectionInfo
from overpaint_protocol.errors import DaemonNotRunning, LinkRefused, OverpaintError
from overpaint_protocol.messages import BrokenEngine, DaemonReport, EngineInfo
from overpaint_protocol.version import MAJOR, MINOR, PRODUCT_VERSION

from .outcome import FAILED, OK, print_json, say
from .situation import describe_duration, describe_workers
from .status import inspect_daemon

__all__ = ["Check", "Examination", "Level", "run_doctor"]

_NEEDED = {
    "filelock": "filelock",
    "msgpack": "msgpack",
    "numpy": "numpy",
    "PIL": "pillow",
    "psutil": "psutil",
    "zmq": "pyzmq",
}
_GPU_PROBE = (
    "import json, torch; n = torch.cuda.device_count() if torch.cuda.is_available() else 0; "
    "print(json.dumps([torch.__version__, [torch.cuda.get_device_name(i) for i in range(n)]]))"
)
_GPU_PROBE_TIMEOUT_S = 120.0


class Level(StrEnum):
    """How a check came out."""

    GOOD = "good"
    NOTE = "note"
    """Works without it, or nothing was asked for yet."""
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing looked at. says: what was found. next_step: what to do, or empty."""

    name: str
    level: Level
    says: str
    next_step: str = ""


def run_doctor(*, as_json: bool) -> int:
    """Print every check; 0 if none is a problem, else 1."""
    checks = list(Examination().checks())
    is_ok = all(check.level is not Level.PROBLEM for check in checks)
    if as_json:
        print_json({"ok": is_ok, "version": PRODUCT_VERSION, "checks": [asdict(check) for check in checks]})
        return OK if is_ok else FAILED
    marks = {Level.GOOD: "ok      ", Level.NOTE: "note    ", Level.PROBLEM: "PROBLEM "}
    for check in checks:
        say(f"{marks[check.level]}{check.name}: {check.says}")
        if check.next_step:
            say(f"        → {check.next_step}")
    say(
        "Everything Overpaint needs is here." if is_ok else "Overpaint needs the problems above to be solved."
    )
    return OK if is_ok else FAILED


def _installed_engines() -> tuple[Sequence[EngineInfo], Sequence[BrokenEngine]]:
    from overpaint_backend.engines.registry import EngineRegistry

    registry = EngineRegistry.installed()
    return registry.infos(), registry.broken()


def _torch_says() -> tuple[str, list[str]] | None:
    """(version of torch, names of its GPUs), asked in another process; None if torch does not start."""
    try:
        answer = subprocess.run(
            [sys.executable, "-c", _GPU_PROBE],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_GPU_PROBE_TIMEOUT_S,
            check=True,
        )
        version, names = json.loads(answer.stdout.splitlines()[-1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None
    return str(version), [str(name) for name in names]


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """Everything the doctor looks at; tests put other findings in the place of the real ones.

    connection_files: places of the connection file. daemon: asks the running daemon, raising as ``inspect_daemon``.
    engines: the installed engines, working and broken, for when no daemon runs. editors: what ``locate`` finds.
    has_module: whether a Python module is installed. which: full path of a program, or None.
    torch: version and GPUs of torch, or None if it does not start. jobs_dir: where the daemon keeps jobs.
    """

    connection_files: Callable[[], Sequence[Path]] = connection.candidates
    daemon: Callable[[], DaemonReport] = inspect_daemon
    engines: Callable[[], tuple[Sequence[EngineInfo], Sequence[BrokenEngine]]] = _installed_engines
    editors: Callable[[], Sequence[Installation]] = locate
    has_module: Callable[[str], bool] = lambda name: importlib.util.find_spec(name) is not None
    which: Callable[[str], str | None] = shutil.which
    torch: Callable[[], tuple[str, list[str]] | None] = _torch_says
    jobs_dir: Callable[[], Path] = lambda: DaemonSettings.from_environment().jobs_dir

    def checks(self) -> Iterator[Check]:
        """Look at everything, one thing after the other."""
        yield self._python()
        yield from self._connection_file()
        report, daemon = self._daemon()
        yield daemon
        yield from self._kept_jobs()
        yield from self._engines(report)
        yield self._gpu()
        yield from self._editors()

    def _python(self) -> Check:
        missing = [package for module, package in _NEEDED.items() if not self.has_module(module)]
        says = f"Overpaint {PRODUCT_VERSION} (protocol {MAJOR}.{MINOR}) on Python {platform.python_version()}"
        if not missing:
            return Check(name="Python", level=Level.GOOD, says=f"{says}.")
        return Check(
            name="Python",
            level=Level.PROBLEM,
            says=f"{says} lacks {', '.join(missing)}.",
            next_step=f"Install what is missing: {sys.executable} -m pip install {' '.join(missing)}",
        )

    def _connection_file(self) -> Iterator[Check]:
        path = next((path for path in self.connection_files() if path.exists() or path.is_symlink()), None)
        if path is None:
            return
        try:
            info = ConnectionInfo.read(path)
        except OverpaintError as error:
            yield Check(
                name="Connection file",
                level=Level.PROBLEM,
                says=f"{error.message} ({path})",
                next_step=f"Delete {path}, then run “overpaint serve”.",
            )
            return
        mode = "" if sys.platform == "win32" else f", mode {stat.S_IMODE(path.stat().st_mode):04o}"
        yield Check(
            name="Connection file",
            level=Level.GOOD,
            says=f"{path}, yours alone{mode}, names {len(info.endpoints)} addresses.",
        )
        if info.relay_to:
            yield Check(
                name="Relay",
                level=Level.GOOD,
                says=f"The daemon below is not on this machine: everything is passed on to {info.relay_to}.",
            )

    def _daemon(self) -> tuple[DaemonReport | None, Check]:
        try:
            report = self.daemon()
        except DaemonNotRunning:
            return None, Check(
                name="Daemon",
                level=Level.NOTE,
                says="It does not run. The plug-ins and the command line start it when they need it.",
                next_step="To run it yourself: overpaint serve",
            )
        except LinkRefused:
            return None, Check(
                name="Daemon",
                level=Level.NOTE,
                says="The last one ended without tidying up. The next start does that.",
                next_step="To start it now: overpaint serve",
            )
        except OverpaintError as error:
            return None, Check(
                name="Daemon",
                level=Level.PROBLEM,
                says=error.message,
                next_step="Restart it: overpaint stop, then overpaint serve",
            )
        if report.product_version != PRODUCT_VERSION:
            return report, Check(
                name="Daemon",
                level=Level.PROBLEM,
                says=f"The one that runs is version {report.product_version}, this is {PRODUCT_VERSION}.",
                next_step="Restart it: overpaint stop, then overpaint serve",
            )
        return report, Check(
            name="Daemon",
            level=Level.GOOD,
            says=f"Has run for {describe_duration(report.uptime_s)} (process {report.pid}), {describe_workers(report)}.",
        )

    def _kept_jobs(self) -> Iterator[Check]:
        folder = self.jobs_dir()
        if folder.exists() and not (folder.is_dir() and os.access(folder, os.R_OK | os.W_OK | os.X_OK)):
            yield Check(
                name="Kept jobs",
                level=Level.PROBLEM,
                says=f"The daemon cannot write in {folder}, so it takes no jobs.",
                next_step=f"Make {folder} a folder of your own that can be written, then restart the daemon: overpaint stop",
            )
        for aside in set_aside(folder):
            yield Check(
                name="Kept jobs",
                level=Level.NOTE,
                says=f"What was kept was damaged and set aside: {aside}. Later jobs are not affected.",
                next_step="Check the disk. If you miss no result, delete that folder.",
            )

    def _engines(self, report: DaemonReport | None) -> Iterator[Check]:
        try:
            working, broken = self.engines() if report is None else (report.engines, report.broken_engines)
        except ValueError as error:  # two packages claim one id
            yield Check(
                name="Engines",
                level=Level.PROBLEM,
                says=f"They cannot be listed: {error}.",
                next_step="Uninstall one of the two packages.",
            )
            return
        if working:
            names = ", ".join(f"{engine.name} ({engine.id})" for engine in working)
            yield Check(name="Engines", level=Level.GOOD, says=f"{names}.")
        else:
            yield Check(
                name="Engines",
                level=Level.PROBLEM,
                says="None works, so nothing can be filled.",
                next_step=f"Install Overpaint again: {sys.executable} -m pip install --force-reinstall overpaint",
            )
        for engine in broken:
            yield Check(
                name="Engines",
                level=Level.NOTE,
                says=f"{engine.id} cannot be used: {engine.reason}",
                next_step="Install or uninstall the package it came with; the others work without it.",
            )

    def _gpu(self) -> Check:
        has_card = self.which("nvidia-smi") is not None
        if not self.has_module("torch"):
            card = "There is an NVIDIA card, and nothing" if has_card else "Nothing"
            return Check(
                name="GPU",
                level=Level.GOOD,
                says=f"{card} uses one: PyTorch is not installed. The embedded engine needs neither.",
            )
        answer = self.torch()
        if answer is None:
            return Check(
                name="GPU",
                level=Level.NOTE,
                says="PyTorch is installed and does not start, so engines that need it will not work.",
                next_step="Install PyTorch again as pytorch.org says for this machine.",
            )
        version, names = answer
        if names:
            return Check(name="GPU", level=Level.GOOD, says=f"PyTorch {version} uses {', '.join(names)}.")
        if has_card:
            return Check(
                name="GPU",
                level=Level.NOTE,
                says=f"There is an NVIDIA card, and PyTorch {version} does not see it.",
                next_step="Update the NVIDIA driver, or install a PyTorch built for CUDA (pytorch.org).",
            )
        return Check(
            name="GPU", level=Level.GOOD, says=f"PyTorch {version} found none; the processor does the work."
        )

    def _editors(self) -> Iterator[Check]:
        installations = self.editors()
        if not installations:
            yield Check(
                name="Editors",
                level=Level.NOTE,
                says="Neither Krita nor GIMP 3 was found; pictures can be filled from the command line.",
                next_step="If you have one, start it once so that it makes its folders, then try again.",
            )
        for installation in installations:
            yield _editor(installation)


def _editor(installation: Installation) -> Check:
    command = f"overpaint install {installation.editor.value}"
    folder = installation.plugin_folder
    try:
        installed = inspect(installation)
        is_off = needs_enabling(installation)
    except (InstallError, OSError) as error:
        says = (
            error.message
            if isinstance(error, InstallError)
            else f"{folder} cannot be read: {error.strerror}."
        )
        return Check(name=installation.title, level=Level.PROBLEM, says=says)
    if installed.state is PluginState.MISSING:
        return Check(
            name=installation.title,
            level=Level.NOTE,
            says="The plug-in is not installed.",
            next_step=f"Install it: {command}",
        )
    if installed.state is PluginState.FOREIGN:
        return Check(
            name=installation.title,
            level=Level.PROBLEM,
            says=f"{folder} was not made by Overpaint.",
            next_step=f"Move that folder away, then: {command}",
        )
    if installed.state is not PluginState.CURRENT:
        what = (
            "is damaged"
            if installed.state is PluginState.DAMAGED
            else f"{installed.version} is not this version's"
        )
        return Check(
            name=installation.title,
            level=Level.PROBLEM,
            says=f"The plug-in {what} ({folder}).",
            next_step=f"Install it again: {command}, then restart {installation.editor.display_name}",
        )
    if is_off:
        return Check(
            name=installation.title,
            level=Level.PROBLEM,
            says="The plug-in is installed and not switched on.",
            next_step=f"Close Krita, then: {command}; or tick Overpaint in Krita's Python Plugin Manager.",
        )
    link = ", linked to its sources" if installed.is_linked else ""
    return Check(
        name=installation.title, level=Level.GOOD, says=f"The plug-in {installed.version} is installed{link}."
    )
