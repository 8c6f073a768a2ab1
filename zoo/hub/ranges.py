"""Reading a part of one file from a hub, and no more of it, whether or not the server knows ranges."""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from threading import Event

from zoo.errors import HubUnreachable
from zoo.hub.connections import Connections
from zoo.hub.retries import RETRIED_STATUS, Patience, retry_after
from zoo.hub.transfer import CHUNK_BYTES, raise_for_status


def read_range(connections: Connections, url: str, start: int, end: int, headers: Mapping[str, str]) -> bytes:
    """Give the bytes [start, end) of what is at an address, fewer where it ends before.

    A server that ignores the range and sends everything is read up to `end`, and then no further.
    Raises HubUnreachable, RateLimited, and the HTTP client's errors.
    """
    if start >= end:
        return b""
    wanted = {**headers, "Accept-Encoding": "identity", "Range": f"bytes={start}-{end - 1}"}
    patience = Patience(url, Event())
    while True:
        try:
            with connections.get(url, wanted) as response:
                if response.status not in RETRIED_STATUS:
                    return _take(response, url, start, end)
                reason, asked_seconds = f"status {response.status}", retry_after(response.headers)
        except (OSError, http.client.HTTPException) as error:
            reason, asked_seconds = f"{type(error).__name__}: {error}", None
        patience.fail()
        if patience.is_spent:
            raise HubUnreachable(url, reason)
        patience.wait(asked_seconds)


def _take(response: http.client.HTTPResponse, url: str, start: int, end: int) -> bytes:
    if response.status != 206:
        raise_for_status(url, response)
        return _first(response, end)[start:]
    given = response.getheader("Content-Range") or ""
    if not given.startswith(f"bytes {start}-"):
        raise HubUnreachable(url, f"bytes {start}-{end - 1} were asked for, and the answer is {given!r}")
    return _first(response, end - start)


def _first(response: http.client.HTTPResponse, count: int) -> bytes:
    """Take the first `count` bytes; what comes after them is left to the server."""
    taken = bytearray()
    while len(taken) < count and (chunk := response.read1(min(CHUNK_BYTES, count - len(taken)))):
        taken += chunk
    return bytes(taken)
