"""Transfer learning: a pretrained model learns a task from examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from zoo import host
from zoo.adapters.attaching import attach
from zoo.checkpoint.adapter_files import ADAPTER_CONFIG
from zoo.checkpoint.manifest import Checkpoint
from zoo.checkpoint.reader import CONFIG_FILE
from zoo.errors import InvalidInput, TrainingDiverged, UnfinishedRun
from zoo.footprint import Footprint
from zoo.model import Model, TrainingRecord
from zoo.training import loop
from zoo.training.batches import count_steps
from zoo.training.checkpoints import Checkpoints, find_step, remove_checkpoints
from zoo.training.config import FinetuneConfig
from zoo.training.data import Source
from zoo.training.distributed import ranks
from zoo.training.distributed.parallel import Objective
from zoo.training.findings import examine
from zoo.training.freezing import frozen
from zoo.training.origin import origin_of
from zoo.training.preparation import Prepared, Say, prepare
from zoo.training.report import Report, describe_run, learning, save_report
from zoo.training.schedule import learning_rate_share
from zoo.training.state import State
from zoo.training.tensorboard import require_tensorboard, trackers_for
from zoo.training.tracking import Tracker, tell

_OF_THIS_MACHINE = {"output_dir", "save_steps", "save_minutes", "columns", "tensorboard"}  # no part of a card


@dataclass
class FinetuneResult:
    """What fine-tuning gave.

    model: the trained model. metrics: `train_loss`, and the task's own over the evaluation examples. emissions: kg of
    CO2 equivalent, where a plugin counted them; footprint: the same with energy and how it is known, where one says so.
    path: the folder it was saved in, None if it was not. losses: of each step. learnt_parameters: how many were trained,
    of so many parameters in all, with those of an adapter.
    Of several ranks, the first has the model as it was saved, and what plugins say. Where they held it in shards, that is
    on the CPU, and the others' model is without weights.
    """

    model: Model
    metrics: dict[str, float]
    emissions: float | None
    path: Path | None
    losses: tuple[float, ...] = ()
    footprint: Footprint | None = None
    learnt_parameters: int = 0
    parameters: int = 0


@dataclass(frozen=True)
class Teacher:
    """Whose answers were learnt from. checkpoint: of the teacher, None where it has none. told: how, in sentences."""

    checkpoint: Checkpoint | None
    told: str


@ranks.joined()
def finetune(
    model_or_ref: Model | str | Path,
    train: Source,
    eval: Source | None = None,
    *,
    task: str | None = None,
    config: FinetuneConfig | None = None,
    resume: bool = False,
    watch: loop.Watch = lambda step, steps, loss: None,
    trackers: Sequence[Tracker] = (),
    say: Say = lambda text: None,
) -> FinetuneResult:
    """Fine-tune a model on examples: all parameters of it, or with LoRA small matrices beside them.

    model_or_ref: a Model, which is trained in place, or a reference, whose head is made for the labels in the data.
    train, eval: see zoo.training.data.read_examples; columns are the task's, or named and guessed (see
    zoo.training.columns). task: None for the model's own.
    resume: go on from the newest checkpoint in the settings' output_dir, or begin where there is none yet.
    watch: told (step, steps, loss). trackers: told of the run by lifecycle hooks (see zoo.training.tracking). say: told
    what was guessed, a sentence each.
    Where a launcher started several ranks, each makes this same call and they train together, as the setting `parallel`
    says; the first alone writes, watches, says, and tells plugins and trackers.
    Raises InvalidInput before training starts where the data is at fault, ExtraMissing, UnfinishedRun, ResumeRefused,
    TrainingDiverged, CheckpointNotSaved, and RankLost.
    """
    config = config or FinetuneConfig()
    check_wishes(config, eval is not None, resume)
    run = prepare(model_or_ref, train, eval, task, config, say)
    if config.lora is not None:
        attach(run.model, config.lora, config.seed if config.head_seed is None else config.head_seed)
        say(f"beside the weights {learning(*count_parameters(run.model, config))} learn")
    return teach(run, config, watch, trackers=trackers)


def teach(
    run: Prepared,
    config: FinetuneConfig,
    watch: loop.Watch,
    objective: Objective | None = None,
    teacher: Teacher | None = None,
    trackers: Sequence[Tracker] = (),
) -> FinetuneResult:
    """Train what is prepared, tell plugins and trackers, and save the result.

    objective: None for the task's own loss. teacher: for the card.

    Raises what zoo.finetune raises once training has started.
    """
    steps = count_steps([run.task.length(feature) for feature in run.features], config)
    hooks = tuple(host.hooks_of(tracker) for tracker in (*trackers_for(config.tensorboard), *trackers))
    training = loop.Run(run.model, config, steps, hooks)
    tell("zoo_training_started", training)
    state = _trained(training, run, watch, objective)
    measured = state.best_evaluation()
    metrics = {"train_loss": state.train_loss()} | (dict(measured.metrics) if measured else {})
    learnt, every = count_parameters(run.model, config)
    losses = tuple(state.losses)
    result = FinetuneResult(run.model, metrics, None, config.output_dir, losses, None, learnt, every)
    if ranks.is_first():
        _finish(training, run, state, result, teacher)
    ranks.wait()
    return result


def _finish(training: loop.Run, run: Prepared, state: State, result: FinetuneResult, teacher: Teacher | None) -> None:
    """Tell lifecycle plugins, and save what was learnt."""
    config = training.config
    if config.lora is not None and config.lora.merge:
        run.model.merge_adapter()
    tell("zoo_training_finished", training, result=result)
    run.model.record = _record(result, config, run, teacher)
    if config.output_dir is not None:
        run.model.save(config.output_dir)
        save_report(_report(training, run, state), config.output_dir)
        remove_checkpoints(config.output_dir)


def count_parameters(model: Model, config: FinetuneConfig) -> tuple[int, int]:
    """Give how many of a model's parameters learn, and how many there are."""
    with frozen(model, config.frozen_layers):
        parameters = list(model.parameters())
        return sum(p.numel() for p in parameters if p.requires_grad), sum(p.numel() for p in parameters)


def check_wishes(config: FinetuneConfig, evaluates: bool, resume: bool) -> None:
    """Refuse wishes that do not go together. Raises InvalidInput, ExtraMissing, UnfinishedRun."""
    if config.tensorboard is not None:
        require_tensorboard()
    if config.eval_steps is not None and not evaluates and not config.held_out_share:
        raise InvalidInput(
            f"eval_steps is {config.eval_steps}, and there are no examples to evaluate on; give some as eval, "
            "or hold some out with held_out_share"
        )
    if config.output_dir is None:
        if _saves(config) or resume:
            raise InvalidInput("Checkpoints to resume from are in output_dir, which is not given; it would be a folder")
        return
    step = find_step(config.output_dir)
    if step is not None and not resume:
        raise UnfinishedRun(config.output_dir, step)
    finished = any((config.output_dir / name).is_file() for name in (CONFIG_FILE, ADAPTER_CONFIG))
    if step is None and resume and finished:
        raise InvalidInput(
            f"'{config.output_dir}' holds a finished result and no checkpoint to go on from; to train anew, do not resume"
        )


def _saves(config: FinetuneConfig) -> bool:
    return config.save_steps is not None or config.save_minutes is not None


def _trained(training: loop.Run, run: Prepared, watch: loop.Watch, objective: Objective | None) -> State:
    """Train, with checkpoints where they are asked for or there. Raises what loop.train does."""
    config = training.config
    checkpoints = None
    if config.output_dir is not None and (_saves(config) or find_step(config.output_dir) is not None):
        origin = ranks.broadcast(origin_of(run.model, run.features, run.held_out, config) if ranks.is_first() else {})
        checkpoints = Checkpoints(config.output_dir, config, origin)
    try:
        return loop.train(training, run.task, run.features, run.held_out, watch, checkpoints, objective)
    except TrainingDiverged as error:
        kept_step = find_step(config.output_dir) if config.output_dir is not None else None
        raise TrainingDiverged(error.step, error.value, error.learning_rate, error.what, kept_step) from None


def _record(result: FinetuneResult, config: FinetuneConfig, run: Prepared, teacher: Teacher | None) -> TrainingRecord:
    base = teacher.checkpoint if teacher else result.model.checkpoint
    return TrainingRecord(
        base=base.repo_id if base else None,
        base_commit=base.commit if base else None,
        examples=run.examples,
        evaluated=len(run.held_out_examples),
        settings=config.model_dump(mode="json", exclude=_OF_THIS_MACHINE),
        taught=teacher.told if teacher else None,
        learnt=learning(result.learnt_parameters, result.parameters),
        metrics=result.metrics,
        emissions=result.emissions,
        footprint=result.footprint,
    )


def _report(training: loop.Run, run: Prepared, state: State) -> Report:
    config = training.config
    rates = [config.learning_rate * learning_rate_share(step, training.steps, config) for step in range(state.step)]
    evaluations = [(evaluation.step, evaluation.metrics) for evaluation in state.evaluations]
    findings = examine(run.model, run.held_out_examples, config.batch_size)
    return describe_run(run.model, state.losses, rates, evaluations, findings)
