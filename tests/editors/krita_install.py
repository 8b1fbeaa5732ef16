"""Put the plug-in into a Krita of the tests, as the installer does, and get a pilot for it."""

from __future__ import annotations

from pathlib import Path

from tests.editors.driving import KritaDriver

from overpaint_backend.editors.bundle import build
from overpaint_backend.editors.locate import Editor

__all__ = ["PRELUDE", "PROJECT", "install_plug_in"]

PROJECT = Path(__file__).parents[2]

PRELUDE = f"""
import base64, sys
sys.dont_write_bytecode = True
sys.path.append({str(PROJECT)!r})
from tests.editors.krita_pilot import Pilot, StallMeter
pilot = Pilot(spin, wait_until)
"""
"""For code that runs inside Krita, where ``PROJECT`` is shown: the pilot."""


def install_plug_in(driver: KritaDriver, daemon_command: tuple[str, ...] = ()) -> None:
    """Install the bundle into the driver's profile, before ``start()``."""
    folder = driver.krita_resources / "pykrita"
    for file in build(Editor.KRITA, daemon_command).files:
        is_action = file.path.suffix == ".action" and len(file.path.parts) == 1
        target = (driver.krita_resources / "actions" if is_action else folder).joinpath(*file.path.parts)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.data)
    driver.enable_plug_in("overpaint_krita")
