"""Run code in GIMP without a window (``gimp-console``): no X server, about a second a run."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .root import ANSWER_S, RUN_IN, EditorRoot

__all__ = ["BatchResult", "run_gimp_console"]


@dataclass(frozen=True, kw_only=True)
class BatchResult:
    """How a batch run ended. ``status`` is 0, or 64 when the code raised; ``stderr`` has GIMP's own noise in it."""

    status: int
    stdout: str
    stderr: str


def run_gimp_console(
    root: EditorRoot,
    code: str | Path,
    *,
    home: Path | None = None,
    binds: Iterable[Path] = (),
    timeout: float = ANSWER_S,
) -> BatchResult:
    """Run ``code`` (text, or the path of a script that lies in one of ``binds``) in GIMP's Python console.

    Gimp, Gegl, Babl, GLib, Gio and GObject are in scope. The network is the host's.

    Args:
        root: Which GIMP.
        code: Python text, or a script's path.
        home: The profile to use; without it a fresh copy in memory.
        binds: Host folders shown inside under the same path.
        timeout: Seconds; the run and all that it started are ended after them.

    Raises:
        subprocess.TimeoutExpired: It took longer than ``timeout``.
    """
    text = (
        f"exec(compile(open({str(code)!r}).read(), {str(code)!r}, 'exec'))"
        if isinstance(code, Path)
        else code
    )
    command: list[str] = [str(RUN_IN), "--root", str(root.path), "--no-project", "--no-x"]
    if home is not None:
        command += ["--home", str(home)]
    for folder in binds:
        command += ["--bind", str(folder)]
    command += ["--", "gimp-console", "--no-interface", "--no-data", "--no-fonts"]
    command += ["--batch-interpreter=python-fu-eval", "-b", text, "--quit"]
    done = subprocess.run(
        command, capture_output=True, text=True, errors="replace", timeout=timeout, check=False
    )
    return BatchResult(status=done.returncode, stdout=done.stdout, stderr=done.stderr)
