"""Reading a part of one file from a hub, and no more of it, whether or not the server knows ranges."""

from __future__ import annotations

from collections.abc import Mapping
from threading import Event

from zoo.errors import HubUnreachable
from zoo.hub.answers import Answer
from zoo.hub.connections import Connections
from zoo.hub.retries import RETRIED_STATUS, Patience, retry_after
from zoo.hub.transfer import raise_for_status


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
            with connections.get(url, wanted) as answer:
                if answer.status not in RETRIED_STATUS:
                    return _take(answer, url, start, end)
                reason, asked_seconds = f"status {answer.status}", retry_after(answer.headers)
        except OSError as error:
            reason, asked_seconds = f"{type(error).__name__}: {error}", None
        patience.fail()
        if patience.is_spent:
            raise HubUnreachable(url, reason)
        patience.wait(asked_seconds)


def _take(answer: Answer, url: str, start: int, end: int) -> bytes:
    if answer.status != 206:
        raise_for_status(url, answer)
        return answer.read(end)[start:]
    given = answer.headers.get("content-range", "")
    if not given.startswith(f"bytes {start}-"):
        raise HubUnreachable(url, f"bytes {start}-{end - 1} were asked for, and the answer is {given!r}")
    return answer.read(end - start)
