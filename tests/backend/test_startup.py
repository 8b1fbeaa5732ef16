"""What starts the daemon with a session, for all platforms, and the commands around it with a systemctl of the test."""

from __future__ import annotations

import json
import os
import plistlib
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.integration.daemon_process import daemon_environ

from overpaint_backend.startup import kept_variables, launch_agent, startup_command, systemd_unit, where

ODD = '/home/an na/50% $HOME "x"/py\\thon'
COMMAND = (ODD, "-m", "overpaint_backend", "serve", "50% of $HOME")
VARIABLES = {"OVERPAINT_STATE_DIR": '/data/über 50%/"s"'}
SYSTEMCTL = """#!/bin/sh
echo "$@" >> "$HOME/asked"
[ "$2" = is-active ] && echo active
exit ${SYSTEMCTL_FAILS:-0}
"""


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here")
def test_systemd_takes_the_unit(tmp_path):
    python = tmp_path / "a 50% $odd place" / "python"
    python.parent.mkdir()
    python.symlink_to(sys.executable)
    unit = tmp_path / "overpaint.service"
    unit.write_bytes(systemd_unit((str(python), *COMMAND[1:]), VARIABLES))
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--user", "--man=no", str(unit)],
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert "overpaint.service" not in verified.stderr, verified.stderr
    assert verified.returncode == 0, verified.stderr


def test_the_unit_repeats_the_command_and_the_variables_and_restarts_after_a_failure_only():
    unit = systemd_unit(COMMAND, VARIABLES).decode()
    lines = dict(line.split("=", 1) for line in unit.splitlines() if "=" in line)
    words = shlex.split(lines["ExecStart"])  # the same quotes and backslashes as a shell's
    assert words[0].replace("%%", "%") == COMMAND[0]
    assert tuple(word.replace("$$", "$").replace("%%", "%") for word in words[1:]) == COMMAND[1:]
    (variable,) = shlex.split(lines["Environment"])
    assert variable.replace("%%", "%") == 'OVERPAINT_STATE_DIR=/data/über 50%/"s"'
    assert lines["Restart"] == "on-failure"


def test_launchd_gets_a_property_list():
    agent = plistlib.loads(launch_agent(COMMAND, VARIABLES))
    assert tuple(agent["ProgramArguments"]) == COMMAND
    assert agent["EnvironmentVariables"] == VARIABLES
    assert agent["KeepAlive"] == {"SuccessfulExit": False} and agent["RunAtLoad"] is True


def test_windows_gets_a_command_file_without_a_window():
    command = (r"C:\Users\an na\50%\python.exe", "-m", "overpaint_backend", "serve")
    lines = startup_command(command, {"OVERPAINT_STATE_DIR": r"D:\50%"}).decode().split("\r\n")
    assert lines == [
        "@echo off",
        "chcp 65001 >nul",
        r'set "OVERPAINT_STATE_DIR=D:\50%%"',
        r'start "" "C:\Users\an na\50%%\pythonw.exe" "-m" "overpaint_backend" "serve"',
        "",
    ]


@pytest.mark.parametrize(
    ("platform", "environ", "file"),
    [
        ("linux", {}, ".config/systemd/user/overpaint.service"),
        ("linux", {"XDG_CONFIG_HOME": "relative"}, ".config/systemd/user/overpaint.service"),
        ("linux", {"XDG_CONFIG_HOME": "/elsewhere"}, "/elsewhere/systemd/user/overpaint.service"),
        ("darwin", {}, "Library/LaunchAgents/org.overpaint.daemon.plist"),
        (
            "win32",
            {},
            "AppData/Roaming/Microsoft/Windows/Start Menu/Programs/Startup/Overpaint.cmd",
        ),
    ],
)
def test_where_it_is_written(platform, environ, file):
    startup = where(platform, Path("/home/anna"), environ, "/usr/bin/python3", 501)
    assert startup.file == Path("/home/anna") / file


def test_only_folders_of_overpaint_and_its_number_of_workers_are_kept():
    environ = {
        "OVERPAINT_STATE_DIR": "/s",
        "OVERPAINT_TEST_ENGINES": "1",
        "PATH": "/bin",
        "OVERPAINT_X_DIR": "a\nb",
        "OVERPAINT_WORKERS": "2",
    }
    assert kept_variables(environ) == {"OVERPAINT_STATE_DIR": "/s", "OVERPAINT_WORKERS": "2"}


@pytest.fixture
def service(tmp_path):
    """Runs ``overpaint service …`` with a home and a systemctl of its own."""
    programs = tmp_path / "bin"
    programs.mkdir()
    environ = {
        **daemon_environ(tmp_path),
        "HOME": str(tmp_path),
        "XDG_CONFIG_HOME": "",
        "PATH": f"{programs}:/bin",
    }

    def run(action, **changes):
        (programs / "systemctl").write_text(SYSTEMCTL)
        (programs / "systemctl").chmod(0o755)
        return subprocess.run(
            [sys.executable, "-m", "overpaint_backend", "service", action, "--json"],
            env={**environ, **changes},
            capture_output=True,
            text=True,
            timeout=60,
        )

    return run


@pytest.mark.skipif(sys.platform != "linux", reason="the other managers are not here")
def test_install_status_and_uninstall(service, tmp_path):
    unit = tmp_path / ".config" / "systemd" / "user" / "overpaint.service"
    assert service("status").returncode == 1
    installed = json.loads(service("install").stdout)
    assert installed == {"ok": True, "file": str(unit), "enabled": True, "started": True}
    assert f"OVERPAINT_STATE_DIR={tmp_path / 'state'}" in unit.read_text()
    status = service("status")
    assert status.returncode == 0 and json.loads(status.stdout)["state"] == "active"
    unit.write_text("[Unit]\n")
    assert service("status").returncode == 1
    assert json.loads(service("uninstall").stdout)["was_installed"]
    assert not unit.exists()
    assert not json.loads(service("uninstall").stdout)["was_installed"]
    asked = [line.removeprefix("--user ") for line in (tmp_path / "asked").read_text().splitlines()]
    assert [line for line in asked if "is-active" not in line] == [
        "daemon-reload",
        "enable overpaint.service",
        "start overpaint.service",
        "disable overpaint.service",
        "daemon-reload",
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="the other managers are not here")
def test_without_a_systemd_that_listens_the_file_is_written_all_the_same(service, tmp_path):
    installed = json.loads(service("install", SYSTEMCTL_FAILS="1").stdout)
    assert installed["ok"] and not installed["enabled"] and not installed["started"]
    assert (tmp_path / ".config" / "systemd" / "user" / "overpaint.service").exists()
