"""Moving one file's bytes from a hub to a blob, hashed while they arrive, resumed where an earlier try stopped."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import quote

from zoo.checkpoint.manifest import FileEntry
from zoo.errors import DigestMismatch, HubUnreachable

Advance = Callable[[int], None]
"""Told how many bytes more are in place; negative when some had to be thrown away."""

ATTEMPTS = 5
FIRST_WAIT_SECONDS = 0.5
CHUNK_BYTES = 1 << 20
_RETRIED_STATUS = frozenset({408, 429, 500, 502, 503, 504})


class _Interrupted(Exception):
    """The bytes stopped coming; what arrived is kept. wait_seconds: what the server asked for."""

    def __init__(self, reason: str, wait_seconds: float | None = None) -> None:
        self.wait_seconds = wait_seconds
        super().__init__(reason)


def file_url(endpoint: str, repo_id: str, commit: str, name: str) -> str:
    """Give the address of a file at a commit."""
    return f"{endpoint}/{repo_id}/resolve/{commit}/{quote(name)}"


def fetch(url: str, entry: FileEntry, blob: Path, name: str, headers: Mapping[str, str], advance: Advance) -> None:
    """Put a file's content at `blob`, which appears only when its digest is right.

    url: naming the commit, so that the content can't change between tries. name: for messages. headers: with the token.
    Raises DigestMismatch (nothing is kept), HubUnreachable (what arrived is kept, for the next try), and the HTTP
    client's own error for an answer such as 404.
    """
    blob.parent.mkdir(parents=True, exist_ok=True)
    partial = blob.with_name(f"{blob.name}.partial")
    for fresh_start in (False, True):
        resumed = partial.is_file() and not fresh_start
        if not resumed:
            partial.unlink(missing_ok=True)
        digest = _receive(url, entry, partial, headers, advance)
        if digest == entry.digest:
            partial.replace(blob)
            return
        advance(-partial.stat().st_size)
        partial.unlink()
        if not resumed:
            break  # these bytes all came from this server; only an earlier try's remains are worth a second one
    raise DigestMismatch(name, entry.digest, digest, "the commit's listing")


class _Partial:
    """The part of a file that is in place, and its hash so far."""

    def __init__(self, path: Path, entry: FileEntry, advance: Advance) -> None:
        self._entry, self._advance = entry, advance
        self._file = path.open("ab+")
        self._hasher = entry.hasher()
        self._file.seek(0)
        while chunk := self._file.read(CHUNK_BYTES):
            self._hasher.update(chunk)
        advance(self.size_bytes)
        if self.size_bytes > entry.size_bytes:
            self.restart()

    @property
    def size_bytes(self) -> int:
        return self._file.tell()

    def append(self, chunk: bytes) -> None:
        self._file.write(chunk)
        self._hasher.update(chunk)
        self._advance(len(chunk))

    def restart(self) -> None:
        """Throw away what is there."""
        self._advance(-self.size_bytes)
        self._file.truncate(0)
        self._file.seek(0)
        self._hasher = self._entry.hasher()

    def close(self) -> str:
        """Bring everything to the disk and give the digest."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        return self._hasher.hexdigest()


def _receive(url: str, entry: FileEntry, path: Path, headers: Mapping[str, str], advance: Advance) -> str:
    """Fill the partial file to its full size, over as many requests as it takes, and give the digest."""
    partial = _Partial(path, entry, advance)
    try:
        failures = 0
        while partial.size_bytes < entry.size_bytes:
            before = partial.size_bytes
            try:
                _request(url, entry.size_bytes, partial, headers)
            except _Interrupted as interruption:
                failures = 1 if partial.size_bytes > before else failures + 1
                if failures >= ATTEMPTS:
                    reached = f"{partial.size_bytes} of {entry.size_bytes} bytes came, then: {interruption}"
                    raise HubUnreachable(url, reached) from interruption
                time.sleep(min(interruption.wait_seconds or FIRST_WAIT_SECONDS * 2 ** (failures - 1), 30))
    finally:
        digest = partial.close()
    return digest


def _request(url: str, size_bytes: int, partial: _Partial, headers: Mapping[str, str]) -> None:
    """Ask for the rest of the file once, and append what comes. Raises _Interrupted when that is not all."""
    import httpx2
    from huggingface_hub.utils._http import get_session, hf_raise_for_status

    start = partial.size_bytes
    wanted = {**headers, "Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    try:
        with get_session().stream("GET", url, headers=wanted, follow_redirects=True, timeout=30) as response:
            if response.status_code in _RETRIED_STATUS:
                raise _Interrupted(f"status {response.status_code}", _retry_after(response.headers))
            if response.is_error:
                response.read()
            hf_raise_for_status(response)
            if start and response.status_code != 206:  # the server does not resume
                partial.restart()
            # As it comes: a chunk size of our own would hold back what arrived before a cut.
            for chunk in response.iter_raw():
                partial.append(chunk[: size_bytes - partial.size_bytes])
                if partial.size_bytes == size_bytes:
                    return
    except httpx2.TransportError as error:
        raise _Interrupted(f"{type(error).__name__}: {error}") from error
    if partial.size_bytes < size_bytes:
        raise _Interrupted("the answer ended early")


def _retry_after(headers: Mapping[str, str]) -> float | None:
    value = headers.get("Retry-After", "")
    return float(value) if value.isdigit() else None
