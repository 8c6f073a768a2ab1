"""Commands that make new models, from random weights or after another model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from zoo.cli.live import training_view
from zoo.cli.models import task_option
from zoo.cli.output import json_option
from zoo.cli.training import (
    SettingsCommand,
    column_option,
    config_option,
    evaluation_option,
    given_settings,
    out_option,
    print_result,
    push_option,
    ranks_option,
    resume_option,
    say,
    setting_options,
    tell_of_resuming,
)


@click.command("pretrain", cls=SettingsCommand)
@click.option("--arch", "architecture", required=True, metavar="NAME", help="Architecture; see zoo arch list.")
@click.option(
    "--spec", required=True, metavar="FILE", help="Fields of its spec as TOML; usual proportions for the rest."
)
@click.option("--train", required=True, multiple=True, metavar="FILE", help="Texts, as for zoo finetune; repeatable.")
@evaluation_option
@column_option
@click.option(
    "--task",
    help="fill-mask, text-generation or, from pairs, translation and its kin; what the architecture has if left out.",
)
@click.option("--tokenizer", metavar="REF", help="Checkpoint whose tokenizer to take; one is trained if left out.")
@click.option("--vocab-size", type=int, help="Most tokens of a trained tokenizer; as many as the spec's if left out.")
@out_option
@config_option
@resume_option
@ranks_option
@json_option
def pretrain_command(
    architecture: str,
    spec: str,
    train: tuple[str, ...],
    evaluation: str | None,
    out: Path,
    config_file: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Train a model from random weights, and its tokenizer too: on raw text, or an encoder-decoder on pairs of texts.

    \b
    Example: zoo pretrain --arch gpt2 --spec spec.toml --train corpus.txt --vocab-size 8000 \\
                 --learning-rate 1e-3 --out ./my-gpt2
    """
    from zoo.training.config import FinetuneConfig
    from zoo.training.pretraining import pretrain

    chosen = {name: options.pop(name) for name in ("task", "tokenizer", "vocab_size", "resume")}
    settings = given_settings(options) | {"output_dir": out}
    config = FinetuneConfig.read(config_file, **settings) if config_file else FinetuneConfig(**settings)
    if chosen["resume"]:
        tell_of_resuming(out)
    with training_view() as view:
        result = pretrain(architecture, spec, train, evaluation, config=config, trackers=[view], say=say, **chosen)
    print_result(result, as_json)


class DistillCommand(SettingsCommand):
    """A command with a flag for each training setting, those of distillation too."""

    def settings(self) -> list[click.Parameter]:
        """Give the flags of the settings."""
        from zoo.training.config import DistillConfig

        return setting_options(DistillConfig)


@click.command("distill", cls=DistillCommand)
@click.argument("teacher", metavar="TEACHER")
@click.option(
    "--student",
    required=True,
    metavar="FILE",
    help="Fields of its spec as TOML, with model_type for another architecture; the teacher's sizes and half its layers "
    "for the rest.",
)
@click.option("--train", required=True, metavar="FILE", help="Examples of the teacher's task, as for zoo finetune.")
@evaluation_option
@column_option
@task_option
@out_option
@config_option
@resume_option
@ranks_option
@push_option
@json_option
def distill_command(
    teacher: str,
    student: str,
    train: str,
    evaluation: str | None,
    out: Path,
    config_file: str | None,
    push_to: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Train a smaller model to give the answers of a larger one.

    \b
    Example: zoo distill bert-base-uncased --student student.toml --train corpus.txt \\
                 --learning-rate 5e-4 --out ./my-distilbert
    """
    from zoo.publishing import push
    from zoo.training.config import DistillConfig
    from zoo.training.distillation import distill

    task, resume = options.pop("task"), options.pop("resume")
    settings = given_settings(options) | {"output_dir": out}
    config = DistillConfig.read(config_file, **settings) if config_file else DistillConfig(**settings)
    if resume:
        tell_of_resuming(out)
    with training_view() as view:
        result = distill(
            teacher, student, train, evaluation, task=task, config=config, resume=resume, trackers=[view], say=say
        )
    commit = push(result.model, push_to) if push_to else None
    print_result(result, as_json, push_to, commit)
