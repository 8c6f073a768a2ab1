"""What is known of a reference without asking a hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from zoo.checkpoint.adapter_files import (
    ADAPTER_CONFIG,
    base_reference,
    is_adapter,
    kind_of,
    read_record,
    weights_digest,
)
from zoo.checkpoint.reader import read_json
from zoo.errors import InvalidReference, NotInStore
from zoo.hub import catalogue, store
from zoo.hub.lock import find_pin
from zoo.references import Reference, parse


def describe(ref: str, revision: str | None = None) -> dict[str, Any]:
    """Give facts about a checkpoint: where it comes from, and its files if it is in the store.

    Raises InvalidReference, NotInStore when neither store nor catalogue knows it.
    """
    reference = parse(ref, revision)
    if reference.folder is not None:
        raise InvalidReference(ref, "a folder has no entry in store or catalogue")
    pin = find_pin(reference)
    entry, repo_id = (None, pin.locked.repository) if pin else _located(reference)
    known = entry.model_dump(exclude={"repository", "architecture", "sha256"}) if entry else {}
    stored = store.Repository(repo_id).find(pin.locked.commit if pin else reference.revision)
    if stored is None or stored.manifest is None:
        if entry is None:
            raise NotInStore(ref, store.store_path())
        return {"repository": repo_id, "architecture": entry.architecture, **known, "stored": "no"}
    manifest = stored.manifest
    files = {name: {"size_bytes": file.size_bytes, "digest": file.digest} for name, file in manifest.files.items()}
    facts = {"repository": repo_id, "architecture": manifest.architecture, "commit": manifest.commit}
    if is_adapter(stored.path):
        facts |= _adapter_facts(stored.path)
    plugin = {"plugin": " ".join(filter(None, (manifest.distribution, manifest.distribution_version)))}
    return (
        facts
        | known
        | plugin
        | {"endpoint": manifest.endpoint, "path": str(stored.path), "stored": "yes", "files": files}
    )


def _adapter_facts(folder: Path) -> dict[str, Any]:
    """Say what an adapter is and goes beside, as far as its files do. Raises CorruptFile."""
    config, record = read_json(folder / ADAPTER_CONFIG), read_record(folder)
    digest = weights_digest(record.base.values()) if record.base else None
    return {"adapter": kind_of(config), "task": record.task, "base": base_reference(config), "base_digest": digest}


def remove_reference(ref: str) -> int:
    """Remove what a reference names from the store, and give the bytes freed. Raises InvalidReference, NotInStore."""
    reference = parse(ref)
    if reference.folder is not None:
        raise InvalidReference(ref, "folders of your own are not in the store; nothing was removed")
    _, repo_id = _located(reference)
    if not store.Repository(repo_id).path.is_dir():
        raise NotInStore(ref, store.store_path())
    return store.remove(repo_id, reference.revision)


def _located(reference: Reference) -> tuple[catalogue.CatalogueEntry | None, str]:
    entry = catalogue.look_up(reference)
    return entry, reference.repo_id or (entry.repository if entry else "")
