"""Connections to hubs, kept open between requests: a file's bytes come through these.

`http.client` makes a connection: through the user's proxy, with TLS. What is sent over it and what comes back is read here
and in zoo.hub.answers: keeping connections, redirects, and the rule that a token goes to its own origin alone.
"""

from __future__ import annotations

import http.client
import re
import socket
import threading
from base64 import b64encode
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from ssl import SSLContext
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

from zoo.errors import HubUnreachable
from zoo.hub.answers import Answer

REDIRECTS = 5
_REDIRECTING = frozenset({301, 302, 303, 307, 308})
_DEFAULT_PORTS = {"http": 80, "https": 443}
_PRINTABLE = "".join(map(chr, range(0x21, 0x7F)))
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")

Origin = tuple[str, str, int]
"""Scheme, host and port."""


@dataclass(frozen=True, eq=False)
class _Line:
    """An open connection. proxy_headers: None unless it leads to a proxy that passes plain requests on."""

    connection: http.client.HTTPConnection
    proxy_headers: Mapping[str, str] | None = None

    def ask(self, url: str, headers: Mapping[str, str]) -> Answer:
        """Send a request. Raises OSError."""
        parts = urlsplit(url)
        netloc = parts.netloc.rpartition("@")[2]
        target = quote(f"{parts.path or '/'}?{parts.query}".removesuffix("?"), safe=_PRINTABLE)
        if self.proxy_headers is not None:
            target, headers = f"http://{netloc}{target}", {**headers, **self.proxy_headers}
        lines = [f"GET {target} HTTP/1.1", f"Host: {netloc}", *(f"{name}: {value}" for name, value in headers.items())]
        if any(map(_CONTROL.search, lines)):
            raise ValueError(f"a request to {url} would hold a control character")
        self.socket.sendall(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
        return Answer(self.socket)

    @property
    def socket(self) -> socket.socket:
        return self.connection.sock


class Connections:
    """Open connections by origin, for any number of threads."""

    def __init__(self, timeout_seconds: float) -> None:
        """timeout_seconds: how long a server may be silent."""
        self._timeout_seconds = timeout_seconds
        self._idle: dict[Origin, list[_Line]] = defaultdict(list)
        self._busy: set[_Line] = set()
        self._lock = threading.Lock()
        self._context: SSLContext | None = None

    def __del__(self) -> None:
        for line in [line for kept in self._idle.values() for line in kept]:
            line.connection.close()

    @contextmanager
    def get(self, url: str, headers: Mapping[str, str]) -> Iterator[Answer]:
        """Ask for what is at an address, and give the answer to read from. Redirects are followed.

        headers: `authorization` among them goes to the origin of `url` alone.
        Raises HubUnreachable for a redirect that is not followed, and OSError.
        """
        for _ in range(REDIRECTS + 1):
            origin = origin_of(url)
            line, answer = self._ask(origin, url, headers)
            try:
                location = answer.headers.get("location") if answer.status in _REDIRECTING else None
                if location is None:
                    yield answer
            except BaseException:
                self._close(line)
                raise
            self._put_back(origin, line, answer)
            if location is None:
                return
            target = urljoin(url, location)
            _check_redirect(url, target)
            if origin_of(target) != origin:
                headers = {key: value for key, value in headers.items() if key.lower() != "authorization"}
            url = target
        raise HubUnreachable(url, f"it redirects more than {REDIRECTS} times")

    def abort(self) -> None:
        """Break off whatever is being read, in any thread: there it raises an OSError, or ends early."""
        with self._lock:
            for line in self._busy:
                with suppress(OSError):
                    line.socket.shutdown(socket.SHUT_RDWR)

    def _ask(self, origin: Origin, url: str, headers: Mapping[str, str]) -> tuple[_Line, Answer]:
        """Send a request over a kept connection, or a new one where the server has closed that meanwhile."""
        with self._lock:
            kept = self._idle[origin].pop() if self._idle[origin] else None
        if kept is not None:
            try:
                return kept, self._send(kept, url, headers)
            except ConnectionError:
                pass
        line = self._connect(origin)
        return line, self._send(line, url, headers)

    def _send(self, line: _Line, url: str, headers: Mapping[str, str]) -> Answer:
        with self._lock:
            self._busy.add(line)
        try:
            return line.ask(url, headers)
        except BaseException:
            self._close(line)
            raise

    def _close(self, line: _Line) -> None:
        with self._lock:
            self._busy.discard(line)
        line.connection.close()

    def _put_back(self, origin: Origin, line: _Line, answer: Answer) -> None:
        """Keep a connection whose answer has been read; close any other."""
        with suppress(OSError):
            if answer.finish():
                with self._lock:
                    self._busy.discard(line)
                    self._idle[origin].append(line)
                return
        self._close(line)

    def _connect(self, origin: Origin) -> _Line:
        """Raises OSError and HubUnreachable."""
        scheme, host, port = origin
        proxy = _proxy(origin)
        to, at = (host, port) if proxy is None else (str(proxy.hostname), _port(proxy))
        if scheme == "http":
            line = _Line(
                http.client.HTTPConnection(to, at, timeout=self._timeout_seconds),
                None if proxy is None else _proxy_headers(proxy),
            )
        else:
            line = _Line(http.client.HTTPSConnection(to, at, timeout=self._timeout_seconds, context=self._tls()))
            if proxy is not None:
                line.connection.set_tunnel(host, port, _proxy_headers(proxy))
        line.connection.connect()
        return line

    def _tls(self) -> SSLContext:
        """Give the certificates that huggingface_hub's own requests trust: SSL_CERT_FILE among them."""
        with self._lock:
            if self._context is None:
                from httpx2 import create_ssl_context

                self._context = create_ssl_context()
            return self._context


def origin_of(url: str) -> Origin:
    """Give where an address leads. Raises HubUnreachable where that is nowhere."""
    try:
        parts = urlsplit(url)
        port = parts.port or _DEFAULT_PORTS[parts.scheme]
    except (ValueError, KeyError):
        raise HubUnreachable(url, "this is not an address of http or https") from None
    if not parts.hostname:
        raise HubUnreachable(url, "this address names no host")
    return parts.scheme, parts.hostname, port


def _check_redirect(url: str, target: str) -> None:
    """Refuse to be led off to something other than http, or from https to what anybody on the way can read."""
    scheme = urlsplit(target).scheme
    if scheme not in _DEFAULT_PORTS or (scheme == "http" and url.startswith("https:")):
        raise HubUnreachable(url, f"it redirects to {target[:200]!r}, which is not followed")


def _proxy(origin: Origin) -> SplitResult | None:
    """Give the proxy that the environment (HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY) names for an origin."""
    scheme, host, port = origin
    proxies = getproxies()
    address = proxies.get(scheme) or proxies.get("all")
    if not address or proxy_bypass(f"{host}:{port}"):
        return None
    proxy = urlsplit(address if "://" in address else f"http://{address}")
    if proxy.scheme != "http" or not proxy.hostname:
        raise HubUnreachable(f"{scheme}://{host}", f"the proxy {address!r} is not one of http://host:port")
    return proxy


def _port(proxy: SplitResult) -> int:
    return proxy.port or _DEFAULT_PORTS["http"]


def _proxy_headers(proxy: SplitResult) -> dict[str, str]:
    if proxy.username is None:
        return {}
    secret = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return {"Proxy-Authorization": f"Basic {b64encode(secret.encode()).decode()}"}
