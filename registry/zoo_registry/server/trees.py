"""What a commit holds: its files and folders, read once and kept."""

import json
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sqlalchemy import Connection, select
from sqlalchemy.dialects.sqlite import insert

from zoo_registry.server.database import trees
from zoo_registry.server.gitobjects import pointer, tree_ids

_KEPT_FILES = 200_000


@dataclass(frozen=True)
class File:
    """One file of a commit.

    path: inside the repository; size: in bytes; blob: git's blob id (an LFS file's is its pointer's).
    sha256: digest of the bytes; lfs: whether git keeps a pointer in its place.
    """

    path: str
    size: int
    blob: str
    sha256: str
    lfs: bool

    @property
    def etag(self) -> str:
        """What identifies the content: the sha256 of LFS files, the blob id of others."""
        return self.sha256 if self.lfs else self.blob

    @property
    def pointer_bytes(self) -> int:
        """The size of the LFS pointer."""
        return len(pointer(self.sha256, self.size))

    def entry(self) -> dict[str, Any]:
        """The file as the tree API shows it."""
        entry: dict[str, Any] = {"type": "file", "oid": self.blob, "size": self.size, "path": self.path}
        if self.lfs:
            entry["lfs"] = {"oid": self.sha256, "size": self.size, "pointerSize": self.pointer_bytes}
        return entry

    def sibling(self, *, blobs: bool) -> dict[str, Any]:
        """The file as the model API shows it; with size and digests only if `blobs`."""
        entry: dict[str, Any] = {"rfilename": self.path}
        if blobs:
            entry |= {"size": self.size, "blobId": self.blob}
            if self.lfs:
                entry["lfs"] = {"sha256": self.sha256, "size": self.size, "pointerSize": self.pointer_bytes}
        return entry


@dataclass(frozen=True)
class Listing:
    """All files of a commit by path, in path order."""

    files: dict[str, File]

    @cached_property
    def folders(self) -> dict[str, str]:
        """The tree id of every folder by path; the root is ""."""
        return tree_ids({path: file.blob for path, file in self.files.items()})

    @property
    def oid(self) -> str:
        """The root's tree id."""
        return self.folders[""]

    def id_of(self, path: str) -> str | None:
        """The blob id of a file or the tree id of a folder; None if the commit has neither."""
        file = self.files.get(path)
        return file.blob if file is not None else self.folders.get(path)

    def entry(self, path: str) -> dict[str, Any] | None:
        """A file or folder as the tree API shows it; None if the commit has neither."""
        if path in self.files:
            return self.files[path].entry()
        if path and path in self.folders:
            return {"type": "directory", "oid": self.folders[path], "size": 0, "path": path}
        return None

    def below(self, folder: str, *, recursive: bool) -> list[str]:
        """The sorted paths of the files and folders inside `folder` ("" is the root).

        recursive: also those inside folders of that folder.
        """
        start = f"{folder}/" if folder else ""
        return sorted(
            path
            for path in (*self.files, *self.folders)
            if path and path.startswith(start) and (recursive or "/" not in path[len(start) :])
        )


class Trees:
    """Listings in the database, the recently read ones in memory: they never change."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[int, str], Listing] = OrderedDict()

    def load(self, connection: Connection, repository_id: int, oid: str) -> Listing:
        """The files under a tree id that `save` has stored."""
        key = (repository_id, oid)
        with self._lock:
            listing = self._kept.get(key)
            if listing is not None:
                self._kept.move_to_end(key)
                return listing
        query = select(trees.c.files).where(trees.c.repository_id == repository_id, trees.c.oid == oid)
        listing = Listing({row[0]: File(*row) for row in json.loads(connection.execute(query).scalar_one())})
        with self._lock:
            self._kept[key] = listing
            while len(self._kept) > 1 and sum(len(kept.files) for kept in self._kept.values()) > _KEPT_FILES:
                self._kept.popitem(last=False)
        return listing

    def save(self, connection: Connection, repository_id: int, listing: Listing) -> None:
        """Store a listing under its tree id."""
        rows = [[file.path, file.size, file.blob, file.sha256, file.lfs] for file in _ordered(listing)]
        values = {"repository_id": repository_id, "oid": listing.oid, "files": json.dumps(rows)}
        connection.execute(insert(trees).values(values).on_conflict_do_nothing())


def _ordered(listing: Listing) -> Iterator[File]:
    return (listing.files[path] for path in sorted(listing.files))
