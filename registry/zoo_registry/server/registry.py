"""One registry: its database, its objects, its tokens, and the limits it keeps."""

from dataclasses import dataclass
from pathlib import Path

from zoo_registry.server.auth import Tokens, signing_secret
from zoo_registry.server.database import Database
from zoo_registry.server.grants import Grants
from zoo_registry.server.limits import Limits
from zoo_registry.server.objects import ObjectStore
from zoo_registry.server.trees import Trees


@dataclass(frozen=True)
class Registry:
    """What every request works with."""

    database: Database
    store: ObjectStore
    trees: Trees
    tokens: Tokens
    grants: Grants
    limits: Limits


def open_registry(data: Path, limits: Limits | None = None) -> Registry:
    """The registry in a data folder, which is made if it isn't there.

    Raises OSError if the folder can't be written.
    """
    limits = limits or Limits()
    data.mkdir(parents=True, exist_ok=True)
    store = ObjectStore(data)
    database = Database(data)
    grants = Grants(signing_secret(database), limits.grant_seconds)
    return Registry(database, store, Trees(), Tokens(database), grants, limits)
