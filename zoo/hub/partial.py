"""The part of a file that is in place: hashed while it is written, and journaled so that a later process can go on.

<digest>.partial        the bytes so far
<digest>.partial.json   a line for what the server calls the content, then a line for each piece of a quarter mebibyte:
                        {"etag": "\\"9a1f…\\""}
                        {"size_bytes": 262144, "digest": "53aa…"}   the digest of all bytes so far

After a crash or a power cut the bytes are hashed again as far as the journal vouches for them; what it does not is
thrown away. With what is received, queued and hashed at that moment, a fault costs little more than a mebibyte of a file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import BinaryIO

from zoo.checkpoint.manifest import FileEntry

JOURNAL_BYTES = 1 << 18
_READ_BYTES = 1 << 20
_THREADED_BYTES = 4 << 20
_QUEUED_CHUNKS = 2


def partial_paths(blob: Path) -> tuple[Path, Path]:
    """Give where the part of a blob, and its journal, are or would be."""
    return blob.with_name(f"{blob.name}.partial"), blob.with_name(f"{blob.name}.partial.json")


def discard_partial(blob: Path) -> None:
    """Remove what there is of a blob."""
    for path in partial_paths(blob):
        path.unlink(missing_ok=True)


_flush = getattr(os, "fdatasync", os.fsync)  # with the size, without the times


class WriteFailed(Exception):
    """The disk did not take bytes; `cause` says why. No OSError, so that it is not taken for one of the network."""

    def __init__(self, cause: OSError) -> None:
        self.cause = cause
        super().__init__(str(cause))


class Partial:
    """A file that grows. size_bytes: received so far; resumed_bytes: how many of them an earlier try left.

    etag: what the server calls the content, or None. Large files are hashed in a thread of their own, while the next bytes
    are received and written.
    """

    def __init__(self, blob: Path, entry: FileEntry) -> None:
        """Take up what an earlier try left, as far as its journal vouches for it. Raises OSError."""
        self._path, self._journal_path = partial_paths(blob)
        self._entry, self._hasher = entry, entry.hasher()
        self.etag: str | None = None
        self.resumed_bytes = 0
        self._journal: BinaryIO | None = None
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0)
        try:
            self._file = os.open(self._path, flags | os.O_EXCL, 0o666)
        except FileExistsError:
            self._file = os.open(self._path, flags)
            try:
                self.resumed_bytes = self._resume()
                os.ftruncate(self._file, self.resumed_bytes)
                os.lseek(self._file, self.resumed_bytes, os.SEEK_SET)
            except BaseException:
                os.close(self._file)
                raise
        self._has_journal = self.resumed_bytes > 0
        self._journaled_bytes = self.resumed_bytes
        self.size_bytes = self._hashed_bytes = self.resumed_bytes
        self._failure: OSError | None = None
        self._queue: Queue[bytes | None] | None = None
        if entry.size_bytes - self.size_bytes > _THREADED_BYTES:
            self._queue = Queue(_QUEUED_CHUNKS)
            self._thread = Thread(target=self._hash_queued, args=(self._queue,), name="zoo-hash", daemon=True)
            self._thread.start()

    def append(self, chunk: bytes) -> None:
        """Add bytes. Raises WriteFailed, for these or earlier ones."""
        try:
            view = memoryview(chunk)
            while view:
                view = view[os.write(self._file, view) :]
            self.size_bytes += len(chunk)
            if self._queue is None:
                self._hash(chunk)
            else:
                self._queue.put(chunk)
        except OSError as failure:
            raise WriteFailed(failure) from failure
        if self._failure is not None:
            raise WriteFailed(self._failure)

    def restart(self) -> None:
        """Throw away what is there. Raises OSError."""
        if self._queue is not None:
            self._queue.join()
        os.ftruncate(self._file, 0)
        os.lseek(self._file, 0, os.SEEK_SET)
        self._close_journal()
        self._journal_path.unlink(missing_ok=True)
        self._has_journal = False
        self._hasher, self.etag = self._entry.hasher(), None
        self.size_bytes = self.resumed_bytes = self._hashed_bytes = self._journaled_bytes = 0

    def name_content(self, etag: str | None) -> None:
        """Note what the server calls the content, for a later process to ask by."""
        if etag != self.etag:
            self.etag = etag
            if self._has_journal:
                self._add_line({"etag": etag})

    def move(self, blob: Path) -> None:
        """Make what is whole the blob."""
        self._path.replace(blob)
        if self._has_journal:
            self._journal_path.unlink()

    def close(self) -> str:
        """Bring everything to the disk and give its digest; what is not whole is vouched for. Raises OSError."""
        try:
            if self._queue is not None:
                self._queue.put(None)
                self._thread.join()
            if self._failure is not None:
                raise self._failure
            if self._hashed_bytes == self._entry.size_bytes:
                _flush(self._file)
            return self._hasher.hexdigest()
        finally:
            if self._journaled_bytes < self._hashed_bytes < self._entry.size_bytes:
                with suppress(OSError):  # on a full disk: then the last bytes have to come again
                    self._vouch()
            self._close_journal()
            os.close(self._file)

    def _hash_queued(self, queue: Queue[bytes | None]) -> None:
        while (chunk := queue.get()) is not None:
            if self._failure is None:
                try:
                    self._hash(chunk)
                except OSError as failure:
                    self._failure = failure
            queue.task_done()

    def _hash(self, chunk: bytes) -> None:
        """Take up bytes that are written. Raises OSError, for the journal."""
        self._hasher.update(chunk)
        self._hashed_bytes += len(chunk)
        if self._hashed_bytes - self._journaled_bytes >= JOURNAL_BYTES:
            self._vouch()

    def _vouch(self) -> None:
        if not self._has_journal:  # begun late, for small files need none
            self._add_line({"etag": self.etag})
        self._add_line({"size_bytes": self._hashed_bytes, "digest": self._hasher.copy().hexdigest()})
        self._journaled_bytes = self._hashed_bytes

    def _add_line(self, line: dict[str, object]) -> None:
        if self._journal is None:
            self._journal = self._journal_path.open("ab" if self._has_journal else "wb", buffering=0)
            self._has_journal = True
        self._journal.write((json.dumps(line) + "\n").encode())

    def _close_journal(self) -> None:
        if self._journal is not None:
            self._journal.close()
            self._journal = None

    def _resume(self) -> int:
        """Hash what is there from line to line of the journal, and give how many bytes are as it says."""
        good_bytes, hashed_bytes = 0, 0
        hasher, lines = self._hasher.copy(), []
        for line in self._lines():
            if "etag" in line:
                self.etag = line["etag"] if isinstance(line["etag"], str) else None
                lines.append(line)
                continue
            size_bytes = line.get("size_bytes")
            if not isinstance(size_bytes, int) or not hashed_bytes <= size_bytes <= self._entry.size_bytes:
                break
            while hashed_bytes < size_bytes:
                chunk = os.read(self._file, min(_READ_BYTES, size_bytes - hashed_bytes))
                if not chunk:
                    break
                hasher.update(chunk)
                hashed_bytes += len(chunk)
            if hashed_bytes != size_bytes or hasher.hexdigest() != line.get("digest"):
                break
            good_bytes, self._hasher = size_bytes, hasher.copy()
            lines.append(line)
        text = "".join(json.dumps(line) + "\n" for line in lines)
        self._journal_path.write_text(text, encoding="utf-8")  # without what does not hold
        return good_bytes

    def _lines(self) -> Iterator[dict[str, object]]:
        """Give the journal's lines up to the first that is none: the last may have been cut."""
        if not self._journal_path.is_file():
            return
        for text in self._journal_path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                line = json.loads(text)
            except ValueError:
                return
            if not isinstance(line, dict):
                return
            yield line
