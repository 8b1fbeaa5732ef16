"""The entries in GIMP's procedure database and menus, and how their arguments make an EditRequest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gi.repository import Gimp, GLib, GObject

from overpaint_client.choices import SETTINGS, Choice, protect_original
from overpaint_client.jobs import EditRequest
from overpaint_protocol.errors import RequestError
from overpaint_protocol.geometry import Margins
from overpaint_protocol.messages import (
    MAX_DETAIL,
    MAX_EDGE_PX,
    MAX_GUIDANCE,
    MAX_STEPS,
    MAX_VARIANTS,
    Edges,
    Edit,
    EngineInfo,
    Expand,
    Fill,
    GenerationSettings,
    LoraWeight,
    Operation,
    RecipeInfo,
    Remove,
)

__all__ = [
    "COMMANDS",
    "EDGES",
    "LEFT_ALONE",
    "RECOVER",
    "SIDES",
    "Command",
    "choice_from",
    "create_command",
    "create_recover",
    "edges_from",
    "request_from",
    "text_argument",
]

RECOVER = "plug-in-overpaint-recover"

SIDES = ("left", "right", "top", "bottom")

LEFT_ALONE = {
    "strength": -1.0,
    "steps": 0,
    "guidance": -1.0,
    "detail": 0.0,
    "grow": -1,
    "blend": -1,
    "feather": -1,
}
"""Arguments of GIMP's procedures have no None: these leave a setting to the recipe, the engine or the daemon."""

EDGES = {
    "grow": ("Gro_w", "By how many px the selection is widened in full"),
    "blend": ("B_lend", "Over how many px around that the result fades out"),
    "feather": ("Feather", "Over how many px inside the selection the result fades out"),
    "protect-original": ("Protect _original", "Change nothing beyond the selection: no grow and no blend"),
    "fill-holes": ("Fill holes", "Paint what the selection encloses, too"),
}
"""Label and help by the argument's name."""

_NEW_SEED = -1
_MAX_SEED = GLib.MAXINT32
"""Arguments of GIMP's procedures are signed; the protocol would take twice as many."""
_MAX_MARGIN_PX = 32_768
_AI_MENU = "<Image>/Filters/AI"
_ATTRIBUTION = ("The Overpaint authors", "The Overpaint authors", "2026")

RunFunction = Callable[..., Gimp.ValueArray]


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A procedure that makes one job.

    operation: ``fill``, ``remove``, ``edit`` or ``expand``. menu_path: the natural place of the verb; each is in Filters >
        AI too.
    title: of the dialog. prompt_help: what its prompt is for, empty if it takes neither prompt nor settings.
    takes_margins: whether it has arguments for them.
    """

    operation: str
    label: str
    title: str
    menu_path: str
    blurb: str
    help: str
    prompt_help: str = "What to paint; leave it empty to continue the surroundings"
    takes_margins: bool = False

    @property
    def name(self) -> str:
        """Of the procedure."""
        return f"plug-in-overpaint-{self.operation}"

    @property
    def takes_prompt(self) -> bool:
        """Whether it has arguments for prompt and settings."""
        return self.prompt_help != ""

    @property
    def edge_lengths(self) -> tuple[str, ...]:
        """Its arguments in px for how the result ends: what is new of an expanded canvas is always covered in full."""
        return ("grow", "blend") if self.takes_margins else ("grow", "blend", "feather")

    @property
    def edge_switches(self) -> tuple[str, ...]:
        """Those that are on or off."""
        return ("protect-original",) if self.takes_margins else ("protect-original", "fill-holes")


COMMANDS = {
    command.name: command
    for command in (
        Command(
            operation="fill",
            label="Generative _Fill…",
            title="Generative Fill",
            menu_path="<Image>/Edit/[Stroke]",
            blurb="Paint the selection anew, as described",
            help="Sends the selection and its surroundings to the Overpaint daemon on this computer and adds what comes "
            "back as a new layer. A soft selection gives a soft edge. Without a prompt the surroundings are continued; with "
            "nothing selected, a prompt paints the whole image.",
        ),
        Command(
            operation="remove",
            label="Generative _Remove…",
            title="Generative Remove",
            menu_path="<Image>/Edit/[Stroke]",
            blurb="Make what is selected disappear into its surroundings",
            help="Sends the selection and its surroundings to the Overpaint daemon on this computer and adds a new layer "
            "that covers the selection with its surroundings.",
            prompt_help="",
        ),
        Command(
            operation="edit",
            label="Generative _Edit…",
            title="Generative Edit",
            menu_path="<Image>/Edit/[Stroke]",
            blurb="Change what is selected as an instruction says",
            help="Sends the selection and its surroundings to the Overpaint daemon on this computer and adds what comes "
            "back as a new layer. With nothing selected, the whole image is changed. Needs an engine that follows "
            "instructions.",
            prompt_help="What should change, such as “make it night”",
        ),
        Command(
            operation="expand",
            label="Generative E_xpand…",
            title="Generative Expand",
            menu_path="<Image>/Image/[Scale]",
            blurb="Grow the canvas and continue the picture",
            help="Grows the canvas of this image and adds a new layer with the continued picture.",
            takes_margins=True,
        ),
    )
}
"""By the procedure's name."""


def create_command(plug_in: Gimp.PlugIn, command: Command, run: RunFunction) -> Gimp.Procedure:
    """The procedure of ``command`` with its typed arguments."""
    procedure = _create(plug_in, command.name, run)
    procedure.set_menu_label(command.label)
    procedure.set_documentation(command.blurb, command.help, None)
    procedure.add_menu_path(command.menu_path)
    procedure.add_menu_path(_AI_MENU)
    flags = GObject.ParamFlags.READWRITE
    if command.takes_prompt:
        procedure.add_string_argument("prompt", "_Prompt", command.prompt_help, "", flags)
        procedure.add_string_argument(
            "negative-prompt", "_Avoid", "What must not appear; only some engines heed it", "", flags
        )
    if command.takes_margins:
        for side, label in zip(SIDES, ("Le_ft", "R_ight", "_Top", "_Bottom"), strict=True):
            procedure.add_int_argument(
                side, f"{label} (px)", f"How far the canvas grows at the {side}", 0, _MAX_MARGIN_PX, 0, flags
            )
    procedure.add_string_argument(
        "recipe",
        "Recipe",
        "Id of a recipe that fills in what is left open; leave it empty for none",
        "",
        flags,
    )
    procedure.add_string_argument(
        "engine", "_Engine", "Id of the engine; leave it empty for an automatic choice", "", flags
    )
    procedure.add_int_argument(
        "variants", "_Variants", "How many results, each a layer of its own", 1, MAX_VARIANTS, 1, flags
    )
    if command.takes_prompt:
        _add_settings(procedure, flags)
    _add_edges(procedure, command, flags)
    procedure.add_int_argument(
        "seed",
        "See_d",
        f"The same seed gives the same result; {_NEW_SEED} takes a new one each time",
        _NEW_SEED,
        _MAX_SEED,
        _NEW_SEED,
        flags,
    )
    return procedure


def _add_settings(procedure: Gimp.Procedure, flags: GObject.ParamFlags) -> None:
    own = {name: f"; {value:g} leaves it to the recipe or the engine" for name, value in LEFT_ALONE.items()}
    procedure.add_double_argument(
        "strength",
        "Strengt_h",
        f"How far from what is there, 0 (unchanged) to 1 (anew){own['strength']}",
        LEFT_ALONE["strength"],
        1.0,
        LEFT_ALONE["strength"],
        flags,
    )
    procedure.add_int_argument(
        "steps",
        "Steps",
        f"How often the picture is refined{own['steps']}",
        LEFT_ALONE["steps"],
        MAX_STEPS,
        LEFT_ALONE["steps"],
        flags,
    )
    procedure.add_double_argument(
        "guidance",
        "G_uidance",
        f"How closely the prompt is followed{own['guidance']}",
        LEFT_ALONE["guidance"],
        MAX_GUIDANCE,
        LEFT_ALONE["guidance"],
        flags,
    )
    procedure.add_double_argument(
        "detail",
        "Detail",
        f"The scale to work at, as a multiple of the image's own; {LEFT_ALONE['detail']:g} is automatic",
        LEFT_ALONE["detail"],
        MAX_DETAIL,
        LEFT_ALONE["detail"],
        flags,
    )
    procedure.add_string_argument(
        "loras",
        "LoRAs",
        "Adapters to mix in, as “id:weight, id:weight”; without a weight it is 1. Recipes bring their own",
        "",
        flags,
    )


def _add_edges(procedure: Gimp.Procedure, command: Command, flags: GObject.ParamFlags) -> None:
    for name in command.edge_lengths:
        label, text = EDGES[name]
        left_alone = LEFT_ALONE[name]
        text = f"{text}; {left_alone} is automatic"
        procedure.add_int_argument(name, label, text, left_alone, MAX_EDGE_PX, left_alone, flags)
    for name in command.edge_switches:
        procedure.add_boolean_argument(name, *EDGES[name], False, flags)


def create_recover(plug_in: Gimp.PlugIn, run: RunFunction) -> Gimp.Procedure:
    """The procedure that fetches results whose plug-in was ended before they came."""
    procedure = _create(plug_in, RECOVER, run)
    procedure.set_menu_label("Insert _Waiting Results")
    procedure.set_documentation(
        "Add results to this image that were finished after their command was canceled or GIMP was closed",
        "The Overpaint daemon keeps a finished result until an editor has it. This adds those made for this image.",
        None,
    )
    procedure.add_menu_path(_AI_MENU)
    return procedure


def text_argument(config: Gimp.ProcedureConfig, name: str) -> str:
    """A text among the arguments; GIMP gives None for an empty one that it has read from its cache of plug-ins."""
    return (config.get_property(name) or "").strip()


def choice_from(
    config: Gimp.ProcedureConfig,
    engines: tuple[EngineInfo, ...] = (),
    recipes: tuple[RecipeInfo, ...] = (),
) -> Choice:
    """The recipe and the engine the arguments name, among those that are offered."""
    engine, recipe = (text_argument(config, name) or None for name in ("engine", "recipe"))
    return Choice(engines=engines, recipes=recipes, engine=engine, recipe=recipe)


def request_from(command: Command, config: Gimp.ProcedureConfig, choice: Choice) -> EditRequest:
    """What the arguments ask for.

    Args:
        command: whose arguments they are.
        config: the arguments.
        choice: from ``choice_from``; what changes nothing with what it offers is left out.

    Raises:
        RequestError: they ask for nothing that can be done; the sentence says why.
    """
    seed = config.get_property("seed")
    return EditRequest(
        operation=_operation_from(command, config, choice),
        engine=choice.requested_engine,
        recipe=choice.recipe,
        variants=config.get_property("variants"),
        seed=None if seed == _NEW_SEED else seed,
        edges=edges_from(command, config),
    )


def edges_from(command: Command, config: Gimp.ProcedureConfig) -> Edges:
    """How the arguments want a result to end."""
    set_px = {f"{name}_px": value for name, value in _set_among(command.edge_lengths, config).items()}
    fill_holes = "fill-holes" in command.edge_switches and config.get_property("fill-holes")
    edges = Edges(**set_px, fill_holes=fill_holes)
    return protect_original(edges) if config.get_property("protect-original") else edges


def _operation_from(command: Command, config: Gimp.ProcedureConfig, choice: Choice) -> Operation:
    if not command.takes_prompt:
        return Remove()
    name = command.operation
    prompt = "" if choice.prompt_reason(name) else text_argument(config, "prompt")
    avoid = "" if choice.avoid_reason(name) else text_argument(config, "negative-prompt")
    settings = choice.usable(name, _settings_from(config))
    if name == "edit":
        return Edit(prompt=prompt, negative_prompt=avoid, settings=settings)
    if not command.takes_margins:
        return Fill(prompt=prompt, negative_prompt=avoid, settings=settings)
    margins = Margins(**{side: config.get_property(side) for side in SIDES})
    if margins.is_empty:
        raise RequestError("The canvas would not grow. Say how many pixels to add on at least one side.")
    return Expand(margins=margins, prompt=prompt, negative_prompt=avoid, settings=settings)


def _settings_from(config: Gimp.ProcedureConfig) -> GenerationSettings:
    known = _set_among((*SETTINGS, "detail"), config)
    return GenerationSettings(**known, loras=_loras_from(text_argument(config, "loras")))


def _set_among(names: tuple[str, ...], config: Gimp.ProcedureConfig) -> dict[str, Any]:
    """The numbers of those arguments that are not left alone."""
    values = {name: config.get_property(name) for name in names}
    return {name: value for name, value in values.items() if value >= 0 and value != LEFT_ALONE[name]}


def _loras_from(text: str) -> tuple[LoraWeight, ...]:
    loras: list[LoraWeight] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        lora_id, colon, weight = part.partition(":")
        try:
            loras.append(LoraWeight(id=lora_id.strip(), weight=float(weight) if colon else 1.0))
        except ValueError:
            raise RequestError(
                f"“{part}” names no LoRA with its weight. Write the id and a number, such as ink:0.8."
            ) from None
    return tuple(loras)


def _create(plug_in: Gimp.PlugIn, name: str, run: RunFunction) -> Gimp.Procedure:
    procedure = Gimp.ImageProcedure.new(plug_in, name, Gimp.PDBProcType.PLUGIN, run, None)
    # all kinds: a menu entry that is gray says nothing, a run on an indexed image says what to do
    procedure.set_image_types("*")
    mask = Gimp.ProcedureSensitivityMask
    procedure.set_sensitivity_mask(mask.DRAWABLE | mask.DRAWABLES | mask.NO_DRAWABLES)
    procedure.set_attribution(*_ATTRIBUTION)
    return procedure
