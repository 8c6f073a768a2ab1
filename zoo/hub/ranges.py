"""Reading a part of one file from a hub, and no more of it, whether or not the server knows ranges."""

from __future__ import annotations

from collections.abc import Iterable, Mapping


def read_range(url: str, start: int, end: int, headers: Mapping[str, str]) -> bytes:
    """Give the bytes [start, end) of what is at an address, fewer where it ends before.

    A server that ignores the range and sends everything is read up to `end`, and then no further.
    Raises the HTTP client's errors, and ValueError for another range than asked for.
    """
    from huggingface_hub.utils._http import get_session, hf_raise_for_status

    if start >= end:
        return b""
    wanted = {**headers, "Accept-Encoding": "identity", "Range": f"bytes={start}-{end - 1}"}
    with get_session().stream("GET", url, headers=wanted, follow_redirects=True, timeout=30) as response:
        if response.is_error:
            response.read()
        hf_raise_for_status(response)
        if response.status_code != 206:
            return _first(response.iter_raw(), end)[start:]
        given = response.headers.get("Content-Range", "")
        if not given.startswith(f"bytes {start}-"):
            raise ValueError(f"bytes {start}-{end - 1} were asked for, and the answer is {given!r}")
        return _first(response.iter_raw(), end - start)


def _first(chunks: Iterable[bytes], count: int) -> bytes:
    """Take the first `count` bytes; what comes after them is left to the server."""
    taken = bytearray()
    for chunk in chunks:
        taken += chunk[: count - len(taken)]
        if len(taken) == count:
            break
    return bytes(taken)
