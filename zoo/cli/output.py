"""What commands share in printing: tables, JSON, sizes, progress."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
endpoint_option = click.option("--endpoint", envvar="HF_ENDPOINT", help="Address of the hub. [env: HF_ENDPOINT]")
token_option = click.option("--token", envvar="HF_TOKEN", help="Token for the hub. [env: HF_TOKEN]")
revision_option = click.option("--revision", help="Branch, tag or commit; also as REF@REVISION.")


def printable(text: str) -> str:
    """Give a text that may hold what a file or a hub says: what would steer the terminal is written as an escape."""
    return "".join(sign if sign.isprintable() or sign == "\n" else ascii(sign)[1:-1] for sign in text)


def print_json(value: Any) -> None:
    """Print a value as JSON on stdout."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], empty: str) -> None:
    """Print rows in aligned columns with a header; `empty` on stderr when there are none."""
    if not rows:
        click.echo(empty, err=True)
        return
    texts = [[printable(str(cell)) for cell in row] for row in (columns, *rows)]
    widths = [max(len(row[index]) for row in texts) for index in range(len(columns))]
    for row in texts:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def size(size_bytes: float) -> str:
    """Give a size for people, in decimal units."""
    for unit in ("B", "kB", "MB"):
        if size_bytes < 1000:
            return f"{size_bytes:.0f} {unit}" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.1f} GB"


def inputs(texts: Sequence[str]) -> list[str]:
    """Give the texts on the command line, or the lines of stdin where there are none."""
    if texts:
        return list(texts)
    if sys.stdin.isatty():
        raise click.UsageError("give texts as arguments, or one a line on stdin")
    return [line.rstrip("\n") for line in sys.stdin if line.strip()]


class TransferLines:
    """Says on stderr when a file is complete, a line each: for pipes and logs."""

    def __init__(self, verb: str) -> None:
        self.verb = verb
        self.endpoint: str | None = None
        self.total_bytes = 0
        self._done: dict[str, int] = {}

    def asked(self, endpoint: str) -> None:
        self.endpoint = endpoint

    def waits(self, repo_id: str) -> None:
        click.echo(f"waiting for another process that fetches {repo_id}", err=True)

    def advanced(self, name: str, count: int, size_bytes: int) -> None:
        self.total_bytes += count
        self._done[name] = self._done.get(name, 0) + count
        if self._done[name] == size_bytes:
            click.echo(f"{self.verb} {name} ({size(size_bytes)})", err=True)


class TransferBars(TransferLines):
    """Shows a bar on stderr for each file: for terminals."""

    def __init__(self, verb: str, progress: Progress) -> None:
        super().__init__(verb)
        self._progress = progress
        self._bars: dict[str, TaskID] = {}

    def advanced(self, name: str, count: int, size_bytes: int) -> None:
        self.total_bytes += count
        if name not in self._bars:
            self._progress.start()  # only now: without any bar it would leave an empty line
            self._bars[name] = self._progress.add_task(f"{self.verb} {name}", total=size_bytes)
        self._progress.advance(self._bars[name], count)


@contextmanager
def transfer_progress(verb: str) -> Iterator[TransferLines]:
    """Show transfers on stderr while the context lasts: bars on a terminal, a line a file elsewhere."""
    if not sys.stderr.isatty():
        yield TransferLines(verb)
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    progress = Progress(*columns, console=Console(stderr=True))
    bars = TransferBars(verb, progress)
    try:
        yield bars
    finally:
        if bars.total_bytes:
            progress.stop()
