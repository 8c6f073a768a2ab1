"""The store: checkpoints on this machine, in the same cache folder and form that huggingface_hub uses.

models--org--name/blobs/<digest>                    each content once
models--org--name/snapshots/<commit>/<file>         links to blobs
models--org--name/refs/<revision>                   the commit a branch or tag pointed to
models--org--name/zoo/<commit>.json                 the manifest
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from zoo.checkpoint.manifest import Checkpoint, FileEntry, Manifest
from zoo.hub.partial import discard_partial
from zoo.references import is_commit

DEFAULT_REVISION = "main"


def store_path() -> Path:
    """Give the store's folder: the cache of huggingface_hub (HF_HUB_CACHE, or `hub` in HF_HOME)."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


@dataclass(frozen=True)
class Stored:
    """One snapshot in the store. revisions: the branches and tags that point to it; size_bytes: on disk, shared or not."""

    repo_id: str
    commit: str
    revisions: tuple[str, ...]
    path: Path
    size_bytes: int
    manifest: Manifest | None

    @property
    def checkpoint(self) -> Checkpoint:
        return Checkpoint(self.path, self.repo_id, self.commit, self.manifest)


@dataclass(frozen=True)
class Repository:
    """One repository's part of the store."""

    repo_id: str

    @cached_property
    def path(self) -> Path:
        """The repository's folder."""
        return store_path() / f"models--{self.repo_id.replace('/', '--')}"

    @cached_property
    def blobs(self) -> Path:
        """The folder of all content."""
        return self.path / "blobs"

    def blob(self, entry: FileEntry) -> Path:
        """Where a file's content is, or would be."""
        return self.blobs / entry.digest

    def blob_names(self) -> set[str]:
        """Give the names of all that is among the blobs, whole or partial: one look at the folder for many questions."""
        return {path.name for path in self.blobs.iterdir()} if self.blobs.is_dir() else set()

    def snapshot(self, commit: str) -> Path:
        """Where a commit's files are, or would be."""
        return self.path / "snapshots" / commit

    def manifest(self, commit: str) -> Path:
        """Where a commit's manifest is, or would be."""
        return self.path / "zoo" / f"{commit}.json"

    def commit(self, revision: str | None) -> str | None:
        """Give the commit that a revision meant when it was last asked for, or None."""
        if is_commit(revision):
            return revision
        path = self.path / "refs" / (revision or DEFAULT_REVISION)
        commit = path.read_text(encoding="utf-8").strip() if path.is_file() else ""
        return commit if is_commit(commit) else None

    def used_blobs(self, besides: str | None = None) -> set[Path]:
        """Give the blobs that snapshots link to, whoever made them. besides: a commit that does not count.

        A snapshot that is only staged does not count either: it begins with a dot.
        """
        snapshots = [path for path in (self.path / "snapshots").glob("[!.]*") if path.name != besides]
        return {path.resolve() for snapshot in snapshots for path in snapshot.rglob("*") if path.is_file()}

    def verified_digests(self) -> set[str]:
        """Give the digests of all content of this repository that Zoo has verified."""
        manifests = [Manifest.load(path) for path in (self.path / "zoo").glob("*.json")]
        return {entry.digest for manifest in manifests for entry in manifest.files.values()}

    def find(self, revision: str | None) -> Checkpoint | None:
        """Give a complete checkpoint that Zoo has verified, or None. Asks no hub. Raises CorruptFile."""
        commit = self.commit(revision)
        if commit is None or not self.manifest(commit).is_file():
            return None
        manifest = Manifest.load(self.manifest(commit))
        snapshot = self.snapshot(commit)
        if not all((snapshot / name).is_file() for name in manifest.files):
            return None
        return Checkpoint(snapshot, self.repo_id, commit, manifest)

    def install(self, manifest: Manifest, revision: str | None) -> Checkpoint:
        """Make a snapshot visible whose blobs are all in place, and remember what the revision meant."""
        snapshot = self.snapshot(manifest.commit)
        is_new = not snapshot.is_dir()
        staged = snapshot.with_name(f".{manifest.commit}.{os.getpid()}") if is_new else snapshot
        if is_new:
            shutil.rmtree(staged, ignore_errors=True)  # of a process that died
        targets: dict[Path, str] = {}
        for name, entry in manifest.files.items():
            link = staged / name
            folder = link.parent
            if folder not in targets:
                folder.mkdir(parents=True, exist_ok=True)
                targets[folder] = os.path.relpath(self.blobs, folder)
            if is_new or not link.exists():
                if not is_new:
                    link.unlink(missing_ok=True)  # left dangling
                link.symlink_to(f"{targets[folder]}/{entry.digest}")
        if is_new:
            # The links were made one level beside their place, so their relative targets stay right.
            staged.replace(snapshot)
        manifest.save(self.manifest(manifest.commit))
        if not is_commit(revision):
            reference = self.path / "refs" / (revision or DEFAULT_REVISION)
            reference.parent.mkdir(parents=True, exist_ok=True)
            whole = self.manifest(manifest.commit).with_suffix(".ref")  # what others read is never half written
            whole.write_text(manifest.commit, encoding="utf-8")
            whole.replace(reference)
        return Checkpoint(snapshot, self.repo_id, manifest.commit, manifest)

    def discard(self, blobs: Iterable[Path]) -> None:
        """Remove content that was refused, and the folders that it leaves empty."""
        for blob in blobs:
            blob.unlink(missing_ok=True)
            discard_partial(blob)
        for folder in (self.path / "blobs", self.path):
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()

    @contextmanager
    def locked(self, timeout_seconds: float = -1, waits: Callable[[], None] | None = None) -> Iterator[None]:
        """Keep other processes from fetching into this repository meanwhile; released if this one dies.

        timeout_seconds: how long to wait for another one, for ever if negative. waits: told when there is one to wait for.
        Raises filelock.Timeout after that.
        """
        from filelock import FileLock, Timeout

        path = store_path() / ".locks" / self.path.name / "zoo.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path, timeout=timeout_seconds)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if waits is not None:
                waits()
            lock.acquire()
        try:
            yield
        finally:
            lock.release()


def list_repositories() -> list[Repository]:
    """Give every repository that has a folder in the store."""
    folders = sorted(path for path in store_path().glob("models--*--*") if path.is_dir())
    return [Repository(folder.name.removeprefix("models--").replace("--", "/", 1)) for folder in folders]


def list_stored() -> list[Stored]:
    """Give every snapshot in the store, by repository, whoever fetched it."""
    found = []
    for repository in list_repositories():
        folder = repository.path
        refs = {
            path: path.read_text(encoding="utf-8").strip() for path in (folder / "refs").rglob("*") if path.is_file()
        }
        for snapshot in sorted((folder / "snapshots").glob("[0-9a-f]*")):
            if not is_commit(snapshot.name):
                continue
            revisions = sorted(
                str(path.relative_to(folder / "refs")) for path, to in refs.items() if to == snapshot.name
            )
            blobs = {path.resolve() for path in snapshot.rglob("*") if path.is_file()}
            size_bytes = sum(blob.stat().st_size for blob in blobs)
            manifest_path = repository.manifest(snapshot.name)
            manifest = Manifest.load(manifest_path) if manifest_path.is_file() else None
            found.append(Stored(repository.repo_id, snapshot.name, tuple(revisions), snapshot, size_bytes, manifest))
    return found


def size_on_disk(stored: Iterable[Stored]) -> int:
    """Give the bytes that snapshots take together: content that several share counts once."""
    files = {path.resolve() for one in stored for path in one.path.rglob("*") if path.is_file()}
    return sum(file.stat().st_size for file in files)


def remove(repo_id: str, revision: str | None = None) -> int:
    """Remove a repository from the store, or one of its revisions with the content that no other snapshot links to.

    Waits for a pull that is at it. Returns the bytes freed; 0 if it was not there.
    """
    repository = Repository(repo_id)
    if not repository.path.is_dir():
        return 0
    with repository.locked():
        before = _used_bytes(repository.path)
        commit = repository.commit(revision) if revision is not None else None
        if revision is None:
            shutil.rmtree(repository.path, ignore_errors=True)
        elif commit is not None and repository.snapshot(commit).is_dir():
            _remove_snapshot(repository, commit)
        return before - _used_bytes(repository.path)


def _remove_snapshot(repository: Repository, commit: str) -> None:
    snapshot, blobs = repository.snapshot(commit), (repository.path / "blobs").resolve()
    used = repository.used_blobs(besides=commit)
    own = {path.resolve() for path in snapshot.rglob("*") if path.is_file()}
    repository.manifest(commit).unlink(missing_ok=True)  # first: without it the rest counts for nothing
    shutil.rmtree(snapshot)
    for reference in [path for path in (repository.path / "refs").rglob("*") if path.is_file()]:
        if reference.read_text(encoding="utf-8").strip() == commit:
            reference.unlink()
    for blob in own - used:
        if blob.parent == blobs:
            blob.unlink(missing_ok=True)
    if not used:
        shutil.rmtree(repository.path, ignore_errors=True)


def _used_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
