"""From what a user names to what is trained: a model with a fitting head, and features to learn from and to evaluate on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from zoo.errors import HeadMissing, InvalidInput
from zoo.loading import load
from zoo.model import Model
from zoo.tasks import get_task
from zoo.tasks.base import Features, Task
from zoo.tasks.metrics import require_metrics
from zoo.training.columns import choose_columns, rename
from zoo.training.config import FinetuneConfig
from zoo.training.data import Purpose, Source, hold_out, read_examples
from zoo.training.distributed import ranks
from zoo.training.files import Example

Say = Callable[[str], None]
"""Told what was guessed or left out, a sentence each."""


@dataclass(frozen=True)
class Prepared:
    """What a run needs. features, held_out: what examples became for the model. examples: how many there were to learn from.

    held_out_examples: as they were, for a look at single answers.
    """

    model: Model
    task: Task
    features: list[Features]
    held_out: list[Features]
    examples: int
    held_out_examples: list[Example]


def prepare(
    model_or_ref: Model | str | Path,
    train: Source,
    eval: Source | None,
    task: str | None,
    config: FinetuneConfig,
    say: Say,
) -> Prepared:
    """Read the data, make the model's head for its labels, and turn both into features. See zoo.finetune.

    Raises InvalidInput for whatever is wrong with the data.
    """
    say = once(say)
    found = get_task(_task_of(model_or_ref, task))
    examples = read(train, "train", found, config, say)
    held_out = [] if eval is None else read(eval, "eval", found, config, say)
    if config.held_out_share and eval is None:
        seed = config.seed if config.data_seed is None else config.data_seed
        examples, held_out = hold_out(examples, config.held_out_share, seed)
    _tell_of_rare_labels(examples, say)
    model = model_or_ref if isinstance(model_or_ref, Model) else _loaded(model_or_ref, found, examples, config)
    if held_out:
        require_metrics()
    if config.label_smoothing and not found.decodes_labels:
        raise InvalidInput(
            f"label_smoothing is {config.label_smoothing:g}; '{found.name}' learns without it, so it would be 0"
        )
    model.settings = found.settings_to_train(model)
    features = encode(examples, found, model, config, say)
    if not features:
        raise InvalidInput("No example holds anything to learn from: all are empty")
    try:
        held_out_features = encode(held_out, found, model, config, say) if held_out else []
    except InvalidInput as error:
        raise InvalidInput(f"Among the held-out examples: {error}") from None
    return Prepared(model, found, features, held_out_features, len(examples), held_out)


def once(say: Say) -> Say:
    """Say nothing twice, for of training and held-out examples mostly the same holds; and of several ranks by one."""
    told: set[str] = set()

    def say_once(text: str) -> None:
        if text not in told and ranks.is_first():
            told.add(text)
            say(text)

    return say_once


def _task_of(model_or_ref: Model | str | Path, task: str | None) -> str:
    """Give the name of the task to train. Raises InvalidInput."""
    if not isinstance(model_or_ref, Model):
        return task or load(model_or_ref, device="cpu").task  # there the weights stay in their file
    if task not in (None, model_or_ref.task):
        raise InvalidInput(
            f"The model is made for '{model_or_ref.task}', and training asks for '{task}'. "
            f'Load it for the task: zoo.load(..., "{task}", labels=[...])'
        )
    if model_or_ref.quantized is not None:
        raise InvalidInput(
            f"The model was loaded with quantize='{model_or_ref.quantized}', and its weights cannot learn. "
            "Load it without, and train that"
        )
    return model_or_ref.task


def read(source: Source, purpose: Purpose, task: Task, config: FinetuneConfig, say: Say) -> list[Example]:
    """Give the examples of a source under the task's own names of columns. Raises InvalidInput, ExtraMissing."""
    examples = read_examples(source, purpose)
    chosen = choose_columns(examples, task, config.columns)
    guessed = {column: name for column, name in chosen.items() if column not in config.columns}
    if guessed:
        told = ", ".join(f"{column} is '{name}'" for column, name in guessed.items())
        say(f"columns guessed: {told}; name others with --column (columns={{...}})")
    return rename(examples, chosen)


def _loaded(ref: str | Path, task: Task, examples: Sequence[Example], config: FinetuneConfig) -> Model:
    """Load the checkpoint, with a head for the labels of the examples: its own where that serves, else a fresh one.

    Weights that ranks are to share out stay in their files, from which each takes its own.
    """
    settings = task.settings_for(examples)
    seed = config.seed if config.head_seed is None else config.head_seed
    device = "cpu" if ranks.count() > 1 and config.parallel != "ddp" else None
    try:
        model = load(ref, task.name, seed=seed, device=device)
        if task.serves(model.settings, settings):
            return model
    except HeadMissing:
        pass
    if settings.problem_type == "single_label_classification" and len(settings.labels) == 1:
        raise InvalidInput(
            f"All examples have the label '{settings.labels[0]}', so there is nothing to tell apart; "
            "give examples of at least two labels"
        )
    model = load(ref, task.name, labels=settings.labels, seed=seed, device=device)
    model.settings = settings
    return model


def encode(examples: Sequence[Example], task: Task, model: Model, config: FinetuneConfig, say: Say) -> list[Features]:
    """Give the features of examples. Raises InvalidInput, also for texts longer than the model."""
    limits = [limit for limit in (model.max_length, config.max_length) if limit is not None]
    longest = min(limits, default=None)
    features = task.encode_examples(examples, model, longest)
    cut = [feature.source for feature in features if feature.cut]
    if cut and not config.truncate:
        whose = "the model's" if longest == model.max_length else "max_length's"
        raise InvalidInput(
            f"Example {cut[0]} has more than {whose} {longest} tokens"
            + {1: "", 2: ", and so has 1 other"}.get(len(cut), f", and so have {len(cut) - 1} others")
            + "; shorten them, or accept that they are cut at the end with --truncate (truncate=True)"
        )
    if cut:
        say(f"{len(cut)} of {len(examples)} examples are cut at {longest} tokens")
    return features


def _tell_of_rare_labels(examples: Sequence[Example], say: Say) -> None:
    labels = [example.get("label") for example in examples]
    tags = [tag for example in examples if isinstance(tags := example.get("tags"), Sequence) for tag in tags]
    for found, what in ((labels, "labels with one example only"), (tags, "tags of one word only")):
        if all(isinstance(label, str | int) for label in found):
            alone = [str(label) for label, count in Counter(found).items() if count == 1]
            if alone:
                say(f"{what}: {', '.join(alone)}")
