"""Commands that use models."""

from __future__ import annotations

from typing import Any

import click

from zoo.cli.output import inputs, json_option, print_json, revision_option, transfer_progress

task_option = click.option("--task", help="Task; the checkpoint's own if left out.")
device_option = click.option("--device", help="Device, such as cpu or cuda:1; a GPU where there is one if left out.")
dtype_option = click.option("--dtype", help="Dtype of the weights, such as bfloat16; the checkpoint's own if left out.")
adapter_option = click.option("--adapter", help="Folder with what LoRA learnt beside the checkpoint.")
ignore_option = click.option(
    "--ignore-config-key",
    "ignore_config_keys",
    multiple=True,
    help="Accept this unknown key of config.json; repeatable.",
)


def _load(ref: str, task: str | None, **options: Any) -> Any:
    """Fetch with progress, then load; say what was chosen where the user left it open."""
    from zoo.hub.pulling import pull
    from zoo.loading import load

    with transfer_progress("fetched") as watcher:
        pull(ref, revision=options.get("revision"), watcher=watcher)
    model = load(ref, task, **options)
    if options.get("device") is None:
        click.echo(f"device: {model.device}{'' if model.device.type == 'cuda' else ' (no GPU found)'}", err=True)
    return model


@click.command("run")
@click.argument("ref", metavar="REF")
@click.argument("texts", metavar="[TEXT…]", nargs=-1)
@task_option
@click.option("--context", help="For question-answering: the text to find the answers in.")
@click.option("--max-new-tokens", type=int, help="For tasks that write: the most tokens. [default: the checkpoint's]")
@click.option("--temperature", type=float, help="For tasks that write: 0 for the likeliest token always.")
@click.option(
    "--top-p", type=float, help="For tasks that write: draw among the likeliest of this probability together."
)
@click.option("--num-beams", type=int, help="For tasks that write: how many answers are followed at once.")
@click.option("--stop", multiple=True, help="For tasks that write: a text that ends the answer; repeatable.")
@click.option("--seed", type=int, help="For tasks that write: of the draws.")
@click.option("--batch-size", default=32, show_default=True, help="Texts at once.")
@revision_option
@adapter_option
@device_option
@dtype_option
@ignore_option
@json_option
def run_command(
    ref: str,
    texts: tuple[str, ...],
    task: str | None,
    context: str | None,
    batch_size: int,
    as_json: bool,
    **options: Any,
) -> None:
    """Answer texts with a model: arguments, or lines of stdin.

    \b
    Example: zoo run bert-base-cased "Paris is the [MASK] of France."
             zoo run gpt2 "Once upon a time" --max-new-tokens 40 --temperature 0.8
    """
    from dataclasses import asdict

    given = inputs(texts)
    names = ("max_new_tokens", "temperature", "top_p", "num_beams", "stop", "seed")
    wishes = {name: value for name in names if (value := options.pop(name)) not in (None, ())}
    model = _load(ref, task, **options)
    if model.task == "feature-extraction":
        raise click.UsageError(f"'{ref}' gives vectors, not answers; use: zoo embed {ref}")
    questions = [{"question": text, "context": context} for text in given] if context is not None else given
    answers = model.generate(given, batch_size=batch_size, **wishes) if wishes else model.predict(questions, batch_size)
    if as_json:
        plain = [[asdict(one) for one in a] if isinstance(a, list) else asdict(a) for a in answers]
        print_json([{"input": text, "output": answer} for text, answer in zip(given, plain, strict=True)])
        return
    for text, answer in zip(given, answers, strict=True):
        click.echo(text)
        for one in answer if isinstance(answer, list) else [answer]:
            click.echo(f"  {_line(asdict(one))}")


def _line(answer: dict[str, Any]) -> str:
    """Give an answer for people: what was written, or a score and what it is of."""
    if "score" not in answer:
        return str(answer["text"])
    what = "  ".join(str(value) for key, value in answer.items() if key not in ("score", "start", "end"))
    return f"{answer['score']:.4f}  {what}"


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
        _load(ref, "feature-extraction", **options).embed(given, pooling, normalize, batch_size=batch_size).tolist()
    )
    if as_json:
        print_json([{"input": text, "vector": vector} for text, vector in zip(given, vectors, strict=True)])
        return
    for vector in vectors:
        click.echo(" ".join(f"{value:.6f}" for value in vector))
