"""The command that answers: texts by any task, and chats where the checkpoint was made for them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from zoo.cli.models import (
    adapter_option,
    device_option,
    dtype_option,
    ignore_option,
    load_model,
    quantize_option,
    task_option,
)
from zoo.cli.output import inputs, json_option, print_json, revision_option
from zoo.errors import ZooError

if TYPE_CHECKING:
    from zoo.model import Model
    from zoo.tasks.conversation import Conversation

# What `generate` can be asked for: see zoo.generation.settings.GenerationSettings.
WISHES: tuple[tuple[str, Any, str], ...] = (
    ("max_new_tokens", int, "The most tokens to write. [default: the checkpoint's, or 64]"),
    ("min_new_tokens", int, "The fewest tokens to write."),
    ("temperature", float, "0 for the likeliest token always, else the spread of chance."),
    ("top_k", int, "Draw among so many likeliest tokens."),
    ("top_p", float, "Draw among the likeliest of this probability together."),
    ("min_p", float, "Draw among tokens at least so probable, in shares of the likeliest's."),
    ("typical_p", float, "Draw among the most typical of this probability together."),
    ("repetition_penalty", float, "Above 1: words that are there already become less likely."),
    ("frequency_penalty", float, "Above 0: the less likely, the more often the answer has them."),
    ("no_repeat_ngram_size", int, "No sequence of so many tokens comes twice."),
    ("num_beams", int, "How many answers are followed at once."),
    ("length_penalty", float, "With beams: above 0 favours long answers."),
    ("best_of", int, "Draw so many answers, and give the likeliest."),
    ("seed", int, "Of the draws."),
)


def generation_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of tasks that write."""
    command = click.option(
        "--early-stopping",
        type=click.Choice(["true", "false", "never"]),
        callback=lambda _, __, value: {"true": True, "false": False}.get(value, value),
        help="Writing: when a search with beams ends.",
    )(command)
    command = click.option("--stop", multiple=True, help="Writing: a text that ends the answer; repeatable.")(command)
    for name, kind, text in reversed(WISHES):
        command = click.option(f"--{name.replace('_', '-')}", name, type=kind, help=f"Writing: {text}")(command)
    return command


@click.command("run")
@click.argument("ref", metavar="REF")
@click.argument("texts", metavar="[TEXT…]", nargs=-1)
@task_option
@click.option("--context", help="For question-answering: the text to find the answers in.")
@click.option("--system", help="Chat: what the model is told before it.")
@click.option("--raw", is_flag=True, help="Go on from texts as they stand, though the checkpoint was made to chat.")
@generation_options
@click.option("--truncate", is_flag=True, help="Writing: cut texts that are too long for the model.")
@click.option("--batch-size", default=32, show_default=True, help="Texts at once.")
@revision_option
@adapter_option
@device_option
@dtype_option
@quantize_option
@ignore_option
@json_option
def run_command(
    ref: str,
    texts: tuple[str, ...],
    task: str | None,
    context: str | None,
    system: str | None,
    raw: bool,
    **options: Any,
) -> None:
    """Answer texts with a model: arguments, or lines of stdin.

    A checkpoint that has a chat template chats: each text is the next turn, the model remembers those before, and
    without any you type them; /exit ends. --raw goes on from each text as it stands.

    \b
    Example: zoo run bert-base-cased "Paris is the [MASK] of France."
             zoo run gpt2 "Once upon a time" --max-new-tokens 40 --temperature 0.8
             zoo run qwen2-0.5b-instruct --system "Answer in one sentence."
    """
    settings = {
        name: options.pop(name) for name in (*(name for name, _, _ in WISHES), "early_stopping", "stop", "truncate")
    }
    wishes = {
        name: value
        for name, value in settings.items()
        if value not in (None, ()) and (name, value) != ("truncate", False)
    }
    batch_size, as_json = options.pop("batch_size"), options.pop("as_json")
    model = load_model(ref, task, **options)
    if model.task == "feature-extraction":
        raise click.UsageError(f"'{ref}' gives vectors, not answers; use: zoo embed {ref}")
    chats = model.writes and model.tokenizer is not None and model.tokenizer.chat_template is not None
    if chats and not raw:
        typed = not texts and sys.stdin.isatty()
        _chat(model.conversation(system), _turns(texts, typed), wishes, as_json, typed)
        return
    if system is not None:
        raise click.UsageError(
            f"'{ref}' does not chat{'' if chats else ': it has no chat template'}; leave --system out"
        )
    _answer(model, inputs(texts), context, batch_size, wishes, as_json)


# --- answers ----------------------------------------------------------------------------------------------------------


def _answer(
    model: Model, given: list[str], context: str | None, batch_size: int, wishes: dict[str, Any], as_json: bool
) -> None:
    """Answer each text by itself."""
    if len(given) == 1 and not as_json and _streams(model, wishes):
        click.echo(given[0])
        _print_stream(model.stream(given[0], **wishes), "  ")
        return
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


def _streams(model: Model, wishes: dict[str, Any]) -> bool:
    """Tell whether an answer is shown as it comes: to somebody who watches, where it is known before its end."""
    if not sys.stdout.isatty() or not model.writes or model.head is None:
        return False
    settings = model.generation_settings.with_wishes({k: v for k, v in wishes.items() if k != "truncate"})
    return settings.num_beams == 1 and settings.best_of == 1


def _print_stream(pieces: Iterator[str], indent: str = "") -> None:
    click.echo(indent, nl=False)
    for piece in pieces:
        click.echo(piece, nl=False)
    click.echo()


# --- chats ------------------------------------------------------------------------------------------------------------


def _turns(texts: Sequence[str], typed: bool) -> Iterator[str]:
    """Give what is said: arguments, lines of a pipe, or what somebody types, up to /exit."""
    if typed:
        click.echo("A chat: the model remembers what was said. /exit ends it.", err=True)
    lines = iter(texts) if texts else iter(sys.stdin.readline, "")
    while True:
        if typed:
            click.echo("> ", nl=False, err=True)
        line = next(lines, "/exit").strip()
        if line == "/exit":
            return
        if line:
            yield line


def _chat(chat: Conversation, turns: Iterator[str], wishes: dict[str, Any], as_json: bool, typed: bool) -> None:
    """Answer turn by turn; for somebody who types, an error or an interruption ends the turn, not the chat."""
    said = []
    for text in turns:
        try:
            if as_json:
                said.append({"input": text, "output": asdict(chat.say(text, **wishes))})
            elif _streams(chat.model, wishes):
                _print_stream(chat.stream(text, **wishes))
            else:
                click.echo(chat.say(text, **wishes).text)
        except (ZooError, KeyboardInterrupt) as error:
            if not typed:
                raise
            click.echo(f"Error: {error}" if isinstance(error, ZooError) else "", err=True)
    if as_json:
        print_json(said)
