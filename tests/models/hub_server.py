"""A hub on the loopback: the paths of the real one's API that a download needs, over repositories in a folder.

``root/OWNER/NAME/`` is a repository; ``card.json`` beside its files is its model card and is not served. Weights answer as LFS
files with their sha256, the rest with git's object id, as the real hub does. Faults are asked for by path.

As a program: ``python -m tests.models.hub_server ROOT`` prints the address and serves until it is killed.
"""

from __future__ import annotations

import hashlib
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
PIECE = 16 * 1024


class HubServer:
    """A running hub. Each request is kept in ``requests`` as (path, Range header).

    stall: after so many bytes of a path nothing more comes, until ``release``. cut: the connection is closed there, so many
    times. flip: one byte of that path is another. deaf: paths for which Range is ignored. refuse: status for a repository.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.requests: list[tuple[str, str]] = []
        self.stall: dict[str, int] = {}
        self.cut: dict[str, tuple[int, int]] = {}
        self.flip: set[str] = set()
        self.deaf: set[str] = set()
        self.refuse: dict[str, tuple[int, str]] = {}
        self.released = threading.Event()
        self.stalled = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = False
        self._server.block_on_close = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def weights_asked(self, path: str) -> list[str]:
        """The Range headers of the requests for ``path``."""
        return [ranges for asked, ranges in self.requests if asked == path]

    def __enter__(self) -> HubServer:
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self.released.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _handler(hub: HubServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            self.close_connection = True
            path = unquote(urlsplit(self.path).path)
            if path.startswith("/api/models/"):
                repo, _, revision = path.removeprefix("/api/models/").partition("/revision/")
                self._describe(repo, revision or "main")
            else:
                repo, _, rest = path.removeprefix("/").partition("/resolve/")
                self._send_file(repo, rest.partition("/")[2])

        def _describe(self, repo: str, revision: str) -> None:
            folder = hub.root / repo
            if repo in hub.refuse:
                status, code = hub.refuse[repo]
                return self._answer(status, b"{}", {"X-Error-Code": code})
            if not folder.is_dir():
                return self._answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})
            if revision not in ("main", COMMIT):
                return self._answer(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
            card = folder / "card.json"
            siblings = [
                _sibling(folder, file)
                for file in sorted(folder.rglob("*"))
                if file.is_file() and file != card
            ]
            plain = {
                "id": repo,
                "modelId": repo,
                "sha": COMMIT,
                "siblings": siblings,
                "cardData": json.loads(card.read_text()) if card.is_file() else {},
                "tags": [],
                "private": False,
                "downloads": 0,
                "likes": 0,
            }
            return self._answer(200, json.dumps(plain).encode(), {"Content-Type": "application/json"})

        def _send_file(self, repo: str, path: str) -> None:
            hub.requests.append((path, self.headers.get("Range", "")))
            raw = bytearray((hub.root / repo / path).read_bytes())
            if path in hub.flip:
                raw[len(raw) // 2] ^= 1
            ranges = "" if path in hub.deaf else self.headers.get("Range", "")
            first, last = 0, len(raw) - 1
            if ranges:
                start, _, stop = ranges.removeprefix("bytes=").partition("-")
                first, last = int(start), min(int(stop or last), last)
                if first > last:
                    return self._answer(416, b"", {})
            headers = {"Content-Length": str(last - first + 1)}
            if ranges:
                headers["Content-Range"] = f"bytes {first}-{last}/{len(raw)}"
            self._start(206 if ranges else 200, headers)
            for offset in range(first, last + 1, PIECE):
                if path in hub.stall and offset >= hub.stall[path]:
                    self.wfile.flush()
                    hub.stalled.set()
                    hub.released.wait()
                    return None
                if path in hub.cut and offset >= hub.cut[path][0] and hub.cut[path][1]:
                    hub.cut[path] = (hub.cut[path][0], hub.cut[path][1] - 1)
                    return None
                try:
                    self.wfile.write(raw[offset : min(offset + PIECE, last + 1)])
                except OSError:  # the client is dead, which is what the tests are about
                    return None
            return None

        def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self._start(status, {"Content-Length": str(len(body)), **headers})
            self.wfile.write(body)

        def _start(self, status: int, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in {**headers, "Connection": "close"}.items():
                self.send_header(name, value)
            self.end_headers()

    return Handler


def _sibling(folder: Path, file: Path) -> dict[str, object]:
    raw = file.read_bytes()
    plain: dict[str, object] = {
        "rfilename": file.relative_to(folder).as_posix(),
        "size": len(raw),
        "blobId": hashlib.sha1(b"blob %d\0" % len(raw) + raw).hexdigest(),
    }
    if file.suffix in (".safetensors", ".bin"):
        plain["lfs"] = {"sha256": hashlib.sha256(raw).hexdigest(), "size": len(raw), "pointerSize": 134}
    return plain


if __name__ == "__main__":
    server = HubServer(Path(sys.argv[1]))
    for spot in sys.argv[2:]:
        where, _, bytes_before = spot.rpartition(":")
        server.stall[where] = int(bytes_before)
    with server:
        print(server.address, flush=True)
        server._thread.join()
