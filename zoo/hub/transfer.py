"""Moving files' bytes from a hub to blobs: hashed while they arrive, gone on with where an earlier try stopped."""

from __future__ import annotations

import errno
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from ssl import SSLCertVerificationError
from threading import Event, Thread
from urllib.parse import quote

from zoo.checkpoint.manifest import FileEntry
from zoo.errors import DigestMismatch, HubUnreachable, NotEnoughDisk
from zoo.hub.answers import Answer
from zoo.hub.connections import Connections
from zoo.hub.failures import network_failure
from zoo.hub.partial import Partial, WriteFailed
from zoo.hub.retries import RETRIED_STATUS, Patience, retry_after

Advance = Callable[[int], None]
"""Told how many bytes more are in place; negative when some had to be thrown away."""

FIRST_WORKERS, WORKERS = 3, 8
HELP_AFTER_SECONDS = 0.02
_ERROR_BYTES = 1 << 16
_FULL_DISK = frozenset({errno.ENOSPC, errno.EDQUOT})


class _Interrupted(Exception):
    """The bytes stopped coming; what arrived is kept. wait_seconds: what the server asked for."""

    def __init__(self, reason: str, wait_seconds: float | None = None) -> None:
        self.wait_seconds = wait_seconds
        super().__init__(reason)


class Stopped(Exception):
    """Another file of the same pull failed, so this one need not go on; what arrived is kept."""


def file_url(endpoint: str, repo_id: str, commit: str, name: str) -> str:
    """Give the address of a file at a commit."""
    return f"{endpoint}/{repo_id}/resolve/{commit}/{quote(name)}"


class Transfer:
    """One file on its way to its blob.

    url: naming the commit, so that the content can't change between tries. name: for messages. headers: with the token.
    stopped: set when there is no use in going on.
    """

    def __init__(
        self,
        connections: Connections,
        url: str,
        headers: Mapping[str, str],
        entry: FileEntry,
        name: str,
        stopped: Event,
    ) -> None:
        self._connections, self._url, self._entry, self._name = connections, url, entry, name
        self._headers = {**headers, "Accept-Encoding": "identity"}
        self._stopped = stopped

    def fetch(self, blob: Path, advance: Advance) -> None:
        """Put the content at `blob`, which appears only when its digest is right; its folder has to be there.

        Raises DigestMismatch (nothing is kept); HubUnreachable, RateLimited, NotEnoughDisk and Stopped (what arrived is
        kept for the next try); and the HTTP client's own error for an answer such as 404.
        """
        while True:
            partial, digest = self._receive(blob, advance)
            if digest == self._entry.digest:
                partial.move(blob)
                return
            advance(-self._entry.size_bytes)
            if not partial.cut_back():
                break
        raise DigestMismatch(self._name, self._entry.digest, digest, "the commit's listing")

    def _receive(self, blob: Path, advance: Advance) -> tuple[Partial, str]:
        """Fill the partial file, over as many requests as it takes. Gives it, closed, and the digest."""
        try:
            partial = Partial(blob, self._entry)
            advance(partial.resumed_bytes)
            try:
                self._fill(partial, advance)
            except BaseException:
                with suppress(OSError):
                    partial.close()
                raise
            return partial, partial.close()
        except (OSError, WriteFailed) as error:
            cause = error.cause if isinstance(error, WriteFailed) else error
            if cause.errno in _FULL_DISK:
                free_bytes = shutil.disk_usage(blob.parent).free
                raise NotEnoughDisk(blob.parent, self._entry.size_bytes, free_bytes) from cause
            raise cause from None

    def _fill(self, partial: Partial, advance: Advance) -> None:
        patience = Patience(self._url, self._stopped)
        while partial.size_bytes < self._entry.size_bytes:
            before_bytes = partial.size_bytes
            try:
                self._request(partial, advance)
            except _Interrupted as interruption:
                if self._stopped.is_set():
                    raise Stopped from interruption
                patience.fail(has_progressed=partial.size_bytes > before_bytes)
                if patience.is_spent:
                    reached = f"{partial.size_bytes} of {self._entry.size_bytes} bytes came, then: {interruption}"
                    raise HubUnreachable(self._url, reached) from interruption
                patience.wait(interruption.wait_seconds)

    def _request(self, partial: Partial, advance: Advance) -> None:
        """Ask for the rest of the file once, and append what comes. Raises _Interrupted when that is not all."""
        headers = dict(self._headers)
        if partial.size_bytes:
            headers["Range"] = f"bytes={partial.size_bytes}-"
            if partial.etag is not None:
                headers["If-Range"] = partial.etag
        try:
            with self._connections.get(self._url, headers) as answer:
                self._read(answer, self._begin(answer, partial, advance), partial, advance)
        except SSLCertVerificationError as error:
            raise network_failure(self._url, error) from error
        except OSError as error:
            raise _Interrupted(f"{type(error).__name__}: {error}") from error
        if partial.size_bytes < self._entry.size_bytes:
            raise _Interrupted("the answer ended early")

    def _begin(self, answer: Answer, partial: Partial, advance: Advance) -> int:
        """Look at an answer's head, and give how many bytes of its body are here already.

        Raises _Interrupted, HubUnreachable, and the HTTP client's errors.
        """
        etag = answer.headers.get("etag", "")
        etag = "" if etag.startswith("W/") else etag  # a weak one does not promise the same bytes
        if answer.status in RETRIED_STATUS:
            raise _Interrupted(f"status {answer.status}", retry_after(answer.headers))
        if answer.status == 206:
            given = answer.headers.get("content-range", "")
            if not given.startswith(f"bytes {partial.size_bytes}-"):
                raise HubUnreachable(self._url, f"the bytes from {partial.size_bytes} on were asked for, not {given!r}")
            return 0
        if answer.status == 416 or (answer.status == 200 and partial.etag not in (None, etag)):
            advance(-partial.size_bytes)  # what is here is not a beginning of what the server has
            partial.restart()
            if answer.status == 416:
                raise _Interrupted("status 416")
        raise_for_status(self._url, answer)
        partial.name_content(etag or None)
        return partial.size_bytes  # the whole again, from a server that knows no ranges

    def _read(self, answer: Answer, known_bytes: int, partial: Partial, advance: Advance) -> None:
        """Append what comes, after the first `known_bytes`. Raises Stopped, WriteFailed and the network's errors."""
        while left_bytes := self._entry.size_bytes - partial.size_bytes:
            space = partial.space()
            count = answer.readinto(space)
            if not count:
                return
            if self._stopped.is_set():
                raise Stopped
            new = space[min(known_bytes, count) : count][:left_bytes]
            known_bytes -= min(known_bytes, count)
            if new:
                space[: len(new)] = new
                partial.append(len(new))
                advance(len(new))


def run(transfers: Iterable[tuple[Transfer, Path, Advance]], connections: Connections, stopped: Event) -> None:
    """Fetch several blobs at once. Raises the first failure, after all others have stopped; what arrived is kept.

    Three threads begin. Each time that none of them takes up another file for a while, one more helps, until there are
    WORKERS: with a hub far away they wait for it together, and with one nearby more would wait for each other.
    When this process is killed, of the files on their way only that is lost which was not yet written.
    """
    waiting = deque(transfers)
    failures: list[BaseException] = []
    threads: list[Thread] = []

    def work() -> None:
        while not stopped.is_set():
            try:
                transfer, blob, advance = waiting.popleft()
            except IndexError:
                return
            try:
                transfer.fetch(blob, advance)
            except BaseException as failure:  # raised again where the thread was started
                failures.append(failure)
                stopped.set()
                connections.abort()

    def begin() -> None:
        threads.append(Thread(target=work, name="zoo-fetch"))
        threads[-1].start()

    try:
        for _ in range(min(FIRST_WORKERS, len(waiting))):
            begin()
        while alive := [thread for thread in threads if thread.is_alive()]:
            left = len(waiting)
            alive[0].join(HELP_AFTER_SECONDS)
            if left and len(waiting) == left and len(threads) < WORKERS and not stopped.is_set():
                begin()
    except BaseException:
        stopped.set()
        connections.abort()
        for thread in threads:
            thread.join()
        raise
    if failures:
        raise failures[0]


def raise_for_status(url: str, answer: Answer) -> None:
    """Raise what huggingface_hub raises for an answer that is an error, and HubUnreachable for one that is no content."""
    if answer.status == 200:
        return
    import httpx2
    from huggingface_hub.utils._http import hf_raise_for_status

    body, request = answer.read(_ERROR_BYTES), httpx2.Request("GET", url)
    hf_raise_for_status(httpx2.Response(answer.status, headers=answer.headers, content=body, request=request))
    raise HubUnreachable(url, f"status {answer.status} is no answer to a request for a file")
