"""Taking out of the store what no checkpoint needs: it changes nothing of what any tool finds there."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from zoo.hub.store import Repository, list_repositories, store_path

PARTIAL_SECONDS = 86_400.0  # a pull that was broken off so long ago is not gone on with
_DIGEST = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_STAGED = re.compile(r"\.[0-9a-f]{40}\.\d+")


@dataclass(frozen=True)
class Leftover:
    """Something that nothing needs. what: an unused blob, a partial file, a leftover of a dead process."""

    repo_id: str
    path: Path
    what: str
    size_bytes: int


@dataclass(frozen=True)
class Pruned:
    """What was found, and removed unless that was not wanted. busy: repositories that another process is working in."""

    leftovers: tuple[Leftover, ...]
    busy: tuple[str, ...]

    @property
    def freed_bytes(self) -> int:
        return sum(leftover.size_bytes for leftover in self.leftovers)


def prune(dry_run: bool = False) -> Pruned:
    """Remove blobs that no snapshot links to, partial files older than a day, and what dead processes left behind.

    A blob that any snapshot links to stays, whichever tool made it. So does one that huggingface_hub has locked: it is
    about to link to it. dry_run: only tell. Repositories that a pull works in are passed over.
    """
    from filelock import Timeout

    found: list[Leftover] = []
    busy: list[str] = []
    for repository in list_repositories():
        try:
            with repository.locked(timeout_seconds=0):
                for leftover in list(_leftovers(repository)):
                    if dry_run or _remove(repository, leftover):
                        found.append(leftover)
                if not dry_run:
                    _remove_if_empty(repository)
        except Timeout:
            busy.append(repository.repo_id)
    return Pruned(tuple(found), tuple(busy))


def _leftovers(repository: Repository) -> Iterator[Leftover]:
    """Find what is not needed, while the repository is locked: so whatever is staged belongs to a dead process."""
    used = repository.used_blobs()
    for path in sorted((repository.path / "blobs").glob("*")):
        if path.is_symlink() or not path.is_file():
            continue
        is_partial = path.name.endswith((".partial", ".partial.json", ".incomplete"))
        if _DIGEST.fullmatch(path.name) and path.resolve() not in used:
            yield Leftover(repository.repo_id, path, "unused blob", path.stat().st_size)
        elif is_partial and time.time() - _last_change(path) > PARTIAL_SECONDS:
            yield Leftover(repository.repo_id, path, "partial file", path.stat().st_size)
    for path in sorted((repository.path / "snapshots").glob(".*")):
        if _STAGED.fullmatch(path.name) and path.is_dir():
            yield Leftover(repository.repo_id, path, "staged snapshot", 0)  # of links
    for path in sorted((repository.path / "zoo").glob("*")):
        is_manifest = path.suffix == ".json"
        if not is_manifest or not repository.snapshot(path.stem).is_dir():
            what = "manifest without its snapshot" if is_manifest else "half a manifest"
            yield Leftover(repository.repo_id, path, what, path.stat().st_size)


def _last_change(path: Path) -> float:
    """When a partial file or its journal was written to last: the two go together."""
    pair = (path, path.with_name(path.name.removesuffix(".json")), path.with_name(f"{path.name}.json"))
    return max(member.stat().st_mtime for member in pair if member.is_file())


def _remove(repository: Repository, leftover: Leftover) -> bool:
    """Remove a leftover, unless huggingface_hub is at it."""
    from filelock import FileLock, Timeout

    if leftover.path.is_dir():
        shutil.rmtree(leftover.path)
        return True
    lock = store_path() / ".locks" / repository.path.name / f"{leftover.path.name.partition('.')[0]}.lock"
    if not lock.is_file():
        leftover.path.unlink(missing_ok=True)
        return True
    try:
        with FileLock(lock, timeout=0):
            leftover.path.unlink(missing_ok=True)
    except Timeout:
        return False
    return True


def _remove_if_empty(repository: Repository) -> None:
    """Remove the folders that hold nothing any more."""
    for folder in (*(repository.path / name for name in ("blobs", "snapshots", "zoo")), repository.path):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
