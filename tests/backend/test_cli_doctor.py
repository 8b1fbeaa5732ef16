"""``overpaint doctor``: each finding, its level and what to do next."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from overpaint_backend.cli import doctor
from overpaint_backend.cli.doctor import Check, Examination, Level
from overpaint_backend.cli.situation import describe_duration
from overpaint_backend.editors.install import enable, install
from overpaint_backend.editors.locate import Editor, Installation, Packaging
from overpaint_protocol.connection import ConnectionInfo
from overpaint_protocol.errors import AccessError, DaemonNotRunning, LinkRefused
from overpaint_protocol.messages import BrokenEngine, DaemonReport, EngineInfo, WorkerReport
from overpaint_protocol.version import PRODUCT_VERSION

ENGINE = EngineInfo(
    id="embedded",
    name="Embedded",
    operations=("fill",),
    follows_prompt=False,
    follows_negative_prompt=False,
    needs_surroundings=True,
)
REPORT = DaemonReport(
    daemon_id="d",
    product_version=PRODUCT_VERSION,
    pid=7,
    uptime_s=90.0,
    worker="idle",
    workers=(WorkerReport(state="idle", restarts=0),),
    engines=(ENGINE,),
)


def raising(error: Exception):
    def call() -> DaemonReport:
        raise error

    return call


HEALTHY = Examination(
    connection_files=lambda: (),
    daemon=lambda: REPORT,
    engines=lambda: ((ENGINE,), ()),
    editors=lambda: (),
    has_module=lambda name: name != "torch",
    which=lambda name: None,
    torch=lambda: None,
    jobs_dir=lambda: Path("no such folder"),
)


def named(examination: Examination, name: str) -> list[Check]:
    return [check for check in examination.checks() if check.name == name]


def one(examination: Examination, name: str) -> Check:
    (check,) = named(examination, name)
    return check


def test_jobs_that_were_set_aside_and_a_folder_that_cannot_be_used_are_told(tmp_path):
    jobs = tmp_path / "jobs"
    examination = replace(HEALTHY, jobs_dir=lambda: jobs)
    assert named(examination, "Kept jobs") == []
    jobs.mkdir()
    assert named(examination, "Kept jobs") == []
    (tmp_path / "damaged-jobs-20261126-120000").mkdir()
    note = one(examination, "Kept jobs")
    assert note.level is Level.NOTE and str(tmp_path / "damaged-jobs-20261126-120000") in note.says
    jobs.rmdir()
    jobs.touch()
    problem, _ = named(examination, "Kept jobs")
    assert problem.level is Level.PROBLEM and str(jobs) in problem.says


def test_every_problem_says_what_to_do_next():
    sick = replace(
        HEALTHY,
        daemon=raising(AccessError("No.")),
        engines=lambda: ((), (BrokenEngine(id="x", reason="ImportError"),)),
        has_module=lambda name: False,
    )
    problems = [check for check in sick.checks() if check.level is Level.PROBLEM]
    assert {check.name for check in problems} == {"Python", "Daemon", "Engines"}
    assert all(check.next_step for check in problems)


def test_a_healthy_machine_has_no_problem():
    assert all(check.level is not Level.PROBLEM for check in HEALTHY.checks())


def test_a_missing_package_is_named():
    check = one(replace(HEALTHY, has_module=lambda name: name != "zmq"), "Python")
    assert check.level is Level.PROBLEM
    assert "lacks pyzmq" in check.says
    assert check.next_step.endswith("-m pip install pyzmq")


@pytest.mark.parametrize("error", [DaemonNotRunning("no"), LinkRefused("no")])
def test_no_daemon_is_no_problem(error: Exception):
    check = one(replace(HEALTHY, daemon=raising(error)), "Daemon")
    assert check.level is Level.NOTE
    assert "overpaint serve" in check.next_step


def test_a_daemon_of_another_version_is_a_problem():
    check = one(replace(HEALTHY, daemon=lambda: replace(REPORT, product_version="0.0.1")), "Daemon")
    assert check.level is Level.PROBLEM
    assert "version 0.0.1" in check.says


def test_a_broken_engine_is_told_with_its_reason():
    report = replace(REPORT, broken_engines=(BrokenEngine(id="big", reason="No module named 'torch'"),))
    checks = named(replace(HEALTHY, daemon=lambda: report), "Engines")
    assert [check.level for check in checks] == [Level.GOOD, Level.NOTE]
    assert "No module named 'torch'" in checks[1].says


def test_without_a_daemon_the_engines_are_loaded_here():
    installed = replace(Examination(), connection_files=lambda: (), daemon=raising(DaemonNotRunning("no")))
    assert "(embedded)" in named(installed, "Engines")[0].says


@pytest.mark.parametrize(
    ("has_torch", "has_card", "torch", "level", "words"),
    [
        (False, False, None, Level.GOOD, "Nothing uses one"),
        (False, True, None, Level.GOOD, "There is an NVIDIA card, and nothing uses one"),
        (True, True, ("2.8", ["H200"]), Level.GOOD, "PyTorch 2.8 uses H200"),
        (True, True, ("2.8", []), Level.NOTE, "does not see it"),
        (True, False, ("2.8", []), Level.GOOD, "the processor does the work"),
        (True, False, None, Level.NOTE, "does not start"),
    ],
)
def test_gpu(has_torch: bool, has_card: bool, torch, level: Level, words: str):
    examination = replace(
        HEALTHY,
        has_module=lambda name: has_torch or name != "torch",
        which=lambda name: "/usr/bin/nvidia-smi" if has_card else None,
        torch=lambda: torch,
    )
    check = one(examination, "GPU")
    assert check.level is level
    assert words in check.says


# ---------------------------------------------------------------- connection file


def write_connection(path: Path) -> None:
    ConnectionInfo(
        endpoints=("tcp://127.0.0.1:9",),
        token="t",
        pid=os.getpid(),
        started_at=1.0,
        product_version=PRODUCT_VERSION,
        major=1,
    ).write(path)


def test_a_connection_file_is_shown_with_its_mode(tmp_path: Path):
    path = tmp_path / "daemon.json"
    write_connection(path)
    check = one(replace(HEALTHY, connection_files=lambda: (tmp_path / "none", path)), "Connection file")
    assert check.level is Level.GOOD
    assert str(path) in check.says
    if sys.platform != "win32":
        assert "mode 0600" in check.says


@pytest.mark.skipif(sys.platform == "win32", reason="files have no such mode")
def test_a_connection_file_others_can_read_is_a_problem(tmp_path: Path):
    path = tmp_path / "daemon.json"
    write_connection(path)
    path.chmod(0o644)
    check = one(replace(HEALTHY, connection_files=lambda: (path,)), "Connection file")
    assert check.level is Level.PROBLEM
    assert "Other users can read" in check.says
    assert f"Delete {path}" in check.next_step


def test_a_damaged_connection_file_is_a_problem(tmp_path: Path):
    path = tmp_path / "daemon.json"
    path.write_text("{")
    path.chmod(0o600)
    check = one(replace(HEALTHY, connection_files=lambda: (path,)), "Connection file")
    assert check.level is Level.PROBLEM


# ---------------------------------------------------------------- editors


def make_krita(home: Path) -> Installation:
    return Installation(
        editor=Editor.KRITA, packaging=Packaging.NATIVE, profile=home / "krita", settings=home / "kritarc"
    )


def look_at(installation: Installation) -> Check:
    return one(replace(HEALTHY, editors=lambda: (installation,)), installation.title)


def test_the_plugin_through_its_life(tmp_path: Path):
    editor = make_krita(tmp_path)
    assert (look_at(editor).level, look_at(editor).next_step) == (
        Level.NOTE,
        "Install it: overpaint install krita",
    )
    install(editor)
    assert look_at(editor).level is Level.PROBLEM
    assert "not switched on" in look_at(editor).says
    enable(editor)
    assert look_at(editor).level is Level.GOOD
    (editor.plugin_folder / "__init__.py").write_text("")
    assert look_at(editor).level is Level.PROBLEM
    assert "is damaged" in look_at(editor).says
    install(editor)
    (editor.plugin_folder / "BUILD.json").unlink()
    assert "was not made by Overpaint" in look_at(editor).says


def test_no_editor_is_no_problem():
    check = one(HEALTHY, "Editors")
    assert check.level is Level.NOTE
    assert "command line" in check.says


# ---------------------------------------------------------------- printing


def test_json_and_exit_code(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(doctor, "Examination", lambda: HEALTHY)
    assert doctor.run_doctor(as_json=True) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is True
    assert {check["level"] for check in report["checks"]} <= {"good", "note"}
    monkeypatch.setattr(
        doctor,
        "Examination",
        lambda: replace(HEALTHY, engines=lambda: ((), ()), daemon=raising(DaemonNotRunning("no"))),
    )
    assert doctor.run_doctor(as_json=False) == 1
    out = capsys.readouterr().out
    assert "PROBLEM Engines: None works" in out
    assert "→ Install Overpaint again" in out


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(3.7, "3 seconds"), (60, "1 minute"), (7300, "2 hours"), (86_400 * 3, "3 days")],
)
def test_durations_in_words(seconds: float, words: str):
    assert describe_duration(seconds) == words
