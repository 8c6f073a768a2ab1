"""What is timed: models of published sizes with random weights, and how much each writes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn

from tests.benchmarks.words import write_word_tokenizer


@dataclass(frozen=True)
class Row:
    """One line of the table. prompt, new: tokens read and written, a row of the batch."""

    name: str
    model: str
    dtype: str
    batch: int
    prompt: int
    new: int
    beams: int = 1
    rounds: int = 7
    reach: float | None = None
    """The least ratio to transformers' time."""
    quantize: str | None = None
    """How Zoo holds its weights; transformers keeps them whole, and writes other tokens."""


SIZES: dict[str, dict[str, Any]] = {
    "gpt2": {"vocab_size": 50257, "n_embd": 768, "n_layer": 12, "n_head": 12, "n_positions": 1024, "bos_token_id": 0},
    "overhead": {"vocab_size": 499, "n_embd": 24, "n_layer": 12, "n_head": 3, "n_positions": 1024, "bos_token_id": 0},
    "t5-small": {
        "vocab_size": 32128, "d_model": 512, "d_kv": 64, "d_ff": 2048, "num_layers": 6, "num_heads": 8,
        "decoder_start_token_id": 0,
    },
    "llama-1.1b": {
        "vocab_size": 32000, "hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 22,
        "num_attention_heads": 32, "num_key_value_heads": 4, "max_position_embeddings": 2048, "bos_token_id": 1,
    },
}  # fmt: skip
CLASSES = {
    "gpt2": transformers.GPT2LMHeadModel,
    "overhead": transformers.GPT2LMHeadModel,
    "t5-small": transformers.T5ForConditionalGeneration,
    "llama-1.1b": transformers.LlamaForCausalLM,
}
ROWS = [
    Row("overhead", "overhead", "float32", 1, 16, 100, rounds=15, reach=2.5),
    Row("gpt2-fp32-b1", "gpt2", "float32", 1, 16, 48, reach=1.6),
    Row("gpt2-fp32-b8", "gpt2", "float32", 8, 16, 32, reach=2.5),
    Row("gpt2-bf16-b1", "gpt2", "bfloat16", 1, 16, 48, reach=2.1),
    Row("gpt2-bf16-b8", "gpt2", "bfloat16", 8, 16, 32, reach=1.8),
    Row("gpt2-fp32-beams2", "gpt2", "float32", 1, 16, 24, beams=2),
    Row("gpt2-fp32-beams4", "gpt2", "float32", 1, 16, 24, beams=4),
    Row("gpt2-fp32-beams8", "gpt2", "float32", 1, 16, 24, beams=8),
    Row("t5-small-fp32-b1", "t5-small", "float32", 1, 128, 64, reach=2.0),
    Row("t5-small-fp32-b8", "t5-small", "float32", 8, 128, 64, reach=2.2),
    Row("llama-1.1b-bf16-b1", "llama-1.1b", "bfloat16", 1, 16, 32, rounds=5, reach=1.4),
    Row("llama-1.1b-int8-b1", "llama-1.1b", "bfloat16", 1, 16, 32, rounds=5, reach=1.8, quantize="int8"),
]


def write_model(folder: Path, row: Row) -> None:
    """Let transformers save a row's model, unless it is there, with a tokenizer of as many words."""
    if (folder / "tokenizer.json").exists():
        return
    torch.manual_seed(0)
    kind: Any = CLASSES[row.model]
    end = SIZES[row.model]["vocab_size"] - 1 if row.model == "t5-small" else None  # never said
    config = kind.config_class(**SIZES[row.model], eos_token_id=end, pad_token_id=0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, row.dtype))
    try:
        model: nn.Module = kind(config)
    finally:
        torch.set_default_dtype(before)
    model.save_pretrained(folder)  # type: ignore[operator]
    write_word_tokenizer(folder, SIZES[row.model]["vocab_size"])


def make_prompts(row: Row) -> torch.Tensor:
    """Give the ids that a row reads, int64 (batch, prompt)."""
    vocab_size = SIZES[row.model]["vocab_size"]
    return torch.randint(1, vocab_size, (row.batch, row.prompt), generator=torch.Generator().manual_seed(1))
