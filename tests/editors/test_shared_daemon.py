"""Krita, GIMP and the command line on one daemon at the same time: jobs interleave by fair shares, and each gets its own."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.backend.test_lineup import PATIENCE
from tests.editors.driving import ANSWER_S, EditorRoot, KritaDriver, fresh_driver, new_home, short_folder
from tests.editors.gimp_plugin import client_environ, run_script
from tests.editors.gimp_plugin import install_plug_in as install_in_gimp
from tests.editors.krita_install import PRELUDE, PROJECT
from tests.editors.krita_install import install_plug_in as install_in_krita
from tests.integration.daemon_process import DaemonProcess, daemon_environ, wait_until

from overpaint_backend.durability.stories import Story, What, read_stories
from overpaint_protocol.messages import InspectDaemon

JOBS = {"krita": 10, "gimp": 20, "cli": 20}
"""Krita's are long and all asked for at once; the others ask for the next one when they have one."""

_PREPARE = """
pilot.wait_for_engines()
pilot.create(330, 96)
pilot.choose_engine("test-invert")
"""

_FILLS = f"""
for number in range({JOBS["krita"]}):
    pilot.select(30 * number + 15, 30, 20, 30)
    pilot.widget("prompt").setPlainText(f"krita {{number}} delay=0.05 steps=20")
    pilot.press("fill")
    spin(0.2)
"""

_KRITA_RESULT = f"""
arrived = wait_until(lambda: len(pilot.layers()) == {JOBS["krita"]} + 1, 240.0)
jobs = lambda: pilot.docker._controller.jobs
wait_until(lambda: all(job.phase.is_final for job in jobs()), 10.0)
layers = [[node.name(), node.bounds().center().x()] for node in pilot.layers()[:-1]]
result = dict(arrived=arrived, layers=layers, jobs=len(jobs()))
"""

# As by Filters > Repeat Last: somebody waits for it, while a script's jobs come after Krita's.
_GIMP_FILLS = f"""
import pathlib, time
image = picture({20 * JOBS["gimp"]}, 70)
pathlib.Path({{folder!r}}, "ready").touch()
while not pathlib.Path({{folder!r}}, "go").exists():
    time.sleep(0.05)
for number in range({JOBS["gimp"]}):
    image.select_rectangle(Gimp.ChannelOps.REPLACE, 20 * number + 5, 10, 10, 20)
    RESULTS["fill " + str(number)] = call("plug-in-overpaint-fill", image, Gimp.RunMode.WITH_LAST_VALS,
        prompt=f"gimp {{{{number}}}} delay=0.05 steps=4", engine="test-invert", protect_original=True)
RESULTS["layers"] = tree(image)
image.delete()
"""


class CommandLine:
    """Fills pictures one after the other, each of another color."""

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        self._folder = folder
        self._environ = dict(environ)
        self.results: list[np.ndarray] = []
        folder.mkdir()

    def run(self) -> None:
        mask = np.zeros((40, 60), np.uint8)
        mask[10:30, 20:40] = 255
        Image.fromarray(mask).save(self._folder / "mask.png")
        for number in range(JOBS["cli"]):
            Image.new("RGB", (60, 40), (number, 60, 200)).save(self._folder / "in.png")
            command = f"fill in.png --mask mask.png --out {number}.png --engine test-invert --seed 0 --protect-original"
            subprocess.run(
                [
                    sys.executable,
                    "-m",
                    "overpaint_backend",
                    *command.split(),
                    "--prompt",
                    "delay=0.05 steps=4",
                ],
                cwd=self._folder,
                env=self._environ,
                check=True,
            )
            with Image.open(self._folder / f"{number}.png") as picture:
                self.results.append(np.array(picture.convert("RGB")))


@dataclass(frozen=True, slots=True)
class Turn:
    """One job as the daemon's story tells it, in seconds: it waited from ``accepted_s`` to ``began_s`` and then ran."""

    editor: str
    accepted_s: float
    began_s: float
    ended_s: float

    @classmethod
    def of(cls, story: Story) -> Turn:
        at_s = {entry.what: entry.at_s for entry in story.entries}
        assert list(at_s).count(What.STARTED) == 1
        (submitted,) = (entry for entry in story.entries if entry.what == What.SUBMITTED)
        editor = str(submitted.facts["editor"])
        return cls(editor, at_s[What.ACCEPTED], at_s[What.STARTED], at_s[What.DONE])

    @property
    def took_s(self) -> float:
        return self.ended_s - self.began_s


def test_fifty_mixed_jobs_of_krita_gimp_and_the_command_line(editor_root: EditorRoot, monkeypatch) -> None:
    with short_folder() as folder:
        with DaemonProcess.start(folder) as daemon:
            environ = client_environ(folder / "state")
            for name, value in environ.items():
                monkeypatch.setenv(name, value)
            home = new_home(editor_root, folder / "home")
            install_in_gimp(home / ".config/GIMP" / editor_root.gimp_config_name)
            with fresh_driver(
                KritaDriver, editor_root, binds=[PROJECT, folder], environment=environ
            ) as krita:
                install_in_krita(krita)
                krita.start()
                krita.run(PRELUDE + _PREPARE)
                gimp: dict[str, object] = {}
                code = _GIMP_FILLS.format(folder=str(folder))
                cli = CommandLine(folder / "pictures", daemon_environ(folder) | environ)
                others = [
                    threading.Thread(
                        target=lambda: gimp.update(
                            run_script(editor_root, home, code, binds=[folder]).results
                        )
                    ),
                    threading.Thread(target=cli.run),
                ]
                others[0].start()
                wait_until((folder / "ready").exists, "GIMP has started", ANSWER_S)
                others[1].start()
                (folder / "go").touch()
                krita.run(_FILLS)
                result = krita.run(_KRITA_RESULT)
                for thread in others:
                    thread.join(240.0)
                report = daemon.client().ask(InspectDaemon())
        # once the daemon has ended, since it writes them when it has nothing else to do
        stories = read_stories(folder / "state" / "stories.sqlite")

    assert result["arrived"], result
    assert result["jobs"] == JOBS["krita"], "Krita saw a job that is not its own"
    own = {name.split()[2]: middle for name, middle in result["layers"]}
    assert own == {str(number): 30 * number + 24 for number in range(JOBS["krita"])}

    layers = gimp.pop("layers")
    assert set(map(tuple, gimp.values())) == {("success", "")}
    assert layers.pop()[0] == "Background"
    assert {layer[0].split()[2]: layer[1:5] for layer in layers} == {
        str(number): [20 * number + 5, 10, 10, 20] for number in range(JOBS["gimp"])
    }

    assert len(cli.results) == JOBS["cli"]
    for number, picture in enumerate(cli.results):
        assert (picture[10:30, 20:40] == (255 - number, 195, 55)).all()
        picture[10:30, 20:40] = (number, 60, 200)
        assert (picture == (number, 60, 200)).all()

    assert all(session.kept == 0 for session in report.sessions), "a result was left behind"
    turns = [Turn.of(story) for story in stories]
    assert len(turns) == sum(JOBS.values())
    check_waits(turns)


def check_waits(turns: list[Turn]) -> None:
    """While a job waited, each other editor had what the job's own editor had and asks for, times PATIENCE, and one job more."""
    editors = {turn.editor for turn in turns}
    assert len(editors) == len(JOBS), editors
    longest_s = {editor: max(turn.took_s for turn in turns if turn.editor == editor) for editor in editors}
    for job in turns:
        had_s = dict.fromkeys(editors, 0.0)
        for turn in turns:
            begin_s, end_s = max(turn.began_s, job.accepted_s), min(turn.ended_s, job.began_s)
            had_s[turn.editor] += max(0.0, end_s - begin_s)
        for other in editors - {job.editor}:
            allowed_s = PATIENCE * (had_s[job.editor] + job.took_s) + longest_s[other]
            assert had_s[other] <= allowed_s, (job, other, had_s)


@pytest.mark.parametrize("is_fair", [True, False], ids=["by shares", "first come, first served"])
def test_waiting_for_all_of_another_editors_jobs_is_noticed(is_fair: bool) -> None:
    """Krita asks for ten jobs of a second at once, the others for one of a fifth each, half a second later."""
    began_s = [number + (0.4 if is_fair and number else 0.0) for number in range(10)]
    krita = [Turn("krita", 0.0, at_s, at_s + 1.0) for at_s in began_s]
    at_s = 1.0 if is_fair else 10.0
    others = [
        Turn(name, 0.5, at_s + 0.2 * place, at_s + 0.2 * (place + 1))
        for place, name in enumerate(("gimp", "cli"))
    ]
    if is_fair:
        check_waits(krita + others)
    else:
        with pytest.raises(AssertionError):
            check_waits(krita + others)
