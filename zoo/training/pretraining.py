"""Pretraining: a model from random weights, and where none is given a tokenizer of its own, learn from texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from zoo.architecture import Architecture
from zoo.errors import InvalidInput, TokenizerMissing, UnknownTask
from zoo.host import get_architecture
from zoo.hub.pulling import pull
from zoo.loading import build, make_spec
from zoo.references import parse
from zoo.tasks import get_task
from zoo.tasks.base import Task, check_columns, check_some_text
from zoo.tokenization import Tokenizer, load_tokenizer
from zoo.training.checkpoints import find_step
from zoo.training.config import FinetuneConfig
from zoo.training.data import Source
from zoo.training.distributed import ranks
from zoo.training.files import Example
from zoo.training.finetuning import FinetuneResult, check_wishes, finetune
from zoo.training.loop import Watch
from zoo.training.preparation import Say, once, read
from zoo.training.sizes import Sizes, name_fields, read_sizes
from zoo.training.tracking import Tracker

PRETRAINING = ("fill-mask", "text-generation", "text2text-generation")
"""The tasks that a model is pretrained by: those that raw text is enough for, and texts written from texts."""


@ranks.joined()
def pretrain(
    architecture: str,
    spec: Sizes,
    train: Source | Sequence[str | Path],
    eval: Source | None = None,
    *,
    task: str | None = None,
    tokenizer: str | Path | None = None,
    vocab_size: int | None = None,
    config: FinetuneConfig | None = None,
    resume: bool = False,
    watch: Watch = lambda step, steps, loss: None,
    trackers: Sequence[Tracker] = (),
    say: Say = lambda text: None,
) -> FinetuneResult:
    """Train a model from random weights. The settings' output_dir gets a checkpoint like any other.

    architecture: its name. spec: fields of its spec, or a TOML file of them; the family's usual proportions fill in the
    rest (see zoo.make_spec), the tokenizer vocab_size and the ids of special tokens.
    train: as for zoo.finetune, or several files; the column is `text`, or for an encoder-decoder `source` and `target`.
    task: None for the one of PRETRAINING that the architecture has; translation and summarization have the head of
    text2text-generation. tokenizer: a reference or folder whose tokenizer to take; None to train one on the texts (see
    zoo.tokenization.training). vocab_size: the most tokens of a trained one; None for the spec's.
    config, eval, watch, trackers, say: as for zoo.finetune. resume: too; the tokenizer is then the one in the folder.
    Raises UnknownArchitecture, UnknownTask, UnknownConfigKey, InvalidConfig, and what zoo.finetune raises.
    """
    config, say = config or FinetuneConfig(), once(say)
    output_dir = _check_settings(config, tokenizer, vocab_size)
    check_wishes(config, eval is not None, resume)
    code = get_architecture(architecture)
    found = get_task(_choose_task(code, task))
    fields = name_fields(read_sizes(spec), code)
    if fields.get("model_type", architecture) != architecture:
        raise InvalidInput(
            f"model_type is '{fields['model_type']}' in the spec, and '{architecture}' is asked for; leave model_type out"
        )
    whole = make_spec(architecture, **fields)
    examples = [row for source in _sources(train) for row in read(source, "train", found, config, say)]
    texts = _texts(examples, found)
    if tokenizer is not None:
        chosen = _existing(tokenizer)
    elif resume and find_step(output_dir) is not None:
        chosen = _existing(output_dir)
    else:
        most = whole.vocab_size if vocab_size is None else vocab_size
        chosen = ranks.after_first(lambda: _trained(texts, output_dir, code, most, say), lambda: _existing(output_dir))
    seed = config.seed if config.head_seed is None else config.head_seed
    model = build(make_spec(architecture, **_fitted(fields, code, chosen)), found.name, seed=seed)
    model.tokenizer = chosen
    return finetune(
        model, examples, eval, task=found.name, config=config, resume=resume, watch=watch, trackers=trackers, say=say
    )


def _check_settings(config: FinetuneConfig, tokenizer: str | Path | None, vocab_size: int | None) -> Path:
    """Give the folder for the result. Raises InvalidInput."""
    if config.output_dir is None:
        raise InvalidInput("A pretrained model and its tokenizer are saved in output_dir, which is not given")
    if config.lora is not None:
        raise InvalidInput(
            "LoRA learns beside weights that know something; from random weights all learn: leave out lora"
        )
    if tokenizer is not None and vocab_size is not None:
        raise InvalidInput(
            f"vocab_size is {vocab_size}, which is of a tokenizer to train, and '{tokenizer}' is to be taken; give one of them"
        )
    return config.output_dir


def _choose_task(architecture: Architecture, task: str | None) -> str:
    """Give the task to pretrain by. Raises InvalidInput, UnknownTask."""
    possible = [name for name in PRETRAINING if name in architecture.tasks]
    if not possible:
        raise InvalidInput(
            f"The architecture '{architecture.name}' has none of the tasks that a model is pretrained by: "
            f"{', '.join(PRETRAINING)}"
        )
    head = None if task is None else get_task(task).head or task
    if head is not None and head not in PRETRAINING:
        raise InvalidInput(
            f"Random weights do not begin with '{task}'; pretrain '{architecture.name}' by {possible[0]}, "
            "then fine-tune the result with zoo finetune"
        )
    if task is not None and head not in possible:
        raise UnknownTask(task, possible, architecture.name)
    return task or possible[0]


def _sources(train: Source | Sequence[str | Path]) -> list[Any]:
    """Give each file of several by itself; anything else is one source."""
    if isinstance(train, list | tuple) and train and all(isinstance(part, str | Path) for part in train):
        return list(train)
    return [train]


def _texts(examples: Sequence[Example], task: Task) -> list[str]:
    """Give the texts of all columns. Raises InvalidInput where there is nothing in them."""
    check_columns(examples, task.columns, task.name)
    texts = [example[column] for column in task.columns for example in examples]
    check_some_text(texts)
    return texts


def _existing(ref: str | Path) -> Tokenizer:
    """Give the tokenizer of a folder, which needs no weights, or of a checkpoint. Raises TokenizerMissing."""
    folder = ref if isinstance(ref, Path) else parse(ref).folder
    found = load_tokenizer(folder or pull(ref).path)
    if found is None:
        raise TokenizerMissing(str(ref))
    return found


def _trained(texts: Sequence[str], folder: Path, architecture: Architecture, vocab_size: int, say: Say) -> Tokenizer:
    """Raises InvalidInput for a vocabulary too small."""
    from zoo.tokenization.training import train_tokenizer

    found = train_tokenizer(texts, folder, architecture.name, architecture.kind, vocab_size)
    if found.vocab_size < vocab_size:
        say(f"the texts give a vocabulary of {found.vocab_size} tokens, not {vocab_size}")
    return found


def _fitted(fields: Mapping[str, Any], architecture: Architecture, tokenizer: Tokenizer) -> dict[str, Any]:
    """Give the fields with what the tokenizer says of the rest: vocab_size, and the ids of special tokens.

    Raises InvalidInput for a vocab_size that the tokenizer goes beyond.
    """
    count = tokenizer.vocab_size
    if fields.get("vocab_size", count) < count:
        raise InvalidInput(
            f"vocab_size is {fields['vocab_size']} in the spec, and the tokenizer has {count} tokens; "
            f"it would be at least {count}, or be left out"
        )
    ids = {
        name: tokenizer.special_id(name.removesuffix("_id"))
        for name in architecture.spec.model_fields
        if name.endswith("_token_id")
    }
    return {"vocab_size": count, **{name: index for name, index in ids.items() if index is not None}, **fields}
