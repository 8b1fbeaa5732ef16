"""The dialog's rows for recipe, engine and settings; what changes nothing with them is greyed and says why."""

from __future__ import annotations

from collections.abc import Callable

import gi

gi.require_version("Gtk", "3.0")
gi.require_version("GimpUi", "3.0")
from gi.repository import Gimp, GimpUi, GLib, GObject, Gtk  # noqa: E402 - the versions are chosen above

from overpaint_client.choices import SETTINGS, Choice  # noqa: E402
from overpaint_protocol.messages import MAX_GUIDANCE, MAX_STEPS, EngineInfo, RecipeInfo  # noqa: E402

from .procedures import LEFT_ALONE, SIDES, Command, choice_from, text_argument  # noqa: E402

__all__ = ["Options", "grey"]

_SPACING_PX = 6


class Options:
    """Everything below the prompt, packed into the dialog's content area.

    Args:
        command: what the dialog is for.
        dialog: GIMP's, which makes the plain rows.
        config: the arguments, changed and followed both ways.
        chosen: called when a recipe or an engine was picked.
    """

    def __init__(
        self,
        command: Command,
        dialog: GimpUi.ProcedureDialog,
        config: Gimp.ProcedureConfig,
        chosen: Callable[[], None],
    ) -> None:
        self._command = command
        self._config = config
        self._engines: tuple[EngineInfo, ...] = ()
        self._recipes: tuple[RecipeInfo, ...] = ()
        self._recipe = _OfferRow("recipe", "Recipe", "None", config)
        self._engine = _OfferRow("engine", "_Engine", "Automatic", config)
        self._numbers = _number_rows(config) if command.takes_prompt else {}
        plain = {name: dialog.get_widget(name, GObject.TYPE_NONE) for name in _plain_arguments(command)}
        self._avoid = plain.get("negative-prompt")
        self.box = self._laid_out(plain)
        dialog.get_content_area().pack_start(self.box, False, False, 0)
        for name in ("recipe", "engine"):
            # also the dialog's Reset button changes the arguments
            config.connect(f"notify::{name}", lambda *_: chosen())

    @property
    def choice(self) -> Choice:
        """The chosen recipe and engine among what there is."""
        return choice_from(self._config, self._engines, self._recipes)

    def offer(self, engines: tuple[EngineInfo, ...], recipes: tuple[RecipeInfo, ...]) -> None:
        """Show what there is now and what follows from the choice."""
        self._engines, self._recipes = engines, recipes
        choice, operation = self.choice, self._command.operation
        able = [engine for engine in engines if operation in engine.operations]
        self._recipe.offer([(recipe.id, recipe.name, recipe.problem) for recipe in recipes])
        self._recipe.row.set_visible(bool(recipes) or choice.recipe is not None)
        self._engine.offer(
            [(engine.id, engine.name, "") for engine in able], choice.fixed_engine, choice.engine_reason
        )
        if self._avoid is not None:
            grey(self._avoid, choice.avoid_reason(operation), "What must not appear")
        for name, row in self._numbers.items():
            row.show_default(
                choice.default_text(operation, name),
                choice.default(operation, name),
                choice.setting_reason(operation, name),
            )

    def _laid_out(self, plain: dict[str, Gtk.Widget]) -> Gtk.Box:
        labels = Gtk.SizeGroup(mode=Gtk.SizeGroupMode.HORIZONTAL)
        for row in (self._recipe, self._engine, *self._numbers.values()):
            labels.add_widget(row.label)
        for widget in plain.values():
            labels.add_widget(widget.get_label())
        variants, seed = plain.pop("variants"), plain.pop("seed")
        numbers = {name: row.row for name, row in self._numbers.items()}
        strength = [numbers.pop("strength")] if numbers else []
        seldom = _column([*numbers.values(), seed])
        seldom.set_margin_top(_SPACING_PX)
        more = Gtk.Expander(label="_More settings", use_underline=True)
        more.add(seldom)
        return _column([*plain.values(), self._recipe.row, self._engine.row, *strength, variants, more])


class _OfferRow:
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


class _NumberRow:
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


def _plain_arguments(command: Command) -> list[str]:
    """Names of those that GIMP's own rows do for, in the order of the dialog."""
    avoid = ["negative-prompt"] if command.takes_prompt else []
    return [*avoid, *(SIDES if command.takes_margins else ()), "variants", "seed"]


def _number_rows(config: Gimp.ProcedureConfig) -> dict[str, _NumberRow]:
    """By the argument's name."""
    rows = (
        _NumberRow(
            "strength",
            "Strengt_h (%)",
            "How far from what is there: 0 keeps it, 100 paints anew",
            lowest=0,
            highest=100,
            step=5,
            scale=100,
            config=config,
        ),
        _NumberRow(
            "steps",
            "Steps",
            "How often the picture is refined: more takes longer",
            lowest=1,
            highest=MAX_STEPS,
            step=1,
            config=config,
        ),
        _NumberRow(
            "guidance",
            "G_uidance",
            "How closely the prompt is followed",
            lowest=0,
            highest=MAX_GUIDANCE,
            step=0.5,
            digits=1,
            config=config,
        ),
    )
    return dict(zip(SETTINGS, rows, strict=True))


def _row(text: str, field: Gtk.Widget) -> tuple[Gtk.Box, Gtk.Label]:
    label = Gtk.Label(label=text, use_underline=True, xalign=0.0)
    label.set_mnemonic_widget(field)
    row = Gtk.Box(orientation=Gtk.Orientation.HORIZONTAL, spacing=_SPACING_PX)
    row.pack_start(label, False, False, 0)
    row.pack_start(field, True, True, 0)
    row.show_all()
    return row, label


def _column(parts: list[Gtk.Widget]) -> Gtk.Box:
    column = Gtk.Box(orientation=Gtk.Orientation.VERTICAL, spacing=_SPACING_PX)
    for part in parts:
        part.show()
        column.pack_start(part, False, False, 0)
    column.show()
    return column


def grey(widget: Gtk.Widget, reason: str, tip: str) -> None:
    """Let ``widget`` be used, with ``tip``; or with a ``reason`` not to, which is shown instead."""
    widget.set_sensitive(not reason)
    widget.set_tooltip_text(reason or tip or None)
