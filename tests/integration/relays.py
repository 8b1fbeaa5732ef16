"""Relays in processes of their own, and a link between two machines that can be cut."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import subprocess
import sys
import threading
from pathlib import Path

from tests.integration.daemon_process import DaemonProcess, daemon_environ, wait_until

from overpaint_backend.remote.keys import KeyPair, RelayKey, own_key


class CuttableLink:
    """Passes TCP connections on to a port. Cut, it loses everything without a word, as a cable does that is pulled."""

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._selector = selectors.DefaultSelector()
        self._wake, self._woken = socket.socketpair()
        self._pairs: dict[socket.socket, socket.socket] = {}
        self._is_cut = self._is_closed = False
        self.port = self._listener.getsockname()[1]
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def cut(self) -> None:
        """From now on nothing passes, and nobody is told."""
        self._is_cut = True

    def mend(self) -> None:
        """New connections pass again; the old ones are dead for good."""
        self._wake.send(b"m")
        wait_until(lambda: not self._is_cut, "the link is mended")

    def close(self) -> None:
        self._is_closed = True
        self._wake.send(b"c")
        self._thread.join()
        for end in (*self._pairs, self._listener, self._wake, self._woken):
            end.close()
        self._selector.close()

    def _run(self) -> None:
        while not self._is_closed:
            for key, _ in self._selector.select():
                if key.fileobj is self._woken:
                    if self._woken.recv(1) == b"m":
                        for end in list(self._pairs):
                            self._drop(end)
                        self._is_cut = False
                elif key.fileobj is self._listener:
                    self._accept()
                else:
                    self._pass(key.fileobj)

    def _accept(self) -> None:
        near, _ = self._listener.accept()
        try:
            far = socket.create_connection(self._target)
        except OSError:
            near.close()
            return
        for end, other in ((near, far), (far, near)):
            self._pairs[end] = other
            self._selector.register(end, selectors.EVENT_READ)

    def _pass(self, end: socket.socket) -> None:
        if end not in self._pairs:
            return
        try:
            data = end.recv(1 << 16)
            if self._is_cut:
                if not data:
                    self._selector.unregister(end)  # it was given up; the other side does not hear of it
                return
            if data:
                self._pairs[end].sendall(data)
                return
        except OSError:
            pass
        self._drop(end)

    def _drop(self, end: socket.socket) -> None:
        other = self._pairs.pop(end, None)
        for one in (end, other):
            if one is not None:
                self._pairs.pop(one, None)
                with contextlib.suppress(KeyError, ValueError):
                    self._selector.unregister(one)
                one.close()


class RelayProcess(DaemonProcess):
    """``overpaint relay`` as a user starts it. What a client of a daemon can do, it can do with this."""

    @classmethod
    def to(
        cls, far: DaemonProcess, folder: Path, *, port: int | None = None, prefix: tuple[str, ...] = ()
    ) -> RelayProcess:
        """Start one on the machine of ``folder`` and wait until it listens.

        port: where the daemon is reached, if not at its own. prefix: as for a daemon.
        """
        key = KeyPair.new()
        far.allowed.add(folder.name, key.public)
        relay = cls.begin(far, folder, key=key, port=port, prefix=prefix)
        try:
            wait_until(relay.is_listening, "the relay listens")
        except BaseException:
            relay.close()
            raise
        return relay

    @classmethod
    def begin(
        cls,
        far: DaemonProcess,
        folder: Path,
        *,
        key: KeyPair,
        port: int | None = None,
        daemon: str = "",
        prefix: tuple[str, ...] = (),
    ) -> RelayProcess:
        """Start one without waiting. daemon: the key it takes for the daemon's, by default the right one."""
        folder.mkdir(exist_ok=True)
        right = own_key(far.folder / "state" / "keys" / "daemon.key").public
        RelayKey(key, daemon or right).write(folder / "relay.json")
        address = far.info.remote if port is None else f"tcp://127.0.0.1:{port}"
        return cls.of_command(folder, address, "--key", os.fspath(folder / "relay.json"), prefix=prefix)

    @classmethod
    def of_command(cls, folder: Path, *arguments: str, prefix: tuple[str, ...] = ()) -> RelayProcess:
        """Start one with these arguments, without waiting."""
        folder.mkdir(exist_ok=True)
        environ = daemon_environ(folder)
        process = subprocess.Popen(
            [*prefix, *OVERPAINT, "relay", *arguments],
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        return cls(process, environ, folder)


OVERPAINT = [sys.executable, "-m", "overpaint_backend"]
