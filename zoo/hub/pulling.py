"""From a reference to a verified checkpoint in the store."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping
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
from zoo.errors import CorruptFile, DigestMismatch, NotACheckpoint, NotEnoughDisk, NotInStore, ZooError
from zoo.hub import catalogue
from zoo.hub.client import HubClient, Listing, Silent, Watcher, default_endpoint, is_offline
from zoo.hub.store import Repository, store_path
from zoo.references import Reference, parse
from zoo.tokenization import TOKENIZER_FILES

# What a checkpoint consists of beside its weights. Other frameworks' weights, pickles and code are never fetched.
WANTED = (
    CONFIG_FILE, "generation_config.json", "zoo.json", *TOKENIZER_FILES,
    "modules.json", "sentence_bert_config.json", "config_sentence_transformers.json", "[0-9]_*/config.json",
    "README.md", "LICENSE*", "emissions.csv",
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
    """
    reference = parse(ref, revision)
    if reference.folder is not None:
        read_config(reference.folder)
        return Checkpoint(reference.folder)
    entry = catalogue.look_up(reference)
    repo_id = reference.repo_id or (entry.repository if entry else "")
    stay_local = local_only or is_offline()
    stored = stored_checkpoint(repo_id, reference.revision)
    if stored is not None and not refresh:
        address = (endpoint or default_endpoint()).rstrip("/")
        if stay_local or (stored.manifest is not None and stored.manifest.endpoint == address):
            return stored
    if stay_local:
        raise NotInStore(str(ref), store_path())
    promised = entry.sha256 if entry is not None and reference.revision is None else {}
    return _fetch(HubClient(endpoint, token), repo_id, reference, promised, watcher or Silent())


def stored_checkpoint(repo_id: str, revision: str | None) -> Checkpoint | None:
    """Give a checkpoint from the store, or None. Asks no hub."""
    return Repository(repo_id).find(revision)


def _fetch(
    client: HubClient, repo_id: str, reference: Reference, promised: Mapping[str, str], watcher: Watcher
) -> Checkpoint:
    """Resolve, choose, fetch, check, and only then make it visible."""
    watcher.asked(client.endpoint)
    listing = client.listing(repo_id, reference.revision)
    _check_promises(listing, promised)
    weights = _weight_files(listing)
    repository = Repository(repo_id)
    new: list[Path] = []
    with repository.locked():
        try:
            small = [name for name in listing.files if any(fnmatchcase(name, pattern) for pattern in WANTED)]
            _fetch_files(client, listing, repository, [*small, *weights], new, watcher)
            if weights == [INDEX_FILE]:
                shards = shard_names(_read_blob(repository, listing.files[INDEX_FILE]), INDEX_FILE)
                absent = [name for name in shards if name not in listing.files]
                if absent:
                    raise CorruptFile(INDEX_FILE, f"it names the shard {absent[0]}, which the repository does not have")
                _fetch_files(client, listing, repository, shards, new, watcher)
                weights = [INDEX_FILE, *shards]
            manifest = _manifest(client.endpoint, listing, repository, [*small, *weights])
            checkpoint = repository.install(manifest, reference.revision)
        except ZooError as error:
            if isinstance(error, DigestMismatch | CorruptFile | NotACheckpoint):
                repository.discard(new)
            raise
    host.notify("zoo_checkpoint_pulled", checkpoint=checkpoint)
    return checkpoint


def _check_promises(listing: Listing, promised: Mapping[str, str]) -> None:
    for name, digest in promised.items():
        actual = listing.files[name].digest if name in listing.files else "no digest (it is not there)"
        if actual != digest:
            raise DigestMismatch(name, digest, actual, "the catalogue")


def _weight_files(listing: Listing) -> list[str]:
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
