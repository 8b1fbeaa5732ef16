"""The commands of ``overpaint`` and their options; the work is done in the modules beside this one.

Each command imports what it needs when it runs: ``overpaint --help`` loads no numpy, no zmq and no torch.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from overpaint_protocol.version import PRODUCT_VERSION

from .keys_app import keys_app
from .models_app import models_app
from .options import EdgeOptions, Json, NegativePrompt, Prompt, SettingOptions, TaskOptions, spread
from .outcome import end_with
from .recipes_app import recipes_app
from .startup_app import service_app

__all__ = ["app", "main"]

app = typer.Typer(
    name="overpaint",
    help="Generative fill, remove, expand and edit for Krita, GIMP and picture files.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

app.add_typer(models_app, name="models")
app.add_typer(recipes_app, name="recipes")
app.add_typer(service_app, name="service")
app.add_typer(keys_app, name="keys")


class ExecutorName(StrEnum):
    """Where workers run."""

    PROCESS = "process"
    RAY = "ray"


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


_MOST_WORKERS = 64
_WHITE_CHANGES = "A picture of the same size: white changes, black stays, grey blends."


@app.command()
@spread
def fill(
    *,
    mask: Annotated[
        Path | None, typer.Option(help=f"{_WHITE_CHANGES} Without it, the whole picture is painted.")
    ] = None,
    prompt: Prompt = "",
    negative_prompt: NegativePrompt = "",
    settings: SettingOptions,
    edges: EdgeOptions,
    task: TaskOptions,
) -> None:
    """Paint the masked area anew, or all of a picture from a prompt."""
    if mask is None and not prompt.strip() and task.recipe is None:
        raise typer.BadParameter(
            "say what to paint all over the picture with --prompt, or which part of it with --mask"
        )

    def run() -> int:
        from overpaint_protocol.messages import Fill

        from .edit import run_edit

        operation = Fill(prompt=prompt, negative_prompt=negative_prompt, settings=settings.chosen)
        return run_edit(task, lambda size: operation, mask, edges.chosen)

    end_with(run, as_json=task.as_json)


@app.command()
@spread
def remove(
    *, mask: Annotated[Path, typer.Option(help=_WHITE_CHANGES)], edges: EdgeOptions, task: TaskOptions
) -> None:
    """Make what the mask covers disappear into its surroundings."""

    def run() -> int:
        from overpaint_protocol.messages import Remove

        from .edit import run_edit

        return run_edit(task, lambda size: Remove(), mask, edges.chosen)

    end_with(run, as_json=task.as_json)


@app.command()
@spread
def expand(
    *,
    left: Annotated[int, typer.Option(min=0, help="Pixels to add on the left.")] = 0,
    top: Annotated[int, typer.Option(min=0, help="Pixels to add above.")] = 0,
    right: Annotated[int, typer.Option(min=0, help="Pixels to add on the right.")] = 0,
    bottom: Annotated[int, typer.Option(min=0, help="Pixels to add below.")] = 0,
    ratio: Annotated[
        str | None, typer.Option(help="Or: grow evenly to these proportions, such as 16:9.")
    ] = None,
    prompt: Prompt = "",
    negative_prompt: NegativePrompt = "",
    settings: SettingOptions,
    edges: EdgeOptions,
    task: TaskOptions,
) -> None:
    """Grow the canvas and continue the picture into the new area."""
    has_sides = bool(left or top or right or bottom)
    if has_sides == (ratio is not None):
        raise typer.BadParameter("give either pixels to add (--left, --top, --right, --bottom) or --ratio")

    def run() -> int:
        from overpaint_protocol.geometry import Margins, Size
        from overpaint_protocol.messages import Expand

        from .edit import margins_for_ratio, run_edit

        def operation(size: Size) -> Expand:
            sides = Margins(left=left, top=top, right=right, bottom=bottom)
            margins = sides if ratio is None else margins_for_ratio(size, ratio)
            return Expand(
                margins=margins, prompt=prompt, negative_prompt=negative_prompt, settings=settings.chosen
            )

        return run_edit(task, operation, None, edges.chosen)

    end_with(run, as_json=task.as_json)


@app.command()
@spread
def edit(
    *,
    prompt: Annotated[str, typer.Option(help="What to change, such as “make it night”.")],
    negative_prompt: NegativePrompt = "",
    mask: Annotated[
        Path | None, typer.Option(help=f"{_WHITE_CHANGES} Without it, all of the picture may change.")
    ] = None,
    settings: SettingOptions,
    edges: EdgeOptions,
    task: TaskOptions,
) -> None:
    """Change a picture as an instruction says, such as “make it night”."""

    def run() -> int:
        from overpaint_protocol.messages import Edit

        from .edit import run_edit

        operation = Edit(prompt=prompt, negative_prompt=negative_prompt, settings=settings.chosen)
        return run_edit(task, lambda size: operation, mask, edges.chosen)

    end_with(run, as_json=task.as_json)


@app.command()
def serve(
    idle_exit: Annotated[
        float | None,
        typer.Option(min=1, help="End after this many seconds without anything to do.", metavar="SECONDS"),
    ] = None,
    listen: Annotated[
        str,
        typer.Option(
            help="Let other machines in as well, those whose keys are on the list (overpaint keys): at this address of this "
            "machine, such as tcp://192.168.1.5:5577.",
            metavar="tcp://ADDRESS:PORT",
        ),
    ] = "",
    on_every_address: Annotated[
        bool, typer.Option("--on-every-address", help="Allow --listen at every address of this machine.")
    ] = False,
    metrics: Annotated[
        str,
        typer.Option(
            help="Serve metrics for Prometheus to this machine, such as at 127.0.0.1:9187.",
            metavar="127.0.0.1:PORT",
        ),
    ] = "",
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=_MOST_WORKERS,
            envvar="OVERPAINT_WORKERS",
            help="Work at so many jobs at a time; by default at one on each CUDA device.",
            metavar="COUNT",
        ),
    ] = None,
    executor: Annotated[
        ExecutorName, typer.Option(help="Where workers run: processes of this machine, or actors of Ray.")
    ] = ExecutorName.PROCESS,
    ray_address: Annotated[
        str,
        typer.Option(
            help="With --executor ray: the Ray cluster of a private network that this machine belongs to, instead of one of its own.",
            metavar="ADDRESS:PORT",
        ),
    ] = "",
) -> None:
    """Run the daemon that editors talk to, in the foreground."""
    if ray_address and executor is not ExecutorName.RAY:
        raise typer.BadParameter("--ray-address goes with --executor ray")
    if ray_address and workers is None:
        raise typer.BadParameter("with --ray-address, --workers says on how many devices to work")

    def run() -> int:
        from .serve import run_serve

        return run_serve(
            idle_exit,
            listen,
            on_every_address=on_every_address,
            metrics=metrics,
            workers=workers,
            ray=ray_address if executor is ExecutorName.RAY else None,
        )

    end_with(run, as_json=False)


@app.command()
def relay(
    address: Annotated[
        str, typer.Argument(help="The daemon, such as tcp://gpu-box:5577.", metavar="tcp://HOST:PORT")
    ],
    key: Annotated[
        Path | None,
        typer.Option(help="The file with this machine's key and the daemon's, instead of the usual one."),
    ] = None,
    pair: Annotated[
        str, typer.Option(help="The code that “overpaint keys pair” shows there, once.", metavar="CODE")
    ] = "",
    daemon_key: Annotated[
        str,
        typer.Option(
            help="Instead of a code, once: the daemon's public key, which “overpaint keys list” shows there."
        ),
    ] = "",
) -> None:
    """Have the editors on this machine work with the daemon on another one, in the foreground."""
    if pair and daemon_key:
        raise typer.BadParameter("give either --pair or --daemon-key")

    def run() -> int:
        from .relay import run_relay_command

        return run_relay_command(address, key, daemon_key=daemon_key, code=pair)

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
    as_json: Json = False,
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
def doctor(
    job: Annotated[
        str | None, typer.Argument(help="With --story: a job's id, or its beginning.", show_default=False)
    ] = None,
    story: Annotated[
        bool,
        typer.Option("--story", help="Say what happened to JOB and why; without JOB, list the latest jobs."),
    ] = False,
    bundle: Annotated[
        Path | None,
        typer.Option(
            help="Write versions, checks, logs and stories into this zip file for a report of a fault, without words, "
            "names and pictures of yours.",
            metavar="FILE.zip",
            dir_okay=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Check everything Overpaint needs, and say what to do about what is missing."""
    if bundle is not None and story:
        raise typer.BadParameter("--bundle has the stories in it; give one of the two")
    if job is not None and not story:
        raise typer.BadParameter(f"to learn what happened to a job: overpaint doctor --story {job}")

    def run() -> int:
        if story:
            from .story import run_stories, run_story

            return run_stories(as_json=as_json) if job is None else run_story(job, as_json=as_json)
        if bundle is not None:
            from .diagnosis import run_bundle

            return run_bundle(bundle, as_json=as_json)
        from .doctor import run_doctor

        return run_doctor(as_json=as_json)

    end_with(run, as_json=as_json)


@app.command()
def status(
    watch: Annotated[bool, typer.Option("--watch", help="Show it again every second, until Ctrl+C.")] = False,
    as_json: Json = False,
) -> None:
    """Say what the daemon is doing: jobs, clients, memory, models, disk, energy, recent failures."""
    if watch and as_json:
        raise typer.BadParameter("--watch is for people; ask with --json as often as you like")

    def run() -> int:
        from .status import run_status

        return run_status(as_json=as_json, watch=watch)

    end_with(run, as_json=as_json)


@app.command()
def stop(
    drain: Annotated[
        bool,
        typer.Option(
            "--drain",
            help="Finish the jobs there are, take no new ones, then end. A second time, or with Ctrl+C, end at once.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """End the daemon. Jobs that are not finished go on when it is started again.

    No editor starts it for jobs it was asked for before; asking for something new does.
    """

    def run() -> int:
        from .status import run_stop

        return run_stop(as_json=as_json, drain=drain)

    end_with(run, as_json=as_json)


def main() -> None:
    """Run the command line."""
    app()
