"""The one line of Krita's settings that switches a Python plug-in on; every other byte stays as it is.

``kritarc`` is a KConfig file: ``[group]`` lines, ``key=value`` lines under them, UTF-8. A group may occur twice; the
entries add up and the last one wins.
"""

from __future__ import annotations

__all__ = ["is_enabled", "with_plugin_enabled"]

_GROUP = b"[python]"


def is_enabled(settings: bytes, plugin: str) -> bool:
    """True if ``settings``, the file's bytes, switch ``plugin`` on."""
    values = [value for _, value in _entries(settings.splitlines(keepends=True), plugin)]
    return bool(values) and values[-1].strip().lower() in (b"true", b"1", b"yes", b"on")


def with_plugin_enabled(settings: bytes, plugin: str) -> bytes:
    """``settings`` with ``plugin`` switched on: its line changed, or one added to the group, or a group added."""
    if is_enabled(settings, plugin):
        return settings
    lines = settings.splitlines(keepends=True)
    newline = b"\r\n" if lines and lines[0].endswith(b"\r\n") else b"\n"
    entry = b"enable_" + plugin.encode() + b"=true" + newline
    present = _entries(lines, plugin)
    groups = [index for index, line in enumerate(lines) if line.strip() == _GROUP]
    if present:
        lines[present[-1][0]] = entry
    elif groups:
        _end_with_newline(lines, newline)
        lines.insert(groups[-1] + 1, entry)
    else:
        _end_with_newline(lines, newline)
        lines += [newline] if lines else []
        lines += [_GROUP + newline, entry]
    return b"".join(lines)


def _entries(lines: list[bytes], plugin: str) -> list[tuple[int, bytes]]:
    """(line number, value) of each line about ``plugin``."""
    found: list[tuple[int, bytes]] = []
    in_group = False
    for index, line in enumerate(lines):
        text = line.strip()
        if text.startswith(b"["):
            in_group = text == _GROUP
        elif in_group:
            key, separator, value = text.partition(b"=")
            if separator and key.strip() == b"enable_" + plugin.encode():
                found.append((index, value))
    return found


def _end_with_newline(lines: list[bytes], newline: bytes) -> None:
    if lines and not lines[-1].endswith((b"\n", b"\r")):
        lines[-1] += newline
