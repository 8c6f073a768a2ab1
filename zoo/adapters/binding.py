"""What binds an adapter to the weights that it was learnt beside: their digests."""

from __future__ import annotations

import hashlib
from collections.abc import Collection

from zoo.adapters.files import Adapter
from zoo.checkpoint.adapter_files import base_reference, weights_digest
from zoo.checkpoint.manifest import Checkpoint
from zoo.checkpoint.reader import open_weights
from zoo.errors import AdapterMismatch


def digests(checkpoint: Checkpoint) -> dict[str, str]:
    """Give the sha256 of each file of a checkpoint's weights: as its manifest has it, else worked out."""
    known = checkpoint.manifest.files if checkpoint.manifest else {}
    found = {}
    for path in sorted(set(open_weights(checkpoint.path).files.values())):
        entry = known.get(path.name)
        if entry is not None and entry.sha256 is not None:
            found[path.name] = entry.sha256
        else:
            with path.open("rb") as file:
                found[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def check_base(adapter: Adapter, checkpoint: Checkpoint) -> None:
    """Refuse an adapter that was learnt beside other weights, by its own record, or by the project's lock.

    One that PEFT made says nothing of them. Raises AdapterMismatch.
    """
    if adapter.base is not None or adapter.locked_base is not None:
        compare(adapter, digests(checkpoint).values(), checkpoint.repo_id or str(checkpoint.path))


def compare(adapter: Adapter, found: Collection[str], given: str) -> None:
    """Compare the digests of weights with what an adapter says of its base. given: whose they are. Raises AdapterMismatch."""
    named = base_reference(adapter.config)
    if adapter.base is not None and sorted(adapter.base.values()) != sorted(found):
        raise AdapterMismatch(adapter.where, named, given)
    if adapter.locked_base is not None and weights_digest(found) != adapter.locked_base:
        raise AdapterMismatch(adapter.where, named, given, "the lock")
