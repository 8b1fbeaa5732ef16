"""Krita and GIMP on one daemon at the same time: jobs interleave, and each editor gets its own layers only."""

from __future__ import annotations

import threading

from tests.editors.driving import ANSWER_S, EditorRoot, KritaDriver, fresh_driver, new_home, short_folder
from tests.editors.gimp_plugin import client_environ, run_script
from tests.editors.gimp_plugin import install_plug_in as install_in_gimp
from tests.editors.krita_install import PRELUDE, PROJECT
from tests.editors.krita_install import install_plug_in as install_in_krita
from tests.integration.daemon_process import DaemonProcess, wait_until

from overpaint_protocol.messages import InspectDaemon

_PREPARE = """
pilot.wait_for_engines()
pilot.create(128, 96)
pilot.select_ellipse(20, 20, 60, 50, 6)
pilot.choose_engine("test-invert")
pilot.widget("prompt").setPlainText("krita delay=0.05 steps=80")
"""

_THREE_FILLS = """
for _ in range(3):
    pilot.press("fill")
    spin(0.2)
"""

_KRITA_RESULT = """
arrived = wait_until(lambda: len(pilot.layers()) == 4, 240.0)
wait_until(lambda: not pilot.docker._controller.jobs or all(j.phase.is_final for j in pilot.docker._controller.jobs), 10.0)
result = dict(arrived=arrived, names=[node.name() for node in pilot.layers()], jobs=len(pilot.docker._controller.jobs),
    sizes=[node.bounds().width() for node in pilot.layers()])
"""

# As by Filters > Repeat Last: somebody waits for it, while a script's jobs come after Krita's.
_GIMP_FILLS = """
import pathlib, time
image = picture(80, 70)
image.select_rectangle(Gimp.ChannelOps.REPLACE, 10, 10, 30, 20)
pathlib.Path({folder!r}, "ready").touch()
while not pathlib.Path({folder!r}, "go").exists():
    time.sleep(0.05)
for number in range(3):
    RESULTS["fill " + str(number)] = call("plug-in-overpaint-fill", image, Gimp.RunMode.WITH_LAST_VALS, prompt="gimp delay=0.05 steps=4",
        engine="test-invert", protect_original=True)
RESULTS["layers"] = tree(image)
image.delete()
"""


def test_two_editors_share_one_daemon(editor_root: EditorRoot, monkeypatch) -> None:
    with short_folder() as folder, DaemonProcess.start(folder) as daemon:
        environ = client_environ(folder / "state")
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        home = new_home(editor_root, folder / "home")
        install_in_gimp(home / ".config/GIMP" / editor_root.gimp_config_name)
        with fresh_driver(KritaDriver, editor_root, binds=[PROJECT, folder], environment=environ) as krita:
            install_in_krita(krita)
            krita.start()
            krita.run(PRELUDE + _PREPARE)
            gimp: dict[str, object] = {}
            code = _GIMP_FILLS.format(folder=str(folder))
            running = threading.Thread(
                target=lambda: gimp.update(run_script(editor_root, home, code, binds=[folder]).results)
            )
            running.start()
            wait_until((folder / "ready").exists, "GIMP has started", ANSWER_S)
            krita.run(_THREE_FILLS)
            (folder / "go").touch()
            result = krita.run(_KRITA_RESULT)
            running.join(240.0)
            report = daemon.client().ask(InspectDaemon())
            log = daemon.log
    assert result["arrived"], result
    assert result["jobs"] == 3, "Krita saw a job that is not its own"
    assert result["names"][:3] == ["Fill: krita delay=0.05 steps=80"] * 3
    layers = gimp.pop("layers")
    assert set(map(tuple, gimp.values())) == {("success", "")}
    # GIMP numbers layers of the same name
    assert [layer[0].partition(" #")[0] for layer in layers[:3]] == ["Fill: gimp delay=0.05 steps=4"] * 3
    assert [layer[0] for layer in layers[3:]] == ["Background"]
    assert all(layer[1:5] == [10, 10, 30, 20] for layer in layers[:3])
    assert log.index("job 4 starts") < log.index("job 3 starts"), "GIMP waited for all of Krita's jobs"
    assert all(session.kept == 0 for session in report.sessions), "a result was left behind"
