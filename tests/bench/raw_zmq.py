"""What bare pyzmq needs for the same bytes: a DEALER here, a ROUTER that echoes in another process.

python -m tests.bench.raw_zmq ipc|tcp|curve FOLDER     # the other process; writes its address to FOLDER/address
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import zmq
from tests.bench.editor_client import Picture
from tests.integration.daemon_process import ROOT, wait_until


class RawEcho:
    """Both ends. kind: ``ipc``, ``tcp`` or ``curve`` (over tcp)."""

    def __init__(self, kind: str, folder: Path) -> None:
        folder.mkdir()
        paths = [ROOT, *(ROOT / name for name in ("protocol", "backend", "plugins/common"))]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.raw_zmq", kind, str(folder)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))},
            cwd=ROOT,
            stdin=subprocess.PIPE,
        )
        address = folder / "address"
        wait_until(lambda: address.exists() and address.read_text().endswith("\n"), "the echo listens")
        endpoint, server_key = address.read_text().splitlines()[:2]
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.linger = 0
        if kind == "curve":
            self._socket.curve_publickey, self._socket.curve_secretkey = zmq.curve_keypair()
            self._socket.curve_serverkey = server_key.encode()
        self._socket.connect(endpoint)

    def exchange_ms(self, picture: Picture) -> float:
        """Send a picture and get its image back."""
        begun_at = time.perf_counter()
        count = len(picture.image.frames)
        self._socket.send_multipart([b"%d" % count, *picture.payload], copy=False)
        frames = self._socket.recv_multipart(copy=False)
        took_ms = (time.perf_counter() - begun_at) * 1000
        assert sum(len(frame) for frame in frames) == picture.image_bytes
        return took_ms

    def ping_ms(self) -> float:
        """Send a little and get nothing but the word back."""
        begun_at = time.perf_counter()
        self._socket.send_multipart([b"1", b"ping"])
        self._socket.recv_multipart()
        return (time.perf_counter() - begun_at) * 1000

    def close(self) -> None:
        """End both."""
        self._socket.close()
        self._context.term()
        self.process.stdin.close()
        self.process.wait()


def serve(kind: str, folder: Path) -> None:
    """Echo as many frames as the first says, until standard input ends."""
    context = zmq.Context()
    socket = context.socket(zmq.ROUTER)
    socket.linger = 0
    public = b"-"
    if kind == "curve":
        public, socket.curve_secretkey = zmq.curve_keypair()
        socket.curve_server = True
    socket.bind(f"ipc://{folder}/raw" if kind == "ipc" else "tcp://127.0.0.1:*")
    endpoint = socket.getsockopt_string(zmq.LAST_ENDPOINT)
    (folder / "address").write_text(f"{endpoint}\n{public.decode()}\n")
    poller = zmq.Poller()
    poller.register(socket, zmq.POLLIN)
    poller.register(sys.stdin.fileno(), zmq.POLLIN)
    while True:
        ready = dict(poller.poll())
        if socket in ready:
            peer, count, *frames = socket.recv_multipart(copy=False)
            socket.send_multipart([peer, *frames[: int(count.bytes)]], copy=False)
            del peer, count, frames
        elif ready:
            break
    socket.close()
    context.term()


if __name__ == "__main__":
    serve(sys.argv[1], Path(sys.argv[2]))
