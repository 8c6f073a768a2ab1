"""Captions from English to German (Multi30k): a small Transformer learns from pairs alone, from random weights.

    python -m tests.benchmarks.multi30k --data DATA    # the figures of docs/measurements.md

DATA/multi30k holds a sentence a line for each language and split, gzipped. The tokenizer is learnt from the 29,000
training pairs, then a model of 3 and 3 layers. Printed are the mean loss of every --every steps (with smoothed labels),
and at the end loss, BLEU and chrF (sacrebleu's usual settings) over the test split of 2016, as written token by token.
"""

from __future__ import annotations

import argparse
import gzip
import json
import statistics
import tempfile
import time
from pathlib import Path

import torch

import zoo

SIZES = {"d_model": 256, "encoder_layers": 3}  # the rest in the paper's proportions: 4 heads, 1024 inside


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with a folder for each data set")
    parser.add_argument("--out", type=Path, help="folder for the model; a passing one if left out")
    parser.add_argument("--arch", choices=["transformer", "t5", "bart", "marian"], default="transformer")
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--tests", type=int, default=1000, help="pairs of the test split to measure on")
    parser.add_argument("--vocab-size", type=int, default=6000)
    parser.add_argument("--tokens-per-batch", type=int, default=4096)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="bf16")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--every", type=int, default=100)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        train(options, options.out or Path(folder))


def train(options: argparse.Namespace, folder: Path) -> None:
    config = zoo.FinetuneConfig(
        epochs=1000,
        max_steps=options.steps,
        tokens_per_batch=options.tokens_per_batch,
        learning_rate=options.learning_rate,
        warmup_steps=0.15,
        label_smoothing=0.1,
        precision=options.precision,
        seed=options.seed,
        output_dir=folder,
    )
    losses: list[float] = []
    begun = time.perf_counter()

    def watch(step: int, steps: int, loss: float) -> None:
        losses.append(loss)
        if step % options.every == 0:
            seconds = time.perf_counter() - begun
            print(f"step {step}: loss {statistics.mean(losses[-options.every :]):.3f}, {seconds:.0f} s", flush=True)

    result = zoo.pretrain(
        options.arch,
        SIZES,
        read(options.data, "train"),
        read(options.data, "test_2016_flickr")[: options.tests],
        task="translation",
        vocab_size=options.vocab_size,
        config=config,
        watch=watch,
    )
    parameters = sum(parameter.numel() for parameter in result.model.parameters())
    seconds = round(time.perf_counter() - begun)
    print(json.dumps({"parameters": parameters, "seconds": seconds, "first_loss": losses[0], **result.metrics}))
    for source in ("A man is riding a bicycle.", "Two children play in the snow."):
        print(f"{source} -> {result.model.predict([source])[0].text}")


def read(data: Path, split: str) -> list[dict[str, str]]:
    """Give the pairs of a split."""
    sources, targets = (_lines(data / "multi30k" / f"{split}.{language}.gz") for language in ("en", "de"))
    return [{"source": source, "target": target} for source, target in zip(sources, targets, strict=True)]


def _lines(path: Path) -> list[str]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [line.strip() for line in file]


if __name__ == "__main__":
    main()
