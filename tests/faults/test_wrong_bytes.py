"""Bytes that are not what the listing promises: refused every time, and nothing of them to be seen."""

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import zoo
from tests.faults.conftest import make_checkpoint
from tests.faults.server import NONE, REPO_ID, Fault, FaultyHub
from zoo import errors
from zoo.hub.client import HubClient, Silent

TRIALS = int(os.environ.get("ZOO_FLIPS", "50"))
"""Of each kind; 1000 in `make test-all`."""


def flip(chance: random.Random) -> Callable[[bytes], bytes]:
    """Change one bit anywhere."""

    def change(content: bytes) -> bytes:
        flipped = bytearray(content)
        flipped[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        return bytes(flipped)

    return change


def exchange(chance: random.Random) -> Callable[[bytes], bytes]:
    """Give other content of the same size."""
    return lambda content: chance.randbytes(len(content))


def swap(chance: random.Random) -> Callable[[bytes], bytes]:
    """Exchange two stretches of the same length."""

    def change(content: bytes) -> bytes:
        half, length = len(content) // 2, chance.randrange(1, len(content) // 2)
        changed = bytearray(content)
        changed[:length], changed[half : half + length] = changed[half : half + length], changed[:length]
        return bytes(changed) if bytes(changed) != content else exchange(chance)(content)

    return change


KINDS = {"one flipped bit": flip, "other content": exchange, "two parts exchanged": swap}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_wrong_content_of_the_right_size_is_refused_every_time(
    faulty: FaultyHub, checkpoint: Path, tmp_path: Path, chance: random.Random, kind: str, name: str
) -> None:
    faulty.commit(checkpoint)
    change = KINDS[kind](chance)
    faulty.judge = lambda method, path: Fault(change=change) if path.endswith(name) else NONE
    client = HubClient(faulty.endpoint)
    listing = client.listing(REPO_ID)
    blob = tmp_path / "blobs" / listing.files[name].digest
    for _ in range(TRIALS):
        with pytest.raises(errors.DigestMismatch):
            client.fetch(listing, {name: blob}, Silent())
        assert list(blob.parent.iterdir()) == []


def test_a_body_that_ends_early_is_refused_every_time(
    faulty: FaultyHub, checkpoint: Path, tmp_path: Path, chance: random.Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    from zoo.hub import retries

    monkeypatch.setattr(retries, "FIRST_WAIT_SECONDS", 0.0001)
    faulty.commit(checkpoint)
    client = HubClient(faulty.endpoint)
    listing = client.listing(REPO_ID)
    entry = listing.files["model.safetensors"]
    blob = tmp_path / "blobs" / entry.digest
    for _ in range(TRIALS):
        end = chance.randrange(entry.size_bytes)
        # No answer reaches further than this, from wherever it is asked on.
        faulty.judge = lambda method, path, end=end: Fault(cut_after=end, ignore_range=True)
        with pytest.raises(errors.HubUnreachable, match=f"{end} of {entry.size_bytes} bytes came"):
            client.fetch(listing, {"model.safetensors": blob}, Silent())
        assert not blob.exists()
        for leftover in blob.parent.iterdir():
            leftover.unlink()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_nothing_of_a_refused_checkpoint_is_visible_to_transformers(
    faulty: FaultyHub, checkpoint: Path, home: Path, chance: random.Random, kind: str, name: str
) -> None:
    from transformers import AutoModel

    faulty.commit(checkpoint)
    change = KINDS[kind](chance)
    faulty.judge = lambda method, path: Fault(change=change) if path.endswith(name) else NONE
    with pytest.raises(errors.DigestMismatch) as caught:
        zoo.pull(REPO_ID, endpoint=faulty.endpoint)
    assert caught.value.file == name
    with pytest.raises(OSError, match="couldn't find them in the cached files"):
        # said twice, for its search for an adapter does not read the first
        AutoModel.from_pretrained(REPO_ID, local_files_only=True, adapter_kwargs={"local_files_only": True})
    assert [path for path in (home / "hub").rglob("*") if path.is_file() and ".locks" not in path.parts] == []


def test_a_pull_that_was_refused_works_once_the_bytes_are_right(faulty: FaultyHub, checkpoint: Path) -> None:
    faulty.commit(checkpoint)
    faulty.judge = lambda method, path: Fault(change=lambda content: content[::-1]) if "config" in path else NONE
    with pytest.raises(errors.DigestMismatch):
        zoo.pull(REPO_ID, endpoint=faulty.endpoint)
    faulty.judge = lambda method, path: NONE
    assert zoo.load(REPO_ID, endpoint=faulty.endpoint).spec.hidden_size == 24


def test_an_earlier_try_s_wrong_beginning_is_found_and_fetched_anew(
    faulty: FaultyHub, tmp_path: Path, home: Path
) -> None:
    folder = make_checkpoint(tmp_path / "large", seed=5, hidden_size=48, vocab_size=10_000)
    faulty.commit(folder)
    answers = iter(
        [Fault(change=lambda content: bytes(reversed(content)), cut_after=1_500_000), *[Fault(status=503)] * 6]
    )
    faulty.judge = lambda method, path: next(answers, NONE) if path.endswith(".safetensors") else NONE
    with pytest.raises(errors.HubUnreachable):
        zoo.pull(REPO_ID, endpoint=faulty.endpoint)
    pulled: Any = zoo.pull(REPO_ID, endpoint=faulty.endpoint)
    assert (pulled.path / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
