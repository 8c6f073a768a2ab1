"""Transfer learning: a pretrained model learns a task from examples."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from zoo import host
from zoo.errors import HeadMissing, InvalidInput
from zoo.footprint import Footprint
from zoo.loading import load
from zoo.model import Model, TrainingRecord
from zoo.tasks import get_task
from zoo.tasks.base import Features, Task, run
from zoo.training import loop
from zoo.training.config import FinetuneConfig
from zoo.training.data import Example, read_examples

Source = str | Path | Iterable[Example]


@dataclass
class FinetuneResult:
    """What fine-tuning gave.

    model: the trained model. metrics: `train_loss`, and the task's own over the evaluation examples. emissions: kg of
    CO2 equivalent, where a plugin counted them; footprint: the same with energy and how it is known, where one says so.
    path: the folder it was saved in, None if it was not.
    """

    model: Model
    metrics: dict[str, float]
    emissions: float | None
    path: Path | None
    footprint: Footprint | None = None


def finetune(
    model_or_ref: Model | str | Path,
    train: Source,
    eval: Source | None = None,
    *,
    task: str | None = None,
    config: FinetuneConfig | None = None,
    watch: loop.Watch = lambda step, steps, loss: None,
) -> FinetuneResult:
    """Fine-tune a model on examples, all parameters of it.

    model_or_ref: a Model, which is trained in place, or a reference, whose head is made for the labels in the data.
    train, eval: see zoo.training.data.read_examples; columns are the task's. task: None for the model's own.
    watch: told (step, steps, loss). Raises InvalidInput before training starts where the data is at fault,
    TrainingDiverged.
    """
    config = config or FinetuneConfig()
    examples = read_examples(train)
    held_out = read_examples(eval) if eval is not None else []
    model = _prepared(model_or_ref, task, [*examples, *held_out], config)
    found = get_task(model.task)
    features = found.encode_examples(examples, model)
    if not features:
        raise InvalidInput("No example holds anything to learn from: all are empty")
    held_out_features = found.encode_examples(held_out, model) if held_out else []
    base = model.checkpoint
    training = loop.Run(model, config, loop.count_steps(len(features), config))
    host.notify("zoo_training_started", run=training)
    metrics = {"train_loss": loop.train(training, found, features, watch)}
    if held_out_features:
        metrics |= evaluate(model, found, held_out_features, config.batch_size)
    result = FinetuneResult(model, metrics, None, config.output_dir)
    host.notify("zoo_training_finished", run=training, result=result)
    model.record = TrainingRecord(
        base=base.repo_id if base else None,
        base_commit=base.commit if base else None,
        examples=len(examples),
        evaluated=len(held_out),
        settings=config.model_dump(mode="json", exclude={"output_dir"}),
        metrics=metrics,
        emissions=result.emissions,
        footprint=result.footprint,
    )
    if config.output_dir is not None:
        model.save(config.output_dir)
    return result


def evaluate(model: Model, task: Task, features: Sequence[Features], batch_size: int) -> dict[str, float]:
    """Give the task's metrics over features with labels."""
    return task.score(features, run(features, model, batch_size), model.settings)


def _prepared(
    model_or_ref: Model | str | Path, task: str | None, examples: Sequence[Example], config: FinetuneConfig
) -> Model:
    """Give the model to train, with a head for the labels in the data. Raises InvalidInput."""
    if isinstance(model_or_ref, Model):
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
        return model_or_ref
    if task is None:
        task = load(model_or_ref).task
    settings = get_task(task).settings_for(examples)
    try:
        model = load(model_or_ref, task, seed=config.seed)
        if get_task(task).serves(model.settings, settings):
            return model
    except HeadMissing:
        pass
    model = load(model_or_ref, task, labels=settings.labels, seed=config.seed)
    model.settings = settings
    return model
