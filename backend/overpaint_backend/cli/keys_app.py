"""The commands of ``overpaint keys`` and their options; the work is done in ``keys``, which is imported only then."""

from __future__ import annotations

from typing import Annotated

import typer

from .options import Json
from .outcome import end_with

__all__ = ["keys_app"]

keys_app = typer.Typer(help="Say which other machines may use the daemon on this one.", no_args_is_help=True)

_Name = Annotated[str, typer.Argument(help="What to call that machine, or who works at it.", metavar="NAME")]


@keys_app.command("list")
def keys_list(as_json: Json = False) -> None:
    """Say which machines may connect, and the key of the daemon here."""

    def run() -> int:
        from .keys import run_list

        return run_list(as_json=as_json)

    end_with(run, as_json=as_json)


@keys_app.command("pair")
def keys_pair(
    name: _Name,
    minutes: Annotated[float, typer.Option(min=0.1, max=60, help="How long the code is good.")] = 10.0,
    as_json: Json = False,
) -> None:
    """Show a short code that lets one machine in, and wait until it has come."""

    def run() -> int:
        from .keys import run_pair

        return run_pair(name, minutes * 60, as_json=as_json)

    end_with(run, as_json=as_json)


@keys_app.command("add")
def keys_add(
    name: _Name,
    key: Annotated[str, typer.Argument(help="Its public key, as its relay shows it.", metavar="KEY")],
    as_json: Json = False,
) -> None:
    """Let a machine in whose public key you have. “pair” does it with a short code instead."""

    def run() -> int:
        from .keys import run_add

        return run_add(name, key, as_json=as_json)

    end_with(run, as_json=as_json)


@keys_app.command("revoke")
def keys_revoke(name: _Name, as_json: Json = False) -> None:
    """Let a machine in no more; its connections end at once."""

    def run() -> int:
        from .keys import run_revoke

        return run_revoke(name, as_json=as_json)

    end_with(run, as_json=as_json)
