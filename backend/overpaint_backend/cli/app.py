"""The commands of ``overpaint`` and their options; the work is done in the modules beside this one.

Each command imports what it needs when it runs: ``overpaint --help`` loads no numpy, no zmq and no torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from overpaint_protocol.version import PRODUCT_VERSION

from .models_app import models_app
from .outcome import end_with

__all__ = ["app", "main"]

app = typer.Typer(
    name="overpaint",
    help="Generative fill, remove and expand for Krita, GIMP and picture files.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

app.add_typer(models_app, name="models")

_Image = Annotated[Path, typer.Argument(help="The picture: PNG, JPEG, WebP or TIFF.", metavar="IMAGE")]
_Mask = Annotated[
    Path, typer.Option(help="A picture of the same size: white changes, black stays, grey blends.")
]
_Out = Annotated[Path, typer.Option(help="Where the result goes. Several variants get -1, -2 and so on.")]
_Layer = Annotated[Path | None, typer.Option(help="Also write the new layer alone, with transparency.")]
_Prompt = Annotated[str, typer.Option(help="What to paint. Empty continues the surroundings.")]
_Negative = Annotated[str, typer.Option(help="What to avoid.")]
_Steps = Annotated[
    int | None, typer.Option(min=1, max=150, help="How often a model refines the picture; more takes longer.")
]
_Guidance = Annotated[
    float | None, typer.Option(min=0, max=30, help="How closely a model follows the prompt.")
]
_Strength = Annotated[
    float | None,
    typer.Option(min=0, max=1, help="How far a model may get from what is there: 0 keeps it, 1 paints anew."),
]
_Variants = Annotated[int, typer.Option(min=1, max=8, help="How many results to make.")]
_Seed = Annotated[int | None, typer.Option(min=0, max=2**32 - 1, help="The same seed gives the same result.")]
_Engine = Annotated[str | None, typer.Option(help="Which engine paints; “overpaint status” lists them.")]
_Force = Annotated[bool, typer.Option("--force", help="Allow replacing the picture or the mask.")]
_Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"overpaint {PRODUCT_VERSION}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
def fill(
    image: _Image,
    mask: _Mask,
    out: _Out,
    prompt: _Prompt = "",
    negative_prompt: _Negative = "",
    steps: _Steps = None,
    guidance: _Guidance = None,
    strength: _Strength = None,
    variants: _Variants = 1,
    seed: _Seed = None,
    engine: _Engine = None,
    layer: _Layer = None,
    force: _Force = False,
    as_json: _Json = False,
) -> None:
    """Paint the masked area anew."""

    def run() -> int:
        from overpaint_protocol.messages import Fill, GenerationSettings

        from .edit import EditCommand, run_edit

        settings = GenerationSettings(steps=steps, guidance=guidance, strength=strength)
        operation = Fill(prompt=prompt, negative_prompt=negative_prompt, settings=settings)
        return run_edit(
            EditCommand(
                image=image,
                mask=mask,
                operation=lambda size: operation,
                out=out,
                layer=layer,
                engine=engine,
                variants=variants,
                seed=seed,
                force=force,
                as_json=as_json,
            )
        )

    end_with(run, as_json=as_json)


@app.command()
def remove(
    image: _Image,
    mask: _Mask,
    out: _Out,
    variants: _Variants = 1,
    seed: _Seed = None,
    engine: _Engine = None,
    layer: _Layer = None,
    force: _Force = False,
    as_json: _Json = False,
) -> None:
    """Make what the mask covers disappear into its surroundings."""

    def run() -> int:
        from overpaint_protocol.messages import Remove

        from .edit import EditCommand, run_edit

        return run_edit(
            EditCommand(
                image=image,
                mask=mask,
                operation=lambda size: Remove(),
                out=out,
                layer=layer,
                engine=engine,
                variants=variants,
                seed=seed,
                force=force,
                as_json=as_json,
            )
        )

    end_with(run, as_json=as_json)


@app.command()
def expand(
    image: _Image,
    out: _Out,
    left: Annotated[int, typer.Option(min=0, help="Pixels to add on the left.")] = 0,
    top: Annotated[int, typer.Option(min=0, help="Pixels to add above.")] = 0,
    right: Annotated[int, typer.Option(min=0, help="Pixels to add on the right.")] = 0,
    bottom: Annotated[int, typer.Option(min=0, help="Pixels to add below.")] = 0,
    ratio: Annotated[
        str | None, typer.Option(help="Or: grow evenly to these proportions, such as 16:9.")
    ] = None,
    prompt: _Prompt = "",
    negative_prompt: _Negative = "",
    steps: _Steps = None,
    guidance: _Guidance = None,
    strength: _Strength = None,
    variants: _Variants = 1,
    seed: _Seed = None,
    engine: _Engine = None,
    layer: _Layer = None,
    force: _Force = False,
    as_json: _Json = False,
) -> None:
    """Grow the canvas and continue the picture into the new area."""
    has_sides = bool(left or top or right or bottom)
    if has_sides == (ratio is not None):
        raise typer.BadParameter("give either pixels to add (--left, --top, --right, --bottom) or --ratio")

    def run() -> int:
        from overpaint_protocol.geometry import Margins, Size
        from overpaint_protocol.messages import Expand, GenerationSettings

        from .edit import EditCommand, margins_for_ratio, run_edit

        def operation(size: Size) -> Expand:
            sides = Margins(left=left, top=top, right=right, bottom=bottom)
            margins = sides if ratio is None else margins_for_ratio(size, ratio)
            settings = GenerationSettings(steps=steps, guidance=guidance, strength=strength)
            return Expand(margins=margins, prompt=prompt, negative_prompt=negative_prompt, settings=settings)

        return run_edit(
            EditCommand(
                image=image,
                mask=None,
                operation=operation,
                out=out,
                layer=layer,
                engine=engine,
                variants=variants,
                seed=seed,
                force=force,
                as_json=as_json,
            )
        )

    end_with(run, as_json=as_json)


@app.command()
def serve(
    idle_exit: Annotated[
        float | None,
        typer.Option(min=1, help="End after this many seconds without anything to do.", metavar="SECONDS"),
    ] = None,
) -> None:
    """Run the daemon that editors talk to, in the foreground."""

    def run() -> int:
        from .serve import run_serve

        return run_serve(idle_exit)

    end_with(run, as_json=False)


@app.command()
def install(
    editor: Annotated[str, typer.Argument(help="krita or gimp.", metavar="krita|gimp")],
    profile: Annotated[
        Path | None,
        typer.Option(help="Krita's resource folder or GIMP's folder of one version, instead of all found."),
    ] = None,
    save_zip: Annotated[
        Path | None, typer.Option("--zip", help="Write the plug-in as a zip into this folder instead.")
    ] = None,
    link: Annotated[
        bool, typer.Option("--link", help="Link to the sources instead of copying, for developers.")
    ] = False,
    as_json: _Json = False,
) -> None:
    """Put the plug-in into every Krita or GIMP 3 of yours."""
    if editor not in ("krita", "gimp"):
        raise typer.BadParameter(f"“{editor}” is not an editor Overpaint knows: krita or gimp")
    if save_zip is not None and (link or profile is not None):
        raise typer.BadParameter("--zip goes with neither --link nor --profile")

    def run() -> int:
        from .install import InstallCommand, run_install

        return run_install(
            InstallCommand(editor=editor, profile=profile, zip_folder=save_zip, link=link, as_json=as_json)
        )

    end_with(run, as_json=as_json)


@app.command()
def doctor(as_json: _Json = False) -> None:
    """Check everything Overpaint needs, and say what to do about what is missing."""

    def run() -> int:
        from .doctor import run_doctor

        return run_doctor(as_json=as_json)

    end_with(run, as_json=as_json)


@app.command()
def status(as_json: _Json = False) -> None:
    """Say what the daemon is doing."""

    def run() -> int:
        from .status import run_status

        return run_status(as_json=as_json)

    end_with(run, as_json=as_json)


@app.command()
def stop(as_json: _Json = False) -> None:
    """End the daemon. Jobs that are not finished fail."""

    def run() -> int:
        from .status import run_stop

        return run_stop(as_json=as_json)

    end_with(run, as_json=as_json)


def main() -> None:
    """Run the command line."""
    app()
