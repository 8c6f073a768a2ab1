"""A hub that misbehaves, with a small checkpoint on it."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

import zoo
from tests.faults.server import FaultyHub, faulty_hub
from zoo.hub import retries


@pytest.fixture(autouse=True)
def _quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "FIRST_WAIT_SECONDS", 0.002)


@pytest.fixture
def faulty(tmp_path: Path) -> Iterator[FaultyHub]:
    """A hub on this machine that does as its `judge` says. Nothing is on it yet."""
    with faulty_hub() as hub:
        yield hub


def make_checkpoint(folder: Path, seed: int, hidden_size: int = 24, vocab_size: int = 97) -> Path:
    """Write a small BERT with random weights, of about 70 kB unless told otherwise."""
    spec = zoo.make_spec(
        "bert",
        vocab_size=vocab_size,
        hidden_size=hidden_size,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=40,
        max_position_embeddings=19,
    )
    zoo.build(spec, seed=seed).save(folder)
    return folder


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """The folder of a small checkpoint."""
    return make_checkpoint(tmp_path / "checkpoint", seed=3)


@pytest.fixture
def chance() -> random.Random:
    """The same drawn numbers in every run."""
    return random.Random(2026)
