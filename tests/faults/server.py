"""A hub for reading that misbehaves on demand. No registry: only what a client asks for when it fetches."""

from __future__ import annotations

import hashlib
import json
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

REPO_ID = "me/faulty"
SENT_BYTES = 1 << 16


@dataclass(frozen=True)
class Fault:
    """What becomes of one answer; by default it is as it should be.

    status: this one instead, with retry_after. cut_after: bytes of the body after which the connection ends, by a reset
    where `reset`. ignore_range: the whole body comes whatever was asked for. change: of the whole content, size kept.
    """

    status: int | None = None
    retry_after: str | None = None
    cut_after: int | None = None
    reset: bool = False
    ignore_range: bool = False
    change: Callable[[bytes], bytes] | None = None


NONE = Fault()


@dataclass(frozen=True)
class Served:
    """One file: where its content is, and the digests that a hub lists."""

    path: Path
    is_large: bool

    @property
    def size_bytes(self) -> int:
        return self.path.stat().st_size

    def etag(self) -> str:
        """The sha256 of a large file, git's id of another."""
        if self.is_large:
            with self.path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        content = self.path.read_bytes()
        return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@dataclass
class FaultyHub:
    """commits: files by name, with their digests, by commit; main: where the branch is. judge: gives each answer's fault.

    requests: method and path of each; sent: bytes of bodies sent, by path; all: of files together. progress: told that
    number after each piece. busy: answers on their way.
    """

    repo_id: str = REPO_ID
    endpoint: str = ""
    main: str = ""
    commits: dict[str, dict[str, tuple[Served, str]]] = field(default_factory=dict)
    judge: Callable[[str, str], Fault] = lambda method, path: NONE
    progress: Callable[[int], None] = lambda sent: None
    requests: list[tuple[str, str, Mapping[str, str]]] = field(default_factory=list)
    sent: Counter[str] = field(default_factory=Counter)
    busy: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def settle(self) -> None:
        """Wait until every answer that was begun is counted: a client is often done before its server."""
        until = time.monotonic() + 10
        while self.busy and time.monotonic() < until:
            time.sleep(0.005)

    def commit(self, folder: Path, large: tuple[str, ...] = (".safetensors",)) -> str:
        """Take in a folder's files as the newest commit. large: suffixes of what is listed by sha256."""
        files = {
            str(path.relative_to(folder)): Served(path, path.name.endswith(large))
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        named = {name: (served, served.etag()) for name, served in files.items()}
        text = json.dumps({name: etag for name, (_, etag) in named.items()})
        self.main = hashlib.sha1(text.encode()).hexdigest()
        self.commits[self.main] = named
        return self.main

    @property
    def file_bytes(self) -> int:
        return sum(count for path, count in self.sent.items() if "/resolve/" in path)

    def count(self, path: str, size_bytes: int) -> None:
        with self.lock:
            self.sent[path] += size_bytes
            total = self.file_bytes
        self.progress(total)


def _info(hub: FaultyHub, commit: str) -> dict[str, Any]:
    siblings = []
    for name, (served, etag) in hub.commits[commit].items():
        lfs = {"sha256": etag, "size": served.size_bytes, "pointerSize": 134} if served.is_large else None
        siblings.append({"rfilename": name, "size": served.size_bytes, "blobId": etag[:40], "lfs": lfs})
    return {"id": hub.repo_id, "sha": commit, "private": False, "gated": False, "tags": [], "siblings": siblings}


def _tree(hub: FaultyHub, commit: str) -> list[dict[str, Any]]:
    entries = []
    for name, (served, etag) in hub.commits[commit].items():
        entry = {"type": "file", "path": name, "size": served.size_bytes, "oid": etag[:40]}
        if served.is_large:
            entry["lfs"] = {"oid": etag, "size": served.size_bytes, "pointerSize": 134}
        entries.append(entry)
    return entries


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 17  # head and small bodies leave in one piece
    disable_nagle_algorithm = True
    hub: FaultyHub

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def log_message(self, *arguments: Any) -> None:
        pass

    def answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        with self.hub.lock:
            self.hub.requests.append((self.command, path, dict(self.headers)))
            self.hub.busy += 1
        try:
            self.send_answer(path)
        finally:
            with self.hub.lock:
                self.hub.busy -= 1

    def send_answer(self, path: str) -> None:
        fault = self.hub.judge(self.command, path)
        if fault.status is not None:
            headers = {"Retry-After": fault.retry_after} if fault.retry_after else {}
            return self.send(fault.status, b"{}", headers, fault)
        parts = path.split("/")
        if path.startswith(f"/api/models/{self.hub.repo_id}"):
            commit = self.resolve(parts[6] if len(parts) > 6 else "main")
            content = _tree(self.hub, commit) if "/tree/" in path else _info(self.hub, commit)
            return self.send(200, json.dumps(content).encode(), {"Content-Type": "application/json"}, fault)
        if path.startswith(f"/{self.hub.repo_id}/resolve/"):
            return self.send_file(self.resolve(parts[4]), "/".join(parts[5:]), fault)
        return self.send(404, b"{}", {"X-Error-Code": "RepoNotFound"}, fault)

    def resolve(self, revision: str) -> str:
        return self.hub.main if revision == "main" else revision

    def send_file(self, commit: str, name: str, fault: Fault) -> None:
        if name not in self.hub.commits[commit]:
            return self.send(404, b"{}", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit}, fault)
        served, etag = self.hub.commits[commit][name]
        size_bytes = served.size_bytes
        start, end, status = 0, size_bytes, 200
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        if served.is_large:
            headers |= {"X-Linked-Etag": f'"{etag}"', "X-Linked-Size": str(size_bytes)}
        asked, condition = self.headers.get("Range"), self.headers.get("If-Range")
        if asked and not fault.ignore_range and condition in (None, f'"{etag}"'):
            first, _, last = asked.removeprefix("bytes=").partition("-")
            start, end, status = int(first), min(int(last) + 1 if last else size_bytes, size_bytes), 206
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{size_bytes}"
        if self.command == "GET" and fault.change is None and fault.cut_after is None and end - start > SENT_BYTES:
            return self.stream(served.path, start, end, status, headers)
        content = b""
        if self.command == "GET":
            with served.path.open("rb") as file:
                content = file.read()
            content = (fault.change(content) if fault.change else content)[start:end]
        return self.send(status, content, {**headers, "Content-Length": str(end - start)}, fault)

    def stream(self, path: Path, start: int, end: int, status: int, headers: Mapping[str, str]) -> None:
        """Send a large body without copying it."""
        self.send_head(status, {**headers, "Content-Length": str(end - start)})
        self.wfile.flush()
        step = end - start if self.hub.progress is FaultyHub.progress else SENT_BYTES
        with path.open("rb") as file:
            while start < end:
                begun = start
                try:
                    self.connection.sendfile(file, start, min(step, end - start))
                finally:  # the position tells what was sent, also where the client has gone
                    start = file.tell()
                    self.hub.count(self.path, start - begun)

    def send(self, status: int, body: bytes, headers: Mapping[str, str], fault: Fault) -> None:
        self.send_head(status, {"Content-Length": str(len(body)), **headers})
        if self.command == "HEAD":
            return
        cut = body if fault.cut_after is None else body[: fault.cut_after]
        for begin in range(0, len(cut), SENT_BYTES):
            piece = cut[begin : begin + SENT_BYTES]
            self.wfile.write(piece)
            self.wfile.flush()
            self.hub.count(self.path, len(piece))
        if fault.cut_after is not None:
            self.close_connection = True
            if fault.reset:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()

    def send_head(self, status: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that are killed leave broken connections behind."""


@contextmanager
def faulty_hub(repo_id: str = REPO_ID) -> Iterator[FaultyHub]:
    """A hub with one repository, on a free port of this machine."""
    hub = FaultyHub(repo_id)
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = _Server(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    hub.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
