"""Having the daemon started with the session of its user: what is written and run for it on each platform. Pure.

Linux: a user unit of systemd. macOS: an agent of launchd. Windows: a command file in the user's Startup folder, which needs no
rights. None of them restarts a daemon that ended in order, so ``overpaint stop`` is meant here, too.
"""

from __future__ import annotations

import os
import plistlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath, PureWindowsPath

__all__ = [
    "LABEL",
    "UNIT",
    "Startup",
    "kept_variables",
    "launch_agent",
    "startup_command",
    "systemd_unit",
    "where",
]

UNIT = "overpaint.service"
LABEL = "org.overpaint.daemon"
"""The agent's name on macOS."""

_CMD = "Overpaint.cmd"


@dataclass(frozen=True, slots=True, kw_only=True)
class Startup:
    """What it takes on one platform.

    file: what is written. manager: the program that the commands below need, or empty. enable: from the next session on; start:
    now as well; disable: before the file is removed; state: prints how it is, or empty.
    """

    file: Path
    content: bytes
    manager: str = ""
    enable: tuple[tuple[str, ...], ...] = ()
    start: tuple[tuple[str, ...], ...] = ()
    disable: tuple[tuple[str, ...], ...] = ()
    state: tuple[str, ...] = ()


def where(
    platform: str, home: Path, environ: Mapping[str, str], python: str, user_id: int | None = None
) -> Startup:
    """What to do on ``platform``, a value of ``sys.platform``.

    Args:
        platform: anything but ``darwin`` and ``win32`` is taken for Linux.
        home: the user's home folder.
        environ: of the command that is to be repeated; its OVERPAINT variables are kept.
        python: the interpreter that has Overpaint installed.
        user_id: on macOS.
    """
    variables = kept_variables(environ)
    command = (python, "-m", "overpaint_backend", "serve")
    if platform == "darwin":
        file = home / "Library" / "LaunchAgents" / f"{LABEL}.plist"
        domain = f"gui/{user_id}"
        return Startup(
            file=file,
            content=launch_agent(command, variables),
            manager="launchctl",
            start=(("launchctl", "bootstrap", domain, str(file)),),
            disable=(("launchctl", "bootout", f"{domain}/{LABEL}"),),
            state=("launchctl", "print", f"{domain}/{LABEL}"),
        )
    if platform == "win32":
        roaming = Path(environ.get("APPDATA") or home / "AppData" / "Roaming")
        file = roaming / "Microsoft" / "Windows" / "Start Menu" / "Programs" / "Startup" / _CMD
        return Startup(file=file, content=startup_command(command, variables))
    chosen = environ.get("XDG_CONFIG_HOME", "")
    config = Path(chosen) if PurePath(chosen).is_absolute() else home / ".config"
    file = config / "systemd" / "user" / UNIT
    reload = ("systemctl", "--user", "daemon-reload")
    return Startup(
        file=file,
        content=systemd_unit(command, variables),
        manager="systemctl",
        enable=(reload, ("systemctl", "--user", "enable", UNIT)),
        start=(("systemctl", "--user", "start", UNIT),),
        disable=(("systemctl", "--user", "disable", UNIT),),
        state=("systemctl", "--user", "is-active", UNIT),
    )


def kept_variables(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The variables that say where Overpaint keeps its files and how many workers it has, as they are set now."""
    return {
        name: value
        for name, value in sorted(environ.items())
        if re.fullmatch(r"OVERPAINT_([A-Z_]+_DIR|WORKERS)", name) and value and value.isprintable()
    }


def systemd_unit(command: Sequence[str], variables: Mapping[str, str]) -> bytes:
    """The unit's file, as systemd.service(5), systemd.exec(5) and systemd.syntax(7) have it."""
    environment = "".join(
        f"Environment={_systemd_word(f'{name}={value}')}\n" for name, value in variables.items()
    )
    # A dollar would be expanded in an argument, and is plain in the program's path and in Environment.
    arguments = [_systemd_word(word).replace("$", "$$") for word in command[1:]]
    words = " ".join([_systemd_word(command[0]), *arguments])
    return f"""\
[Unit]
Description=Overpaint's daemon: generative fill for Krita and GIMP
StartLimitIntervalSec=60
StartLimitBurst=3

[Service]
Type=exec
ExecStart={words}
{environment}Restart=on-failure
RestartSec=2
KillMode=mixed
TimeoutStopSec=30
UMask=0077
NoNewPrivileges=yes

[Install]
WantedBy=default.target
""".encode()


def launch_agent(command: Sequence[str], variables: Mapping[str, str]) -> bytes:
    """The agent's property list, as launchd.plist(5) has it."""
    return plistlib.dumps(
        {
            "Label": LABEL,
            "ProgramArguments": list(command),
            "EnvironmentVariables": dict(variables),
            "RunAtLoad": True,
            "KeepAlive": {"SuccessfulExit": False},
            "ProcessType": "Interactive",
            "Umask": 0o077,
        }
    )


def startup_command(command: Sequence[str], variables: Mapping[str, str]) -> bytes:
    """The command file: it starts the daemon without a window and ends. In UTF-8, and says so to the interpreter."""
    python = PureWindowsPath(command[0])
    windowless = python.with_name("pythonw.exe") if python.name.lower() == "python.exe" else python
    words = " ".join(f'"{_cmd_word(word)}"' for word in (str(windowless), *command[1:]))
    lines = ["@echo off", "chcp 65001 >nul"]
    lines += [f'set "{name}={_cmd_word(value)}"' for name, value in variables.items()]
    lines += [f'start "" {words}']
    return "".join(f"{line}\r\n" for line in lines).encode()


def _systemd_word(word: str) -> str:
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'


def _cmd_word(word: str) -> str:
    return word.replace("%", "%%")
