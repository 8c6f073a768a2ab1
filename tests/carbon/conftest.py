"""A place to count in: the plugin switched on, settings of nobody, and a small checkpoint to train."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import zoo
from tests.checkpoints import write_checkpoint, write_tokenizer

Train = Callable[..., zoo.FinetuneResult]
WORDS = ("good", "bad", "film", "dog", "cat")


@pytest.fixture(autouse=True)
def counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings are counted, with no settings but those of a test: codecarbon reads files at home and here too."""
    monkeypatch.delenv("ZOO_CARBON")
    monkeypatch.delenv("CODECARBON_COUNTRY_ISO_CODE", raising=False)
    monkeypatch.setenv("ZOO_CONFIG", str(tmp_path / "config.toml"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def train(tmp_path: Path) -> Train:
    """Fine-tunes a small checkpoint for some steps, with the settings given."""
    write_checkpoint(tmp_path / "backbone")
    write_tokenizer(tmp_path / "backbone")

    def train(trackers: Sequence[Any] = (), **settings: Any) -> zoo.FinetuneResult:
        config = zoo.FinetuneConfig(**{"epochs": 2, "batch_size": 2, "learning_rate": 0.003, **settings})
        examples = [{"text": word, "label": word} for word in WORDS]
        return zoo.finetune(
            str(tmp_path / "backbone"), examples, task="text-classification", config=config, trackers=trackers
        )

    return train
