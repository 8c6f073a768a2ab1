"""Where a reference leads: to what is in the store already, or to a hub that has it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zoo.checkpoint.manifest import Checkpoint, FileEntry
from zoo.checkpoint.reader import INDEX_FILE
from zoo.errors import (
    AccessDenied,
    CorruptFile,
    DigestMismatch,
    GatedRepository,
    HubUnreachable,
    InvalidInput,
    NotInStore,
    RepositoryNotFound,
    RevisionNotFound,
)
from zoo.hub import catalogue
from zoo.hub.choosing import OWN_FILES, Choice, choose, read_listed_json
from zoo.hub.client import HubClient, Listing, Silent, Token, Watcher, default_endpoint, is_offline
from zoo.hub.lock import LockedCheckpoint, Pin, find_pin
from zoo.hub.store import Repository, store_path
from zoo.references import Reference


@dataclass(frozen=True)
class Query:
    """How to look for a checkpoint.

    endpoint, token: None for HF_ENDPOINT and HF_TOKEN. local_only: never ask a hub. refresh: ask it whether a branch has
    moved on, though there is something in the store. choice: of its files. watcher: told which hub is asked.
    """

    endpoint: str | None = None
    token: Token = None
    local_only: bool = False
    refresh: bool = False
    choice: Choice = OWN_FILES
    watcher: Watcher = field(default_factory=Silent)

    @property
    def stays_local(self) -> bool:
        return self.local_only or is_offline()


@dataclass(frozen=True)
class Remote:
    """A checkpoint on a hub. names: the files to fetch; index: the content of its shards' index, where it has one.

    revision: as it was asked for. promise: what the files must be.
    """

    client: HubClient
    listing: Listing
    names: Sequence[str]
    index: Mapping[str, Any]
    revision: str | None
    promise: Promise
    choice: Choice


def find(reference: Reference, query: Query) -> Checkpoint | Remote:
    """Give what a reference to a hub means, by the project's zoo.lock where that holds it.

    Raises NotInStore, LockConflict, InvalidInput for a choice of files under a lock, and the errors of HubClient.listing
    and of choose.
    """
    pin = find_pin(reference)
    if pin is None:
        return find_unlocked(reference, query)
    if query.choice != OWN_FILES:
        raise InvalidInput(
            f"{pin.path} holds which files make '{pin.reference}'. Leave --include and --exclude out, or take it out of the "
            f"lock: zoo lock remove {pin.reference}"
        )
    return find_locked(pin, query)


def find_unlocked(reference: Reference, query: Query) -> Checkpoint | Remote:
    """Give what a reference to a hub means whatever a zoo.lock holds. Errors: see find."""
    entry = catalogue.look_up(reference)
    repo_id, revision = reference.repo_id or (entry.repository if entry else ""), reference.revision
    stored = stored_checkpoint(repo_id, revision)
    if stored is not None and not query.refresh and (query.stays_local or _is_whole(stored, query)):
        return stored
    if query.stays_local:
        raise NotInStore(str(reference), store_path())
    client = HubClient(query.endpoint, query.token)
    query.watcher.asked(client.endpoint)
    listing = client.listing(repo_id, revision)
    promise = Promise("the catalogue", entry.sha256 if entry is not None and revision is None else {})
    promise.check(listing)
    names, index = choose(client, listing, query.choice)
    return Remote(client, listing, names, index, revision, promise, query.choice)


def find_locked(pin: Pin, query: Query) -> Checkpoint | Remote:
    """Give the checkpoint that a lock holds: its files and no others. Errors: see find."""
    locked = pin.locked
    stored = stored_checkpoint(locked.repository, locked.commit)
    if stored is not None and stored.manifest is not None and not locked.differences(stored.manifest.files):
        return stored
    if query.stays_local:
        raise NotInStore(pin.reference, store_path())
    client, listing = locked_listing(pin, query)
    promise = Promise.of(pin)
    promise.check(listing)
    index = read_listed_json(client, listing, INDEX_FILE) if INDEX_FILE in locked.files else {}
    return Remote(client, listing, sorted(locked.files), index, locked.commit, promise, OWN_FILES)


def _is_whole(stored: Checkpoint, query: Query) -> bool:
    """Tell whether a stored checkpoint is of the hub that would be asked, and holds all that is chosen."""
    manifest, address = stored.manifest, (query.endpoint or default_endpoint()).rstrip("/")
    return manifest is not None and manifest.endpoint == address and query.choice.is_met_by(manifest)


def locked_listing(pin: Pin, query: Query) -> tuple[HubClient, Listing]:
    """Give a hub that has what a lock holds, and the listing of its commit.

    A query's endpoint is asked alone. None: HF_ENDPOINT where it is set, then the lock's own; any source will do, for the
    digests are promised.
    """
    own = os.environ.get("HF_ENDPOINT")
    named = query.endpoint or own
    clients = [HubClient(named, query.token)] if named else []
    if query.endpoint in (None, own) and pin.locked.endpoint != (named or "").rstrip("/"):
        clients.append(HubClient(pin.locked.endpoint, token_for(pin.locked, query.token)))
    for client in clients:
        query.watcher.asked(client.endpoint)
        try:
            listing = client.listing(pin.locked.repository, pin.locked.commit)
            if listing.commit != pin.locked.commit:
                raise HubUnreachable(client.endpoint, f"asked for {pin.locked.commit}, it gave {listing.commit}")
            return client, listing
        except (AccessDenied, GatedRepository, HubUnreachable, RepositoryNotFound, RevisionNotFound):
            if client is clients[-1]:
                raise
    raise AssertionError("there is always a hub to ask")


def token_for(locked: LockedCheckpoint, token: Token) -> Token:
    """Give the token for a lock's own hub: none unless it is the user's hub too, for anybody can write a lock."""
    return token if locked.endpoint == default_endpoint().rstrip("/") else False


def stored_checkpoint(repo_id: str, revision: str | None) -> Checkpoint | None:
    """Give a checkpoint from the store, or None. Asks no hub."""
    return Repository(repo_id).find(revision)


@dataclass(frozen=True)
class Promise:
    """What files must be, whatever a hub says. by: who promises. sha256, git_blobs, sizes (in bytes): by file name.

    whole: whether the checkpoint consists of these files alone.
    """

    by: str
    sha256: Mapping[str, str]
    git_blobs: Mapping[str, str] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    whole: bool = False

    @classmethod
    def of(cls, pin: Pin) -> Promise:
        """What a lock promises."""
        files = pin.locked.files
        git_blobs = {name: file.git_blob for name, file in files.items() if file.git_blob}
        sizes = {name: file.size_bytes for name, file in files.items()}
        return cls(str(pin.path), {name: file.sha256 for name, file in files.items()}, git_blobs, sizes, whole=True)

    def check(self, listing: Listing) -> None:
        """Compare with what a hub lists, digests as far as they are of the same kind. Raises DigestMismatch, CorruptFile."""
        for name, sha256 in self.sha256.items():
            entry = listing.files.get(name)
            if entry is None:
                raise DigestMismatch(name, sha256, "no digest (it is not there)", self.by)
            expected = sha256 if entry.sha256 else self.git_blobs.get(name, entry.digest)
            if entry.digest != expected:
                raise DigestMismatch(name, expected, entry.digest, self.by)
            promised_bytes = self.sizes.get(name, entry.size_bytes)
            if entry.size_bytes != promised_bytes:
                reason = (
                    f"it promises {promised_bytes} bytes of '{name}'; with that digest there are {entry.size_bytes}"
                )
                raise CorruptFile(self.by, reason)

    def check_content(self, name: str, entry: FileEntry, blob: Path) -> None:
        """Hash a file that the hub lists with another kind of digest. Raises DigestMismatch."""
        if entry.sha256 is None and name in self.sha256:
            try:
                FileEntry(size_bytes=entry.size_bytes, sha256=self.sha256[name]).check(blob, name)
            except DigestMismatch as error:
                raise DigestMismatch(name, error.expected, error.actual, self.by) from None
