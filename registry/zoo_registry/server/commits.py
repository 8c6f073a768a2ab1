"""Landing a commit: its operations applied to the branch's head, in one transaction."""

import time
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import Connection, select

from zoo_registry.server.auth import OWNER
from zoo_registry.server.cards import card_tags, front_matter
from zoo_registry.server.clock import now_ms
from zoo_registry.server.database import commits
from zoo_registry.server.drafts import AddFile, AddObject, DeleteFile, Draft, Header, Operation
from zoo_registry.server.errors import BadRequest, Conflict, EntryNotFound, RevisionNotFound, StaleParent
from zoo_registry.server.gitobjects import commit_id, object_id, pointer
from zoo_registry.server.holdings import held_size, hold
from zoo_registry.server.objects import ObjectStore
from zoo_registry.server.repositories import Repository, change, set_card
from zoo_registry.server.revisions import (
    MAIN,
    Commit,
    Ref,
    add_commit,
    all_refs,
    commit,
    create_ref,
    find_ref,
    history,
    move_ref,
    next_pull,
    resolve,
    writable_ref,
)
from zoo_registry.server.trees import File, Listing, Trees

_AUTHOR = f"{OWNER} <{OWNER}@registry.invalid>"
_CARD = "README.md"


def start(
    connection: Connection, trees: Trees, store: ObjectStore, repository: Repository, attributes: bytes
) -> Commit:
    """The first commit of a new repository, on main, with `attributes` as its .gitattributes."""
    received = store.receive(attributes)
    hold(connection, store, repository.id, received)
    blob = object_id("blob", attributes)
    listing = Listing({".gitattributes": File(".gitattributes", received.size, blob, received.sha256, False)})
    trees.save(connection, repository.id, listing)
    first = _new_commit(listing.oid, None, Header("initial commit", "", None), None)
    add_commit(connection, repository, first)
    create_ref(connection, repository, "branch", MAIN, first.oid)
    return first


def land(
    connection: Connection, trees: Trees, store: ObjectStore, repository: Repository, revision: str, draft: Draft
) -> Commit:
    """Commit the draft to a branch or pull request; the new commit, or the one that is there if nothing changes.

    The same request, sent again because its answer was lost, gives the commit that it made.
    connection: a write transaction.
    Raises RevisionNotFound, StaleParent, EntryNotFound (a deleted path that isn't there), BadRequest.
    """
    header, (kind, name) = draft.header, writable_ref(revision)
    ref = find_ref(connection, repository, kind, name)
    if ref is None:
        raise RevisionNotFound(repository.repo_id, name)
    head = commit(connection, repository, ref.oid)
    landed = _landed_before(connection, repository, head, draft)
    if landed is not None:
        return landed
    if header.parent is not None and not head.oid.startswith(header.parent):
        raise StaleParent(repository.repo_id, name, head.oid, header.parent)
    new = _build(connection, trees, store, repository, head, draft)
    if new is not head:
        _move(connection, trees, store, repository, ref, new)
    return new


def open_pull(
    connection: Connection, trees: Trees, store: ObjectStore, repository: Repository, revision: str, draft: Draft
) -> tuple[str, Commit]:
    """Commit the draft to a new pull request, on the parent that it names, else on the head of `revision`.

    Gives the pull request's number; that of an earlier one, if the same request is sent again.
    connection: a write transaction. Raises RevisionNotFound, EntryNotFound, BadRequest.
    """
    for ref in all_refs(connection, repository):
        if ref.kind == "pull" and commit(connection, repository, ref.oid).request == draft.request:
            return ref.name, commit(connection, repository, ref.oid)
    base = resolve(connection, repository, draft.header.parent or revision)
    new = _build(connection, trees, store, repository, base, draft)
    if new is base:
        raise BadRequest("The pull request would change nothing.")
    number = next_pull(connection, repository)
    create_ref(connection, repository, "pull", number, new.oid)
    return number, new


def merge_pull(connection: Connection, trees: Trees, store: ObjectStore, repository: Repository, number: str) -> Commit:
    """Make a pull request's commits those of main. Raises RevisionNotFound; Conflict if main has others by now."""
    pull, main = (find_ref(connection, repository, kind, name) for kind, name in (("pull", number), ("branch", MAIN)))
    if pull is None or main is None:
        raise RevisionNotFound(repository.repo_id, f"refs/pr/{number}")
    new = commit(connection, repository, pull.oid)
    if all(older.oid != main.oid for older in history(connection, repository, new, limit=1000)):
        raise Conflict(f"Branch 'main' of {repository.repo_id} has moved on since pull request {number} was opened.")
    _move(connection, trees, store, repository, main, new)
    return new


def _build(
    connection: Connection, trees: Trees, store: ObjectStore, repository: Repository, base: Commit, draft: Draft
) -> Commit:
    """Store the draft as a commit on top of another one, which is given back if nothing changes."""
    before = trees.load(connection, repository.id, base.tree)
    after = _applied(connection, repository, base, before, draft.operations)
    if after.oid == base.tree:
        return base
    new = _new_commit(after.oid, base.oid, draft.header, draft.request)
    for operation in draft.operations:
        if isinstance(operation, AddFile):
            hold(connection, store, repository.id, operation.received)
    trees.save(connection, repository.id, after)
    add_commit(connection, repository, new)
    return new


def _move(
    connection: Connection, trees: Trees, store: ObjectStore, repository: Repository, ref: Ref, new: Commit
) -> None:
    """Point a ref to a new commit. Raises StaleParent."""
    if not move_ref(connection, repository, ref.kind, ref.name, ref.oid, new.oid):
        raise StaleParent(repository.repo_id, ref.name, "another commit", ref.oid)
    change(connection, repository, updated_ms=now_ms())
    if (ref.kind, ref.name) != ("branch", MAIN):
        return
    old = commit(connection, repository, ref.oid)
    before, after = (trees.load(connection, repository.id, one.tree) for one in (old, new))
    if before.id_of(_CARD) != after.id_of(_CARD):
        _read_card(connection, store, repository, after)


def squash(connection: Connection, repository: Repository, branch: str, message: str) -> Commit:
    """Replace a branch's history by one commit without a parent. Raises RevisionNotFound."""
    ref = find_ref(connection, repository, "branch", branch)
    if ref is None:
        raise RevisionNotFound(repository.repo_id, branch)
    head = commit(connection, repository, ref.oid)
    new = _new_commit(head.tree, None, Header(message, "", None), None)
    add_commit(connection, repository, new)
    move_ref(connection, repository, "branch", branch, head.oid, new.oid)
    return new


def last_changes(
    connection: Connection, trees: Trees, repository: Repository, tip: Commit, paths: Sequence[str]
) -> dict[str, Commit]:
    """For each path, the latest commit up to `tip` that changed it."""
    found: dict[str, Commit] = {}
    current, listing = tip, trees.load(connection, repository.id, tip.tree)
    while len(found) < len(paths):
        if current.parent is None:
            return {path: found.get(path, current) for path in paths}
        parent = commit(connection, repository, current.parent)
        older = trees.load(connection, repository.id, parent.tree)
        for path in paths:
            if path not in found and listing.id_of(path) != older.id_of(path):
                found[path] = current
        current, listing = parent, older
    return found


def _landed_before(connection: Connection, repository: Repository, head: Commit, draft: Draft) -> Commit | None:
    """The commit that this very request made earlier, if its answer was lost and it is sent again."""
    if draft.header.parent is None:
        return head if head.request == draft.request else None
    if head.oid.startswith(draft.header.parent):
        return None
    same = (commits.c.repository_id == repository.id, commits.c.request == draft.request)
    oids = set(connection.execute(select(commits.c.oid).where(*same)).scalars())
    candidates = history(connection, repository, head, limit=1000) if oids else []
    for candidate in candidates:
        if candidate.oid in oids and (candidate.parent or "").startswith(draft.header.parent):
            return candidate
    return None


def _applied(
    connection: Connection, repository: Repository, head: Commit, listing: Listing, operations: Sequence[Operation]
) -> Listing:
    files = dict(listing.files)
    for operation in operations:
        path = operation.path
        if isinstance(operation, AddFile):
            received = operation.received
            files[path] = File(path, received.size, operation.blob, received.sha256, False)
        elif isinstance(operation, AddObject):
            files[path] = _object_file(connection, repository, operation)
        elif isinstance(operation, DeleteFile):
            if files.pop(path, None) is None:
                raise EntryNotFound(f"A file with this name doesn't exist: {path}", head.oid)
        else:
            inside = [name for name in files if name.startswith(path + "/")]
            if not inside:
                raise EntryNotFound(f"A folder with this name doesn't exist: {path}", head.oid)
            for name in inside:
                del files[name]
    _refuse_clashes(files)
    return Listing({path: files[path] for path in sorted(files)})


def _object_file(connection: Connection, repository: Repository, operation: AddObject) -> File:
    path, sha256 = operation.path, operation.sha256
    size = held_size(connection, repository.id, sha256)
    if size is None:
        raise BadRequest(
            f"File {path!r} names object {sha256}, which was not uploaded to {repository.repo_id}. Upload it first."
        )
    if operation.size not in (None, size):
        raise BadRequest(f"File {path!r} is declared with {operation.size} bytes, but object {sha256} has {size}.")
    return File(path, size, object_id("blob", pointer(sha256, size)), sha256, True)


def _refuse_clashes(files: dict[str, File]) -> None:
    for path in files:
        folder = path.rpartition("/")[0]
        while folder:
            if folder in files:
                raise BadRequest(f"Path {folder!r} can't be a file and, for {path!r}, a folder. Delete one of them.")
            folder = folder.rpartition("/")[0]


def _new_commit(tree: str, parent: str | None, header: Header, request: str | None) -> Commit:
    now = int(time.time())
    oid = commit_id(tree, parent, _AUTHOR, now, header.message)
    return Commit(oid, parent, tree, header.summary, header.description, OWNER, now, request)


def _read_card(connection: Connection, store: ObjectStore, repository: Repository, listing: Listing) -> None:
    file = listing.files.get(_CARD)
    card = front_matter(read_text(store.path(file.sha256))) if file is not None else {}
    set_card(connection, repository, card, card_tags(card))


def read_text(path: Path, limit: int = 1024 * 1024) -> str:
    """The first `limit` bytes of a file as text."""
    with path.open("rb") as file:
        return file.read(limit).decode(errors="replace")
