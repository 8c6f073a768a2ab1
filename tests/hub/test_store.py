"""The store: what is there, whether it is still right, and how it goes away."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import zoo
from zoo import errors
from zoo.hub import store
from zoo.hub.pulling import verify
from zoo.hub.showing import describe, remove_reference


def test_the_store_lists_what_was_pulled(hub: Any, published: str) -> None:
    checkpoint = zoo.pull("me/small", endpoint=hub.endpoint)
    assert checkpoint.manifest is not None
    assert store.list_stored() == [
        store.Stored(
            "me/small", published, ("main",), checkpoint.path, checkpoint.manifest.size_bytes, checkpoint.manifest
        )
    ]


def test_verify_finds_one_flipped_bit(hub: Any, published: str) -> None:
    checkpoint = zoo.pull("me/small", endpoint=hub.endpoint)
    assert verify(checkpoint) == 6
    blob = (checkpoint.path / "tokenizer.json").resolve()
    content = blob.read_bytes()
    blob.write_bytes(content[:50] + bytes([content[50] ^ 4]) + content[51:])
    with pytest.raises(errors.DigestMismatch) as caught:
        verify(checkpoint)
    assert str(caught.value) == (
        f"'tokenizer.json' has the digest {caught.value.actual}, but the manifest promises {caught.value.expected}. It was "
        "damaged on this machine. Fetch it anew: zoo rm me/small, then zoo pull"
    )


def test_removing_a_repository_leaves_nothing(hub: Any, published: str, left_in_store: Callable[[], list[str]]) -> None:
    checkpoint = zoo.pull("me/small", endpoint=hub.endpoint)
    assert checkpoint.manifest is not None
    assert remove_reference("me/small") >= checkpoint.manifest.size_bytes
    assert left_in_store() == []
    with pytest.raises(errors.NotInStore):
        remove_reference("me/small")


def test_removing_one_revision_keeps_what_others_use(hub: Any, folder: Path, published: str) -> None:
    zoo.pull(f"me/small@{published}", endpoint=hub.endpoint)
    (folder / "README.md").write_text("# second\n")
    second = zoo.push(folder, "me/small", endpoint=hub.endpoint, token=hub.token)
    kept = zoo.pull("me/small", endpoint=hub.endpoint)
    assert kept.commit == second
    remove_reference(f"me/small@{published}")
    assert [stored.commit for stored in store.list_stored()] == [second]
    assert verify(kept) == 6


def test_a_reference_is_described_from_store_or_catalogue(hub: Any, published: str) -> None:
    assert describe("all-minilm-l6-v2")["stored"] == "no"
    assert describe("all-minilm-l6-v2")["parameters"] == 22713216
    zoo.pull("me/small", endpoint=hub.endpoint)
    facts = describe("me/small")
    assert (facts["commit"], facts["architecture"], facts["stored"]) == (published, "bert", "yes")
    with pytest.raises(errors.NotInStore):
        describe("me/unknown")


def test_a_removed_file_makes_the_checkpoint_incomplete_and_a_pull_mends_it(hub: Any, published: str) -> None:
    checkpoint = zoo.pull("me/small", endpoint=hub.endpoint)
    (checkpoint.path / "config.json").unlink()
    assert store.Repository("me/small").find(None) is None
    assert zoo.pull("me/small", endpoint=hub.endpoint) == checkpoint
    assert verify(checkpoint) == 6
