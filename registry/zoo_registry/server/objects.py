"""The folder of objects: every file's bytes once, under their sha256."""

import hashlib
import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_STALE_SECONDS = 2 * 24 * 3600


@dataclass(frozen=True)
class Received:
    """Bytes that have arrived whole and are on disk, not yet an object.

    path: the temporary file; sha256: hexadecimal digest of its bytes; size: their number.
    """

    path: Path
    sha256: str
    size: int

    def discard(self) -> None:
        """Remove the temporary file, unless it has become an object."""
        self.path.unlink(missing_ok=True)


class Writer:
    """A temporary file that hashes what is written to it."""

    def __init__(self, folder: Path) -> None:
        handle, name = tempfile.mkstemp(dir=folder)
        self._file = os.fdopen(handle, "wb", buffering=0)
        self._path = Path(name)
        self._digest = hashlib.sha256()
        self._size = 0
        self._finished = False

    def write(self, block: bytes | bytearray) -> None:
        """Append `block`."""
        view = memoryview(block)
        while view:
            view = view[self._file.write(view) :]
        self._digest.update(block)
        self._size += len(block)

    def finish(self) -> Received:
        """Flush everything to disk; what was written, with its digest."""
        os.fsync(self._file.fileno())
        self._file.close()
        self._finished = True
        return Received(self._path, self._digest.hexdigest(), self._size)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._finished:
            self._file.close()
            self._path.unlink(missing_ok=True)


class ObjectStore:
    """Objects under `objects/<2>/<sha256>`; arriving bytes under `arriving`; unfinished parts under `parts`."""

    def __init__(self, data: Path) -> None:
        self._objects = data / "objects"
        self._arriving = data / "arriving"
        self._parts = data / "parts"
        for folder in (self._objects, self._arriving, self._parts):
            folder.mkdir(parents=True, exist_ok=True)
        self._sweep()

    def path(self, sha256: str) -> Path:
        """Where the object's bytes are, or would be."""
        return self._objects / sha256[:2] / sha256

    def parts_folder(self, upload: str) -> Path:
        """The folder for the parts of one multipart upload."""
        return self._parts / upload

    def writer(self) -> Writer:
        """A place for arriving bytes; use it in a `with` block."""
        return Writer(self._arriving)

    def receive(self, content: bytes) -> Received:
        """`content` as received bytes."""
        with self.writer() as writer:
            writer.write(content)
            return writer.finish()

    def adopt(self, received: Received) -> None:
        """Make received bytes an object. The caller holds the database's write lock."""
        target = self.path(received.sha256)
        target.parent.mkdir(exist_ok=True)
        received.path.replace(target)
        sync_folder(target.parent)

    def remove(self, sha256: str) -> None:
        """Remove an object that no repository names. The caller holds the database's write lock."""
        self.path(sha256).unlink(missing_ok=True)

    def _sweep(self) -> None:
        """Remove what uploads left behind that never came to an end."""
        oldest = time.time() - _STALE_SECONDS
        for left in (*self._arriving.iterdir(), *self._parts.iterdir()):
            if left.stat().st_mtime < oldest:
                shutil.rmtree(left) if left.is_dir() else left.unlink()


def sync_folder(folder: Path) -> None:
    """Make a rename inside `folder` survive a power cut, where the system can."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
