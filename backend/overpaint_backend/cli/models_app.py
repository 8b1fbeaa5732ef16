"""The commands of ``overpaint models`` and their options; the work is done in ``models``, which is imported only then."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .outcome import end_with

__all__ = ["models_app"]

models_app = typer.Typer(help="Get, check and remove the models that paint.", no_args_is_help=True)

_Model = Annotated[str, typer.Argument(help="The model's id, as “models list” shows it.", metavar="MODEL")]
_ModelId = Annotated[str | None, typer.Option("--id", help="Its id here, instead of one from its name.")]
_Family = Annotated[str | None, typer.Option(help="Which family it is of, where several look exactly alike.")]
_Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


@models_app.command("list")
def models_list(
    known: Annotated[
        bool, typer.Option("--known", help="Those that can be got by name, instead of those that are here.")
    ] = False,
    as_json: _Json = False,
) -> None:
    """Say which models are here."""

    def run() -> int:
        from overpaint_backend.models.store import ModelStore

        from .models import run_list
        from .models_known import run_list_known

        show = run_list_known if known else run_list
        return show(ModelStore.from_environment(), as_json=as_json)

    end_with(run, as_json=as_json)


@models_app.command("show")
def models_show(model: _Model, as_json: _Json = False) -> None:
    """Say what one model is, where it is from and what it may be used for."""

    def run() -> int:
        from overpaint_backend.models.store import ModelStore

        from .models import run_show

        return run_show(ModelStore.from_environment(), model, as_json=as_json)

    end_with(run, as_json=as_json)


@models_app.command("add")
def models_add(
    name: Annotated[str, typer.Argument(help="A name of “models list --known”, or OWNER/NAME on the hub.")],
    revision: Annotated[str | None, typer.Option(help="A commit, tag or branch of it.")] = None,
    file: Annotated[str | None, typer.Option(help="One .safetensors file of it alone.")] = None,
    model_id: _ModelId = None,
    family: _Family = None,
    yes: Annotated[bool, typer.Option("--yes", help="Agree to the size and the licence.")] = False,
    as_json: _Json = False,
) -> None:
    """Download a model. Its size and licence are shown first; what broke off goes on when run again."""

    def run() -> int:
        from overpaint_backend.models.store import ModelStore

        from .models import run_add

        return run_add(
            ModelStore.from_environment(),
            name,
            revision=revision,
            file=file,
            model_id=model_id,
            family=family,
            yes=yes,
            as_json=as_json,
        )

    end_with(run, as_json=as_json)


@models_app.command("import")
def models_import(
    path: Annotated[
        Path, typer.Argument(help="A model's folder or .safetensors file, or another program's models.")
    ],
    link: Annotated[bool, typer.Option("--link", help="Use it where it is, without a copy.")] = False,
    model_id: _ModelId = None,
    family: _Family = None,
    licence: Annotated[str, typer.Option(help="Its licence, as the hub calls it, such as apache-2.0.")] = "",
    as_json: _Json = False,
) -> None:
    """Take models that are on this computer: they are told by what they hold, not by their names."""

    def run() -> int:
        from overpaint_backend.models.store import ModelStore

        from .models import run_import

        return run_import(
            ModelStore.from_environment(),
            path,
            link=link,
            model_id=model_id,
            family=family,
            licence=licence,
            as_json=as_json,
        )

    end_with(run, as_json=as_json)


@models_app.command("remove")
def models_remove(model: _Model, as_json: _Json = False) -> None:
    """Delete a model. Files that are only used where they are stay."""

    def run() -> int:
        from overpaint_backend.models.store import ModelStore

        from .models import run_remove

        return run_remove(ModelStore.from_environment(), model, as_json=as_json)

    end_with(run, as_json=as_json)


@models_app.command("verify")
def models_verify(
    model: Annotated[
        str | None, typer.Argument(help="Which one; all of them otherwise.", metavar="MODEL")
    ] = None,
    as_json: _Json = False,
) -> None:
    """Read the files again and compare them with what was installed."""

    def run() -> int:
        from overpaint_backend.models.store import ModelStore

        from .models import run_verify

        return run_verify(ModelStore.from_environment(), model, as_json=as_json)

    end_with(run, as_json=as_json)


@models_app.command("settings")
def models_settings(
    commercial_only: Annotated[
        bool | None,
        typer.Option(
            "--commercial-only/--any-use", help="Offer only what may be used commercially, or everything."
        ),
    ] = None,
    as_json: _Json = False,
) -> None:
    """Choose which models are offered."""

    def run() -> int:
        from overpaint_backend.models.store import ModelStore

        from .models import run_settings

        return run_settings(ModelStore.from_environment(), commercial_only, as_json=as_json)

    end_with(run, as_json=as_json)
