"""Which repository holds which objects: knowing a digest must not be enough to read another's file."""

from collections.abc import Iterable

from sqlalchemy import Connection, select
from sqlalchemy.dialects.sqlite import insert

from zoo_registry.server.database import objects
from zoo_registry.server.objects import ObjectStore, Received


def held_size(connection: Connection, repository_id: int, sha256: str) -> int | None:
    """The size in bytes of an object that this repository holds; None if it holds none of that digest."""
    query = select(objects.c.size).where(objects.c.repository_id == repository_id, objects.c.sha256 == sha256)
    return connection.execute(query).scalar()


def hold(connection: Connection, store: ObjectStore, repository_id: int, received: Received) -> None:
    """Make received bytes an object of this repository. `connection` is a write transaction."""
    store.adopt(received)
    values = {"repository_id": repository_id, "sha256": received.sha256, "size": received.size}
    connection.execute(insert(objects).values(values).on_conflict_do_nothing())


def release(connection: Connection, store: ObjectStore, digests: Iterable[str]) -> None:
    """Remove the bytes of those objects that no repository holds. `connection` is a write transaction."""
    for sha256 in digests:
        if connection.execute(select(objects.c.sha256).where(objects.c.sha256 == sha256).limit(1)).first() is None:
            store.remove(sha256)
