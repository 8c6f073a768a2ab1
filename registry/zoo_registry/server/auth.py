"""Tokens: who may write, and read what is private. Only their hashes are kept."""

import hashlib
import secrets

from sqlalchemy import insert, select

from zoo_registry.server.clock import now_ms
from zoo_registry.server.database import Database, settings, tokens

OWNER = "zoo"


class Tokens:
    """The tokens that a registry knows; each may read and write everything."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def replace(self, token: str) -> None:
        """Make `token` the one that may write; every earlier one is forgotten."""
        with self._database.writing() as connection:
            connection.execute(tokens.delete())
            connection.execute(insert(tokens).values(sha256=_hash(token), name=OWNER, created_ms=now_ms()))

    def any(self) -> bool:
        """Whether there is a token already."""
        with self._database.reading() as connection:
            return connection.execute(select(tokens.c.name).limit(1)).first() is not None

    def owner(self, token: str) -> str | None:
        """The name of the user whose token this is, or None if it is unknown."""
        with self._database.reading() as connection:
            return connection.execute(select(tokens.c.name).where(tokens.c.sha256 == _hash(token))).scalar()


def new_token() -> str:
    """A fresh random token, in the form that Hub clients expect."""
    return "hf_" + secrets.token_hex(20)


def signing_secret(database: Database) -> bytes:
    """The registry's own key for upload addresses; made at the first start, kept in the database."""
    with database.writing() as connection:
        found = connection.execute(select(settings.c.value).where(settings.c.key == "signing_secret")).scalar()
        if found is None:
            found = secrets.token_hex(32)
            connection.execute(insert(settings).values(key="signing_secret", value=found))
    return bytes.fromhex(found)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
