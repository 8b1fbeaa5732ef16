"""The entries in GIMP's procedure database and menus, and how their arguments make an EditRequest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gi.repository import Gimp, GLib, GObject

from overpaint_client.jobs import EditRequest
from overpaint_protocol.errors import RequestError
from overpaint_protocol.geometry import Margins
from overpaint_protocol.messages import MAX_VARIANTS, Expand, Fill, Operation, Remove

__all__ = ["EDITS", "RECOVER", "SIDES", "Edit", "create_edit", "create_recover", "request_from"]

RECOVER = "plug-in-overpaint-recover"

SIDES = ("left", "right", "top", "bottom")

_NEW_SEED = -1
_MAX_SEED = GLib.MAXINT32
"""Arguments of GIMP's procedures are signed; the protocol would take twice as many."""
_MAX_MARGIN_PX = 32_768
_AI_MENU = "<Image>/Filters/AI"
_ATTRIBUTION = ("The Overpaint authors", "The Overpaint authors", "2026")

RunFunction = Callable[..., Gimp.ValueArray]


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """A procedure that makes one job.

    operation: ``fill``, ``remove`` or ``expand``. menu_path: the natural place of the verb; each is in Filters > AI too.
    title: of the dialog. takes_prompt, takes_margins: which arguments it has besides engine, variants and seed.
    """

    operation: str
    label: str
    title: str
    menu_path: str
    blurb: str
    help: str
    takes_prompt: bool = True
    takes_margins: bool = False

    @property
    def name(self) -> str:
        """Of the procedure."""
        return f"plug-in-overpaint-{self.operation}"

    @property
    def arguments(self) -> tuple[str, ...]:
        """Names of the arguments, in the order of the dialog."""
        return (
            *(("prompt", "negative-prompt") if self.takes_prompt else ()),
            *(SIDES if self.takes_margins else ()),
            "engine",
            "variants",
            "seed",
        )


EDITS = {
    edit.name: edit
    for edit in (
        Edit(
            operation="fill",
            label="Generative _Fill…",
            title="Generative Fill",
            menu_path="<Image>/Edit/[Stroke]",
            blurb="Paint the selection anew, as described",
            help="Sends the selection and its surroundings to the Overpaint daemon on this computer and adds what comes "
            "back as a new layer. A soft selection gives a soft edge. Without a prompt the surroundings are continued.",
        ),
        Edit(
            operation="remove",
            label="Generative _Remove…",
            title="Generative Remove",
            menu_path="<Image>/Edit/[Stroke]",
            blurb="Make what is selected disappear into its surroundings",
            help="Sends the selection and its surroundings to the Overpaint daemon on this computer and adds a new layer "
            "that covers the selection with its surroundings.",
            takes_prompt=False,
        ),
        Edit(
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


def create_edit(plug_in: Gimp.PlugIn, edit: Edit, run: RunFunction) -> Gimp.Procedure:
    """The procedure of ``edit`` with its typed arguments."""
    procedure = _create(plug_in, edit.name, run)
    procedure.set_menu_label(edit.label)
    procedure.set_documentation(edit.blurb, edit.help, None)
    procedure.add_menu_path(edit.menu_path)
    procedure.add_menu_path(_AI_MENU)
    flags = GObject.ParamFlags.READWRITE
    if edit.takes_prompt:
        procedure.add_string_argument(
            "prompt", "_Prompt", "What to paint; leave it empty to continue the surroundings", "", flags
        )
        procedure.add_string_argument(
            "negative-prompt", "_Avoid", "What must not appear; only some engines heed it", "", flags
        )
    if edit.takes_margins:
        for side, label in zip(SIDES, ("Le_ft", "R_ight", "_Top", "_Bottom"), strict=True):
            procedure.add_int_argument(
                side, f"{label} (px)", f"How far the canvas grows at the {side}", 0, _MAX_MARGIN_PX, 0, flags
            )
    procedure.add_string_argument(
        "engine", "_Engine", "Id of the engine; leave it empty for an automatic choice", "", flags
    )
    procedure.add_int_argument(
        "variants", "_Variants", "How many results, each a layer of its own", 1, MAX_VARIANTS, 1, flags
    )
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


def request_from(edit: Edit, config: Gimp.ProcedureConfig) -> EditRequest:
    """What the arguments ask for.

    Raises:
        RequestError: they ask for nothing that can be done; the sentence says why.
    """
    engine = config.get_property("engine").strip()
    seed = config.get_property("seed")
    return EditRequest(
        operation=_operation_from(edit, config),
        engine=engine or None,
        variants=config.get_property("variants"),
        seed=None if seed == _NEW_SEED else seed,
    )


def _operation_from(edit: Edit, config: Gimp.ProcedureConfig) -> Operation:
    if not edit.takes_prompt:
        return Remove()
    prompt = (config.get_property("prompt") or "").strip()
    negative_prompt = (config.get_property("negative-prompt") or "").strip()
    if not edit.takes_margins:
        return Fill(prompt=prompt, negative_prompt=negative_prompt)
    margins = Margins(**{side: config.get_property(side) for side in SIDES})
    if margins.is_empty:
        raise RequestError("The canvas would not grow. Say how many pixels to add on at least one side.")
    return Expand(margins=margins, prompt=prompt, negative_prompt=negative_prompt)


def _create(plug_in: Gimp.PlugIn, name: str, run: RunFunction) -> Gimp.Procedure:
    procedure = Gimp.ImageProcedure.new(plug_in, name, Gimp.PDBProcType.PLUGIN, run, None)
    # all kinds: a menu entry that is gray says nothing, a run on an indexed image says what to do
    procedure.set_image_types("*")
    mask = Gimp.ProcedureSensitivityMask
    procedure.set_sensitivity_mask(mask.DRAWABLE | mask.DRAWABLES | mask.NO_DRAWABLES)
    procedure.set_attribution(*_ATTRIBUTION)
    return procedure
