"""Two classes of sentences (SST-2): Zoo, Zoo with LoRA, and a plain loop over transformers' model.

    python -m tests.benchmarks.sst2 --data DATA --sides zoo transformers
    python -m tests.benchmarks.sst2 --data DATA --sides lora zoo --examples 4000 --epochs 3

DATA/sst2 holds train.tsv and dev.tsv with the columns `sentence` and `label`. Each seed has a head and an order of its
own; times are of tokenizing and training, without imports, loading and the evaluation on dev. The plain loop pads each
batch to its longest text, as transformers' own collator does. LoRA has a learning rate of its own; `learnt_share` is the
share of the parameters that learn.
"""

from __future__ import annotations

import argparse
import csv
import random
from pathlib import Path
from typing import Any

from tests.benchmarks.turns import Figures, make_parser, measured, minilm, take_turns

LORA_TARGETS = [f"attention.{name}" for name in ("query", "key", "value", "output")] + [
    "feedforward.up",
    "feedforward.down",
]
Rows = list[dict[str, str]]


def main() -> None:
    parser = make_parser(__doc__, learning_rate=2e-4)
    parser.add_argument("--model", type=Path, default=minilm())
    parser.add_argument("--examples", type=int, default=2000, help="training sentences; 0 for all")
    parser.add_argument("--lora-learning-rate", type=float, default=1e-3)
    parser.add_argument("--lora-rank", type=int, default=4)
    parser.add_argument("--lora-targets", nargs="+", default=LORA_TARGETS)
    take_turns(parser, {"zoo": run_zoo, "lora": run_lora, "transformers": run_transformers})


def read(options: argparse.Namespace) -> tuple[Rows, Rows]:
    """Give sentences for training, the same for each seed, and those of dev."""
    train, dev = (read_file(options.data / "sst2" / name) for name in ("train.tsv", "dev.tsv"))
    random.Random(0).shuffle(train)
    return train[: options.examples or None], dev


def read_file(path: Path) -> Rows:
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        return [{"text": row["sentence"], "label": row["label"]} for row in rows]


def run_lora(options: argparse.Namespace) -> Figures:
    import zoo

    lora = zoo.LoraConfig(rank=options.lora_rank, targets=tuple(options.lora_targets))
    return run_zoo(options, lora=lora, learning_rate=options.lora_learning_rate)


def run_zoo(options: argparse.Namespace, **changes: Any) -> Figures:
    import zoo

    train, dev = read(options)
    model = zoo.load(str(options.model.resolve()), "text-classification", labels=["0", "1"], seed=options.seed)
    whole = sum(parameter.numel() for parameter in model.parameters())
    config = settings_of(options, **changes)
    figures: Figures = {}
    with measured(figures):
        zoo.finetune(model, train, config=config)
    if options.times_only:
        return figures
    learnt = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    answers = model.predict([example["text"] for example in dev])
    right = sum(answer.label == example["label"] for answer, example in zip(answers, dev, strict=True))
    return figures | {"accuracy": right / len(dev), "learnt_share": learnt / whole}


def settings_of(options: argparse.Namespace, **changes: Any) -> Any:
    """Give the settings of both sides."""
    import zoo

    names = ("epochs", "batch_size", "learning_rate", "precision", "seed")
    return zoo.FinetuneConfig(**{name: getattr(options, name) for name in names} | changes)


def run_transformers(options: argparse.Namespace) -> Figures:
    import torch
    import transformers

    from tests.benchmarks.plain_loop import learn, quietly, shuffled

    quietly()
    train, dev = read(options)
    torch.manual_seed(options.seed)
    tokenizer = transformers.AutoTokenizer.from_pretrained(options.model)
    model: Any = transformers.AutoModelForSequenceClassification.from_pretrained(options.model, num_labels=2)
    collator = transformers.DataCollatorWithPadding(tokenizer)

    def encode(examples: Rows) -> list[dict[str, Any]]:
        encoded = tokenizer([example["text"] for example in examples], truncation=True)
        return [
            {"input_ids": ids, "attention_mask": mask, "labels": int(example["label"])}
            for ids, mask, example in zip(encoded["input_ids"], encoded["attention_mask"], examples, strict=True)
        ]

    figures: Figures = {}
    with measured(figures):
        learn(model, shuffled(encode(train), collator, options.batch_size), settings_of(options))
    if options.times_only:
        return figures
    with torch.inference_mode():
        batches = shuffled(encode(dev), collator, options.batch_size)
        right = sum(int((model(**batch).logits.argmax(-1) == batch["labels"]).sum()) for batch in batches)
    return figures | {"accuracy": right / len(dev)}


if __name__ == "__main__":
    main()
