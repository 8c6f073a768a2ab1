"""Commands that use models."""

from __future__ import annotations

from typing import Any

import click

from zoo.cli.output import inputs, json_option, print_json, revision_option, step_progress, transfer_progress

task_option = click.option("--task", help="Task; the checkpoint's own if left out.")
device_option = click.option("--device", help="Device, such as cpu or cuda:1; a GPU where there is one if left out.")
dtype_option = click.option("--dtype", help="Dtype of the weights, such as bfloat16; the checkpoint's own if left out.")
quantize_option = click.option(
    "--quantize",
    type=click.Choice(["int8", "int4"]),
    help="Hold linear layers in so many bits; zoo plan says what that costs.",
)
ignore_option = click.option(
    "--ignore-config-key",
    "ignore_config_keys",
    multiple=True,
    help="Accept this unknown key of config.json; repeatable.",
)


def load_model(ref: str, task: str | None, **options: Any) -> Any:
    """Fetch with progress, then load; say what was chosen where the user left it open."""
    from zoo.hub.pulling import pull
    from zoo.loading import load

    with transfer_progress("fetched") as watcher:
        pull(ref, revision=options.get("revision"), watcher=watcher)
    model = load(ref, task, **options)
    if options.get("device") is None:
        click.echo(f"device: {model.device}{'' if model.device.type == 'cuda' else ' (no GPU found)'}", err=True)
    return model


@click.command("embed")
@click.argument("ref", metavar="REF")
@click.argument("texts", metavar="[TEXT…]", nargs=-1)
@click.option(
    "--pooling", type=click.Choice(["mean", "cls", "max", "mean_sqrt_len"]), help="The checkpoint's own if left out."
)
@click.option("--normalize/--no-normalize", default=None, help="To length 1, or not; the checkpoint's own if left out.")
@click.option("--batch-size", default=32, show_default=True, help="Texts at once.")
@revision_option
@device_option
@dtype_option
@quantize_option
@ignore_option
@json_option
def embed_command(
    ref: str,
    texts: tuple[str, ...],
    pooling: Any,
    normalize: bool | None,
    batch_size: int,
    as_json: bool,
    **options: Any,
) -> None:
    """Give one vector a text: arguments, or lines of stdin. A line of numbers each, or JSON.

    \b
    Example: zoo embed all-minilm-l6-v2 "how do I read a zip archive"
    """
    given = inputs(texts)
    vectors = (
        load_model(ref, "feature-extraction", **options)
        .embed(given, pooling, normalize, batch_size=batch_size)
        .tolist()
    )
    if as_json:
        print_json([{"input": text, "vector": vector} for text, vector in zip(given, vectors, strict=True)])
        return
    for vector in vectors:
        click.echo(" ".join(f"{value:.6f}" for value in vector))


@click.command("finetune")
@click.argument("ref", metavar="REF")
@click.option("--train", required=True, help="Examples: a file of JSON lines, a JSON list, CSV or TSV with a header.")
@click.option("--eval", "evaluation", help="Held-out examples, in the same form.")
@click.option("--out", required=True, help="Folder for the result.")
@task_option
@click.option("--epochs", type=int, help="Times through the examples. [default: 3]")
@click.option("--max-steps", type=int, help="Stop after so many optimiser steps.")
@click.option("--batch-size", type=int, help="Examples per step. [default: 16]")
@click.option("--learning-rate", type=float, help="Peak learning rate. [default: 5e-5]")
@click.option("--weight-decay", type=float, help="Decay of matrices. [default: 0.01]")
@click.option("--warmup-steps", type=int, help="Steps over which the learning rate rises. [default: 0]")
@click.option("--seed", type=int, help="Of head, order and dropout. [default: 0]")
@click.option("--push", "push_to", metavar="REPO", help="Push the result there.")
@json_option
def finetune_command(
    ref: str,
    train: str,
    evaluation: str | None,
    out: str,
    task: str | None,
    push_to: str | None,
    as_json: bool,
    **settings: Any,
) -> None:
    """Fine-tune a checkpoint on examples, and save the result.

    \b
    Example: zoo finetune all-minilm-l6-v2 --task text-classification \\
                 --train train.csv --eval test.csv --out ./my-classifier
    """
    from pathlib import Path

    from zoo.publishing import push
    from zoo.training.config import FinetuneConfig
    from zoo.training.finetuning import finetune

    chosen = {key: value for key, value in settings.items() if value is not None}
    config = FinetuneConfig(**chosen, output_dir=Path(out))
    with step_progress("training") as watch:
        result = finetune(ref, train, evaluation, task=task, config=config, watch=watch)
    commit = push(result.model, push_to) if push_to else None
    if as_json:
        print_json(
            {"path": str(result.path), "metrics": result.metrics, "emissions": result.emissions, "commit": commit}
        )
        return
    for metric, value in result.metrics.items():
        click.echo(f"{metric}: {value:.4f}")
    click.echo(f"saved in {result.path}" + (f", pushed to {push_to} at {commit[:12]}" if commit else ""))
