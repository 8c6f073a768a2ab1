"""The part of a file that is in place: hashed while it is written, and journaled so that a later process can go on.

<digest>.partial        the bytes so far
<digest>.partial.json   a line for what the server calls the content, then a line for each mebibyte:
                        {"etag": "\\"9a1f…\\""}
                        {"size_bytes": 1048576, "digest": "53aa…"}   the digest of all bytes so far

A later process hashes the bytes again as far as the journal vouches for them. Where all that holds, it goes on after the
last byte there is: a process that was killed loses nothing that was written. After a power cut those last bytes may be
wrong; then so is the digest of the whole, and what nobody vouched for is cut back. What is damaged comes again from there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import BinaryIO

from zoo.checkpoint.manifest import FileEntry

JOURNAL_BYTES = 1 << 20
_CHUNK_BYTES = 1 << 18
_READ_BYTES = 1 << 20
_THREADED_BYTES = 4 << 20
_PART_BYTES = 1 << 20  # handed to the thread that hashes: with smaller ones, both wait for each other too often
_PARTS = 3  # one is received into while one waits and one is hashed


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

    vouched_bytes: how many of those its journal vouches for. etag: what the server calls the content, or None.
    Large files are hashed in a thread of their own, while the next bytes are received and written.
    """

    def __init__(self, blob: Path, entry: FileEntry) -> None:
        """Take up what an earlier try left, unless its journal tells of damage. Raises OSError."""
        self._path, self._journal_path = partial_paths(blob)
        self._entry, self._hasher = entry, entry.hasher()
        self.etag: str | None = None
        self.resumed_bytes = self.vouched_bytes = 0
        self._journal: BinaryIO | None = None
        self._has_journal = False
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0)
        try:
            self._file = os.open(self._path, flags | os.O_EXCL, 0o666)
        except FileExistsError:
            self._file = os.open(self._path, flags)
            try:
                self._resume()
                os.ftruncate(self._file, self.resumed_bytes)
                os.lseek(self._file, self.resumed_bytes, os.SEEK_SET)
            except BaseException:
                os.close(self._file)
                raise
        self._journaled_bytes = self.vouched_bytes
        self.size_bytes = self._hashed_bytes = self.resumed_bytes
        self._failure: OSError | None = None
        self._is_threaded = entry.size_bytes - self.size_bytes > _THREADED_BYTES
        self._free: SimpleQueue[memoryview] = SimpleQueue()
        for _ in range(_PARTS if self._is_threaded else 1):
            self._free.put(memoryview(bytearray(min(_PART_BYTES, entry.size_bytes))))
        self._part, self._filled_bytes = self._free.get(), 0
        self._begin_hashing()

    def space(self) -> memoryview:
        """Give memory to receive the next bytes into; `append` takes the first of them."""
        return self._part[self._filled_bytes : self._filled_bytes + _CHUNK_BYTES]

    def append(self, count: int) -> None:
        """Add the first `count` bytes of `space`. Raises WriteFailed, for these or earlier ones."""
        chunk = self.space()[:count]
        try:
            view = chunk
            while view:
                view = view[os.write(self._file, view) :]
            self.size_bytes += count
            if self._is_threaded:
                self._filled_bytes += count
                if self._filled_bytes == len(self._part):
                    self._written.put(self._part)
                    self._part, self._filled_bytes = self._free.get(), 0
            else:
                self._hash(chunk)
        except OSError as failure:
            raise WriteFailed(failure) from failure
        if self._failure is not None:
            raise WriteFailed(self._failure)

    def restart(self) -> None:
        """Throw away what is there. Raises OSError."""
        self._end_hashing()
        os.ftruncate(self._file, 0)
        os.lseek(self._file, 0, os.SEEK_SET)
        self._close_journal()
        self._journal_path.unlink(missing_ok=True)
        self._has_journal = False
        self._hasher, self.etag = self._entry.hasher(), None
        self.resumed_bytes = self.vouched_bytes = self._journaled_bytes = 0
        self.size_bytes = self._hashed_bytes = 0
        self._begin_hashing()

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

    def cut_back(self) -> bool:
        """Throw away what was wrong in the end: what nobody vouched for, or else all. Tells whether that may have been it.

        A file that came whole from a server is worth no second try. To be called when closed.
        """
        if self.resumed_bytes > self.vouched_bytes:
            os.truncate(self._path, self.vouched_bytes)
        else:
            self._path.unlink()
            self._journal_path.unlink(missing_ok=True)
        return self.resumed_bytes > 0

    def close(self) -> str:
        """Bring everything to the disk and give its digest; what is not whole is vouched for. Raises OSError."""
        try:
            self._end_hashing()
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

    def _begin_hashing(self) -> None:
        if self._is_threaded:
            self._written: SimpleQueue[memoryview | None] = SimpleQueue()
            self._thread = Thread(target=self._hash_written, name="zoo-hash", daemon=True)
            self._thread.start()

    def _end_hashing(self) -> None:
        if self._is_threaded:
            self._written.put(self._part[: self._filled_bytes])
            self._written.put(None)
            self._thread.join()
            self._part, self._filled_bytes = self._free.get(), 0

    def _hash_written(self) -> None:
        while (part := self._written.get()) is not None:
            if self._failure is None:
                try:
                    self._hash(part)
                except OSError as failure:
                    self._failure = failure
            self._free.put(memoryview(part.obj))

    def _hash(self, chunk: memoryview) -> None:
        """Take up bytes that are written. Raises OSError, for the journal."""
        self._hasher.update(chunk)
        self._hashed_bytes += len(chunk)
        if self._hashed_bytes - self._journaled_bytes >= JOURNAL_BYTES:
            self._vouch()

    def _vouch(self) -> None:
        if not self._has_journal:  # begun late, for small files need none
            self._add_line({"etag": self.etag})
        self._add_line({"size_bytes": self._hashed_bytes, "digest": self._hasher.hexdigest()})
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

    def _resume(self) -> None:
        """Hash what is there, and see how much of it holds."""
        lines, holds = [], True
        for line in self._lines():
            if "etag" in line:
                self.etag = line["etag"] if isinstance(line["etag"], str) else None
            elif self._holds(line):
                self.vouched_bytes = self.resumed_bytes
            else:
                holds = False
                break
            lines.append(line)
        if holds:
            self._take_up(self._entry.size_bytes)
        self._has_journal = bool(lines)
        if lines:  # without what does not hold
            text = "".join(json.dumps(line) + "\n" for line in lines)
            self._journal_path.write_text(text, encoding="utf-8")
        else:
            self._journal_path.unlink(missing_ok=True)

    def _holds(self, line: dict[str, object]) -> bool:
        """Take up what a line vouches for, if the bytes are those."""
        size_bytes, before = line.get("size_bytes"), self._hasher.copy()
        if isinstance(size_bytes, int) and self.resumed_bytes <= size_bytes <= self._entry.size_bytes:
            self._take_up(size_bytes)
            if self.resumed_bytes == size_bytes and self._hasher.hexdigest() == line.get("digest"):
                return True
        self._hasher, self.resumed_bytes = before, self.vouched_bytes
        return False

    def _take_up(self, size_bytes: int) -> None:
        """Hash on until so many bytes are, or there are no more."""
        while chunk := os.read(self._file, min(_READ_BYTES, size_bytes - self.resumed_bytes)):
            self._hasher.update(chunk)
            self.resumed_bytes += len(chunk)

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
