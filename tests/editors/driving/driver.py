"""Long-lived editors with a window, driven from the host.

A driver owns one editor process under its own X display and a test-only plug-in inside it (``inside/``), which runs
code in the editor's main loop. Starting costs seconds: share one driver among the tests that can.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import psutil

from .root import ANSWER_S, RUN_IN, EditorRoot

__all__ = ["EditorDied", "EditorDriver", "EditorError"]

_TOOL_S = 60.0
"""Longest wait for a program beside the editor, such as xdotool."""


class EditorError(Exception):
    """The code that a test sent raised inside the editor; the text is its traceback."""


class EditorDied(Exception):
    """The editor's process has ended, or does not answer; the text has the end of its log."""


class EditorDriver:
    """One running editor; see ``KritaDriver`` and ``GimpDriver``, and ``fresh_driver`` which makes them.

    Put plug-ins into ``home`` between construction and ``start()``; call ``close()`` in any case.

    Args:
        root: Which editors.
        folder: The driver's own folder, shown inside under the same path (log, socket, screenshots). Its path has
            at most 90 bytes, for the socket in it.
        home: The profile (see ``new_home``), shown inside as /home/editor.
        binds: Further folders shown inside under the same path.
        environment: Further environment variables of the editor.
    """

    _COMMAND: ClassVar[tuple[str, ...]]
    _PROCESS_NAME: ClassVar[re.Pattern[str]]

    def __init__(
        self,
        root: EditorRoot,
        folder: Path,
        home: Path,
        binds: Iterable[Path] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.root = root
        self.folder = folder
        self.home = home
        self.log_path = folder / "editor.log"
        self._binds = [folder, *binds]
        self._environment = dict(environment or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: socket.socket | None = None

    def start(self) -> Self:
        """Start the editor and wait until it answers.

        Raises:
            EditorDied: It ended, or did not answer within ``ANSWER_S``.
        """
        self._install_plug_in()
        socket_path = self.folder / "driver.socket"
        socket_path.unlink(missing_ok=True)
        command = [str(RUN_IN), "--root", str(self.root.path), "--home", str(self.home), "--no-project"]
        for bind in self._binds:
            command += ["--bind", str(bind)]
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener, self.log_path.open("wb") as log:
            listener.bind(str(socket_path))
            listener.listen(1)
            listener.settimeout(0.1)
            self._process = subprocess.Popen(
                [*command, "--", *self._COMMAND],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self._environment, "OVERPAINT_TEST_DRIVER": str(socket_path)},
            )
            deadline = time.monotonic() + ANSWER_S
            while self._connection is None:
                try:
                    self._connection, _ = listener.accept()
                except TimeoutError:
                    if not self.is_alive() or time.monotonic() > deadline:
                        self.close()
                        raise EditorDied(f"the editor did not start:\n{self._log_tail()}") from None
        self._wait_for_window(deadline)
        return self

    def is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def run(self, code: str, timeout: float = ANSWER_S) -> Any:
        """Run ``code`` in the editor's main loop and return its variable ``result`` (through JSON).

        Names persist from one call to the next; see ``inside/`` for those given.

        Raises:
            EditorError: The code raised.
            EditorDied: The editor ended meanwhile, or did not answer within ``timeout`` seconds. The driver is
                of no use afterwards, except for ``screenshot`` and ``close``.
        """
        if self._connection is None:
            raise EditorDied("the editor is not running")
        body = json.dumps({"code": code}).encode()
        deadline = time.monotonic() + timeout
        try:
            self._connection.settimeout(timeout)
            self._connection.sendall(len(body).to_bytes(4, "big") + body)
            size = int.from_bytes(self._receive(4, deadline), "big")
            answer = json.loads(self._receive(size, deadline))
        except TimeoutError:
            raise EditorDied(f"no answer within {timeout} s:\n{self._log_tail()}") from None
        except ConnectionError:
            raise EditorDied(f"the editor died:\n{self._log_tail()}") from None
        if "traceback" in answer:
            raise EditorError(answer["traceback"])
        return answer["result"]

    def screenshot(self, path: Path) -> None:
        """Write a picture of the whole screen to ``path``, which lies in ``folder`` or one of the binds."""
        self.on_display("import", "-window", "root", str(path))

    def xdotool(self, *arguments: str, timeout: float = _TOOL_S) -> str:
        """Run xdotool on the editor's display and return what it printed.

        Raises:
            subprocess.CalledProcessError: It failed, e.g. a search found nothing.
        """
        return self.on_display("xdotool", *arguments, timeout=timeout)

    def find_windows(self, *criteria: str) -> list[str]:
        """Ids of the visible windows that xdotool finds by ``criteria``, such as ``--class gimp``; none is no error."""
        while True:
            try:
                return self.xdotool("search", "--onlyvisible", *criteria).split()
            except subprocess.CalledProcessError as error:
                if "BadWindow" not in error.stderr:
                    return []
                # one that it was just looking at has gone

    def on_display(self, *command: str, timeout: float = _TOOL_S) -> str:
        """Run a program beside the editor (same namespaces, same display) and return its standard output."""
        editor = self.editor_process()
        enter = ["nsenter", f"--target={editor.pid}", "--mount", "--ipc", "--pid", "--root", "--wd=/tmp"]
        if os.getuid() != 0:
            enter += ["--user", "--preserve-credentials"]
        done = subprocess.run(
            [*enter, "--", *command],
            env=editor.environ(),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=True,
        )
        return done.stdout

    def editor_process(self) -> psutil.Process:
        """The editor's own process, seen from the host.

        Raises:
            EditorDied: There is none.
        """
        if self._process is not None and self.is_alive():
            for process in psutil.Process(self._process.pid).children(recursive=True):
                try:
                    if self._PROCESS_NAME.fullmatch(Path(process.exe()).name):
                        return process
                except psutil.Error:
                    continue  # ended while we looked, or is a kernel's leftover
        raise EditorDied(f"the editor is not running:\n{self._log_tail()}")

    def kill(self) -> None:
        """Kill the editor itself without a warning, as the system does when memory runs out."""
        self.editor_process().kill()
        self._wait_for_end(10.0)

    def quit(self, timeout: float = 20.0) -> int:
        """End the editor the orderly way, without questions about unsaved images, and return its exit status.

        Raises:
            EditorDied: It had not ended after ``timeout`` seconds, and was killed.
        """
        self._ask_to_quit()
        return self._wait_for_end(timeout)

    def close(self) -> None:
        """End everything that belongs to this driver, whatever state it is in."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._process is not None:
            if self._process.poll() is None:
                tree = psutil.Process(self._process.pid).children(recursive=True)
                self._process.kill()  # run-in.sh: the whole tree goes with it, but a moment later
                psutil.wait_procs(tree, timeout=10)
            self._process.wait(timeout=10)

    def _install_plug_in(self) -> None:
        raise NotImplementedError

    def _ask_to_quit(self) -> None:
        raise NotImplementedError

    def _wait_for_window(self, deadline: float) -> None:
        raise NotImplementedError

    def _wait_for_end(self, timeout: float) -> int:
        assert self._process is not None
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise EditorDied(f"the editor did not end:\n{self._log_tail()}") from None
        finally:
            self.close()

    def _receive(self, size: int, deadline: float) -> bytes:
        assert self._connection is not None
        data = bytearray()
        while len(data) < size:
            self._connection.settimeout(max(0.001, deadline - time.monotonic()))
            part = self._connection.recv(size - len(data))
            if not part:
                raise ConnectionResetError
            data += part
        return bytes(data)

    def _log_tail(self) -> str:
        text = self.log_path.read_text(errors="replace") if self.log_path.exists() else ""
        return text[-3000:]
