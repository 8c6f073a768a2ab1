"""Commands that use models."""

from __future__ import annotations

from typing import Any

import click

from zoo.cli.output import inputs, json_option, print_json, revision_option, transfer_progress

task_option = click.option("--task", help="Task; the checkpoint's own if left out.")
device_option = click.option("--device", help="Device, such as cpu or cuda:1; a GPU where there is one if left out.")
dtype_option = click.option("--dtype", help="Dtype of the weights, such as bfloat16; the checkpoint's own if left out.")
adapter_option = click.option("--adapter", help="What LoRA learnt beside it: a reference, or ./FOLDER.")
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
    from zoo.references import parse

    adapter = options.get("adapter")
    with transfer_progress("fetched") as watcher:
        pull(ref, revision=options.get("revision"), watcher=watcher)
        if adapter is not None and parse(adapter).folder is None:
            pull(adapter, watcher=watcher)
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
@adapter_option
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
