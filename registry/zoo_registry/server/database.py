"""The metadata: one SQLite file, many readers, one writer at a time."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    create_engine,
    event,
)

METADATA = MetaData()


def _repository() -> Column[int]:
    return Column(
        "repository_id", Integer, ForeignKey("repositories.id", ondelete="CASCADE"), primary_key=True, nullable=False
    )


repositories = Table(
    "repositories",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("kind", String, nullable=False),  # "models" or "datasets", as in the API's paths
    Column("namespace", String, nullable=False),
    Column("name", String, nullable=False),
    Column("private", Boolean, nullable=False),
    Column("gated", String),  # "auto", "manual" or null
    Column("card", Text, nullable=False),  # the front matter of README.md on main, as JSON
    Column("created_ms", Integer, nullable=False),
    Column("updated_ms", Integer, nullable=False),
    UniqueConstraint("kind", "namespace", "name"),
    sqlite_autoincrement=True,  # a deleted repository's id, which is part of signed addresses, never comes back
)
tags = Table("tags", METADATA, _repository(), Column("tag", String, primary_key=True))
refs = Table(
    "refs",
    METADATA,
    _repository(),
    Column("kind", String, primary_key=True),  # "branch", "tag" or "pull"
    Column("name", String, primary_key=True),
    Column("oid", String, nullable=False),
    Column("message", Text, nullable=False),
)
commits = Table(
    "commits",
    METADATA,
    _repository(),
    Column("oid", String, primary_key=True),
    Column("parent", String),
    Column("tree", String, nullable=False),
    Column("title", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("author", String, nullable=False),
    Column("date_seconds", Integer, nullable=False),
    Column("request", String),  # sha256 of the request that made it, by which a retry is known
)
trees = Table(
    "trees",
    METADATA,
    _repository(),
    Column("oid", String, primary_key=True),
    Column("files", Text, nullable=False),  # JSON: [path, size, blob, sha256, lfs] of every file
)
objects = Table(
    "objects",
    METADATA,
    _repository(),
    Column("sha256", String, primary_key=True),
    Column("size", Integer, nullable=False),
)
Index("objects_by_digest", objects.c.sha256)
tokens = Table(
    "tokens",
    METADATA,
    Column("sha256", String, primary_key=True),
    Column("name", String, nullable=False),
    Column("created_ms", Integer, nullable=False),
)
settings = Table("settings", METADATA, Column("key", String, primary_key=True), Column("value", Text, nullable=False))


class Database:
    """Connections to `registry.sqlite` in the data folder."""

    def __init__(self, data: Path) -> None:
        self._engine = create_engine(f"sqlite:///{data / 'registry.sqlite'}", pool_size=8, max_overflow=-1)
        event.listen(self._engine, "connect", _prepare)
        event.listen(self._engine, "begin", _begin)
        self._lock = threading.Lock()
        with self.writing() as connection:
            METADATA.create_all(connection)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A consistent view: everything read inside the block is of one moment."""
        with self._engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """The one write transaction: committed when the block ends, rolled back when it raises."""
        with self._lock, self._engine.connect() as plain:
            connection = plain.execution_options(writing=True)
            with connection.begin():
                yield connection

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()


def _prepare(connection: sqlite3.Connection, _: Any) -> None:
    connection.isolation_level = None  # BEGIN comes from _begin, never from the driver
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", "busy_timeout = 30000"):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    writing = connection.get_execution_options().get("writing", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")
