"""Repositories: create, find, list, change, delete."""

import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, tuple_, update
from sqlalchemy.exc import IntegrityError

from zoo_registry.server.clock import now_ms
from zoo_registry.server.database import objects, repositories, tags
from zoo_registry.server.errors import BadRequest, Conflict, RepoNotFound
from zoo_registry.server.names import repo_part

KINDS = {"model": "models", "dataset": "datasets"}


@dataclass(frozen=True)
class Repository:
    """One repository's row.

    kind: "models" or "datasets"; gated: "auto", "manual" or None; card: README.md's metadata on main.
    created_ms, updated_ms: milliseconds since 1970.
    """

    id: int
    kind: str
    namespace: str
    name: str
    private: bool
    gated: str | None
    card: dict[str, Any]
    created_ms: int
    updated_ms: int

    @property
    def repo_id(self) -> str:
        """`namespace/name`."""
        return f"{self.namespace}/{self.name}"

    @property
    def web_path(self) -> str:
        """The path of its page: `/namespace/name`, with `/datasets` before it for a dataset."""
        return web_path(self.kind, self.repo_id)


@dataclass(frozen=True, kw_only=True)
class Search:
    """Which repositories to list; None asks for all.

    text: part of the repository id, in any case; author: the namespace; labels: tags that all must be there.
    with_private: whether private ones may be shown.
    sort: "updated_ms" or "created_ms", newest first; after: the cursor of the last one already listed.
    """

    kind: str
    text: str | None = None
    author: str | None = None
    gated: bool | None = None
    labels: tuple[str, ...] = ()
    with_private: bool = False
    sort: str = "updated_ms"
    after: tuple[int, int] | None = None


def web_path(kind: str, repo_id: str) -> str:
    """The path of a repository's page."""
    return f"/{repo_id}" if kind == "models" else f"/{kind}/{repo_id}"


def find(connection: Connection, kind: str, repo_id: str) -> Repository:
    """The repository of that name. Raises RepoNotFound."""
    namespace, _, name = repo_id.partition("/")
    columns = repositories.c
    query = repositories.select().where(columns.kind == kind, columns.namespace == namespace, columns.name == name)
    row = connection.execute(query).first()
    if row is None:
        raise RepoNotFound(repo_id)
    return _repository(row)


def create(connection: Connection, kind: str, repo_id: str, *, private: bool) -> Repository:
    """A new, empty repository. Raises BadRequest for a bad name, Conflict if it exists."""
    namespace, name = _checked(repo_id)
    now = now_ms()
    values = {"kind": kind, "namespace": namespace, "name": name, "private": private}
    query = insert(repositories).values(**values, card="{}", created_ms=now, updated_ms=now)
    try:
        connection.execute(query)
    except IntegrityError:
        raise Conflict(f"Repository {repo_id} exists already.") from None
    return find(connection, kind, repo_id)


def rename(connection: Connection, repository: Repository, repo_id: str) -> None:
    """Give the repository another name. Raises BadRequest for a bad name, Conflict if it is taken."""
    namespace, name = _checked(repo_id)
    query = update(repositories).where(repositories.c.id == repository.id).values(namespace=namespace, name=name)
    try:
        connection.execute(query)
    except IntegrityError:
        raise Conflict(f"Repository {repo_id} exists already.") from None


def change(connection: Connection, repository: Repository, **values: Any) -> None:
    """Set columns of the repository's row, such as `private` and `gated`."""
    connection.execute(update(repositories).where(repositories.c.id == repository.id).values(**values))


def remove(connection: Connection, repository: Repository) -> list[str]:
    """Delete the repository with all that belongs to it; the sha256 of every object that it held."""
    held = select(objects.c.sha256).where(objects.c.repository_id == repository.id)
    digests = list(connection.execute(held).scalars())
    connection.execute(delete(repositories).where(repositories.c.id == repository.id))
    return digests


def listed(connection: Connection, search: Search, limit: int) -> list[Repository]:
    """Up to `limit` repositories that fit the search, newest first."""
    columns = repositories.c
    query = repositories.select().where(columns.kind == search.kind)
    if not search.with_private:
        query = query.where(columns.private.is_(False))
    if search.text is not None:
        query = query.where((columns.namespace + "/" + columns.name).icontains(search.text, autoescape=True))
    if search.author is not None:
        query = query.where(columns.namespace == search.author)
    if search.gated is not None:
        query = query.where(columns.gated.is_not(None) if search.gated else columns.gated.is_(None))
    for label in search.labels:
        query = query.where(columns.id.in_(select(tags.c.repository_id).where(tags.c.tag == label)))
    order = columns[search.sort]
    if search.after is not None:
        query = query.where(tuple_(order, columns.id) < search.after)
    rows = connection.execute(query.order_by(order.desc(), columns.id.desc()).limit(limit))
    return [_repository(row) for row in rows]


def set_card(connection: Connection, repository: Repository, card: dict[str, Any], labels: list[str]) -> None:
    """Keep the metadata of the repository's README.md, and the tags it gives."""
    change(connection, repository, card=json.dumps(card))
    connection.execute(delete(tags).where(tags.c.repository_id == repository.id))
    if labels:
        connection.execute(insert(tags), [{"repository_id": repository.id, "tag": label} for label in labels])


def _checked(repo_id: str) -> tuple[str, str]:
    namespace, slash, name = repo_id.partition("/")
    if not slash:
        raise BadRequest(f"Repository {repo_id!r} is not allowed: it must be 'namespace/name'.")
    return repo_part(namespace, "namespace"), repo_part(name, "name")


def _repository(row: Row[Any]) -> Repository:
    return Repository(**{**row._asdict(), "card": json.loads(row.card)})
