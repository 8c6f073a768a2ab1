"""Commands that train models."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import click

from zoo.cli.live import training_view
from zoo.cli.models import adapter_option, device_option, dtype_option, ignore_option, load_model, task_option
from zoo.cli.output import json_option, print_json, print_table, revision_option
from zoo.training.distributed import ranks

_ELSEWHERE = ("output_dir", "columns", "lora")  # --out, --column, and LoRA's settings one by one


class SettingsCommand(click.Command):
    """A command that trains, with a flag for each setting; they are looked up when needed, so that other help is quick."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Give the command's own parameters, then the settings."""
        own = super().get_params(ctx)
        return [*own[:-1], *self.settings(), own[-1]]  # --help stays last

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; asked for several ranks, run it anew in so many processes, and end as they end."""
        count = ctx.params.pop("rank_count")
        if count not in (None, 1) and not ranks.are_launched():
            from zoo.training.distributed.launching import launch

            ctx.exit(launch(count, sys.argv[1:]))
        with ranks.joined():
            return super().invoke(ctx)

    def settings(self) -> list[click.Parameter]:
        """Give the flags of the settings."""
        from zoo.training.config import FinetuneConfig

        return setting_options(FinetuneConfig)


class FinetuneCommand(SettingsCommand):
    """The same with LoRA's settings."""

    def settings(self) -> list[click.Parameter]:
        """Give the flags of the settings."""
        from zoo.lora import LoraConfig

        return super().settings() + [_option(f"lora_{name}", field) for name, field in LoraConfig.model_fields.items()]


def setting_options(config: Any) -> list[click.Parameter]:
    """Give a flag for each field of FinetuneConfig, or of a class that adds to it."""
    return [_option(name, field) for name, field in config.model_fields.items() if name not in _ELSEWHERE]


def _option(name: str, field: Any) -> click.Parameter:
    """Give the flag of a setting; left out, it is None."""
    flag = f"--{name.replace('_', '-')}"
    usual = "" if field.default is None else f" [default: {_shown(field.default)}]"
    kind = _kind(field.annotation)
    text = f"{field.description}.{usual}"
    if kind is click.BOOL:
        return click.Option([f"{flag}/--no-{flag[2:]}"], is_flag=True, default=None, help=text)
    several = isinstance(field.default, tuple)
    return click.Option([flag], type=str if several else kind, multiple=several, default=None, help=text)


def _shown(default: Any) -> str:
    return ", ".join(default) if isinstance(default, tuple) else str(default).lower()


def given_settings(options: dict[str, Any]) -> dict[str, Any]:
    """Give the settings that flags name; any of LoRA's asks for it."""
    given = {key: value for key, value in options.items() if value not in (None, ())}
    lora = {key.removeprefix("lora_"): given.pop(key) for key in list(given) if key.startswith("lora_")}
    return given | ({"lora": lora} if lora else {})


def _columns(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, str] | None:
    """Give the columns of `--column text=sentence`; None where none are named."""
    pairs = [value.partition("=") for value in values]
    for name, equals, of_data in pairs:
        if not (name and equals and of_data):
            raise click.BadParameter(f"'{name}{equals}{of_data}' is not of the form text=sentence", ctx, param)
    return {name: of_data for name, _, of_data in pairs} or None


def _kind(annotation: Any) -> Any:
    """Give the type of a flag from the annotation of its setting."""
    if get_origin(annotation) is Literal:
        return click.Choice(get_args(annotation))
    if get_origin(annotation) in (Union, UnionType):
        kinds = [kind for kind in get_args(annotation) if kind is not type(None)]
        return Number() if set(kinds) == {int, float} else _kind(kinds[0])
    return click.BOOL if annotation is bool else annotation


def say(text: str) -> None:
    """Tell of what was guessed or left out, beside the result; of several ranks, one does."""
    if ranks.is_first():
        click.echo(text, err=True)


def tell_of_resuming(out: Path) -> None:
    """Say from which step a run goes on."""
    from zoo.training.checkpoints import find_step

    step = find_step(out)
    say("no checkpoint yet: from the beginning" if step is None else f"resuming after step {step}")


def print_result(result: Any, as_json: bool, push_to: str | None = None, commit: str | None = None) -> None:
    """Print what a run gave: its metrics, a line each, and where the model is. Of several ranks, one does."""
    if not ranks.is_first():
        return
    if as_json:
        print_json(_facts(result, commit))
        return
    for metric, value in result.metrics.items():
        click.echo(f"{metric}: {value:.4f}")
    click.echo(f"saved in {result.path}" + (f", pushed to {push_to} at {commit[:12]}" if commit else ""))


def _facts(result: Any, commit: str | None) -> dict[str, Any]:
    """Give what is known of a run as JSON. emissions: kg of CO2 equivalent; footprint: null where nothing was counted."""
    from dataclasses import asdict

    footprint = result.footprint
    counted = None if footprint is None else {**asdict(footprint), "grams_per_kwh": footprint.grams_per_kwh}
    return {
        "path": str(result.path),
        "steps": len(result.losses),
        "metrics": result.metrics,
        "emissions": result.emissions,
        "footprint": counted,
        "learnt_parameters": result.learnt_parameters,
        "parameters": result.parameters,
        "commit": commit,
    }


class Number(click.ParamType[int | float]):
    """A whole number, or one with a fraction."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | float:
        """Give an int where the text is one."""
        try:
            return int(value)
        except ValueError:
            pass
        try:
            return float(value)
        except ValueError:
            self.fail(f"{value!r} is not a number", param, ctx)


column_option = click.option(
    "--column",
    "columns",
    multiple=True,
    callback=_columns,
    metavar="TASK=DATA",
    help="The data's name for a column, such as text=sentence; repeatable. [default: guessed]",
)


out_option = click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder for the result.")
config_option = click.option(
    "--config", "config_file", metavar="FILE", help="Settings as TOML; the flags below go before them."
)
resume_option = click.option(
    "--resume", is_flag=True, help="Go on from the newest checkpoint in --out (see --save-steps)."
)
push_option = click.option("--push", "push_to", metavar="REPO", help="Push the result there.")
ranks_option = click.option(
    "--nproc-per-node",
    "rank_count",
    type=click.IntRange(min=1),
    metavar="N",
    help="Train in N processes on this machine, one for each GPU; see --parallel.",
)
evaluation_option = click.option("--eval", "evaluation", help="Held-out examples, in the same form.")


@click.command("finetune", cls=FinetuneCommand)
@click.argument("ref", metavar="REF")
@click.option(
    "--train",
    required=True,
    help="Examples: a file (.jsonl, .json, .csv, .tsv, .conll, .txt, .parquet), a folder, or a dataset's name.",
)
@evaluation_option
@column_option
@out_option
@task_option
@config_option
@resume_option
@ranks_option
@push_option
@json_option
def finetune_command(
    ref: str,
    train: str,
    evaluation: str | None,
    out: Path,
    config_file: str | None,
    push_to: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Fine-tune a checkpoint on examples, and save the result.

    \b
    Example: zoo finetune all-minilm-l6-v2 --task text-classification \\
                 --train train.csv --eval test.csv --out ./my-classifier
    """
    from zoo.publishing import push
    from zoo.references import parse
    from zoo.training.config import FinetuneConfig
    from zoo.training.finetuning import finetune

    task, resume = options.pop("task"), options.pop("resume")
    settings = given_settings(options) | {"output_dir": out}
    config = FinetuneConfig.read(config_file, **settings) if config_file else FinetuneConfig(**settings)
    if push_to and config.lora is not None and not config.lora.merge and parse(ref).folder is not None:
        raise click.UsageError(
            f"--push: an adapter beside '{ref}' would be of no use to others, who do not have that folder. Name a base on a "
            "hub, or add --lora-merge"
        )
    if resume:
        tell_of_resuming(out)
    with training_view() as view:
        result = finetune(ref, train, evaluation, task=task, config=config, resume=resume, trackers=[view], say=say)
    commit = push(result.model, push_to) if push_to and ranks.is_first() else None
    print_result(result, as_json, push_to, commit)


@click.command("eval")
@click.argument("ref", metavar="REF")
@click.option("--data", required=True, help="Examples with labels, as for zoo finetune.")
@task_option
@column_option
@click.option("--batch-size", default=32, show_default=True, help="Examples at once.")
@click.option("--truncate", is_flag=True, help="Cut texts at the model's longest input, which are refused otherwise.")
@click.option("--resamples", default=1000, show_default=True, help="Bootstrap draws for the intervals.")
@click.option("--seed", default=0, show_default=True, help="Of the draws.")
@click.option("--card/--no-card", default=True, help="Whether a folder's card gets the result. [default: yes]")
@revision_option
@adapter_option
@device_option
@dtype_option
@ignore_option
@json_option
def eval_command(
    ref: str,
    data: str,
    task: str | None,
    resamples: int,
    card: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Measure a checkpoint on examples: the task's metrics, each with its 95 % interval.

    \b
    Example: zoo eval ./my-classifier --data test.csv
    """
    from dataclasses import asdict, astuple

    from zoo.hub.evaluations import Evaluation, write_evaluation
    from zoo.references import parse
    from zoo.training.config import FinetuneConfig
    from zoo.training.measuring import data_name, measure

    names = ("columns", "batch_size", "truncate", "seed")
    config = FinetuneConfig(**{name: value for name in names if (value := options.pop(name)) is not None})
    model = load_model(ref, task, **options)
    found = measure(model, data, config, resamples=resamples, say=say)
    command = shlex.join(["zoo", *sys.argv[1:]])
    if as_json:
        print_json({**asdict(found), "command": command})
    else:
        rows = [(name, *(f"{value:.4f}" for value in astuple(one))) for name, one in found.metrics.items()]
        print_table(("METRIC", "VALUE", "FROM", "TO"), rows, "nothing was measured")
    folder = parse(ref).folder
    if card and folder is not None and options["adapter"] is None:
        metrics = {name: (one.value, one.low, one.high) for name, one in found.metrics.items()}
        path = write_evaluation(folder, Evaluation(found.task, data_name(data), found.examples, metrics, command))
        click.echo(f"written into {path}", err=True)
