"""The tools that other editor tests stand on: each editor starts, answers, is seen, quits and may die."""

from __future__ import annotations

import pytest
from tests.editors.driving import (
    EditorDied,
    EditorDriver,
    EditorError,
    EditorRoot,
    GimpDriver,
    KritaDriver,
    fresh_driver,
    run_gimp_console,
    short_folder,
)


def check_answers_and_is_seen(driver: EditorDriver) -> None:
    driver.run("kept = 41")
    assert driver.run("result = {'next': kept + 1}") == {"next": 42}
    with pytest.raises(EditorError, match="ZeroDivisionError"):
        driver.run("1 / 0")
    driver.screenshot(driver.folder / "screen.png")
    assert (driver.folder / "screen.png").read_bytes().startswith(b"\x89PNG")


def check_quits(driver: EditorDriver) -> None:
    assert driver.quit() == 0
    assert not driver.is_alive()
    with pytest.raises(EditorDied):
        driver.run("result = 1")


def test_krita_driver_answers_undoes_and_quits(editor_root: EditorRoot) -> None:
    count = "result = len(document.rootNode().childNodes())"
    with fresh_driver(KritaDriver, editor_root) as driver:
        driver.start()
        assert driver.run("result = app.version()").startswith(editor_root.krita_version)
        check_answers_and_is_seen(driver)
        driver.run(
            "document = app.createDocument(32, 32, 'test', 'RGBA', 'U8', '', 100.0)\n"
            "app.activeWindow().addView(document); spin(0.2); document.waitForDone()\n"
            "document.rootNode().addChildNode(document.createNode('new', 'paintlayer'), None)"
        )
        assert driver.run(count) == 2
        driver.undo()
        assert driver.run(count) == 1
        driver.redo()
        assert driver.run(count) == 2
        check_quits(driver)


def test_gimp_driver_answers_undoes_and_quits(editor_root: EditorRoot) -> None:
    with fresh_driver(GimpDriver, editor_root) as driver:
        driver.start()
        assert driver.run("result = Gimp.version()") == editor_root.gimp_version
        check_answers_and_is_seen(driver)
        driver.run(
            "image = Gimp.Image.new(32, 32, Gimp.ImageBaseType.RGB)\n"
            "display = Gimp.Display.new(image)\n"
            "image.resize(64, 64, 0, 0)\n"
            "Gimp.displays_flush()"
        )
        driver.press("ctrl+z")
        assert driver.run("result = wait_until(lambda: image.get_width() == 32)") is True
        check_quits(driver)


@pytest.mark.parametrize("kind", [KritaDriver, GimpDriver])
def test_driver_editor_killed_is_noticed(editor_root: EditorRoot, kind: type[EditorDriver]) -> None:
    with fresh_driver(kind, editor_root) as driver:
        driver.start()
        process = driver.editor_process()
        driver.kill()
        assert not process.is_running()
        with pytest.raises(EditorDied):
            driver.run("result = 1")


def test_gimp_console_prints_and_reports_failure(editor_root: EditorRoot) -> None:
    done = run_gimp_console(editor_root, "print(Gimp.version())")
    assert done.status == 0, done.stderr
    assert done.stdout.strip() == editor_root.gimp_version
    assert run_gimp_console(editor_root, "raise ValueError('on purpose')").status == 64


def test_gimp_console_runs_script_from_bound_folder(editor_root: EditorRoot) -> None:
    with short_folder() as folder:
        script = folder / "script.py"
        script.write_text("print('from the script')")
        done = run_gimp_console(editor_root, script, binds=[folder])
    assert done.stdout.strip() == "from the script", done.stderr
