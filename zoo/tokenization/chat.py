"""Chat templates: from messages to the one text that a model was trained on, by `jinja2`'s sandbox."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import TemplateError, TemplateSyntaxError, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from zoo.errors import CorruptFile, InvalidInput, RefusedContent

LARGEST = 10_000_000  # characters of what a template makes, and the size of numbers and repetitions within it


class Refusal(Exception):
    """A template's own word that it does not take these messages."""


class Generation(Extension):
    """`{% generation %}`: marks what the assistant says, for training. It changes nothing in the text."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """Give the statements inside."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class Sandbox(ImmutableSandboxedEnvironment):
    """Where templates run: no access to Python's internals, nothing can be changed, nothing grows without bounds."""

    intercepted_binops = frozenset(("*", "**"))

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Multiply, unless that makes something huge."""
        sizes = [side if isinstance(side, int | float) else len(side) for side in (left, right)]
        if operator == "**" and (abs(sizes[0]) > 1_000 or abs(sizes[1]) > 100):
            raise OverflowError(f"a power is too large ({left} ** {right})")
        repeats = not all(isinstance(side, int | float) for side in (left, right))
        if operator == "*" and repeats and sizes[0] * sizes[1] > LARGEST:
            raise OverflowError(f"a repetition makes more than {LARGEST} items")
        return super().call_binop(context, operator, left, right)


def render(template: str, path: Path, messages: Sequence[Mapping[str, Any]], variables: Mapping[str, Any]) -> str:
    """Give the text of messages.

    path: of the file that the template comes from. Raises InvalidInput (the messages, or the template does not take
    them), CorruptFile (no valid template), RefusedContent (it does what it may not, or does not work).
    """
    check_messages(messages)
    try:
        compiled = _environment().from_string(template)
    except TemplateSyntaxError as error:
        raise CorruptFile(path, f"its chat template is not valid ({error.message}, line {error.lineno})") from None
    text: list[str] = []
    size = 0
    try:
        for piece in compiled.generate(messages=[dict(message) for message in messages], **variables):
            text.append(piece)
            size += len(piece)
            if size > LARGEST:
                raise OverflowError(f"the text has more than {LARGEST} characters")
    except Refusal as refusal:
        raise InvalidInput(f"The checkpoint's chat template does not take these messages: {refusal}") from None
    except Exception as error:  # a template can go wrong in any way that Python can
        raise _failure(path, error) from None
    return "".join(text)


def check_messages(messages: Sequence[Mapping[str, Any]]) -> None:
    """Check that each message says who speaks, and what. Raises InvalidInput."""
    right = 'Write a list such as [{"role": "user", "content": "Hello"}]'
    if isinstance(messages, str | Mapping) or not isinstance(messages, Sequence) or not messages:
        raise InvalidInput(f"A chat is a list of messages, at least one, not {messages!r:.80}. {right}")
    for index, message in enumerate(messages):
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
            raise InvalidInput(f"Message {index} has no role: {message!r:.80}. {right}")
        # A message that calls tools may say nothing beside it.
        if not isinstance(message.get("content"), str) and not message.get("tool_calls"):
            raise InvalidInput(f"Message {index} has no content that is a text: {message!r:.80}. {right}")


def _environment() -> Sandbox:
    environment = Sandbox(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
    environment.filters["tojson"] = _to_json
    environment.globals |= {"raise_exception": _refuse, "strftime_now": _now}
    return environment


def _refuse(message: object) -> None:
    raise Refusal(str(message))


def _now(pattern: str) -> str:
    return datetime.now().strftime(pattern)


def _to_json(
    value: object,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: Any = None,
    sort_keys: bool = False,
) -> str:
    """Unlike Jinja's own filter, leave <, > and & as they are: the text is for a model, not for a page."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _failure(path: Path, error: Exception) -> RefusedContent:
    where, cure = f"The chat template in '{path}'", "Write the prompt yourself, or tell the checkpoint's author"
    if isinstance(error, SecurityError):
        return RefusedContent(where, f"it does what a template may not ({error})", cure)
    if isinstance(error, OverflowError | MemoryError | RecursionError):
        return RefusedContent(where, f"it would not come to an end, or only with too much memory ({error})", cure)
    kind = "" if isinstance(error, TemplateError) else f"{type(error).__name__}: "
    return RefusedContent(where, f"it fails on these messages ({kind}{error})", cure)
