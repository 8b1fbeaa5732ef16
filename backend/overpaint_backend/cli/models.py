"""``overpaint models``: what is installed, and getting, checking and removing models."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from overpaint_backend.models.catalog import CATALOG
from overpaint_backend.models.companions import describe_use
from overpaint_backend.models.download import Plan, download, plan_download
from overpaint_backend.models.errors import ModelError, UnknownModel
from overpaint_backend.models.hub import Hub
from overpaint_backend.models.importer import (
    Outcome,
    format_bytes,
    import_all,
    import_model,
    is_model_folder,
)
from overpaint_backend.models.licences import licence_for
from overpaint_backend.models.store import InstalledModel, ModelSettings, ModelStore, OnProgress

from .models_known import describe_terms, say_hidden
from .outcome import FAILED, OK, complain, print_json, say

__all__ = ["run_add", "run_import", "run_list", "run_remove", "run_settings", "run_show", "run_verify"]


def run_list(store: ModelStore, *, as_json: bool) -> int:
    """Print the installed models and what each is used with. The setting commercial_only hides some."""
    models, broken = store.models(), store.broken()
    hidden = len(store.models(include_hidden=True)) - len(models)
    if as_json:
        print_json(
            {
                "ok": True,
                "folder": str(store.root),
                "commercial_only": store.settings().commercial_only,
                "hidden": hidden,
                "models": [_plain(store, model) for model in models],
                "broken": [{"id": model_id, "reason": reason} for model_id, reason in broken],
            }
        )
        return OK
    if not (models or broken or hidden):
        say(
            "No model is installed. “overpaint models list --known” shows what “overpaint models add” can get."
        )
    for model in models:
        say(
            f"{model.id}: {model.title}; {model.family}, {model.kind}; {format_bytes(model.total_bytes)}; "
            f"{describe_terms(licence_for(model.licence))}"
        )
        use = describe_use(model, models)
        if use:
            say(f"  {use}")
    for model_id, reason in broken:
        complain(f"{model_id} is not offered: {reason}")
    say_hidden(hidden)
    return OK


def run_show(store: ModelStore, model_id: str, *, as_json: bool) -> int:
    """Print all about one installed model.

    Raises:
        UnknownModel, ModelDamaged: there is none, or it is not whole.
    """
    model = store.get(model_id)
    if as_json:
        print_json({"ok": True, "model": _plain(store, model)})
        return OK
    licence = licence_for(model.licence)
    say(f"{model.id}: {model.title}")
    say(f"  family      {model.family} ({model.kind})")
    use = describe_use(model, store.models())
    if use:
        say(f"  use         {use}")
    say(f"  files       {len(model.files)}, {format_bytes(model.total_bytes)}, in {model.path}")
    if model.is_external:
        say("              They belong to another program: Overpaint only reads them.")
    say(
        f"  from        {model.source}{f' at {model.revision}' if model.revision else ''}, {model.installed_at}"
    )
    say(f"  licence     {describe_terms(licence)}")
    for line in (licence.note, licence.url):
        if line:
            say(f"              {line}")
    return OK


def run_verify(store: ModelStore, model_id: str | None, *, as_json: bool) -> int:
    """Read one or all models again; 0 if every byte is as installed.

    Raises:
        UnknownModel, ModelDamaged: there is none of that id, or its manifest cannot be read.
    """
    if model_id is not None:
        ids = [model_id]
    else:
        ids = sorted(
            {model.id for model in store.models(include_hidden=True)} | {key for key, _ in store.broken()}
        )
    problems = {}
    for key in ids:
        with _progress(f"Reading {key}") as on_progress:
            problems[key] = store.verify(key, on_progress)
    is_ok = not any(problems.values())
    if as_json:
        plain = {
            key: [{"path": problem.path, "reason": problem.reason} for problem in found]
            for key, found in problems.items()
        }
        print_json({"ok": is_ok, "verified": plain})
        return OK if is_ok else FAILED
    words = {"missing": "is missing", "size": "has another length", "content": "has other content"}
    for key, found in problems.items():
        if not found:
            say(f"{key} is as it was installed.")
        for problem in found:
            complain(f"{key}: {problem.path} {words[problem.reason]}. Remove the model and add it again.")
    return OK if is_ok else FAILED


def run_remove(store: ModelStore, model_id: str, *, as_json: bool) -> int:
    """Delete a model, or forget one that is only pointed at.

    Raises:
        UnknownModel: there is none. ModelError: it cannot be deleted.
    """
    store.remove(model_id)
    if as_json:
        print_json({"ok": True, "removed": model_id})
    else:
        say(f"Removed {model_id}.")
    return OK


def run_settings(store: ModelStore, commercial_only: bool | None, *, as_json: bool) -> int:
    """Change what was given, and print how it is now.

    Raises:
        ModelError: it cannot be kept.
    """
    if commercial_only is not None:
        store.choose(ModelSettings(commercial_only=commercial_only))
    chosen = store.settings()
    if as_json:
        print_json({"ok": True, "folder": str(store.root), "commercial_only": chosen.commercial_only})
    elif chosen.commercial_only:
        say("Only models whose licence plainly allows commercial use are offered.")
    else:
        say(
            "All installed models are offered. --commercial-only hides those that may not be used commercially."
        )
    return OK


def run_import(
    store: ModelStore,
    path: Path,
    *,
    link: bool,
    model_id: str | None,
    family: str | None,
    licence: str,
    as_json: bool,
) -> int:
    """Take a model, or every model in a folder of another program; 0 if any was taken.

    Raises:
        ModelError: ``path`` is one model and cannot be taken.
    """
    path = path.expanduser().absolute()
    is_collection = path.is_dir() and not (is_model_folder(path) or (path / "snapshots").is_dir())
    if not is_collection:
        with _progress(f"Reading {path.name}") as on_progress:
            model = import_model(
                store,
                path,
                link=link,
                model_id=model_id,
                family=family,
                licence=licence,
                on_progress=on_progress,
            )
        if as_json:
            print_json({"ok": True, "model": _plain(store, model)})
        else:
            _say_installed(store, model)
        return OK
    if model_id is not None or family is not None:
        raise ModelError(f"{path} holds several models or none. --id and --family go with one model.")
    outcomes: list[Outcome] = []
    with _progress(f"Reading {path.name}") as on_progress:
        for outcome in import_all(store, path, link=link, licence=licence, on_progress=on_progress):
            outcomes.append(outcome)
            if not as_json and outcome.model is not None:
                _say_installed(store, outcome.model)
            elif not as_json:
                complain(f"Left out {outcome.path}: {outcome.reason}")
    taken = [outcome.model for outcome in outcomes if outcome.model is not None]
    if as_json:
        left = [
            {"path": str(outcome.path), "reason": outcome.reason}
            for outcome in outcomes
            if outcome.model is None
        ]
        print_json({"ok": bool(taken), "models": [_plain(store, model) for model in taken], "left_out": left})
    elif not outcomes:
        complain(f"There is no model in {path}.")
    return OK if taken else FAILED


def run_add(
    store: ModelStore,
    name: str,
    *,
    revision: str | None,
    file: str | None,
    model_id: str | None,
    family: str | None,
    yes: bool,
    as_json: bool,
) -> int:
    """Download a model of the catalog or of the hub, after its size and licence were agreed to.

    Raises:
        UnknownModel: ``name`` is neither in the catalog nor OWNER/NAME.
        ModelError: it cannot be got.
    """
    known = CATALOG.get(name)
    if known is None and name.count("/") != 1:
        raise UnknownModel(
            f"Overpaint knows no model “{name}”. Choose one of “overpaint models list --known”, or write OWNER/NAME as on "
            "the hub."
        )
    if (yes or as_json) and known is not None and model_id is None and store.has(known.id):
        # A script may run this every time: no hub is asked for what is here.
        model = store.get(known.id)
        if revision in (None, model.revision):
            return _end_add(store, model, as_json=as_json)
    hub = Hub()
    plan = plan_download(
        hub,
        known.repo if known else name,
        revision=revision or (known.revision if known else "main"),
        file=file,
        model_id=model_id,
        family=family,
        known=known,
    )
    if store.has(plan.model_id):
        model = store.get(plan.model_id)
        if (model.source, model.revision) == (f"hub:{plan.remote.repo}", plan.remote.commit):
            return _end_add(store, model, as_json=as_json)
    if not _agree(plan, yes=yes, as_json=as_json):
        complain("Nothing was downloaded.")
        return FAILED
    with _progress(f"Downloading {plan.model_id}") as on_progress:
        model = download(hub, store, plan, on_progress)
    return _end_add(store, model, as_json=as_json)


def _agree(plan: Plan, *, yes: bool, as_json: bool) -> bool:
    """Show what will come and ask; ``yes`` answers for scripts."""
    show = complain if as_json else say
    show(f"{plan.title} ({plan.remote.repo}), version {plan.remote.commit}")
    show(f"  family      {plan.recognised.family} ({plan.recognised.kind})")
    show(f"  download    {format_bytes(plan.total_bytes)} in {len(plan.files)} files")
    show(f"  licence     {describe_terms(plan.licence)}")
    for line in (plan.licence.note, plan.licence.url):
        if line:
            show(f"              {line}")
    if yes:
        return True
    if as_json or not sys.stdin.isatty():
        raise ModelError(
            "Downloading needs your consent to the size and the licence above. Agree with --yes."
        )
    return input("Download it and accept the licence? [y/N] ").strip().lower() in ("y", "yes")


def _end_add(store: ModelStore, model: InstalledModel, *, as_json: bool) -> int:
    if as_json:
        print_json({"ok": True, "model": _plain(store, model)})
    else:
        _say_installed(store, model)
    return OK


def _say_installed(store: ModelStore, model: InstalledModel) -> None:
    is_hidden = model.commercial_use is not True and store.settings().commercial_only
    where = "used where it is" if model.is_external else "installed"
    say(
        f"{model.id} is {where}: {model.title}, {model.family} ({model.kind}), {format_bytes(model.total_bytes)}."
    )
    use = describe_use(model, store.models())
    if use:
        say(f"  {use}")
    if is_hidden:
        say("  It stays hidden while only models for commercial use are offered (overpaint models settings).")


def _plain(store: ModelStore, model: InstalledModel) -> dict[str, object]:
    return {
        "id": model.id,
        "title": model.title,
        "family": model.family,
        "kind": model.kind,
        "use": describe_use(model, store.models()),
        "path": str(model.path),
        "is_external": model.is_external,
        "licence": model.licence,
        "commercial_use": model.commercial_use,
        "bytes": model.total_bytes,
        "source": model.source,
        "revision": model.revision,
        "variant": model.variant,
        "installed_at": model.installed_at,
        "files": [{"path": file.path, "bytes": file.bytes, "sha256": file.sha256} for file in model.files],
    }


@contextmanager
def _progress(what: str) -> Iterator[OnProgress | None]:
    """A bar on stderr while people watch; nothing for scripts."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what)
        yield lambda done, total: bar.update(task, completed=done, total=total)
