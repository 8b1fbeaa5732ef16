"""How a command ends: its exit code, a sentence for people or JSON for scripts."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from typing import NoReturn, TextIO

from overpaint_protocol.errors import OverpaintError

__all__ = ["CANCELLED", "FAILED", "OK", "complain", "end_with", "error_plain", "print_json", "say"]

OK = 0
FAILED = 1
CANCELLED = 130
"""As shells say it for a program that Ctrl+C ended."""


def end_with(action: Callable[[], int], *, as_json: bool) -> NoReturn:
    """Run a command and end the program with what it returns; an error of the tree becomes a sentence."""
    try:
        code = action()
    except OverpaintError as error:
        complain(error.message)
        if as_json:
            print_json({"ok": False, "error": error_plain(error)})
        code = FAILED
    except KeyboardInterrupt:
        complain("Cancelled.")
        code = CANCELLED
    sys.exit(code)


def error_plain(error: OverpaintError) -> dict[str, str]:
    """An error as it appears in JSON."""
    return {
        "code": error.code,
        "message": error.message,
        "detail": error.detail,
        "retry": error.retry.value,
        "action": error.action,
    }


def print_json(value: Mapping[str, object]) -> None:
    """Print one JSON object on stdout."""
    print(json.dumps(value, indent=2, ensure_ascii=True))


def say(sentence: str) -> None:
    """Print for people on stdout."""
    print(_printable(sentence, sys.stdout), flush=True)


def complain(sentence: str) -> None:
    """Print for people on stderr."""
    print(_printable(sentence, sys.stderr), file=sys.stderr, flush=True)


def _printable(sentence: str, stream: TextIO) -> str:
    """The sentence as far as ``stream`` can show it: a Windows console may lack a letter of a file's name."""
    encoding = stream.encoding or "utf-8"
    return sentence.encode(encoding, "replace").decode(encoding)
