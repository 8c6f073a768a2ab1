"""Reading a checkpoint's config and headers where it is: in a folder, in the store, or on a hub, without fetching it.

Of a repository on a hub, config.json, the shards' index and the first kilobytes of each safetensors file are read, by
range requests. Of a checkpoint in the store, or in a folder, nothing is asked of any hub.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.checkpoint.adapter_files import ADAPTER_CONFIG, base_reference, holds_adapter, refuse_adapter
from zoo.checkpoint.headers import TensorHeader, read_header_from
from zoo.checkpoint.manifest import Checkpoint
from zoo.checkpoint.reader import (
    CONFIG_FILE,
    INDEX_FILE,
    Weights,
    join_shards,
    open_weights,
    read_config,
)
from zoo.errors import AdapterAlone
from zoo.hub.choosing import read_listed_json, shards, small_files, weight_files
from zoo.hub.client import HubClient, Listing
from zoo.hub.sources import Query, Remote, find
from zoo.hub.store import Repository
from zoo.references import parse

FIRST_READ_BYTES = 4096  # of each file of tensors; a shard's header fits mostly, and a longer one is read on
_CONNECTIONS = 8


@dataclass(frozen=True)
class Inspected:
    """The config and headers of a checkpoint, wherever it is.

    source: the hub that was asked, or the folder that was read. files: names and bytes, and of those not in the store
    fetch_bytes; read_bytes: what was read of files on the hub.
    """

    checkpoint: Checkpoint
    source: str
    config: Mapping[str, Any]
    weights: Weights
    files: Mapping[str, int]
    fetch_bytes: int = 0
    read_bytes: int = 0


def inspect(ref: str | Path, revision: str | None, endpoint: str | None, token: str | None) -> Inspected:
    """Look in the folder, else the store, else on the hub, as zoo.pull does."""
    reference = parse(ref, revision)
    if reference.folder is not None:
        return _in_folder(Checkpoint(reference.folder))
    return inspect_found(find(reference, Query(endpoint, token)))


def inspect_found(source: Checkpoint | Remote) -> Inspected:
    """Look at what a reference to a hub led to. Raises AdapterAlone for an adapter."""
    return _in_folder(source) if isinstance(source, Checkpoint) else _on_hub(source)


def _in_folder(checkpoint: Checkpoint) -> Inspected:
    refuse_adapter(checkpoint)
    config, weights = read_config(checkpoint.path), open_weights(checkpoint.path)
    if checkpoint.manifest is not None:
        files = {name: entry.size_bytes for name, entry in checkpoint.manifest.files.items()}
    else:
        present = {
            str(path.relative_to(checkpoint.path)): path for path in checkpoint.path.rglob("*") if path.is_file()
        }
        holders = {str(path.relative_to(checkpoint.path)) for path in weights.files.values()}
        own = {*small_files(present), *holders, *({INDEX_FILE} & set(present) if len(holders) > 1 else ())}
        files = {name: present[name].stat().st_size for name in sorted(own)}
    return Inspected(checkpoint, str(checkpoint.path), config, weights, files)


def _on_hub(source: Remote) -> Inspected:
    """Read what is needed of a repository."""
    client, listing, index = source.client, source.listing, source.index
    if holds_adapter(listing.files):
        raise AdapterAlone(listing.repo_id, base_reference(read_listed_json(client, listing, ADAPTER_CONFIG)))
    config = read_listed_json(client, listing, CONFIG_FILE)
    read_bytes = listing.files[CONFIG_FILE].size_bytes + (listing.files[INDEX_FILE].size_bytes if index else 0)
    weights_names = shards(index, listing) if index else weight_files(listing)
    files = [_RemoteFile(client, listing, name) for name in weights_names]
    with ThreadPoolExecutor(_CONNECTIONS) as pool:
        headers = list(pool.map(_RemoteFile.header, files))
    by_name = dict(zip(weights_names, headers, strict=True))
    paths = {name: Path(listing.repo_id, name) for name in weights_names}
    whole = Weights(headers[0], dict.fromkeys(headers[0], paths[weights_names[0]]))
    weights = join_shards(index, INDEX_FILE, by_name, paths) if index else whole
    repository = Repository(listing.repo_id)
    absent_bytes = [
        listing.files[name].size_bytes for name in source.names if not repository.blob(listing.files[name]).is_file()
    ]
    return Inspected(
        Checkpoint(Path(listing.repo_id), listing.repo_id, listing.commit),
        client.endpoint,
        config,
        weights,
        {name: listing.files[name].size_bytes for name in source.names},
        fetch_bytes=sum(absent_bytes),
        read_bytes=read_bytes + sum(file.read_bytes for file in files),
    )


class _RemoteFile:
    """A file on a hub that is read from its beginning, in as few and as small pieces as its header takes."""

    def __init__(self, client: HubClient, listing: Listing, name: str) -> None:
        self._client, self._listing, self._name = client, listing, name
        self._size_bytes = listing.files[name].size_bytes
        self._content = b""
        self._position = 0

    @property
    def read_bytes(self) -> int:
        return len(self._content)

    def read(self, count: int) -> bytes:
        end = min(self._position + count, self._size_bytes)
        if end > len(self._content):
            further = min(max(end, FIRST_READ_BYTES), self._size_bytes)
            self._content += self._client.read(self._listing, self._name, len(self._content), further)
        start, self._position = self._position, end
        return self._content[start:end]

    def header(self) -> dict[str, TensorHeader]:
        return read_header_from(self.read, self._size_bytes, self._name)
