"""The dialog's rows for recipe, engine and settings; what changes nothing with them is greyed and says why."""

from __future__ import annotations

from collections.abc import Callable

import gi

gi.require_version("Gtk", "3.0")
gi.require_version("GimpUi", "3.0")
from gi.repository import Gimp, GimpUi, GObject, Gtk  # noqa: E402 - the versions are chosen above

from overpaint_client.choices import SETTINGS, Choice  # noqa: E402
from overpaint_protocol.messages import (  # noqa: E402
    MAX_DETAIL,
    MAX_GUIDANCE,
    MAX_STEPS,
    EngineInfo,
    RecipeInfo,
)

from .edges import EdgeOptions  # noqa: E402
from .fields import SPACING_PX, NumberRow, OfferRow, column, grey  # noqa: E402
from .procedures import SIDES, Command, choice_from  # noqa: E402

__all__ = ["Options"]


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
        self._recipe = OfferRow("recipe", "Recipe", "None", config)
        self._engine = OfferRow("engine", "_Engine", "Automatic", config)
        self._numbers = _number_rows(config) if command.takes_prompt else {}
        self._detail = _detail_row(config) if command.takes_prompt else None
        self._edges = EdgeOptions(command, dialog, config)
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
        details = [] if self._detail is None else [self._detail]
        for row in (self._recipe, self._engine, *self._numbers.values(), *details, *self._edges.rows):
            labels.add_widget(row.label)
        for widget in plain.values():
            labels.add_widget(widget.get_label())
        variants, seed = plain.pop("variants"), plain.pop("seed")
        numbers = {name: row.row for name, row in self._numbers.items()}
        strength = [numbers.pop("strength")] if numbers else []
        seldom = column([*numbers.values(), *(row.row for row in details), seed])
        seldom.set_margin_top(SPACING_PX)
        more = Gtk.Expander(label="_More settings", use_underline=True)
        more.add(seldom)
        return column(
            [*plain.values(), self._recipe.row, self._engine.row, *strength, variants, self._edges.box, more]
        )


def _plain_arguments(command: Command) -> list[str]:
    """Names of those that GIMP's own rows do for, in the order of the dialog."""
    avoid = ["negative-prompt"] if command.takes_prompt else []
    return [*avoid, *(SIDES if command.takes_margins else ()), "variants", "seed"]


def _number_rows(config: Gimp.ProcedureConfig) -> dict[str, NumberRow]:
    """By the argument's name."""
    rows = (
        NumberRow(
            "strength",
            "Strengt_h (%)",
            "How far from what is there: 0 keeps it, 100 paints anew",
            lowest=0,
            highest=100,
            step=5,
            scale=100,
            config=config,
        ),
        NumberRow(
            "steps",
            "Steps",
            "How often the picture is refined: more takes longer",
            lowest=1,
            highest=MAX_STEPS,
            step=1,
            config=config,
        ),
        NumberRow(
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


def _detail_row(config: Gimp.ProcedureConfig) -> NumberRow:
    row = NumberRow(
        "detail",
        "Detail (%)",
        "The scale to work at: 100 is the image's own. Less is faster, more is finer",
        lowest=0,
        highest=100 * MAX_DETAIL,
        step=10,
        scale=100,
        config=config,
    )
    row.show_default("automatic", 0, "")
    return row
