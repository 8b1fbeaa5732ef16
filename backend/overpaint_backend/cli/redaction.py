"""What of texts and logs may leave the machine. Pure.

Redaction goes by what is allowed, not by what is known to be secret: of a log stay the lines of our own modules, which are
written without words of the artist, and of tracebacks where and what kind of error, without its message.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Redactor"]

_LINE = re.compile(
    r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (?:DEBUG|INFO|WARNING|ERROR|CRITICAL) (?P<logger>[\w.]+): (?P<text>.*)$"
)
_WORKER = "overpaint_backend.worker"
_WORKER_LINE = re.compile(r"^(?:DEBUG|INFO|WARNING|ERROR|CRITICAL) (?:overpaint_backend[\w.]*|worker): ")
_FRAME = re.compile(r'^\s*File "(?P<path>[^"]+)", line (?P<line>\d+), in (?P<function>[\w<>.]+)\s*$')
_RAISED = re.compile(r"^(?P<error>[A-Za-z_][\w.]*(?:Error|Exception|Interrupt|Exit|Lost|Failed))\b")
_PACKAGES = re.compile(r"(?:site-packages|dist-packages|python3\.\d+)[/\\](?P<inside>.+)$")
_OURS = re.compile(r"(?P<inside>overpaint_(?:backend|protocol|client)[/\\].+)$")
_SECRET = re.compile(r"[A-Za-z0-9_\-]{20,}|[0-9a-fA-F]{16,}")
_ADDRESS = re.compile(r"\b(?:ipc|tcp|inproc)://[^\s'\"”,)]+")
_PATH = re.compile(r"""(?:~|\b[A-Za-z]:|(?<![\w.…]))[/\\][^\s'"“”,;:)]+""")
_NAMED = (
    (re.compile(r"^(job \d+ queued: \w+ by ).*$"), r"\1[engine]"),
    (re.compile(r"^.* (is loaded|is unloaded|does not close)$"), r"[engine] \1"),
    (re.compile(r"^(run \d+: \w+\.\w+) .*$"), r"\1 [detail]"),
)
"""Lines of our own that quote what others have named or said."""
_LEFT_OUT = "(a line that is not Overpaint's own was left out)"


@dataclass(frozen=True, slots=True)
class Redactor:
    """Takes out what tells who and where.

    home: the user's home folder. names: of the user and the machine; short ones of less than 3 letters are left alone.
    """

    home: Path
    names: tuple[str, ...]

    def text(self, text: str) -> str:
        """A text of our own without paths, addresses, anything long enough to be a secret, and names."""
        text = text.replace(str(self.home), "~")
        text = _ADDRESS.sub("[address]", text)
        text = _PATH.sub("[path]", text)
        text = _SECRET.sub("[id]", text)
        for name in self.names:
            if len(name) >= 3:
                text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", "[name]", text)
        return text

    def log(self, lines: Iterable[str]) -> Iterator[str]:
        """A log without the lines of others; what was left out is said, once for each run of such lines."""
        was_left_out = False
        for line in lines:
            kept = self._line(line.rstrip("\r\n"))
            if kept is not None:
                was_left_out = False
                yield kept
            elif not was_left_out:
                was_left_out = True
                yield _LEFT_OUT

    def _line(self, line: str) -> str | None:
        match = _LINE.match(line)
        if match is None:
            return self._of_traceback(line)
        head, text = line[: match.start("text")], match["text"]
        if match["logger"] != _WORKER:
            return head + self._own(text)
        ours = _WORKER_LINE.match(text)
        if ours is not None:
            return head + ours[0] + self._own(text[ours.end() :])
        inside = self._of_traceback(text)
        return None if inside is None else head + inside

    def _own(self, text: str) -> str:
        for pattern, instead in _NAMED:
            text = pattern.sub(instead, text)
        return self.text(text)

    def _of_traceback(self, line: str) -> str | None:
        if line.startswith("Traceback (most recent call last)"):
            return line
        frame = _FRAME.match(line)
        if frame is not None:
            known = _PACKAGES.search(frame["path"]) or _OURS.search(frame["path"])
            where = known["inside"] if known is not None else "[path]"
            return f'  File "{where}", line {frame["line"]}, in {frame["function"]}'
        raised = _RAISED.match(line)
        return None if raised is None else f"{raised['error']}: [message]"
