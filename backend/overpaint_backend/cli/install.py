"""``overpaint install krita|gimp``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from overpaint_backend.editors.install import (
    InstallError,
    PluginState,
    enable,
    inspect,
    install,
    needs_enabling,
    save_zip,
)
from overpaint_backend.editors.locate import Editor, Installation, at_profile, locate
from overpaint_protocol.errors import OverpaintError

from .outcome import FAILED, OK, complain, error_plain, print_json, say

__all__ = ["InstallCommand", "is_editor_running", "run_install"]

_PROGRAMS = {Editor.KRITA: "krita", Editor.GIMP: "gimp"}
_BY_HAND = (
    "in Krita choose Settings ▸ Configure Krita ▸ Python Plugin Manager, tick Overpaint, and restart Krita."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallCommand:
    """What was asked. profile: install there alone. zip_folder: write a zip there and install nothing."""

    editor: str
    profile: Path | None = None
    zip_folder: Path | None = None
    link: bool = False
    as_json: bool = False


def run_install(
    command: InstallCommand,
    find: Callable[[], tuple[Installation, ...]] = locate,
    is_running: Callable[[Editor], bool] | None = None,
) -> int:
    """Install into every editor found; 0 if all of them took it.

    Raises:
        InstallError: there is no such editor, or the zip cannot be written.
    """
    editor = Editor(command.editor)
    if command.zip_folder is not None:
        return _save_zip(editor, command.zip_folder, as_json=command.as_json)
    if command.profile is not None:
        targets: tuple[Installation, ...] = (at_profile(editor, command.profile),)
    else:
        targets = tuple(found for found in find() if found.editor is editor)
    if not targets:
        raise InstallError(
            f"No {editor.display_name} was found. Start it once, so that it makes its folders, then try again; or name its "
            "folder with --profile."
        )
    results = [_install_one(target, command, is_running or is_editor_running) for target in targets]
    is_ok = all(result["ok"] for result in results)
    if command.as_json:
        print_json({"ok": is_ok, "installed": results})
    return OK if is_ok else FAILED


def is_editor_running(editor: Editor) -> bool:
    """Whether this user runs the editor right now."""
    name = _PROGRAMS[editor]
    for process in psutil.process_iter(["name"]):
        running = (process.info["name"] or "").lower()
        if running.removesuffix(".exe").removesuffix(".com").removesuffix(".bin") == name:
            return True
    return False


def _save_zip(editor: Editor, folder: Path, *, as_json: bool) -> int:
    path = save_zip(editor, folder)
    if as_json:
        print_json({"ok": True, "zip": str(path)})
    elif editor is Editor.KRITA:
        say(
            f"Wrote {path}. In Krita choose Tools ▸ Scripts ▸ Import Python Plugin from File, then restart Krita."
        )
    else:
        say(
            f"Wrote {path}. Unpack it into the plug-ins folder that GIMP shows under Preferences ▸ Folders ▸ Plug-ins."
        )
    return OK


def _install_one(
    target: Installation, command: InstallCommand, is_running: Callable[[Editor], bool]
) -> dict[str, object]:
    result: dict[str, object] = {"editor": target.title, "folder": str(target.plugin_folder), "ok": True}
    was_there = inspect(target).state not in (PluginState.MISSING, PluginState.FOREIGN)
    try:
        install(target, link=command.link)
        next_step = _next_step(target, is_running, was_there=was_there)
    except OverpaintError as error:
        complain(f"{target.title}: {error.message}")
        return result | {"ok": False, "error": error_plain(error)}
    if not command.as_json:
        verb = "Updated" if was_there else "Installed"
        say(f"{verb} {target.title} in {target.plugin_folder}. {next_step}")
    return result | {"next": next_step, "replaced": was_there}


def _next_step(target: Installation, is_running: Callable[[Editor], bool], *, was_there: bool) -> str:
    """Switch the plug-in on where that is possible, and say what is left to do."""
    if target.editor is Editor.GIMP:
        return (
            "Restart GIMP; the commands are in the Filters menu."
            if is_running(Editor.GIMP)
            else "Start GIMP."
        )
    if target.settings is None:
        return f"To switch it on, {_BY_HAND}"
    if not needs_enabling(target):
        return "Restart Krita." if is_running(Editor.KRITA) else "It is switched on."
    if is_running(Editor.KRITA):
        # Krita writes its settings when it ends and would undo ours.
        return f"To switch it on, close Krita and run this again; or {_BY_HAND}"
    enable(target)
    return "It is switched on; start Krita."
