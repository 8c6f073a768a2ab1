"""Connections to hubs, kept open between requests: a file's bytes come through these.

Built on `http.client`, which hands bytes over with the fewest copies. What it lacks is here: keeping connections, the
user's proxy, redirects, and the rule that a token goes to its own origin alone.
"""

from __future__ import annotations

import http.client
import socket
import threading
from base64 import b64encode
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from ssl import SSLContext
from urllib.parse import SplitResult, unquote, urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

from zoo.errors import HubUnreachable

REDIRECTS = 5
_REDIRECTING = frozenset({301, 302, 303, 307, 308})
_DEFAULT_PORTS = {"http": 80, "https": 443}
_DRAINED_BYTES = 1 << 16  # an answer with less left in it is read to its end, so that its connection can be kept

Origin = tuple[str, str, int]
"""Scheme, host and port."""


class Connections:
    """Open connections by origin, for any number of threads."""

    def __init__(self, timeout_seconds: float) -> None:
        """timeout_seconds: how long a server may be silent."""
        self._timeout_seconds = timeout_seconds
        self._idle: dict[Origin, list[http.client.HTTPConnection]] = defaultdict(list)
        self._busy: set[http.client.HTTPConnection] = set()
        self._lock = threading.Lock()
        self._context: SSLContext | None = None

    @contextmanager
    def get(self, url: str, headers: Mapping[str, str]) -> Iterator[http.client.HTTPResponse]:
        """Ask for what is at an address, and give the answer to read from. Redirects are followed.

        headers: `authorization` among them goes to the origin of `url` alone.
        Raises HubUnreachable for a redirect that is not followed, OSError and http.client.HTTPException.
        """
        for _ in range(REDIRECTS + 1):
            connection, response = self._ask(url, headers)
            try:
                location = response.getheader("Location") if response.status in _REDIRECTING else None
                if location is None:
                    yield response
            except BaseException:
                self._close(connection)
                raise
            self._put_back(origin_of(url), connection, response)
            if location is None:
                return
            target = urljoin(url, location)
            _check_redirect(url, target)
            if origin_of(target) != origin_of(url):
                headers = {key: value for key, value in headers.items() if key.lower() != "authorization"}
            url = target
        raise HubUnreachable(url, f"it redirects more than {REDIRECTS} times")

    def abort(self) -> None:
        """Break off whatever is being read, in any thread: there it raises an OSError, or ends early."""
        with self._lock:
            for connection in self._busy:
                if connection.sock is not None:
                    with suppress(OSError):
                        connection.sock.shutdown(socket.SHUT_RDWR)

    def _ask(self, url: str, headers: Mapping[str, str]) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        """Send a request over a kept connection, or a new one where the server has closed that meanwhile."""
        origin = origin_of(url)
        with self._lock:
            kept = self._idle[origin].pop() if self._idle[origin] else None
        if kept is not None:
            try:
                return kept, self._send(kept, url, headers)
            except (http.client.HTTPException, ConnectionError):
                pass
        connection = self._connect(origin)
        return connection, self._send(connection, url, headers)

    def _send(
        self, connection: http.client.HTTPConnection, url: str, headers: Mapping[str, str]
    ) -> http.client.HTTPResponse:
        with self._lock:
            self._busy.add(connection)
        try:
            return _send(connection, url, headers)
        except BaseException:
            self._close(connection)
            raise

    def _close(self, connection: http.client.HTTPConnection) -> None:
        with self._lock:
            self._busy.discard(connection)
        connection.close()

    def _put_back(
        self, origin: Origin, connection: http.client.HTTPConnection, response: http.client.HTTPResponse
    ) -> None:
        """Keep a connection whose answer has been read; close any other."""
        try:
            left = response.length
            if not response.will_close and left is not None and left <= _DRAINED_BYTES:
                response.read()
                with self._lock:
                    self._busy.discard(connection)
                    self._idle[origin].append(connection)
                return
        except (http.client.HTTPException, OSError):
            pass
        self._close(connection)

    def _connect(self, origin: Origin) -> http.client.HTTPConnection:
        scheme, host, port = origin
        proxy = _proxy(origin)
        if scheme == "http":
            if proxy is None:
                return http.client.HTTPConnection(host, port, timeout=self._timeout_seconds)
            connection = _ToProxy(str(proxy.hostname), _port(proxy), timeout=self._timeout_seconds)
            connection.proxy_headers = _proxy_headers(proxy)
            return connection
        if proxy is None:
            return http.client.HTTPSConnection(host, port, timeout=self._timeout_seconds, context=self._tls())
        tunnel = http.client.HTTPSConnection(
            str(proxy.hostname), _port(proxy), timeout=self._timeout_seconds, context=self._tls()
        )
        tunnel.set_tunnel(host, port, _proxy_headers(proxy))
        return tunnel

    def _tls(self) -> SSLContext:
        """Give the certificates that huggingface_hub's own requests trust: SSL_CERT_FILE among them."""
        with self._lock:
            if self._context is None:
                from httpx2 import create_ssl_context

                self._context = create_ssl_context()
            return self._context


class _ToProxy(http.client.HTTPConnection):
    """A connection to a proxy that passes plain requests on; it wants whole addresses, and headers of its own."""

    proxy_headers: Mapping[str, str]


def _send(connection: http.client.HTTPConnection, url: str, headers: Mapping[str, str]) -> http.client.HTTPResponse:
    parts = urlsplit(url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if isinstance(connection, _ToProxy):
        target = f"http://{parts.netloc.rpartition('@')[2]}{target}"
        headers = {**headers, **connection.proxy_headers}
    connection.request("GET", target, headers=dict(headers))
    return connection.getresponse()


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
