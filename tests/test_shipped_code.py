"""What the shipped code never does: run what it was sent, or read a format that can hold code."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SHIPPED = sorted(
    path for folder in ("protocol", "backend", "plugins") for path in (ROOT / folder).rglob("*.py")
)

MODULES = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "jsonpickle", "marshal", "shelve"}
CALLS = {"eval", "exec", "compile", "__import__"}
ATTRIBUTES = {"recv_pyobj", "send_pyobj", "recv_serialized", "unsafe_load", "full_load"}
LOADERS = {("torch", "load"), ("yaml", "load"), ("numpy", "load"), ("np", "load")}


def offences(source: str) -> list[str]:
    """Each forbidden thing a module does, as ``line: what``."""
    found = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import():
                names = [alias.name.partition(".")[0] for alias in node.names]
                found += [(node.lineno, name) for name in names if name in MODULES]
            case ast.ImportFrom(module=str(module)):
                found += [(node.lineno, module)] if module.partition(".")[0] in MODULES else []
                pairs = [(module.partition(".")[0], alias.name) for alias in node.names]
                found += [(node.lineno, ".".join(pair)) for pair in pairs if pair in LOADERS]
            case ast.Call(func=ast.Name(id=name)) if name in CALLS:
                found.append((node.lineno, name))
            case ast.Attribute(value=ast.Name(id=owner), attr=name) if (owner, name) in LOADERS:
                found.append((node.lineno, f"{owner}.{name}"))
            case ast.Attribute(attr=name) if name in ATTRIBUTES:
                found.append((node.lineno, name))
            case ast.keyword(arg="trust_remote_code", value=value) if not (
                isinstance(value, ast.Constant) and value.value is False
            ):
                found.append((value.lineno, "trust_remote_code"))
            case _:
                pass
    return [f"{line}: {what}" for line, what in found]


def test_nothing_shipped_runs_or_unpickles_what_it_is_given():
    assert len(SHIPPED) > 100, "the sources were not found"
    found = {str(path.relative_to(ROOT)): offences(path.read_text(encoding="utf-8")) for path in SHIPPED}
    assert {path: what for path, what in found.items() if what} == {}


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "import torch, marshal",
        "from cloudpickle import loads",
        "from torch import load",
        "x = torch.load(path, weights_only=True)",
        "f = yaml.load",
        "socket.recv_pyobj()",
        "eval(text)",
        "exec(compile(a, b, c))",
        "from_pretrained(x, trust_remote_code=flag)",
    ],
)
def test_each_of_them_would_be_found(source):
    assert offences(source)


@pytest.mark.parametrize(
    "source", ["model.eval()", "dialog.exec()", "json.load(f)", "f(trust_remote_code=False)"]
)
def test_what_only_looks_alike_is_allowed(source):
    assert offences(source) == []
