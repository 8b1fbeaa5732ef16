#!/usr/bin/env python3
"""Persistent GIMP plug-in that lets a test run code in a plug-in process of a running GIMP.

Names given to the code: ``Gimp``, ``Gegl``, ``Babl``, ``GLib``, ``Gio``, ``GObject``, ``plug_in``, ``spin(seconds)``
and ``wait_until(condition, seconds)``, which turn the plug-in's main loop.
"""

from __future__ import annotations

import sys
import time

import gi

gi.require_version("Gimp", "3.0")
gi.require_version("Gegl", "0.4")
from driver_client import DriverClient  # noqa: E402 - GIMP puts this folder on the path
from gi.repository import Babl, Gegl, Gimp, Gio, GLib, GObject  # noqa: E402 - needs the versions above


def spin(seconds: float = 0.05) -> None:
    """Turn this plug-in's main loop for ``seconds``."""
    end = time.monotonic() + seconds
    while True:
        while GLib.MainContext.default().iteration(False):
            pass
        if time.monotonic() >= end:
            return
        time.sleep(0.001)


def wait_until(condition, seconds: float = 10.0) -> bool:
    """Turn the main loop until ``condition()`` holds; False when ``seconds`` have passed first."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= end:
            return False
        spin(0.005)
    return True


class DriverPlugIn(Gimp.PlugIn):
    def do_set_i18n(self, name: str) -> bool:
        return False

    def do_query_procedures(self) -> list[str]:
        return ["extension-overpaint-test-driver"]

    def do_create_procedure(self, name: str) -> Gimp.Procedure:
        procedure = Gimp.Procedure.new(self, name, Gimp.PDBProcType.PERSISTENT, self._run, None)
        procedure.set_documentation("Test driver", "Runs the code of a test", name)
        procedure.set_attribution("Overpaint", "Overpaint", "2025")
        return procedure

    def _run(self, procedure: Gimp.Procedure, config: object, data: object) -> Gimp.ValueArray:
        procedure.persistent_ready()
        self.persistent_enable()
        client = DriverClient(
            {
                "Gimp": Gimp,
                "Gegl": Gegl,
                "Babl": Babl,
                "GLib": GLib,
                "Gio": Gio,
                "GObject": GObject,
                "plug_in": self,
                "spin": spin,
                "wait_until": wait_until,
            }
        )
        GLib.io_add_watch(
            GLib.IOChannel.unix_new(client.fileno()),
            GLib.PRIORITY_DEFAULT,
            GLib.IO_IN | GLib.IO_HUP,
            lambda *_: client.serve_one(),
        )
        GLib.MainLoop().run()
        return procedure.new_return_values(Gimp.PDBStatusType.SUCCESS, GLib.Error())


Gimp.main(DriverPlugIn.__gtype__, sys.argv)
