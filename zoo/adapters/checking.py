"""What an adapter has to be before others get it: one that goes beside a base that they can have too."""

from __future__ import annotations

from pathlib import Path

from zoo.adapters.binding import compare, digests
from zoo.adapters.files import apply_adapter, read_adapter
from zoo.checkpoint.adapter_files import base_reference, named_base
from zoo.checkpoint.manifest import Checkpoint
from zoo.errors import PushRefused, RepositoryNotFound, RevisionNotFound
from zoo.hub.card import AdapterFacts
from zoo.hub.client import HubClient
from zoo.hub.inspection import inspect_found
from zoo.hub.sources import Query, Remote, find_unlocked, stored_checkpoint
from zoo.layers.lora import LoraLinear
from zoo.loading import outline
from zoo.model import Model
from zoo.references import is_repository, parse


def check_adapter(folder: Path, repo_id: str, client: HubClient) -> Model:
    """Check that an adapter fits its base, by the headers of both. Gives the model of the two, on the meta device.

    repo_id: where it is to go. client: of the hub that has the base, unless the store has it.
    Raises PushRefused for a base that nobody else can have, AdapterMismatch, and the errors of zoo.load.
    """
    adapter = read_adapter(Checkpoint(folder))
    named = base_reference(adapter.config)
    if not is_repository(named_base(adapter.config)[0]) or named is None:
        raise PushRefused(
            repo_id,
            f"it is an adapter, and its base is '{named}', which is no repository that others could get. Push that too, "
            'then let the adapter name it: zoo.load("org/base", adapter="./adapter").save("./adapter")',
        )
    source = _find_base(named, repo_id, client)
    compare(adapter, _digests_of(source), named)
    found = inspect_found(source)
    labels = adapter.head.labels if adapter.head else None
    model = outline(found.config, found.weights, found.checkpoint, adapter.task, labels)
    apply_adapter(model, adapter)
    return model


def describe_adapter(model: Model) -> AdapterFacts | None:
    """Give what a card says of a model's adapter; None where it has none."""
    lora = model.adapter
    if lora is None:
        return None
    whole = sum(model.get_parameter(name).numel() for name in model.learnt_whole)
    return AdapterFacts(f"{'DoRA' if lora.use_dora else 'LoRA'} of rank {lora.rank}", count_added(model) + whole)


def count_added(model: Model) -> int:
    """Give how many parameters stand beside a model's own."""
    added = [module for module in model.modules() if isinstance(module, LoraLinear)]
    return sum(parameter.numel() for module in added for parameter in module.learnt())


def _find_base(named: str, repo_id: str, client: HubClient) -> Checkpoint | Remote:
    reference = parse(named)
    stored = stored_checkpoint(str(reference.repo_id), reference.revision)
    if stored is not None:
        return stored
    try:
        return find_unlocked(reference, Query(client.endpoint, client.token))
    except (RepositoryNotFound, RevisionNotFound):
        raise PushRefused(
            repo_id,
            f"it is an adapter, and its base '{named}' is neither at {client.endpoint} nor in the store. Push it there, or "
            f"fetch it from where it is: zoo pull {named} --endpoint URL",
        ) from None


def _digests_of(source: Checkpoint | Remote) -> list[str]:
    """Give the sha256 of each file of a base's weights."""
    if isinstance(source, Checkpoint):
        return list(digests(source).values())
    files = {name: source.listing.files[name] for name in source.names if name.endswith(".safetensors")}
    return [entry.digest for entry in files.values()]
