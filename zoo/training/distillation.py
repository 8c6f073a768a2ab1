"""Distillation: a smaller model learns to answer as a larger one does (Sanh et al. 2019, https://arxiv.org/abs/1910.01108)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from zoo.errors import InvalidInput
from zoo.host import get_architecture
from zoo.loading import build, load, make_spec
from zoo.model import Model
from zoo.tasks import get_task
from zoo.tasks.base import IGNORED_LABEL, Output, Task
from zoo.training.config import DistillConfig
from zoo.training.data import Source
from zoo.training.distributed import ranks
from zoo.training.finetuning import FinetuneResult, Teacher, check_wishes, teach
from zoo.training.loop import Watch, loss_of
from zoo.training.preparation import Say, once, prepare
from zoo.training.sizes import Sizes, name_fields, read_sizes
from zoo.training.tracking import Tracker

_LAYER = re.compile(r"^(.*?\.layers\.)(\d+)(\..*)$")


@ranks.joined()
def distill(
    teacher: Model | str | Path,
    student: Sizes,
    train: Source,
    eval: Source | None = None,
    *,
    task: str | None = None,
    config: DistillConfig | None = None,
    resume: bool = False,
    watch: Watch = lambda step, steps, loss: None,
    trackers: Sequence[Tracker] = (),
    say: Say = lambda text: None,
) -> FinetuneResult:
    """Train a smaller model to give the answers of a larger one, for the same task, with the same tokenizer and labels.

    teacher: a Model or a reference, which stays as it is. student: fields of the smaller one's spec, or a TOML file of
    them; `model_type` names its architecture, where that is another than the teacher's. Sizes that are left out are the
    teacher's, with half of its layers.
    Every second layer of the teacher, or as many as the student has, evenly spread, is the student's start, with what
    else fits in name and shape; the result's model.fresh_parameters names the rest.
    train, eval, task, config, resume, watch, trackers, say: as for zoo.finetune; the losses in the result are weighted sums.
    Raises InvalidInput where the two do not go together, and what zoo.make_spec and zoo.finetune raise.
    """
    config, say = config or DistillConfig(), once(say)
    _check_settings(config)
    check_wishes(config, eval is not None, resume)
    teacher = teacher if isinstance(teacher, Model) else load(teacher, task)
    _check_teacher(teacher, task)
    teacher.eval()
    model = make_student(teacher, student, config.seed if config.head_seed is None else config.head_seed)
    count = sum(1 for _ in model.parameters())
    taken = f"{count - len(model.fresh_parameters)} of {count} parameters"
    say(f"{taken} start as the teacher's")
    compares_states = _compares_states(model, teacher, config, say)
    limits = [limit for limit in (config.max_length, teacher.max_length) if limit is not None]
    within = config.model_copy(update={"max_length": min(limits, default=None)})  # the teacher reads all of it too
    run = prepare(model, train, eval, None, within, say)
    lesson = Distillation(teacher, run.task, config, compares_states)
    told = f"{lesson.told()} Of the student {taken} started as the teacher's."
    return teach(run, config, watch, lesson, Teacher(teacher.checkpoint, told), trackers)


@dataclass(frozen=True)
class Distillation:
    """The loss of a student: the weighted sum of three. compares_states: whether the last of them is one."""

    teacher: Model
    task: Task
    config: DistillConfig
    compares_states: bool

    def __call__(self, model: Model, inputs: Mapping[str, Tensor], labels: Tensor) -> Tensor:
        """Give the loss of a batch, a scalar. inputs, labels: as the student is given them."""
        with torch.no_grad():
            taught = self.teacher(**inputs, labels=labels)
        output = model(**inputs, labels=labels)
        counts = labels != IGNORED_LABEL if self.task.decodes_labels else inputs["attention_mask"]
        config = self.config
        loss = config.task_weight * loss_of(output, labels, self.task, config)
        loss = loss + config.soft_weight * self.task.soft_loss(
            output, taught, counts, model.settings, config.temperature
        )
        if self.compares_states:
            loss = loss + config.cosine_weight * state_loss(output, taught, counts)
        return loss

    def told(self) -> str:
        """Say what is done, for a card."""
        config, teacher = self.config, self.teacher
        cosine = config.cosine_weight if self.compares_states else 0.0
        parts = {
            self.task.describe_soft_loss(teacher.settings, config.temperature): config.soft_weight,
            "the task's own loss": config.task_weight,
            "one minus the cosine of both models' last hidden states (Sanh et al. 2019)": cosine,
        }
        terms = [f"{factor:g} times {part}" for part, factor in parts.items() if factor]
        size = sum(parameter.numel() for parameter in teacher.parameters())
        who = f"The teacher is a `{teacher.architecture.name}` model with {size:,} parameters."
        return f"{who} The loss is the sum of: {'; '.join(terms)}."


def state_loss(output: Output, taught: Output, counts: Tensor) -> Tensor:
    """Give one minus the cosine of the last hidden states of both, the mean over the tokens that count."""
    found, wanted = (states.last_hidden_state[counts].float() for states in (output, taught))
    return 1 - F.cosine_similarity(found, wanted, dim=-1).mean()


def make_student(teacher: Model, student: Sizes, seed: int) -> Model:
    """Give a smaller model on the teacher's device, with what it can take of the teacher's weights.

    seed: of the rest, which fresh_parameters names. Raises InvalidInput, and what zoo.make_spec raises.
    """
    given = read_sizes(student)
    code = get_architecture(given.pop("model_type", teacher.architecture.name))
    given = name_fields(given, code)
    spec = make_spec(code.name, **{**_inherited(teacher, code.name), **given})
    if spec.vocab_size != teacher.spec.vocab_size:
        raise InvalidInput(
            f"vocab_size is {spec.vocab_size}, and the teacher's is {teacher.spec.vocab_size}; the tokenizer is the "
            "same, so they would be equal: leave it out"
        )
    fixed = get_task(teacher.task).fixed_labels is not None
    labels = None if fixed else teacher.labels
    model = build(spec, teacher.task, labels=labels, seed=seed, device=teacher.device)
    model.settings, model.tokenizer = teacher.settings, teacher.tokenizer
    model.inherits_from = teacher.settings_folder
    model.fresh_parameters = take_weights(model, teacher)
    return model


def _inherited(teacher: Model, name: str) -> dict[str, Any]:
    """Give the fields that a student of the architecture takes from the teacher: all of the same, sizes and ids of another."""
    fields = name_fields(teacher.spec.to_config(), teacher.architecture)
    if name != teacher.architecture.name:
        known = get_architecture(name).spec.model_fields
        fields = {key: value for key, value in fields.items() if key in known and type(value) is int}
    if teacher.architecture.kind != "encoder-decoder":
        fields["num_hidden_layers"] = max(1, fields["num_hidden_layers"] // 2)
    return {key: value for key, value in fields.items() if key != "model_type"}


def take_weights(student: Model, teacher: Model) -> tuple[str, ...]:
    """Copy into the student each of the teacher's weights that fits in name and shape; give the names of the others.

    Of n layers, the student's layer i takes the teacher's i N / n of N: every second one where n is half of N.
    """
    own = dict(student.named_parameters(remove_duplicate=False))  # under each of its names, where there are several
    taught = dict(teacher.named_parameters(remove_duplicate=False))
    layers, taught_layers = _count_layers(own), _count_layers(taught)
    filled = set()
    with torch.no_grad():
        for name, parameter in own.items():
            source = name
            if (match := _LAYER.match(name)) and match[1] in taught_layers:
                index = int(match[2]) * taught_layers[match[1]] // layers[match[1]]
                source = f"{match[1]}{index}{match[3]}"
            if source in taught and taught[source].shape == parameter.shape:
                parameter.copy_(taught[source])
                filled.add(id(parameter))
    return tuple(name for name, parameter in student.named_parameters() if id(parameter) not in filled)


def _count_layers(names: Iterable[str]) -> Counter[str]:
    """Give the number of layers of each stack, by what stands before their numbers."""
    found = {match.group(1, 2) for match in map(_LAYER.match, names) if match}
    return Counter(stack for stack, _ in found)


def _compares_states(model: Model, teacher: Model, config: DistillConfig, say: Say) -> bool:
    """Tell whether hidden states are compared. Raises InvalidInput where vectors cannot be."""
    if model.hidden_size == teacher.hidden_size:
        return config.cosine_weight > 0
    if model.task == "feature-extraction":
        raise InvalidInput(
            f"hidden_size is {model.hidden_size}, and the teacher's vectors have {teacher.hidden_size} numbers; to be compared "
            "they would be equal: leave it out"
        )
    if config.cosine_weight:
        say(
            f"hidden_size is {model.hidden_size}, and the teacher's is {teacher.hidden_size}: hidden states are not "
            "compared, and cosine_weight counts for nothing"
        )
    return False


def _check_settings(config: DistillConfig) -> None:
    """Raises InvalidInput."""
    if not (config.soft_weight or config.task_weight or config.cosine_weight):
        raise InvalidInput("soft_weight, task_weight and cosine_weight are all 0; at least one would be above it")
    if config.lora is not None:
        raise InvalidInput("LoRA learns beside weights that stay as they are; a student's all learn: leave out lora")


def _check_teacher(teacher: Model, task: str | None) -> None:
    """Raises InvalidInput for a teacher of another task, or whose weights cannot be taken."""
    if task not in (None, teacher.task):
        raise InvalidInput(
            f"The teacher is made for '{teacher.task}', and '{task}' is to be distilled; load it for that"
        )
    if teacher.quantized is not None:
        raise InvalidInput(
            f"The teacher was loaded with quantize='{teacher.quantized}', and its weights cannot be the student's start. "
            "Load it without"
        )
