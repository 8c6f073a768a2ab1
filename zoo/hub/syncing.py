"""Taking references into the project's lock, and bringing this machine to what the lock holds."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pydantic import ValidationError

from zoo import host
from zoo.checkpoint.adapter_files import read_record, weights_digest
from zoo.checkpoint.manifest import Checkpoint, FileEntry, Manifest
from zoo.errors import (
    CorruptFile,
    DigestMismatch,
    InvalidInput,
    InvalidReference,
    LockNotMet,
    NotInStore,
    RepositoryNotFound,
    RevisionNotFound,
)
from zoo.hub.client import Silent, Watcher, is_offline
from zoo.hub.lock import LOCK_FILE, Lock, LockedCheckpoint, LockedFile, Pin, lock_path
from zoo.hub.pulling import fetch
from zoo.hub.sources import Query, find_locked, find_unlocked, locked_listing, stored_checkpoint, token_for
from zoo.references import parse


@dataclass(frozen=True)
class Change:
    """What happened to a reference in a lock. before, after: commits; None where it was, or is, not in the lock."""

    reference: str
    before: str | None
    after: str | None


@dataclass(frozen=True)
class Synced:
    """A reference that is here as its lock holds it. remark: what is not as it was when it was locked, or None."""

    reference: str
    checkpoint: Checkpoint
    remark: str | None


def open_lock() -> tuple[Path, Lock]:
    """Give the project's lock and where it is. Raises InvalidInput where there is none, CorruptFile."""
    path = lock_path()
    if path is None:
        raise InvalidInput(f"There is no {LOCK_FILE} in this folder or above it. Begin one with: zoo lock add REF")
    return path, Lock.load(path)


def add(
    refs: Sequence[str], *, endpoint: str | None = None, token: str | None = None, watcher: Watcher | None = None
) -> list[Change]:
    """Take references into the lock at the commits that they load at now; those in it already stay as they are.

    What is not on this machine yet is fetched. Where there is no lock, one begins in this folder.
    Raises InvalidReference for folders, and the errors of zoo.pull; then the lock stays as it was.
    """
    path = lock_path() or _new_path()
    lock = Lock.load(path) if path.exists() else Lock()
    changes: dict[str, LockedCheckpoint | None] = {}
    for ref in refs:
        text = _checked(ref)
        if text not in lock.checkpoints:
            query = Query(endpoint, token, watcher=watcher or Silent())
            checkpoint = fetch(find_unlocked(parse(text), query), query.watcher)
            changes[text] = _locked(checkpoint, None)
    return _save(path, lock, changes, [_checked(ref) for ref in refs])


def update(
    refs: Sequence[str] = (),
    *,
    endpoint: str | None = None,
    token: str | None = None,
    watcher: Watcher | None = None,
) -> list[Change]:
    """Move references, or all, to the commits that their hubs give for them now, and record the installed plugins.

    endpoint: None for each one's own in the lock.
    Raises InvalidReference for what is not in the lock, and the errors of zoo.pull; then the lock stays as it was.
    """
    path, lock = open_lock()
    chosen = _chosen(lock, path, refs)
    changes: dict[str, LockedCheckpoint | None] = {}
    for text, locked in chosen.items():
        address = (endpoint, token) if endpoint else (locked.endpoint, token_for(locked, token))
        query = Query(*address, refresh=True, watcher=watcher or Silent())
        checkpoint = fetch(find_unlocked(parse(text), query), query.watcher)
        changes[text] = _locked(checkpoint, locked)
    return _save(path, lock, changes, list(chosen))


def remove(refs: Sequence[str]) -> list[Change]:
    """Take references out of the lock; what is stored stays. Raises InvalidReference for what is not in it."""
    path, lock = open_lock()
    chosen = _chosen(lock, path, refs)
    return _save(path, lock, dict.fromkeys(chosen), list(chosen))


def sync(
    refs: Sequence[str] = (),
    *,
    frozen: bool = False,
    endpoint: str | None = None,
    token: str | None = None,
    watcher: Watcher | None = None,
) -> list[Synced]:
    """Bring the references, or all, onto this machine as the lock holds them.

    frozen: also read every stored byte again, and fail with LockNotMet for whatever is not as locked: a commit that is
    gone, a file, a plugin that is missing or of another version. Otherwise plugins are only remarked on.
    Raises the errors of zoo.pull.
    """
    path, lock = open_lock()
    query = Query(endpoint, token, watcher=watcher or Silent())
    synced: list[Synced] = []
    differences: dict[str, list[str]] = {}
    chosen = _chosen(lock, path, refs)
    for text, locked in chosen.items():
        pin, remark = Pin(path, text, locked), plugin_difference(locked)
        if frozen:
            found = _file_differences(pin, query) + ([remark] if remark else [])
            if found:
                differences[text] = found
                continue
        checkpoint = fetch(find_locked(pin, query), query.watcher)
        synced.append(Synced(text, checkpoint, remark))
    if differences:
        raise LockNotMet(path, differences, len(chosen))
    return synced


def plugin_difference(locked: LockedCheckpoint) -> str | None:
    """Say how the installed plugins are not as locked, or None. Imports none."""
    if locked.plugin is None:
        return None
    here = [info for info in host.list_architectures() if info.name == locked.architecture]
    same = [info for info in here if info.distribution == locked.plugin]
    if any(info.version == locked.plugin_version for info in same):
        return None
    found = ", ".join(f"{info.distribution} {info.version}" for info in same or here) or "none"
    return (
        f"the plugin for '{locked.architecture}' is {found}; locked is {locked.plugin} {locked.plugin_version} "
        f"(pip install {locked.plugin}=={locked.plugin_version})"
    )


def _file_differences(pin: Pin, query: Query) -> list[str]:
    """Say how a checkpoint, once it is here, is not as locked: by the hub's listing, then by the bytes."""
    locked, watcher = pin.locked, query.watcher
    stored = stored_checkpoint(locked.repository, locked.commit)
    try:
        is_here = stored is not None and stored.manifest is not None and not locked.differences(stored.manifest.files)
        if not is_here and not is_offline():
            listing = locked_listing(pin, query)[1]
            if found := locked.differences(listing.files):
                return [f"{name} {difference}" for name, difference in found.items()]
        checkpoint = fetch(find_locked(pin, query), watcher)
    except (RevisionNotFound, RepositoryNotFound) as error:
        what = "commit" if isinstance(error, RevisionNotFound) else "repository"
        return [f"the {what} is not at {error.endpoint} any more ({locked.repository}@{locked.commit})"]
    except NotInStore as error:
        return [f"it is not in the store at {error.store}, and no hub may be asked"]
    except DigestMismatch as error:
        return [f"{error.file} has the digest {error.actual}; locked is {error.expected}"]
    watcher = watcher if is_here else Silent()  # what came just now was counted when it came
    manifest = checkpoint.manifest
    others = sorted(set(manifest.files) - set(locked.files)) if manifest is not None else []
    return [f"{name} is in the store, and not in the lock" for name in others] + [
        f"{difference} (fetch it anew: zoo rm {locked.repository}, then zoo sync)"
        for name, file in locked.files.items()
        if (difference := _byte_difference(checkpoint, name, file, watcher)) is not None
    ]


def _byte_difference(checkpoint: Checkpoint, name: str, file: LockedFile, watcher: Watcher) -> str | None:
    try:
        file.check(checkpoint.path / name, name, partial(_advance, watcher, name, file.size_bytes))
    except DigestMismatch as error:
        return f"{name} has the digest {error.actual} on this machine; locked is {error.expected}"
    except CorruptFile as error:
        return f"{name}: {error.reason}"
    return None


def _advance(watcher: Watcher, name: str, size_bytes: int, count: int) -> None:
    watcher.advanced(name, count, size_bytes)


def _locked(checkpoint: Checkpoint, before: LockedCheckpoint | None) -> LockedCheckpoint:
    """Write down a checkpoint that is here. before: its entry so far, whose base stays while its commit does."""
    manifest = checkpoint.manifest
    assert manifest is not None
    files = {name: _locked_file(checkpoint.path / name, entry) for name, entry in manifest.files.items()}
    plugin, version = _plugin(manifest)
    try:
        return LockedCheckpoint(
            repository=manifest.repo_id,
            endpoint=manifest.endpoint,
            commit=manifest.commit,
            architecture=manifest.architecture,
            plugin=plugin,
            plugin_version=version,
            base=_base(checkpoint, before),
            files=files,
        )
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidInput(f"'{manifest.repo_id}' cannot be locked: its {where} is {first['input']!r}") from None


def _base(checkpoint: Checkpoint, before: LockedCheckpoint | None) -> str | None:
    """Give the digest of the weights that an adapter is for: by its own record, else as it was locked at this commit."""
    recorded = read_record(checkpoint.path).base
    if recorded:
        return weights_digest(recorded.values())
    return before.base if before is not None and before.commit == checkpoint.commit else None


def _locked_file(path: Path, entry: FileEntry) -> LockedFile:
    """Give a file's entry, with its sha256 where the hub lists git's id alone: of bytes that still have that id."""
    if entry.sha256 is not None:
        return LockedFile(size_bytes=entry.size_bytes, sha256=entry.sha256)
    entry.check(path, path.name)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return LockedFile(size_bytes=entry.size_bytes, sha256=sha256, git_blob=entry.git_blob)


def _plugin(manifest: Manifest) -> tuple[str | None, str | None]:
    """Give the installed plugin that reads a checkpoint; where there is none, the one that the manifest remembers."""
    here = next((info for info in host.list_architectures() if info.name == manifest.architecture), None)
    if here is not None:
        return here.distribution, here.version
    return manifest.distribution, manifest.distribution_version


def _save(
    path: Path, lock: Lock, changes: Mapping[str, LockedCheckpoint | None], touched: Collection[str]
) -> list[Change]:
    new = lock.changed(changes)
    if new != lock or not path.exists():
        new.save(path)
    old = {text: locked.commit for text, locked in lock.checkpoints.items()}
    now = {text: locked.commit for text, locked in new.checkpoints.items()}
    return [Change(text, old.get(text), now.get(text)) for text in dict.fromkeys(touched)]


def _chosen(lock: Lock, path: Path, refs: Sequence[str]) -> dict[str, LockedCheckpoint]:
    """Give the entries that references name, or all. Raises InvalidReference."""
    for ref in refs:
        if ref not in lock.checkpoints:
            held = ", ".join(sorted(lock.checkpoints)) or "nothing"
            raise InvalidReference(ref, f"{path} does not hold it; it holds {held}")
    return {text: locked for text, locked in sorted(lock.checkpoints.items()) if not refs or text in refs}


def _checked(ref: str) -> str:
    reference = parse(ref)
    if reference.folder is not None:
        raise InvalidReference(ref, "a folder has no commit that a lock could hold")
    return str(reference)


def _new_path() -> Path:
    if os.environ.get("ZOO_LOCK") == "":
        raise InvalidInput("ZOO_LOCK is set to nothing, which means that no lock is used. Unset it to begin one")
    return Path.cwd() / LOCK_FILE
