"""Running `zoo` as a user does, in a process of its own."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import zoo

Zoo = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run_zoo(home: Path, hub: Any) -> Zoo:
    """Runs `zoo` with arguments against this test's hub, and gives the finished process."""

    def run(*arguments: str, stdin: str = "", token: str | None = None) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "HF_HOME": str(home), "HF_ENDPOINT": hub.endpoint, "COLUMNS": "100"}
        if token:
            environment["HF_TOKEN"] = token
        command = [sys.executable, "-m", "zoo.cli.main", *arguments]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, env=environment, timeout=120)

    return run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small checkpoint with a text classifier and a tokenizer."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "film"]
    spec = zoo.make_spec(
        "bert",
        vocab_size=len(words),
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=40,
        max_position_embeddings=19,
    )
    folder = tmp_path / "checkpoint"
    zoo.build(spec, "text-classification", labels=["no", "yes"], seed=5).save(folder)
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder
