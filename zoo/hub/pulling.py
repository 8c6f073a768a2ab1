"""From a reference to a verified checkpoint in the store."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from zoo import host
from zoo.checkpoint.headers import read_header
from zoo.checkpoint.manifest import Checkpoint, FileEntry, Manifest
from zoo.checkpoint.reader import CONFIG_FILE, open_weights, read_config, read_json
from zoo.errors import (
    AccessDenied,
    CorruptFile,
    DigestMismatch,
    ExtraMissing,
    GatedRepository,
    HubUnreachable,
    InvalidInput,
    NotACheckpoint,
    NotEnoughDisk,
    NotInStore,
    RepositoryNotFound,
    RevisionNotFound,
    SignatureRefused,
    ZooError,
)
from zoo.hub import catalogue
from zoo.hub.choosing import OWN_FILES, Choice, choose
from zoo.hub.client import HubClient, Listing, Silent, Token, Watcher, default_endpoint, is_offline
from zoo.hub.lock import LockedCheckpoint, Pin, find_pin
from zoo.hub.partial import partial_paths
from zoo.hub.signatures import check_signature
from zoo.hub.store import Repository, store_path
from zoo.references import Reference, parse

SPARE_DISK_BYTES = 10_000_000  # for manifests, journals and whatever else the disk is for


def pull(
    ref: str | Path,
    *,
    revision: str | None = None,
    endpoint: str | None = None,
    token: str | None = None,
    local_only: bool = False,
    refresh: bool = False,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    watcher: Watcher | None = None,
) -> Checkpoint:
    """Give a checkpoint that is complete and verified on this machine, fetched from a hub only where it is not yet.

    ref: a catalogue name, `org/name`, `org/name@revision` or `./folder`. revision: a branch, tag or commit.
    endpoint, token: None for HF_ENDPOINT and HF_TOKEN. local_only: never ask a hub (nor with HF_HUB_OFFLINE=1).
    refresh: ask the hub whether a branch has moved on. include, exclude: patterns of file names to add to the checkpoint's
    own, and to leave out (see Choice). watcher: told of progress.
    A checkpoint that is in the store makes no request. An interrupted pull goes on where it stopped.
    Raises InvalidReference, NotInStore, RepositoryNotFound and its kin, DigestMismatch, CorruptFile, RefusedContent,
    NotEnoughDisk; after a refusal nothing of the checkpoint is left in the store.
    Under a zoo.lock that holds the reference, this gives what it holds. Raises LockConflict for another revision.
    """
    reference, choice = parse(ref, revision), Choice(tuple(include), tuple(exclude))
    if reference.folder is not None:
        read_config(reference.folder)
        return Checkpoint(reference.folder)
    pin = find_pin(reference)
    if pin is not None:
        check_unchosen(pin, choice)
        return pull_locked(pin, endpoint=endpoint, token=token, local_only=local_only, watcher=watcher)
    return pull_unlocked(
        reference,
        endpoint=endpoint,
        token=token,
        local_only=local_only,
        refresh=refresh,
        choice=choice,
        watcher=watcher,
    )


def check_unchosen(pin: Pin, choice: Choice) -> None:
    """Refuse a choice of files where a lock holds which they are. Raises InvalidInput."""
    if choice != OWN_FILES:
        raise InvalidInput(
            f"{pin.path} holds which files make '{pin.reference}'. Leave --include and --exclude out, or take it out of the "
            f"lock: zoo lock remove {pin.reference}"
        )


def pull_unlocked(
    reference: Reference,
    *,
    endpoint: str | None = None,
    token: Token = None,
    local_only: bool = False,
    refresh: bool = False,
    choice: Choice = OWN_FILES,
    watcher: Watcher | None = None,
) -> Checkpoint:
    """Give what a reference to a hub means whatever a zoo.lock holds. Arguments and errors: see pull."""
    entry = catalogue.look_up(reference)
    repo_id = reference.repo_id or (entry.repository if entry else "")
    stay_local = local_only or is_offline()
    stored = stored_checkpoint(repo_id, reference.revision)
    if stored is not None and not refresh and (stay_local or is_whole(stored, choice, endpoint)):
        return _trusted(stored)
    if stay_local:
        raise NotInStore(str(reference), store_path())
    promise = Promise("the catalogue", entry.sha256 if entry is not None and reference.revision is None else {})
    client, watcher = HubClient(endpoint, token), watcher or Silent()
    watcher.asked(client.endpoint)
    listing = client.listing(repo_id, reference.revision)
    promise.check(listing)
    return _fetch(client, listing, choose(client, listing, choice), reference.revision, promise, choice, watcher)


def is_whole(stored: Checkpoint, choice: Choice, endpoint: str | None) -> bool:
    """Tell whether a stored checkpoint is of the hub that would be asked, and holds all that is chosen."""
    address = (endpoint or default_endpoint()).rstrip("/")
    return stored.manifest is not None and stored.manifest.endpoint == address and choice.is_met_by(stored.manifest)


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
    promise = Promise.of(pin)
    promise.check(listing)
    return _fetch(client, listing, sorted(promise.sha256), locked.commit, promise, OWN_FILES, watcher)


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
class PullPlan:
    """What a pull would do. endpoint: None where no hub would be asked. to_fetch, here: sizes in bytes by file name."""

    repo_id: str
    commit: str
    endpoint: str | None
    to_fetch: Mapping[str, int]
    here: Mapping[str, int]


def plan_pull(
    ref: str | Path,
    *,
    revision: str | None = None,
    endpoint: str | None = None,
    token: Token = None,
    refresh: bool = False,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
) -> PullPlan | None:
    """Say what a pull would fetch, and change nothing. None for a folder. Arguments and errors: see pull."""
    reference, choice = parse(ref, revision), Choice(tuple(include), tuple(exclude))
    if reference.folder is not None:
        return None
    pin, entry = find_pin(reference), catalogue.look_up(reference)
    if pin is not None:
        check_unchosen(pin, choice)
    repo_id = pin.locked.repository if pin else reference.repo_id or (entry.repository if entry else "")
    stored = stored_checkpoint(repo_id, pin.locked.commit if pin else reference.revision)
    if stored is not None and stored.manifest is not None:
        as_locked = pin is not None and not pin.locked.differences(stored.manifest.files)
        if as_locked or (pin is None and not refresh and (is_offline() or is_whole(stored, choice, endpoint))):
            here = {name: file.size_bytes for name, file in stored.manifest.files.items()}
            return PullPlan(repo_id, stored.manifest.commit, None, {}, here)
    if is_offline():
        raise NotInStore(str(reference), store_path())
    if pin is not None:
        client, listing = locked_listing(pin, endpoint, token)
        names = sorted(pin.locked.files)
    else:
        client = HubClient(endpoint, token)
        listing = client.listing(repo_id, reference.revision)
        names = choose(client, listing, choice)
    sizes = {name: listing.files[name].size_bytes for name in names}
    blobs = {name: Repository(repo_id).blob(listing.files[name]) for name in names}
    to_fetch = {name: size for name, size in sizes.items() if not blobs[name].is_file()}
    here = {name: size for name, size in sizes.items() if name not in to_fetch}
    return PullPlan(repo_id, listing.commit, client.endpoint, to_fetch, here)


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


def _fetch(
    client: HubClient,
    listing: Listing,
    names: Sequence[str],
    revision: str | None,
    promise: Promise,
    choice: Choice,
    watcher: Watcher,
) -> Checkpoint:
    """Fetch files, check them, and only then make them visible."""
    repository = Repository(listing.repo_id)
    new: dict[str, Path] = {}
    with repository.locked():
        try:
            new = absent_files(listing, repository, names)
            _check_disk(listing, new)
            client.fetch(listing, new, watcher)
            for name in names:
                promise.check_content(name, listing.files[name], repository.blob(listing.files[name]))
            manifest = _manifest(client.endpoint, listing, repository, names, choice)
            at = {name: repository.blob(entry) for name, entry in manifest.files.items()}
            check_signature(listing.repo_id, listing.files, manifest.files, at.__getitem__)
            checkpoint = repository.install(manifest, revision)
        except ZooError as error:
            if isinstance(error, DigestMismatch | CorruptFile | NotACheckpoint | SignatureRefused | ExtraMissing):
                repository.discard(new.values())
            raise
    host.notify("zoo_checkpoint_pulled", checkpoint=checkpoint)
    return checkpoint


def absent_files(listing: Listing, repository: Repository, names: Sequence[str]) -> dict[str, Path]:
    """Give the files that are not among the blobs, with where they go. A damaged blob is removed."""
    known = repository.verified_digests()
    absent = [name for name in names if not _is_sound(listing.files[name], repository, known)]
    return {name: repository.blob(listing.files[name]) for name in absent}


def _check_disk(listing: Listing, new: Mapping[str, Path]) -> None:
    """See whether there is room for what is still to come. Raises NotEnoughDisk."""
    sizes = {blob: listing.files[name].size_bytes for name, blob in new.items()}
    partials = [partial_paths(blob)[0] for blob in sizes]
    here_bytes = sum(path.stat().st_size for path in partials if path.is_file())
    needed_bytes = sum(sizes.values()) - here_bytes + SPARE_DISK_BYTES
    store_path().mkdir(parents=True, exist_ok=True)
    free_bytes = shutil.disk_usage(store_path()).free
    if sizes and needed_bytes > free_bytes:
        raise NotEnoughDisk(store_path(), needed_bytes, free_bytes)


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


def _manifest(
    endpoint: str, listing: Listing, repository: Repository, names: Sequence[str], choice: Choice
) -> Manifest:
    """Check the content as far as that goes without its plugin, and write down what it consists of."""
    config = read_json(repository.blob(listing.files[CONFIG_FILE])) if CONFIG_FILE in names else {}
    earlier = repository.find(listing.commit)
    kept = earlier.manifest.files if earlier is not None and earlier.manifest is not None else {}
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
        include=choice.include,
        exclude=choice.exclude,
        files={name: listing.files[name] for name in sorted({*names, *kept})},
    )


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


def _advance(watcher: Watcher, name: str, size_bytes: int, count: int) -> None:
    watcher.advanced(name, count, size_bytes)
