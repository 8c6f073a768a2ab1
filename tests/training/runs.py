"""What ranks train in tests, and how: small models without dropout, so that losses can be compared."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import zoo
from tests.checkpoints import SIZES, write_tokenizer

WORDS = ["good", "bad", "not", "home", "cat", "dog", "berlin"]
TEXTS = [f"{'the ' * (n % 5)}{word} film was {'very ' * (n % 3)}{word}" for n, word in enumerate(WORDS * 3)]
PAIRS = [{"source": text, "target": f"{text.split()[-1]} {'and ' * (n % 4)}the"} for n, text in enumerate(TEXTS)]
DROPLESS = {
    "bert": {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
    "gpt2": {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0},
    "t5": {"dropout_rate": 0.0},
    "qwen3": {},
}
MODELS: dict[str, tuple[str, dict[str, Any], list[dict[str, Any]]]] = {
    "bert": ("text-classification", dict(SIZES), [{"text": t, "label": t.split()[-1]} for t in TEXTS]),
    "gpt2": (
        "text-generation",
        {"vocab_size": 53, "n_positions": 19, "n_embd": 24, "n_layer": 2, "n_head": 4},
        [{"text": text} for text in TEXTS],
    ),
    "t5": (
        "text2text-generation",
        {
            "vocab_size": 53, "d_model": 24, "num_layers": 2, "num_decoder_layers": 2, "num_heads": 4, "d_kv": 10,
            "d_ff": 40, "relative_attention_num_buckets": 8, "relative_attention_max_distance": 9,
        },
        PAIRS,
    ),
    "qwen3": (
        "text-generation",
        {
            "vocab_size": 53, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4,
            "num_key_value_heads": 2, "head_dim": 10, "intermediate_size": 40, "max_position_embeddings": 19,
        },
        [{"text": text} for text in TEXTS],
    ),
}  # fmt: skip


def write_model(folder: Path, architecture: str) -> Path:
    """A checkpoint with random weights and a tokenizer, without dropout."""
    task, sizes, _ = MODELS[architecture]
    spec = zoo.make_spec(architecture, **sizes, **DROPLESS[architecture])
    labels = sorted(WORDS) if task == "text-classification" else None
    zoo.build(spec, task, labels=labels, seed=3).save(folder / architecture)
    write_tokenizer(folder / architecture)
    return folder / architecture


def finetune(path: Path, architecture: str, settings: dict[str, Any], **options: Any) -> tuple[list[float], Any]:
    """What a rank does: losses and metrics of a run."""
    task, _, examples = MODELS[architecture]
    config = zoo.FinetuneConfig(**{"epochs": 2, "batch_size": 5, "learning_rate": 5e-3, **settings})
    result = zoo.finetune(path, examples, examples[:6], task=options.pop("task", task), config=config, **options)
    return list(result.losses), result.metrics


def refusal(job: Callable[..., Any], *arguments: Any) -> str:
    """What a rank is told instead."""
    try:
        job(*arguments)
    except zoo.ZooError as error:
        return f"{type(error).__name__}: {error}"
    return "it trained"


def learn_pairs(path: Path, settings: dict[str, Any]) -> list[float]:
    """Losses of texts that are told from the others of their batch."""
    pairs = [{"text": text, "positive": text.split()[-1]} for text in TEXTS]
    config = zoo.FinetuneConfig(epochs=2, batch_size=5, learning_rate=5e-3, **settings)
    return list(zoo.finetune(path, pairs, task="feature-extraction", config=config).losses)
