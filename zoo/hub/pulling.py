"""From a reference to a verified checkpoint in the store."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from zoo import host
from zoo.checkpoint.adapter_files import ADAPTER_WEIGHTS, is_adapter
from zoo.checkpoint.headers import read_header
from zoo.checkpoint.manifest import Checkpoint, FileEntry, Manifest
from zoo.checkpoint.reader import CONFIG_FILE, open_weights, read_config, read_json
from zoo.errors import (
    CorruptFile,
    DigestMismatch,
    ExtraMissing,
    NotACheckpoint,
    NotEnoughDisk,
    RefusedContent,
    SignatureRefused,
    ZooError,
)
from zoo.hub.choosing import Choice
from zoo.hub.client import Listing, Silent, Token, Watcher
from zoo.hub.contents import check_contents, refuse_dangerous
from zoo.hub.names import check_chosen_names
from zoo.hub.partial import partial_paths
from zoo.hub.signatures import check_signature
from zoo.hub.sources import Query, Remote, find
from zoo.hub.store import Repository, store_path
from zoo.references import parse

SPARE_DISK_BYTES = 10_000_000  # for manifests, journals and whatever else the disk is for
# After one of these, what was fetched for the checkpoint is worth nothing, and goes.
REFUSALS = (DigestMismatch, CorruptFile, NotACheckpoint, RefusedContent, SignatureRefused, ExtraMissing)


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
    """Give a checkpoint, or an adapter, that is complete and verified on this machine, fetched only where it is not yet.

    ref: a catalogue name, `org/name`, `org/name@revision` or `./folder`. revision: a branch, tag or commit.
    endpoint, token: None for HF_ENDPOINT and HF_TOKEN. local_only: never ask a hub (nor with HF_HUB_OFFLINE=1).
    refresh: ask the hub whether a branch has moved on. include, exclude: patterns of file names to add to the checkpoint's
    own, and to leave out (see Choice). watcher: told of progress.
    A checkpoint that is in the store makes no request. An interrupted pull goes on where it stopped.
    Raises InvalidReference, NotInStore, RepositoryNotFound and its kin, DigestMismatch, CorruptFile, RefusedContent,
    NotEnoughDisk; after a refusal nothing of the checkpoint is left in the store.
    Under a zoo.lock that holds the reference, this gives what it holds. Raises LockConflict for another revision.
    """
    reference = parse(ref, revision)
    if reference.folder is not None:
        if not is_adapter(reference.folder):
            read_config(reference.folder)
        return Checkpoint(reference.folder)
    choice, watcher = Choice(tuple(include), tuple(exclude)), watcher or Silent()
    return fetch(find(reference, Query(endpoint, token, local_only, refresh, choice, watcher)), watcher)


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
    reference = parse(ref, revision)
    if reference.folder is not None:
        return None
    choice = Choice(tuple(include), tuple(exclude))
    source = find(reference, Query(endpoint, token, refresh=refresh, choice=choice))
    if isinstance(source, Checkpoint):
        assert source.manifest is not None
        here = {name: file.size_bytes for name, file in source.manifest.files.items()}
        return PullPlan(source.manifest.repo_id, source.manifest.commit, None, {}, here)
    listing, repository = source.listing, Repository(source.listing.repo_id)
    sizes = {name: listing.files[name].size_bytes for name in source.names}
    to_fetch = {name: size for name, size in sizes.items() if not repository.blob(listing.files[name]).is_file()}
    here = {name: size for name, size in sizes.items() if name not in to_fetch}
    return PullPlan(listing.repo_id, listing.commit, source.client.endpoint, to_fetch, here)


def fetch(source: Checkpoint | Remote, watcher: Watcher) -> Checkpoint:
    """Bring to this machine what was found: fetch files, check them, and only then make them visible. Errors: see pull."""
    if isinstance(source, Checkpoint):
        return _trusted(source)
    listing, repository = source.listing, Repository(source.listing.repo_id)
    check_chosen_names(source.names, listing.repo_id)
    refuse_dangerous(source.names, listing.repo_id)  # a lock may name anything
    new: dict[str, Path] = {}
    with repository.locked(waits=lambda: watcher.waits(listing.repo_id)):
        try:
            new = absent_files(listing, repository, source.names)
            _check_disk(listing, repository, new)
            source.client.fetch(listing, new, watcher)
            for name in source.names:
                source.promise.check_content(name, listing.files[name], repository.blob(listing.files[name]))
            manifest = _manifest(source, repository)
            at = {name: repository.blob(entry) for name, entry in manifest.files.items()}
            check_signature(listing.repo_id, listing.files, manifest.files, at.__getitem__)
            checkpoint = repository.install(manifest, source.revision)
        except ZooError as error:
            if isinstance(error, REFUSALS):
                repository.discard(new.values())
            raise
    host.notify("zoo_checkpoint_pulled", checkpoint=checkpoint)
    return checkpoint


def _trusted(stored: Checkpoint) -> Checkpoint:
    """Give a stored checkpoint if it is signed as the user asks by now. Raises SignatureRefused, ExtraMissing."""
    if stored.manifest is not None:
        files = stored.manifest.files
        check_signature(stored.manifest.repo_id, files, files, stored.path.joinpath)
    return stored


def absent_files(listing: Listing, repository: Repository, names: Sequence[str]) -> dict[str, Path]:
    """Give the files that are not among the blobs, each content once, with where it goes. A damaged blob is removed."""
    known, here = repository.verified_digests(), repository.blob_names()
    contents = {listing.files[name].digest: name for name in names}
    return {
        name: repository.blob(listing.files[name])
        for digest, name in contents.items()
        if digest not in here or not _is_sound(listing.files[name], repository, known)
    }


def _check_disk(listing: Listing, repository: Repository, new: Mapping[str, Path]) -> None:
    """See whether there is room for what is still to come. Raises NotEnoughDisk."""
    here = repository.blob_names()
    partials = [partial_paths(blob)[0] for blob in new.values()] if here else []
    here_bytes = sum(path.stat().st_size for path in partials if path.name in here)
    needed_bytes = sum(listing.files[name].size_bytes for name in new) - here_bytes + SPARE_DISK_BYTES
    store_path().mkdir(parents=True, exist_ok=True)
    free_bytes = shutil.disk_usage(store_path()).free
    if new and needed_bytes > free_bytes:
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


def _manifest(source: Remote, repository: Repository) -> Manifest:
    """Check the content as far as that goes without its plugin, and write down what it consists of."""
    listing, names = source.listing, source.names
    config = read_json(repository.blob(listing.files[CONFIG_FILE])) if CONFIG_FILE in names else {}
    earlier = repository.find(listing.commit)
    kept = earlier.manifest.files if earlier is not None and earlier.manifest is not None else {}
    check_contents({name: repository.blob(listing.files[name]) for name in names}, listing.repo_id)
    architecture = config.get("model_type")
    provider = next((info for info in host.list_architectures() if info.name == architecture), None)
    return Manifest(
        repo_id=listing.repo_id,
        commit=listing.commit,
        endpoint=source.client.endpoint,
        architecture=architecture if isinstance(architecture, str) else None,
        distribution=provider.distribution if provider else None,
        distribution_version=provider.version if provider else None,
        include=source.choice.include,
        exclude=source.choice.exclude,
        files={name: listing.files[name] for name in sorted({*names, *kept})},
    )


def verify(checkpoint: Checkpoint, watcher: Watcher | None = None) -> int:
    """Hash every file of a stored checkpoint again, and check its tensors' headers. Gives the number of files.

    Raises DigestMismatch, CorruptFile.
    """
    watcher = watcher or Silent()
    if is_adapter(checkpoint.path):
        read_header(checkpoint.path / ADAPTER_WEIGHTS)
    else:
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
