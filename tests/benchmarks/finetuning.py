"""Fine-tuning a text classifier: Zoo against a plain loop over transformers' model, on the same data, steps and rate.

    python tests/benchmarks/finetuning.py --data SST2_FOLDER --model CHECKPOINT_FOLDER --examples 4000 --seeds 3

SST2_FOLDER holds train.tsv and dev.tsv with the columns `sentence` and `label`. Both sides run one after the other for
each seed, each in a process of its own; the times are of tokenizing and training, without imports, loading and the
evaluation. The plain loop pads each batch to its longest text, as transformers' own collator does, and has the same
fused AdamW, schedule and precision.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--examples", type=int, default=2000, help="training sentences; 0 for all")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=5e-5)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--side", choices=list(SIDES), help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(measure(options)))
        return
    found: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    for seed in range(options.seeds):
        for side in SIDES if seed % 2 else reversed(SIDES):  # neither is always the first
            command = [sys.executable, __file__, *sys.argv[1:], "--side", side, "--seed", str(seed)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            found[side].append(json.loads(done.stdout.splitlines()[-1]))
            print(f"seed {seed}  {side:<12} {found[side][-1]}", flush=True)
    for key in ("seconds", "peak_mib"):
        ratios = [mine[key] / theirs[key] for mine, theirs in zip(found["zoo"], found["transformers"], strict=True)]
        print(
            f"{key}: zoo / transformers, median {statistics.median(ratios):.2f} [{min(ratios):.2f}-{max(ratios):.2f}]"
        )
    means = {side: statistics.mean(run["accuracy"] for run in runs) for side, runs in found.items()}
    print(f"accuracy: zoo {means['zoo']:.4f}, transformers {means['transformers']:.4f}")


def measure(options: argparse.Namespace) -> dict[str, float]:
    """Run one side, and give its seconds, peak memory and accuracy on dev.tsv."""
    import torch

    torch.set_num_threads(options.threads)
    train = read(options.data / "train.tsv")
    random.Random(0).shuffle(train)
    seconds, accuracy = SIDES[options.side](train[: options.examples or None], read(options.data / "dev.tsv"), options)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": round(seconds, 2), "peak_mib": round(peak), "accuracy": round(accuracy, 4)}


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        return [{"text": row["sentence"], "label": row["label"]} for row in rows]


def run_zoo(train: list[dict[str, str]], dev: list[dict[str, str]], options: argparse.Namespace) -> tuple[float, float]:
    import zoo

    model = zoo.load(str(options.model.resolve()), "text-classification", labels=["0", "1"], seed=options.seed)
    names = ("epochs", "batch_size", "learning_rate", "precision", "seed")
    config = zoo.FinetuneConfig(**{name: getattr(options, name) for name in names})
    begun = time.perf_counter()
    zoo.finetune(model, train, config=config)
    seconds = time.perf_counter() - begun
    answers = model.predict([example["text"] for example in dev])
    right = sum(answer.label == example["label"] for answer, example in zip(answers, dev, strict=True))
    return seconds, right / len(dev)


def run_transformers(
    train: list[dict[str, str]], dev: list[dict[str, str]], options: argparse.Namespace
) -> tuple[float, float]:
    import torch
    import transformers

    torch.manual_seed(options.seed)
    tokenizer = transformers.AutoTokenizer.from_pretrained(options.model)
    model: Any = transformers.AutoModelForSequenceClassification.from_pretrained(options.model, num_labels=2)
    collator = transformers.DataCollatorWithPadding(tokenizer)

    def loader(examples: list[dict[str, str]], shuffle: bool) -> torch.utils.data.DataLoader[Any]:
        encoded = tokenizer([example["text"] for example in examples], truncation=True)
        features = [
            {"input_ids": ids, "attention_mask": mask, "labels": int(example["label"])}
            for ids, mask, example in zip(encoded["input_ids"], encoded["attention_mask"], examples, strict=True)
        ]
        return torch.utils.data.DataLoader(features, options.batch_size, shuffle=shuffle, collate_fn=collator)  # type: ignore[arg-type]

    begun = time.perf_counter()
    batches = loader(train, shuffle=True)
    plain = [parameter for parameter in model.parameters() if parameter.dim() <= 1]
    groups = [{"params": [p for p in model.parameters() if p.dim() > 1]}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=options.learning_rate, weight_decay=0.01, fused=True)
    schedule = transformers.get_linear_schedule_with_warmup(optimizer, 0, options.epochs * len(batches))
    model.train()
    for _ in range(options.epochs):
        for batch in batches:
            with torch.autocast("cpu", torch.bfloat16, enabled=options.precision == "bf16"):
                loss = model(**batch).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
    seconds = time.perf_counter() - begun
    model.eval()
    with torch.inference_mode():
        right = sum(int((model(**b).logits.argmax(-1) == b["labels"]).sum()) for b in loader(dev, shuffle=False))
    return seconds, right / len(dev)


SIDES = {"zoo": run_zoo, "transformers": run_transformers}

if __name__ == "__main__":
    main()
