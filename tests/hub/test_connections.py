"""Connections: kept open, through a proxy, and the token for its own origin alone. Over real HTTP between real servers."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from zoo import errors
from zoo.hub.connections import Connections

TOKEN = {"authorization": "Bearer hf_secret", "X-Other": "1"}


@dataclass
class Server:
    """answers: status, headers and body by path. seen: path, port of the client, and headers of each request."""

    endpoint: str = ""
    answers: dict[str, tuple[int, dict[str, str], bytes]] = field(default_factory=dict)
    seen: list[tuple[str, int, dict[str, str]]] = field(default_factory=list)


@contextmanager
def serving() -> Iterator[Server]:
    """A server on a free port of this machine."""
    server = Server()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            server.seen.append((self.path, self.client_address[1], dict(self.headers)))
            status, headers, body = server.answers.get(self.path, (200, {}, self.path.encode()))
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key, value)
            if not headers.keys() & {"Transfer-Encoding", "Content-Length"}:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    server.endpoint = f"http://127.0.0.1:{http.server_address[1]}"
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture
def other() -> Iterator[Server]:
    with serving() as server:
        yield server


def read(connections: Connections, url: str) -> bytes:
    with connections.get(url, TOKEN) as answer:
        return answer.read(1 << 20)


def test_one_connection_serves_many_requests(server: Server) -> None:
    connections = Connections(5)
    assert [read(connections, f"{server.endpoint}/{number}") for number in range(5)] == [
        b"/0",
        b"/1",
        b"/2",
        b"/3",
        b"/4",
    ]
    assert len({port for _, port, _ in server.seen}) == 1


def test_a_connection_that_the_server_closed_meanwhile_is_replaced(server: Server) -> None:
    connections = Connections(5)
    server.answers["/last"] = (200, {"Connection": "close"}, b"bye")
    assert read(connections, f"{server.endpoint}/last") == b"bye"
    assert read(connections, f"{server.endpoint}/next") == b"/next"
    assert len({port for _, port, _ in server.seen}) == 2


def test_an_answer_that_was_not_read_to_its_end_leaves_no_bytes_for_the_next(server: Server) -> None:
    connections = Connections(5)
    server.answers["/large"] = (200, {}, bytes(1_000_000))
    with connections.get(f"{server.endpoint}/large", {}) as answer:
        assert answer.read(10) == bytes(10)
    assert read(connections, f"{server.endpoint}/next") == b"/next"


def test_chunked_answers_are_read(server: Server) -> None:
    server.answers["/chunks"] = (200, {"Transfer-Encoding": "chunked"}, b"3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n")
    connections = Connections(5)
    assert read(connections, f"{server.endpoint}/chunks") == b"abcdefg"
    assert read(connections, f"{server.endpoint}/next") == b"/next"


def test_the_token_follows_a_redirect_within_its_origin(server: Server) -> None:
    server.answers["/a"] = (307, {"Location": "/b"}, b"")
    assert read(Connections(5), f"{server.endpoint}/a") == b"/b"
    assert [headers.get("authorization") for _, _, headers in server.seen] == ["Bearer hf_secret"] * 2


def test_the_token_does_not_follow_a_redirect_to_another_origin_nor_back(server: Server, other: Server) -> None:
    server.answers["/a"] = (302, {"Location": f"{other.endpoint}/b"}, b"")
    other.answers["/b"] = (302, {"Location": f"{server.endpoint}/c"}, b"")
    assert read(Connections(5), f"{server.endpoint}/a") == b"/c"
    sent = {path: headers.get("authorization") for path, _, headers in [*server.seen, *other.seen]}
    assert sent == {"/a": "Bearer hf_secret", "/b": None, "/c": None}
    assert {headers["X-Other"] for _, _, headers in other.seen} == {"1"}


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://127.0.0.1/"])
def test_a_redirect_to_something_that_is_not_http_is_refused(server: Server, target: str) -> None:
    server.answers["/a"] = (302, {"Location": target}, b"")
    with pytest.raises(errors.HubUnreachable) as caught:
        read(Connections(5), f"{server.endpoint}/a")
    assert caught.value.reason == f"it redirects to {target!r}, which is not followed"


def test_redirects_that_never_end_are_an_error(server: Server) -> None:
    server.answers["/a"] = (302, {"Location": "/a"}, b"")
    with pytest.raises(errors.HubUnreachable, match="it redirects more than 5 times"):
        read(Connections(5), f"{server.endpoint}/a")
    assert len(server.seen) == 6


def test_plain_requests_go_through_the_user_s_proxy(
    server: Server, other: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", server.endpoint.replace("http://", "http://me:a%40b@"))
    monkeypatch.setenv("no_proxy", "")
    server.answers[f"{other.endpoint}/file"] = (200, {}, b"by way of the proxy")
    assert read(Connections(5), f"{other.endpoint}/file") == b"by way of the proxy"
    assert server.seen[0][2]["Proxy-Authorization"] == "Basic bWU6YUBi"
    assert other.seen == []
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert read(Connections(5), f"{other.endpoint}/file") == b"/file"


def test_an_address_that_is_none_says_so() -> None:
    for url in ("gopher://host/x", "http://", "http://host:port/"):
        with pytest.raises(errors.HubUnreachable, match="this "):
            read(Connections(5), url)


def test_breaking_off_ends_what_is_being_read(server: Server) -> None:
    server.answers["/large"] = (200, {"Content-Length": "1000000000"}, b"beginning")
    connections = Connections(30)
    with connections.get(f"{server.endpoint}/large", {}) as answer:
        assert answer.read(9) == b"beginning"
        threading.Timer(0.1, connections.abort).start()
        assert answer.read(1) == b""
