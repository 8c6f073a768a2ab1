"""Transfer learning: a pretrained model learns a task from examples."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from zoo import host
from zoo.checkpoint.reader import CONFIG_FILE
from zoo.errors import HeadMissing, InvalidInput, TrainingDiverged, UnfinishedRun
from zoo.loading import load
from zoo.model import Model, TrainingRecord
from zoo.tasks import get_task
from zoo.tasks.base import Features, Task
from zoo.training import loop
from zoo.training.batches import count_steps
from zoo.training.checkpoints import Checkpoints, find_step, remove_checkpoints
from zoo.training.config import FinetuneConfig
from zoo.training.data import Example, read_examples
from zoo.training.origin import origin_of
from zoo.training.state import State

Source = str | Path | Iterable[Example]


@dataclass
class FinetuneResult:
    """What fine-tuning gave.

    model: the trained model. metrics: `train_loss`, and the task's own over the evaluation examples. emissions: kg of
    CO2 equivalent, where a plugin measured them. path: the folder it was saved in, None if it was not. losses: of each
    step.
    """

    model: Model
    metrics: dict[str, float]
    emissions: float | None
    path: Path | None
    losses: tuple[float, ...] = ()


def finetune(
    model_or_ref: Model | str | Path,
    train: Source,
    eval: Source | None = None,
    *,
    task: str | None = None,
    config: FinetuneConfig | None = None,
    resume: bool = False,
    watch: loop.Watch = lambda step, steps, loss: None,
) -> FinetuneResult:
    """Fine-tune a model on examples, all parameters of it.

    model_or_ref: a Model, which is trained in place, or a reference, whose head is made for the labels in the data.
    train, eval: see zoo.training.data.read_examples; columns are the task's. task: None for the model's own.
    resume: go on from the newest checkpoint in the settings' output_dir, or begin where there is none yet.
    watch: told (step, steps, loss). Raises InvalidInput before training starts where the data is at fault,
    UnfinishedRun, ResumeRefused, TrainingDiverged, CheckpointNotSaved.
    """
    config = config or FinetuneConfig()
    examples = read_examples(train)
    held_out = read_examples(eval) if eval is not None else []
    _check_wishes(config, held_out, resume)
    model = _prepared(model_or_ref, task, [*examples, *held_out], config)
    found = get_task(model.task)
    features = found.encode_examples(examples, model)
    if not features:
        raise InvalidInput("No example holds anything to learn from: all are empty")
    held_out_features = found.encode_examples(held_out, model) if held_out else []
    training = loop.Run(model, config, count_steps([len(feature.ids) for feature in features], config))
    host.notify("zoo_training_started", run=training)
    state = _trained(training, found, features, held_out_features, watch)
    measured = state.best_evaluation()
    metrics = {"train_loss": state.train_loss()} | (dict(measured.metrics) if measured else {})
    result = FinetuneResult(model, metrics, None, config.output_dir, tuple(state.losses))
    host.notify("zoo_training_finished", run=training, result=result)
    model.record = _record(result, config, len(examples), len(held_out))
    if config.output_dir is not None:
        model.save(config.output_dir)
        remove_checkpoints(config.output_dir)
    return result


def _check_wishes(config: FinetuneConfig, held_out: Sequence[Example], resume: bool) -> None:
    """Refuse wishes that do not go together. Raises InvalidInput, UnfinishedRun."""
    if config.eval_steps is not None and not held_out:
        raise InvalidInput(
            f"eval_steps is {config.eval_steps}, and there are no examples to evaluate on; give some as eval"
        )
    saves = config.save_steps is not None or config.save_minutes is not None
    if config.output_dir is None:
        if saves or resume:
            raise InvalidInput("Checkpoints to resume from are in output_dir, which is not given; it would be a folder")
        return
    step = find_step(config.output_dir)
    if step is not None and not resume:
        raise UnfinishedRun(config.output_dir, step)
    if step is None and resume and (config.output_dir / CONFIG_FILE).is_file():
        raise InvalidInput(
            f"'{config.output_dir}' holds a finished result and no checkpoint to go on from; to train anew, do not resume"
        )


def _trained(
    training: loop.Run, task: Task, features: Sequence[Features], held_out: Sequence[Features], watch: loop.Watch
) -> State:
    """Train, with checkpoints where there is a folder for them. Raises what loop.train does."""
    config = training.config
    checkpoints = None
    if config.output_dir is not None:
        origin = origin_of(training.model, features, held_out, config)
        checkpoints = Checkpoints(config.output_dir, config, origin)
    try:
        return loop.train(training, task, features, held_out, watch, checkpoints)
    except TrainingDiverged as error:
        kept_step = find_step(config.output_dir) if config.output_dir is not None else None
        raise TrainingDiverged(error.step, error.value, error.learning_rate, error.what, kept_step) from None


def _record(result: FinetuneResult, config: FinetuneConfig, examples: int, evaluated: int) -> TrainingRecord:
    base = result.model.checkpoint
    return TrainingRecord(
        base=base.repo_id if base else None,
        base_commit=base.commit if base else None,
        examples=examples,
        evaluated=evaluated,
        settings=config.model_dump(mode="json", exclude={"output_dir", "save_steps", "save_minutes"}),
        metrics=result.metrics,
        emissions=result.emissions,
    )


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
        return model_or_ref
    if task is None:
        task = load(model_or_ref).task
    settings = get_task(task).settings_for(examples)
    seed = config.seed if config.head_seed is None else config.head_seed
    try:
        model = load(model_or_ref, task, seed=seed)
        if get_task(task).serves(model.settings, settings):
            return model
    except HeadMissing:
        pass
    model = load(model_or_ref, task, labels=settings.labels, seed=seed)
    model.settings = settings
    return model
