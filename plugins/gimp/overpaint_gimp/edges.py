"""The dialog's rows for how a result ends: how far beyond the selection, and how softly."""

from __future__ import annotations

import gi

gi.require_version("Gtk", "3.0")
gi.require_version("GimpUi", "3.0")
from gi.repository import Gimp, GimpUi, GObject, Gtk  # noqa: E402 - the versions are chosen above

from overpaint_client.choices import PROTECTED_REASON  # noqa: E402
from overpaint_protocol.messages import MAX_EDGE_PX, Edges  # noqa: E402

from .fields import SPACING_PX, NumberRow, column  # noqa: E402
from .procedures import EDGES, LEFT_ALONE, Command, edges_from  # noqa: E402

__all__ = ["EdgeOptions"]

_REACHING = ("grow", "blend")
"""What is of no account while the original is protected."""


class EdgeOptions:
    """An expander, open from the start if something in it was set.

    Args:
        command: what the dialog is for.
        dialog: GIMP's, which makes the check boxes.
        config: the arguments, changed and followed both ways.
    """

    def __init__(
        self, command: Command, dialog: GimpUi.ProcedureDialog, config: Gimp.ProcedureConfig
    ) -> None:
        self._config = config
        self._rows = {name: _row(name, config) for name in command.edge_lengths}
        checks = [dialog.get_widget(name, GObject.TYPE_NONE) for name in command.edge_switches]
        self.box = Gtk.Expander(label="Edges")  # every letter of it is taken
        inside = column([*(row.row for row in self._rows.values()), *checks])
        inside.set_margin_top(SPACING_PX)
        self.box.add(inside)
        self.box.set_expanded(edges_from(command, config) != Edges())
        config.connect("notify::protect-original", lambda *_: self._show())
        self._show()

    @property
    def rows(self) -> tuple[NumberRow, ...]:
        """Those with a label."""
        return tuple(self._rows.values())

    def _show(self) -> None:
        is_protected = self._config.get_property("protect-original")
        for name, row in self._rows.items():
            reason = PROTECTED_REASON if is_protected and name in _REACHING else ""
            row.show_default("0" if reason else "automatic", LEFT_ALONE[name], reason)


def _row(name: str, config: Gimp.ProcedureConfig) -> NumberRow:
    label, tip = EDGES[name]
    # one below 0 is automatic: an arrow leads from there to 0 and back
    return NumberRow(
        name, f"{label} (px)", tip, lowest=LEFT_ALONE[name], highest=MAX_EDGE_PX, step=1, config=config
    )
