"""Takes a guide apart into what its reader does: write a file, add to one, run a command and see what it prints."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ELLIPSIS = "…"


@dataclass(frozen=True)
class Written:
    """A file to write, or to add to."""

    path: str
    text: str
    added: bool


@dataclass(frozen=True)
class Command:
    """A line to type. output: what the guide shows after it; `…` stands for anything."""

    line: str
    output: str


_BLOCK = re.compile(
    r"(?:^(?P<verb>File|Add to) `(?P<path>[^`\n]+)`:\n\n)?^```(?P<language>\w*)\n(?P<body>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


def read_steps(path: Path) -> list[Written | Command]:
    """Give a guide's steps in order. Blocks in `console` are commands; others without a file's name are to be looked at."""
    steps: list[Written | Command] = []
    for block in _BLOCK.finditer(path.read_text(encoding="utf-8")):
        if block["path"]:
            steps.append(Written(block["path"], block["body"], added=block["verb"] == "Add to"))
        elif block["language"] == "console":
            for part in re.split(r"^\$ ", block["body"], flags=re.MULTILINE)[1:]:
                line, _, output = part.partition("\n")
                steps.append(Command(line, output))
    return steps


def matches(shown: str, found: str) -> bool:
    """Tell whether a command printed what the guide shows, whatever the width of its columns."""
    parts = [re.escape(" ".join(part.split())) for part in shown.split(ELLIPSIS)]
    return re.fullmatch(r"\s?.*\s?".join(parts), " ".join(found.split()), re.DOTALL) is not None
