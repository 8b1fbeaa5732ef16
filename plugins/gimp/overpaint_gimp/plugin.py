"""The plug-in as GIMP sees it: announces its procedures and turns how a call ended into what GIMP shows."""

from __future__ import annotations

import logging
from collections.abc import Callable

import gi

gi.require_version("Gimp", "3.0")
gi.require_version("Gegl", "0.4")
gi.require_version("Babl", "0.1")
from gi.repository import Gimp, GLib  # noqa: E402 - the versions are chosen above

from overpaint_protocol.errors import OverpaintError  # noqa: E402

from .procedures import COMMANDS, RECOVER, create_command, create_recover  # noqa: E402
from .runs import run_command, run_recover  # noqa: E402

__all__ = ["OverpaintPlugIn", "main"]

_log = logging.getLogger(__name__)


class OverpaintPlugIn(Gimp.PlugIn):
    """Registers one procedure for each Operation, and one for results that wait."""

    def do_set_i18n(self, name: str) -> bool:  # noqa: D102  # GIMP calls it
        return False

    def do_query_procedures(self) -> list[str]:  # noqa: D102
        return [*COMMANDS, RECOVER]

    def do_create_procedure(self, name: str) -> Gimp.Procedure | None:  # noqa: D102
        if name in COMMANDS:
            return create_command(self, COMMANDS[name], self._run_command)
        return create_recover(self, self._run_recover) if name == RECOVER else None

    def _run_command(
        self,
        procedure: Gimp.Procedure,
        run_mode: Gimp.RunMode,
        image: Gimp.Image,
        _drawables: list[Gimp.Drawable],
        config: Gimp.ProcedureConfig,
        _data: object,
    ) -> Gimp.ValueArray:
        command = COMMANDS[procedure.get_name()]
        return _answer(procedure, lambda: run_command(procedure, run_mode, image, config, command))

    def _run_recover(
        self,
        procedure: Gimp.Procedure,
        run_mode: Gimp.RunMode,
        image: Gimp.Image,
        _drawables: list[Gimp.Drawable],
        _config: Gimp.ProcedureConfig,
        _data: object,
    ) -> Gimp.ValueArray:
        def recover() -> bool:
            inserted = run_recover(image)
            if run_mode != Gimp.RunMode.NONINTERACTIVE and not inserted:
                Gimp.message("No results are waiting.")
            return True

        return _answer(procedure, recover)


def main(arguments: list[str]) -> None:
    """Hand over to GIMP; returns when the plug-in's process shall end."""
    Gimp.main(OverpaintPlugIn.__gtype__, arguments)


def _answer(procedure: Gimp.Procedure, work: Callable[[], bool]) -> Gimp.ValueArray:
    """Do ``work``. An exception that left the procedure would only end the process, with no word to the artist."""
    status = Gimp.PDBStatusType
    try:
        is_done = work()
    except OverpaintError as error:
        _log.info("%s: %s (%s)", procedure.get_name(), error.code, error.detail)
        return _failure(procedure, error.message)
    except Exception as error:
        _log.exception("%s failed", procedure.get_name())
        return _failure(
            procedure, f"Overpaint failed and changed nothing. Its log in GIMP's terminal says why: {error}"
        )
    return procedure.new_return_values(status.SUCCESS if is_done else status.CANCEL, GLib.Error())


def _failure(procedure: Gimp.Procedure, sentence: str) -> Gimp.ValueArray:
    return procedure.new_return_values(Gimp.PDBStatusType.EXECUTION_ERROR, GLib.Error(sentence))
