"""From a reference to a verified checkpoint in the store."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

from zoo import host
from zoo.checkpoint.headers import read_header
from zoo.checkpoint.manifest import Checkpoint, FileEntry, Manifest
from zoo.checkpoint.reader import (
    CONFIG_FILE,
    INDEX_FILE,
    PICKLE_SUFFIXES,
    WEIGHTS_FILE,
    open_weights,
    pickles_only,
    read_config,
    read_json,
    shard_names,
)
from zoo.errors import (
    AccessDenied,
    CorruptFile,
    DigestMismatch,
    ExtraMissing,
    GatedRepository,
    HubUnreachable,
    NotACheckpoint,
    NotEnoughDisk,
    NotInStore,
    RepositoryNotFound,
    RevisionNotFound,
    SignatureRefused,
    ZooError,
)
from zoo.hub import catalogue
from zoo.hub.client import HubClient, Listing, Silent, Token, Watcher, default_endpoint, is_offline
from zoo.hub.lock import LockedCheckpoint, Pin, find_pin
from zoo.hub.signatures import SIGNATURE_FILE, check_signature
from zoo.hub.store import Repository, store_path
from zoo.references import Reference, parse
from zoo.tokenization import TOKENIZER_FILES

# What a checkpoint consists of beside its weights. Other frameworks' weights, pickles and code are never fetched.
WANTED = (
    CONFIG_FILE, "generation_config.json", "zoo.json", *TOKENIZER_FILES,
    "modules.json", "sentence_bert_config.json", "config_sentence_transformers.json", "[0-9]_*/config.json",
    "README.md", "LICENSE*", "emissions.csv", SIGNATURE_FILE,
)  # fmt: skip
SPARE_DISK_BYTES = 100_000_000


def pull(
    ref: str | Path,
    *,
    revision: str | None = None,
    endpoint: str | None = None,
    token: str | None = None,
    local_only: bool = False,
    refresh: bool = False,
    watcher: Watcher | None = None,
) -> Checkpoint:
    """Give a checkpoint that is complete and verified on this machine, fetched from a hub only where it is not yet.

    ref: a catalogue name, `org/name`, `org/name@revision` or `./folder`. revision: a branch, tag or commit.
    endpoint, token: None for HF_ENDPOINT and HF_TOKEN. local_only: never ask a hub (nor with HF_HUB_OFFLINE=1).
    refresh: ask the hub whether a branch has moved on. watcher: told of progress.
    A checkpoint that is in the store makes no request. An interrupted pull goes on where it stopped.
    Raises InvalidReference, NotInStore, RepositoryNotFound and its kin, DigestMismatch, CorruptFile, RefusedContent,
    NotEnoughDisk; after a refusal nothing of the checkpoint is left in the store.
    Under a zoo.lock that holds the reference, this gives what it holds. Raises LockConflict for another revision.
    """
    reference = parse(ref, revision)
    if reference.folder is not None:
        read_config(reference.folder)
        return Checkpoint(reference.folder)
    pin = find_pin(reference)
    if pin is not None:
        return pull_locked(pin, endpoint=endpoint, token=token, local_only=local_only, watcher=watcher)
    return pull_unlocked(
        reference, endpoint=endpoint, token=token, local_only=local_only, refresh=refresh, watcher=watcher
    )


def pull_unlocked(
    reference: Reference,
    *,
    endpoint: str | None = None,
    token: Token = None,
    local_only: bool = False,
    refresh: bool = False,
    watcher: Watcher | None = None,
) -> Checkpoint:
    """Give what a reference to a hub means whatever a zoo.lock holds. Arguments and errors: see pull."""
    entry = catalogue.look_up(reference)
    repo_id = reference.repo_id or (entry.repository if entry else "")
    stay_local = local_only or is_offline()
    stored = stored_checkpoint(repo_id, reference.revision)
    if stored is not None and not refresh:
        address = (endpoint or default_endpoint()).rstrip("/")
        if stay_local or (stored.manifest is not None and stored.manifest.endpoint == address):
            return _trusted(stored)
    if stay_local:
        raise NotInStore(str(reference), store_path())
    promise = Promise("the catalogue", entry.sha256 if entry is not None and reference.revision is None else {})
    client, watcher = HubClient(endpoint, token), watcher or Silent()
    watcher.asked(client.endpoint)
    return _fetch(client, client.listing(repo_id, reference.revision), reference.revision, promise, watcher)


def pull_locked(
    pin: Pin,
    *,
    endpoint: str | None = None,
    token: Token = None,
    local_only: bool = False,
    watcher: Watcher | None = None,
) -> Checkpoint:
    """Give the checkpoint that a lock holds: its files and no others, each as promised. Errors: see pull."""
    locked, watcher = pin.locked, watcher or Silent()
    stored = stored_checkpoint(locked.repository, locked.commit)
    if stored is not None and stored.manifest is not None and not locked.differences(stored.manifest.files):
        return _trusted(stored)
    if local_only or is_offline():
        raise NotInStore(pin.reference, store_path())
    client, listing = locked_listing(pin, endpoint, token, watcher)
    return _fetch(client, listing, locked.commit, Promise.of(pin), watcher)


def locked_listing(
    pin: Pin, endpoint: str | None, token: Token, watcher: Watcher | None = None
) -> tuple[HubClient, Listing]:
    """Give a hub that has what a lock holds, and the listing of its commit.

    endpoint: asked alone. None: HF_ENDPOINT where it is set, then the lock's own; any source will do, for the digests
    are promised.
    """
    own = os.environ.get("HF_ENDPOINT")
    named = endpoint or own
    clients = [HubClient(named, token)] if named else []
    if endpoint in (None, own) and pin.locked.endpoint != (named or "").rstrip("/"):
        clients.append(HubClient(pin.locked.endpoint, token_for(pin.locked, token)))
    for client in clients:
        (watcher or Silent()).asked(client.endpoint)
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


def stored_checkpoint(repo_id: str, revision: str | None) -> Checkpoint | None:
    """Give a checkpoint from the store, or None. Asks no hub."""
    return Repository(repo_id).find(revision)


def _trusted(stored: Checkpoint) -> Checkpoint:
    """Give a stored checkpoint if it is signed as the user asks by now. Raises SignatureRefused, ExtraMissing."""
    if stored.manifest is not None:
        files = stored.manifest.files
        check_signature(stored.manifest.repo_id, files, files, stored.path.joinpath)
    return stored


def _fetch(client: HubClient, listing: Listing, revision: str | None, promise: Promise, watcher: Watcher) -> Checkpoint:
    """Choose, fetch, check, and only then make it visible."""
    promise.check(listing)
    names = sorted(promise.sha256) if promise.whole else [*small_files(listing.files), *weight_files(listing)]
    repository = Repository(listing.repo_id)
    new: list[Path] = []
    with repository.locked():
        try:
            _fetch_files(client, listing, repository, names, new, watcher)
            if INDEX_FILE in names and not promise.whole:
                shards = shard_names(_read_blob(repository, listing.files[INDEX_FILE]), INDEX_FILE)
                absent = [name for name in shards if name not in listing.files]
                if absent:
                    raise CorruptFile(INDEX_FILE, f"it names the shard {absent[0]}, which the repository does not have")
                _fetch_files(client, listing, repository, shards, new, watcher)
                names += shards
            for name in names:
                promise.check_content(name, listing.files[name], repository.blob(listing.files[name]))
            manifest = _manifest(client.endpoint, listing, repository, names)
            at = {name: repository.blob(entry) for name, entry in manifest.files.items()}
            check_signature(listing.repo_id, listing.files, manifest.files, at.__getitem__)
            checkpoint = repository.install(manifest, revision)
        except ZooError as error:
            if isinstance(error, DigestMismatch | CorruptFile | NotACheckpoint | SignatureRefused | ExtraMissing):
                repository.discard(new)
            raise
    host.notify("zoo_checkpoint_pulled", checkpoint=checkpoint)
    return checkpoint


def small_files(names: Iterable[str]) -> list[str]:
    """Give those of a repository's files that belong to a checkpoint beside its weights."""
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in WANTED)]


def weight_files(listing: Listing) -> list[str]:
    """Give the file of weights, or the index of its shards. Raises NotACheckpoint, RefusedContent."""
    if CONFIG_FILE not in listing.files:
        raise NotACheckpoint(listing.repo_id, "it has no config.json")
    for name in (WEIGHTS_FILE, INDEX_FILE):
        if name in listing.files:
            return [name]
    pickles = [name for name in listing.files if name.endswith(PICKLE_SUFFIXES)]
    if pickles:
        raise pickles_only(listing.repo_id, pickles)
    raise NotACheckpoint(listing.repo_id, "it has no model.safetensors")


def _fetch_files(
    client: HubClient, listing: Listing, repository: Repository, names: list[str], new: list[Path], watcher: Watcher
) -> None:
    """Fetch what is not among the blobs yet, and note it in `new`."""
    known = repository.verified_digests()
    absent = [name for name in names if not _is_sound(listing.files[name], repository, known)]
    needed_bytes = sum(listing.files[name].size_bytes for name in absent)
    store_path().mkdir(parents=True, exist_ok=True)
    free_bytes = shutil.disk_usage(store_path()).free
    if needed_bytes + SPARE_DISK_BYTES > free_bytes:
        raise NotEnoughDisk(store_path(), needed_bytes + SPARE_DISK_BYTES, free_bytes)
    for name in absent:
        entry = listing.files[name]
        blob = repository.blob(entry)
        if not blob.is_file():
            client.fetch(listing, name, blob, partial(_advance, watcher, name, entry.size_bytes))
            new.append(blob)


def _is_sound(entry: FileEntry, repository: Repository, known: Collection[str]) -> bool:
    """Tell whether a blob is in place; one that another tool fetched is hashed first, and removed if it is damaged."""
    blob = repository.blob(entry)
    if not blob.is_file() or entry.digest in known:
        return blob.is_file()
    try:
        entry.check(blob, entry.digest)
    except DigestMismatch:
        blob.unlink()
    return blob.is_file()


def _advance(watcher: Watcher, name: str, size_bytes: int, count: int) -> None:
    watcher.advanced(name, count, size_bytes)


def _manifest(endpoint: str, listing: Listing, repository: Repository, names: list[str]) -> Manifest:
    """Check the content as far as that goes without its plugin, and write down what it consists of."""
    config = _read_blob(repository, listing.files[CONFIG_FILE])
    for name in names:
        if name.endswith(".safetensors"):
            read_header(repository.blob(listing.files[name]))
    architecture = config.get("model_type")
    provider = next((info for info in host.list_architectures() if info.name == architecture), None)
    return Manifest(
        repo_id=listing.repo_id,
        commit=listing.commit,
        endpoint=endpoint,
        architecture=architecture if isinstance(architecture, str) else None,
        distribution=provider.distribution if provider else None,
        distribution_version=provider.version if provider else None,
        files={name: listing.files[name] for name in sorted(names)},
    )


def _read_blob(repository: Repository, entry: FileEntry) -> dict[str, Any]:
    return read_json(repository.blob(entry))


def verify(checkpoint: Checkpoint, watcher: Watcher | None = None) -> int:
    """Hash every file of a stored checkpoint again, and check its tensors' headers. Gives the number of files.

    Raises DigestMismatch, CorruptFile.
    """
    watcher = watcher or Silent()
    open_weights(checkpoint.path)
    if checkpoint.manifest is None:
        return 0
    for name, entry in checkpoint.manifest.files.items():
        try:
            entry.check(checkpoint.path / name, name, partial(_advance, watcher, name, entry.size_bytes))
        except DigestMismatch as error:
            cure = f"It was damaged on this machine. Fetch it anew: zoo rm {checkpoint.repo_id}, then zoo pull"
            raise DigestMismatch(name, error.expected, error.actual, "the manifest", cure) from None
    return len(checkpoint.manifest.files)
