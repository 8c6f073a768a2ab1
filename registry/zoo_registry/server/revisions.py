"""Commits and the names that point to them: branches, tags and pull requests."""

import re
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, select, update
from sqlalchemy.dialects.sqlite import insert

from zoo_registry.server.clock import iso
from zoo_registry.server.database import commits, refs
from zoo_registry.server.errors import Conflict, Forbidden, RevisionNotFound
from zoo_registry.server.names import ref_name
from zoo_registry.server.repositories import Repository

MAIN = "main"
FOLDERS = {"branch": "heads", "tag": "tags", "pull": "pr"}


@dataclass(frozen=True)
class Commit:
    """An immutable commit: its git id, its parent's, its tree's; `request` is the sha256 of the call that made it."""

    oid: str
    parent: str | None
    tree: str
    title: str
    message: str
    author: str
    date_seconds: int
    request: str | None

    @property
    def date(self) -> str:
        """When it was made, as the Hub writes it."""
        return iso(self.date_seconds * 1000)

    def brief(self) -> dict[str, str]:
        """What the tree API shows as `lastCommit`."""
        return {"id": self.oid, "title": self.title, "date": self.date}


@dataclass(frozen=True)
class Ref:
    """A branch, tag or pull request (whose name is its number). kind: see FOLDERS; oid: the commit it points to."""

    kind: str
    name: str
    oid: str

    def entry(self) -> dict[str, str]:
        """The ref as the refs API shows it."""
        return {"name": self.name, "ref": f"refs/{FOLDERS[self.kind]}/{self.name}", "targetCommit": self.oid}


def branch_name(revision: str) -> str:
    """`revision` without `refs/heads/` before it."""
    return revision.removeprefix("refs/heads/")


def writable_ref(revision: str) -> tuple[str, str]:
    """Kind and name of what a commit may go to: "refs/pr/7" is a pull request, anything else a branch."""
    kind, prefix = "pull", f"refs/{FOLDERS['pull']}/"
    return (kind, revision.removeprefix(prefix)) if revision.startswith(prefix) else ("branch", branch_name(revision))


def find_ref(connection: Connection, repository: Repository, kind: str, name: str) -> Ref | None:
    """The ref of that kind and name, or None."""
    oid = connection.execute(select(refs.c.oid).where(*_ref_key(repository, kind, name))).scalar()
    return None if oid is None else Ref(kind, name, oid)


def all_refs(connection: Connection, repository: Repository) -> list[Ref]:
    """All refs, sorted by name."""
    rows = connection.execute(refs.select().where(refs.c.repository_id == repository.id).order_by(refs.c.name))
    return [Ref(row.kind, row.name, row.oid) for row in rows]


def resolve(connection: Connection, repository: Repository, revision: str) -> Commit:
    """The commit that a branch, a pull request (refs/pr/7), a tag, a commit id or the start of one means, in this order.

    The start of a commit id has 7 digits at least.

    Raises RevisionNotFound.
    """
    ref = find_ref(connection, repository, *writable_ref(revision))
    if ref is None:
        ref = find_ref(connection, repository, "tag", revision.removeprefix("refs/tags/"))
    if ref is not None:
        return commit(connection, repository, ref.oid)
    if re.fullmatch(r"[0-9a-f]{7,40}", revision):
        query = commits.select().where(commits.c.repository_id == repository.id, commits.c.oid.startswith(revision))
        rows = connection.execute(query.limit(2)).all()
        if len(rows) == 1:
            return _commit(rows[0])
    raise RevisionNotFound(repository.repo_id, revision)


def commit(connection: Connection, repository: Repository, oid: str) -> Commit:
    """The commit with this id, which must exist."""
    query = commits.select().where(commits.c.repository_id == repository.id, commits.c.oid == oid)
    return _commit(connection.execute(query).one())


def history(connection: Connection, repository: Repository, start: Commit, limit: int) -> list[Commit]:
    """`start` and the commits before it, newest first, `limit` at most."""
    line = [start]
    while len(line) < limit and (parent := line[-1].parent) is not None:
        line.append(commit(connection, repository, parent))
    return line


def add_commit(connection: Connection, repository: Repository, new: Commit) -> None:
    """Store a commit; one that is there already stays as it is."""
    values = {"repository_id": repository.id, **vars(new)}
    connection.execute(insert(commits).values(values).on_conflict_do_nothing())


def create_ref(
    connection: Connection, repository: Repository, kind: str, name: str, oid: str, message: str = ""
) -> None:
    """A new ref. Raises BadRequest for a bad name, Conflict if there is one of that kind and name."""
    ref_name(name)
    if find_ref(connection, repository, kind, name) is not None:
        raise Conflict(f"{kind.capitalize()} {name!r} of {repository.repo_id} exists already.")
    values = {"repository_id": repository.id, "kind": kind, "name": name, "oid": oid, "message": message}
    connection.execute(insert(refs).values(values))


def delete_ref(connection: Connection, repository: Repository, kind: str, name: str) -> None:
    """Remove a branch or tag; its commits stay. Raises RevisionNotFound, and Forbidden for the branch main."""
    if kind == "branch" and name == MAIN:
        raise Forbidden(f"Branch 'main' of {repository.repo_id} can't be deleted.")
    if not connection.execute(delete(refs).where(*_ref_key(repository, kind, name))).rowcount:
        raise RevisionNotFound(repository.repo_id, name)


def next_pull(connection: Connection, repository: Repository) -> str:
    """The number of the next pull request."""
    numbers = [int(ref.name) for ref in all_refs(connection, repository) if ref.kind == "pull"]
    return str(max(numbers, default=0) + 1)


def move_ref(connection: Connection, repository: Repository, kind: str, name: str, old: str, new: str) -> bool:
    """Point a branch or pull request from commit `old` to `new`; False, and nothing done, if it points elsewhere by now."""
    where = (*_ref_key(repository, kind, name), refs.c.oid == old)
    return connection.execute(update(refs).where(*where).values(oid=new)).rowcount == 1


def _ref_key(repository: Repository, kind: str, name: str) -> tuple[Any, ...]:
    return refs.c.repository_id == repository.id, refs.c.kind == kind, refs.c.name == name


def _commit(row: Any) -> Commit:
    values = row._asdict()
    values.pop("repository_id")
    return Commit(**values)
