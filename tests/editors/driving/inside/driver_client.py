"""The half of the driver that lives in the editor: runs code sent by the host in the editor's main loop.

Copied beside both driver plug-ins; imports the standard library only and knows no toolkit. The host listens on the
unix socket named by ``OVERPAINT_TEST_DRIVER``. A message is four bytes of big-endian length and that much UTF-8 JSON:
``{"code": text}`` one way, ``{"result": value}`` or ``{"traceback": text}`` the other.
"""

from __future__ import annotations

import json
import os
import socket
import traceback


class DriverClient:
    """One connection to the host; the plug-in watches ``fileno()`` and calls ``serve_one`` when it is readable.

    Args:
        names: The globals of all code that is run; they persist from one request to the next.
    """

    def __init__(self, names: dict[str, object]) -> None:
        self._names = names
        self._is_busy = False
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.connect(os.environ["OVERPAINT_TEST_DRIVER"])

    def fileno(self) -> int:
        return self._socket.fileno()

    def serve_one(self) -> bool:
        """Run one request and answer it; False when the host has gone and the watch should end."""
        if self._is_busy:  # code that spins the event loop must not run a second request inside the first
            return True
        header = self._receive(4)
        if header is None:
            return False
        body = self._receive(int.from_bytes(header, "big"))
        if body is None:
            return False
        self._is_busy = True
        try:
            answer = self._run(json.loads(body)["code"])
        finally:
            self._is_busy = False
        self._socket.sendall(len(answer).to_bytes(4, "big") + answer)
        return True

    def _run(self, code: str) -> bytes:
        self._names.pop("result", None)
        try:
            exec(compile(code, "<test>", "exec"), self._names)
            # what JSON does not know (the editor's own objects) is shown by its repr
            answer = {"result": self._names.get("result")}
            return json.dumps(answer, default=repr).encode()
        except BaseException:
            return json.dumps({"traceback": traceback.format_exc()}).encode()

    def _receive(self, size: int) -> bytes | None:
        data = b""
        while len(data) < size:
            part = self._socket.recv(size - len(data))
            if not part:
                return None
            data += part
        return data
