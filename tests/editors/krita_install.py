"""Put the plug-in into a Krita of the tests, as the installer does."""

from __future__ import annotations

from pathlib import Path

from tests.editors.driving import KritaDriver

from overpaint_backend.editors.bundle import build
from overpaint_backend.editors.locate import Editor

__all__ = ["PROJECT", "install_plug_in"]

PROJECT = Path(__file__).parents[2]


def install_plug_in(driver: KritaDriver, daemon_command: tuple[str, ...] = ()) -> None:
    """Install the bundle into the driver's profile, before ``start()``."""
    folder = driver.krita_resources / "pykrita"
    for file in build(Editor.KRITA, daemon_command).files:
        is_action = file.path.suffix == ".action" and len(file.path.parts) == 1
        target = (driver.krita_resources / "actions" if is_action else folder).joinpath(*file.path.parts)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.data)
    driver.enable_plug_in("overpaint_krita")
