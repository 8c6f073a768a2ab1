"""A GPT-2 of 3.3 million parameters from random weights on tiny Shakespeare: `zoo.pretrain` and a loop over transformers'.

    python -m tests.benchmarks.shakespeare --data DATA    # the figures of docs/measurements.md

DATA/tinyshakespeare/input.txt is cut at nine tenths; `loss` is the mean over the tokens of the rest after training. All
sides have the same tokenizer of 512 tokens, texts of 128 tokens in the same order, and settings, without dropout.
`same-weights` is transformers' model with the weights that Zoo begins with, so that losses can be compared step by step;
`transformers` begins with its own. Times are of tokenizing, making the model, training, evaluating and saving.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.benchmarks.turns import Figures, make_parser, measured, take_turns

LENGTH, VOCABULARY = 128, 512
SIZES = {
    "n_embd": 256, "n_layer": 4, "n_head": 4, "n_positions": LENGTH, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0,
}  # fmt: skip


def main() -> None:
    parser = make_parser(__doc__, batch_size=16, learning_rate=1e-3, epochs=100)
    parser.add_argument("--steps", type=int, default=200)
    take_turns(parser, {"zoo": run_zoo, "same-weights": run_same_weights, "transformers": run_transformers})


def prepare(options: argparse.Namespace, folder: Path) -> None:
    """Write train.txt, held-out.txt and the tokenizer of the former."""
    from zoo.tokenization.training import train_tokenizer

    text = (options.data / "tinyshakespeare" / "input.txt").read_text(encoding="utf-8")
    cut = len(text) * 9 // 10
    (folder / "train.txt").write_text(text[:cut], encoding="utf-8")
    (folder / "held-out.txt").write_text(text[cut:], encoding="utf-8")
    train_tokenizer([text[:cut]], folder / "tokenizer", "gpt2", "decoder-only", VOCABULARY)


def settings_of(options: argparse.Namespace, folder: Path) -> Any:
    """Give the settings of all sides."""
    import zoo

    names = ("epochs", "batch_size", "learning_rate", "precision", "seed")
    return zoo.FinetuneConfig(
        **{name: getattr(options, name) for name in names},
        max_steps=options.steps,
        schedule="cosine",
        warmup_steps=0.1,
        weight_decay=0.1,
        output_dir=folder / "out",
    )


def run_zoo(options: argparse.Namespace) -> Figures:
    import zoo

    figures: Figures = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(options, folder)
        with measured(figures):
            result = zoo.pretrain(
                "gpt2",
                SIZES,
                folder / "train.txt",
                folder / "held-out.txt",
                tokenizer=folder / "tokenizer",
                config=settings_of(options, folder),
            )
    return figures | on_the_way(result.losses) | {"loss": result.metrics["eval_loss"]}


def on_the_way(losses: Any) -> Figures:
    """Give the losses of the first step and of every hundredth."""
    return {f"step_{step}": losses[step - 1] for step in range(1, len(losses) + 1) if step == 1 or step % 100 == 0}


def run_same_weights(options: argparse.Namespace) -> Figures:
    import transformers

    import zoo

    def make(folder: Path, vocab_size: int) -> Any:
        spec = zoo.make_spec("gpt2", vocab_size=vocab_size, **SIZES)
        zoo.build(spec, "text-generation", seed=options.seed).save(folder / "start")
        return transformers.GPT2LMHeadModel.from_pretrained(folder / "start")

    return run_plain_loop(options, make)


def run_transformers(options: argparse.Namespace) -> Figures:
    import torch
    import transformers

    def make(folder: Path, vocab_size: int) -> Any:
        torch.manual_seed(options.seed)
        return transformers.GPT2LMHeadModel(transformers.GPT2Config(vocab_size=vocab_size, **SIZES))  # type: ignore[arg-type]

    return run_plain_loop(options, make)


def run_plain_loop(options: argparse.Namespace, make: Callable[[Path, int], Any]) -> Figures:
    """Train a model of transformers. make: gives it for a folder and a vocabulary's size."""
    import torch
    import transformers

    from tests.benchmarks.plain_loop import learn, quietly
    from zoo.training.batches import steps

    quietly()
    figures: Figures = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(options, folder)
        config = settings_of(options, folder)
        with measured(figures):
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder / "tokenizer")
            train, held_out = (blocks(tokenizer, folder / name) for name in ("train.txt", "held-out.txt"))
            model = make(folder, len(tokenizer))
            order = [batch for batches in steps([len(ids) for ids in train], config) for batch in batches]
            losses = learn(model, [collate([train[i] for i in batch]) for batch in order], config)
            total, count = 0.0, 0
            with torch.inference_mode():
                for first in range(0, len(held_out), options.batch_size):
                    batch = collate(held_out[first : first + options.batch_size])
                    told = int((batch["labels"][:, 1:] != -100).sum())
                    total, count = total + float(model(**batch).loss) * told, count + told
            model.save_pretrained(folder / "out")
    return figures | on_the_way(losses) | {"loss": total / count}


def blocks(tokenizer: Any, path: Path) -> list[list[int]]:
    """Give a file's ids, so many at once; the last are fewer."""
    ids = tokenizer(path.read_text(encoding="utf-8"))["input_ids"]
    return [ids[first : first + LENGTH] for first in range(0, len(ids), LENGTH)]


def collate(rows: list[list[int]]) -> dict[str, Any]:
    import torch

    length = max(map(len, rows))
    missing = [length - len(row) for row in rows]
    return {
        "input_ids": torch.tensor([row + [0] * count for row, count in zip(rows, missing, strict=True)]),
        "labels": torch.tensor([row + [-100] * count for row, count in zip(rows, missing, strict=True)]),
    }


if __name__ == "__main__":
    main()
