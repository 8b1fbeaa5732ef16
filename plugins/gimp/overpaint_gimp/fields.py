"""Rows of the dialog: what they show while nobody has chosen, and how what changes nothing is greyed."""

from __future__ import annotations

import gi

gi.require_version("Gtk", "3.0")
from gi.repository import Gimp, GLib, Gtk  # noqa: E402 - the version is chosen above

from .procedures import LEFT_ALONE, text_argument  # noqa: E402

__all__ = ["SPACING_PX", "NumberRow", "OfferRow", "column", "grey"]

SPACING_PX = 6


class OfferRow:
    """Chooses a text argument among what the daemon offers.

    Args:
        name: of the argument. label: of the row. none: what the entry is called that chooses nothing.
        config: the arguments.
    """

    def __init__(self, name: str, label: str, none: str, config: Gimp.ProcedureConfig) -> None:
        self._name = name
        self._none = none
        self._config = config
        self._shown: list[tuple[str, str, str]] = []
        self._is_filling = False
        # id, name, whether it can be chosen
        self._rows = Gtk.ListStore(str, str, bool)
        self._combo = Gtk.ComboBox(model=self._rows, id_column=0)
        cell = Gtk.CellRendererText()
        self._combo.pack_start(cell, True)
        self._combo.add_attribute(cell, "text", 1)
        self._combo.add_attribute(cell, "sensitive", 2)
        self._combo.connect("changed", self._on_changed)
        self.row, self.label = _row(label, self._combo)

    def offer(self, entries: list[tuple[str, str, str]], fixed: str | None = None, reason: str = "") -> None:
        """Show entries of id, name and why not to choose it, and the chosen one even if it is not among them.

        With a ``reason`` not to choose, the field is greyed and shows the one whose id is ``fixed``.
        """
        chosen = (fixed if reason else None) or text_argument(self._config, self._name)
        rows = [("", self._none, ""), *entries]
        if all(entry_id != chosen for entry_id, _, _ in rows):
            rows.append((chosen, chosen, ""))
        self._is_filling = True
        if rows != self._shown:
            self._shown = rows
            self._rows.clear()
            for entry_id, name, problem in rows:
                self._rows.append((entry_id, name, not problem))
        self._combo.set_active_id(chosen)
        self._is_filling = False
        # a row of a drop-down list has no tooltip of its own
        problems = "\n".join(f"{name}: {problem}" for _, name, problem in rows if problem)
        grey(self._combo, reason, problems)

    def _on_changed(self, combo: Gtk.ComboBox) -> None:
        chosen = combo.get_active_id()
        if not self._is_filling and chosen is not None:
            self._config.set_property(self._name, chosen)


class NumberRow:
    """A setting that is left to the recipe or the engine until somebody sets it.

    Args:
        name: of the argument. label: of the row. tip: about it. lowest, highest, step, digits: of the number shown.
        scale: what the argument is multiplied with to be shown.
        config: the arguments.
    """

    _NOT_QUITE = 1e-4
    """A spin button always has a number. Left alone it is a hair beside the default, so that its arrows start there and
    whoever types the default itself changes something."""

    def __init__(
        self,
        name: str,
        label: str,
        tip: str,
        *,
        lowest: float,
        highest: float,
        step: float,
        config: Gimp.ProcedureConfig,
        digits: int = 0,
        scale: float = 1,
    ) -> None:
        self._name = name
        self._tip = tip
        self._scale = scale
        self._digits = digits
        self._config = config
        self._words = ""
        self._default: float | None = None
        self._is_showing = False
        adjustment = Gtk.Adjustment(
            lower=lowest, upper=highest, step_increment=step, page_increment=10 * step
        )
        self._spin = Gtk.SpinButton(
            adjustment=adjustment,
            digits=digits,
            update_policy=Gtk.SpinButtonUpdatePolicy.IF_VALID,
            width_chars=16,
        )
        self._spin.connect("output", self._on_output)
        self._spin.connect("value-changed", self._on_changed)
        self._spin.connect("focus-in-event", self._on_focus)
        config.connect(f"notify::{name}", lambda *_: self._show())
        self.row, self.label = _row(label, self._spin)

    def show_default(self, words: str, default: float | None, reason: str) -> None:
        """Say what happens if it is left alone: ``words``, from ``default`` if that is known; greyed with a reason."""
        if (words, default) != (self._words, self._default):
            self._words = words
            self._default = default
            self._show()
        grey(self._spin, reason, self._tip)

    @property
    def _is_left_alone(self) -> bool:
        value = self._config.get_property(self._name)
        return value < 0 or value == LEFT_ALONE[self._name]

    def _show(self) -> None:
        self._is_showing = True
        if self._is_left_alone:
            default = (
                self._spin.get_adjustment().get_upper()
                if self._default is None
                else self._default * self._scale
            )
            self._spin.set_value(default - self._NOT_QUITE)
            # GTK shows nothing anew where this comes to the number it has
            self._spin.set_text(self._words)
        else:
            self._spin.set_value(self._config.get_property(self._name) * self._scale)
        self._is_showing = False

    def _on_output(self, spin: Gtk.SpinButton) -> bool:
        if self._is_left_alone:
            spin.set_text(self._words)
            return True
        return False

    def _on_changed(self, spin: Gtk.SpinButton) -> None:
        if not self._is_showing:
            value = round(spin.get_value(), self._digits) / self._scale
            self._config.set_property(self._name, type(LEFT_ALONE[self._name])(value))

    def _on_focus(self, spin: Gtk.SpinButton, _event: object) -> bool:
        # one types over the words, not into them; after GTK has placed the cursor
        if self._is_left_alone:
            GLib.idle_add(lambda: spin.select_region(0, -1))
        return False


def _row(text: str, field: Gtk.Widget) -> tuple[Gtk.Box, Gtk.Label]:
    label = Gtk.Label(label=text, use_underline=True, xalign=0.0)
    label.set_mnemonic_widget(field)
    row = Gtk.Box(orientation=Gtk.Orientation.HORIZONTAL, spacing=SPACING_PX)
    row.pack_start(label, False, False, 0)
    row.pack_start(field, True, True, 0)
    row.show_all()
    return row, label


def column(parts: list[Gtk.Widget]) -> Gtk.Box:
    """``parts`` below each other, shown."""
    box = Gtk.Box(orientation=Gtk.Orientation.VERTICAL, spacing=SPACING_PX)
    for part in parts:
        part.show()
        box.pack_start(part, False, False, 0)
    box.show()
    return box


def grey(widget: Gtk.Widget, reason: str, tip: str) -> None:
    """Let ``widget`` be used, with ``tip``; or with a ``reason`` not to, which is shown instead."""
    widget.set_sensitive(not reason)
    widget.set_tooltip_text(reason or tip or None)
