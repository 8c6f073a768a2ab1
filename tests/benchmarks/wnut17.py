"""Emerging entities (WNUT-17): Zoo and a plain loop over transformers' model, both judged by transformers and seqeval.

    python -m tests.benchmarks.wnut17 --data DATA    # the figures of docs/measurements.md

DATA/wnut17 holds dev.conll, to learn from, and test.conll. Each side saves a checkpoint; transformers loads it, and
seqeval compares its tags for the words of test.conll: `f1` of whole entities. `own_f1` is what Zoo says of its own model.
Times are of reading, tokenizing and training, without imports, loading, saving and the evaluation.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from tests.benchmarks.turns import Figures, make_parser, measured, minilm, take_turns


def main() -> None:
    parser = make_parser(__doc__, epochs=3, batch_size=16, learning_rate=3e-4, precision="bf16")
    parser.add_argument("--model", type=Path, default=minilm())
    parser.add_argument("--examples", type=int, default=0, help="training sentences; 0 for all")
    take_turns(parser, {"zoo": run_zoo, "transformers": run_transformers})


def read(path: Path) -> list[dict[str, list[str]]]:
    """Give the sentences of a file of columns, a word a line: words and their tags."""
    sentences = [block.splitlines() for block in path.read_text(encoding="utf-8").split("\n\n") if block.strip()]
    rows = [[line.split("\t") for line in sentence if line.strip()] for sentence in sentences]
    return [{"tokens": [row[0] for row in found], "tags": [row[-1] for row in found]} for found in rows]


def run_zoo(options: argparse.Namespace) -> Figures:
    import zoo
    from zoo.training.measuring import measure

    labels = tags_of(read(options.data / "wnut17" / "dev.conll"))
    model = zoo.load(str(options.model.resolve()), "token-classification", labels=labels, seed=options.seed)
    figures: Figures = {}
    with tempfile.TemporaryDirectory() as folder:
        with measured(figures):
            zoo.finetune(model, train_file(options, Path(folder)), config=settings_of(options))
        if options.times_only:
            return figures
        own = measure(model, options.data / "wnut17" / "test.conll", resamples=1)
        model.save(folder)
        return figures | {"f1": score(Path(folder), options), "own_f1": own.metrics["f1"].value}


def train_file(options: argparse.Namespace, folder: Path) -> Path:
    """Give the file to learn from: all of it, or its first sentences in a folder."""
    whole: Path = options.data / "wnut17" / "dev.conll"
    if not options.examples:
        return whole
    first = folder / "first.conll"
    first.write_text("\n\n".join(whole.read_text(encoding="utf-8").split("\n\n")[: options.examples]), encoding="utf-8")
    return first


def tags_of(sentences: list[dict[str, list[str]]]) -> list[str]:
    return sorted({tag for sentence in sentences for tag in sentence["tags"]}, key=lambda tag: (tag != "O", tag))


def settings_of(options: argparse.Namespace) -> Any:
    """Give the settings of both sides."""
    import zoo

    names = ("epochs", "batch_size", "learning_rate", "precision", "seed")
    return zoo.FinetuneConfig(**{name: getattr(options, name) for name in names})


def run_transformers(options: argparse.Namespace) -> Figures:
    import torch
    import transformers

    from tests.benchmarks.plain_loop import learn, quietly, shuffled

    quietly()
    torch.manual_seed(options.seed)
    labels = tags_of(read(options.data / "wnut17" / "dev.conll"))
    tokenizer = transformers.AutoTokenizer.from_pretrained(options.model)
    model: Any = transformers.AutoModelForTokenClassification.from_pretrained(
        options.model, id2label=dict(enumerate(labels)), label2id={label: index for index, label in enumerate(labels)}
    )
    collator = transformers.DataCollatorForTokenClassification(tokenizer)
    figures: Figures = {}
    with tempfile.TemporaryDirectory() as folder:
        with measured(figures):
            sentences = read(train_file(options, Path(folder)))
            features = [align(tokenizer, sentence, labels) for sentence in sentences]
            learn(model, shuffled(features, collator, options.batch_size), settings_of(options))
        if options.times_only:
            return figures
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return figures | {"f1": score(Path(folder), options)}


def align(tokenizer: Any, sentence: dict[str, list[str]], labels: list[str]) -> dict[str, Any]:
    """Give a sentence's ids, with the label of each word at its first piece and -100 at the others."""
    encoded = tokenizer(sentence["tokens"], is_split_into_words=True, truncation=True)
    words = encoded.word_ids()
    firsts = [word is not None and word != before for before, word in zip([None, *words], words, strict=False)]
    tags = [labels.index(tag) for tag in sentence["tags"]]
    aligned = [tags[word] if first else -100 for word, first in zip(words, firsts, strict=True)]
    return {**encoded, "labels": aligned}


def score(folder: Path, options: argparse.Namespace) -> float:
    """Give the F1 of entities over test.conll of the model in a folder, as transformers runs it."""
    import torch
    import transformers
    from seqeval.metrics import f1_score

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model: Any = transformers.AutoModelForTokenClassification.from_pretrained(folder).eval()
    labels = [model.config.id2label[index] for index in range(model.config.num_labels)]
    right, found = [], []
    for sentence in read(options.data / "wnut17" / "test.conll"):
        aligned = align(tokenizer, sentence, labels)
        ids = torch.tensor([aligned["input_ids"]])
        with torch.inference_mode():
            choices = model(input_ids=ids).logits[0].argmax(-1).tolist()
        counted = [
            (labels[choice], labels[label])
            for choice, label in zip(choices, aligned["labels"], strict=True)
            if label != -100
        ]
        found.append([answer for answer, _ in counted])
        right.append([tag for _, tag in counted])
    return float(f1_score(right, found))


if __name__ == "__main__":
    main()
