"""A server on this machine that answers as it is told and keeps every request: for what no registry would do."""

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

Reply = tuple[int, dict[str, str], bytes]


@dataclass
class Recorder:
    """A running server. answer: gives status, headers and body for "GET /path". requests: each with its headers."""

    endpoint: str = ""
    answer: Callable[[str], Reply] = lambda request: (404, {}, b"")
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def tokens(self) -> list[str | None]:
        """What each request carried as authorization."""
        return [headers.get("authorization") for _, headers in self.requests]


def reply(status: int, content: Any = None, **headers: str) -> Reply:
    """An answer in JSON. headers: with `_` for `-`."""
    body = b"" if content is None else json.dumps(content).encode()
    return status, {key.replace("_", "-"): value for key, value in headers.items()}, body


@contextmanager
def recording(certificate: tuple[Path, Path] | None = None) -> Iterator[Recorder]:
    """Run a server on a free port. certificate: its file and the key's, for https."""
    recorder = Recorder()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            headers = {key.lower(): value for key, value in self.headers.items()}
            recorder.requests.append((f"{self.command} {self.path}", headers))
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, given, body = recorder.answer(f"{self.command} {self.path}")
            self.send_response(status)
            for key, value in given.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(b"" if self.command == "HEAD" else body)

        do_GET = do_HEAD = do_POST = do_PUT = do_CONNECT = handle_any  # noqa: N815

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    recorder.endpoint = f"http{'s' if certificate else ''}://127.0.0.1:{server.server_address[1]}"
    try:
        yield recorder
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
