"""The sessions of one training run, as `emissions.csv` in its folder keeps them: a row each.

A run that is killed and gone on with has several sessions; its footprint is theirs together. Beside the rows,
`emissions.json` says how the figures are known.
"""

from __future__ import annotations

import csv
import io
import json
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from zoo.errors import InvalidInput
from zoo.footprint import Footprint

EMISSIONS_FILE = "emissions.csv"
FACTS_FILE = "emissions.json"

Summarise = Callable[[Any, float, float, float], Footprint]
"""Gives the footprint from codecarbon's record of this session, and the sums of grams, kWh and seconds over all."""


class Sessions:
    """What was counted. folder: where it is written; None for nowhere. footprint: None before the first figures.

    decided: whether it is known if this session goes on from the earlier ones in the folder. unwritten: why the files
    are not there, None where they are.
    """

    def __init__(self, folder: Path | None, summarise: Summarise) -> None:
        self.footprint: Footprint | None = None
        self.unwritten: OSError | None = None
        self.decided = folder is None or not (folder / EMISSIONS_FILE).is_file()
        self._folder, self._summarise = folder, summarise
        self._earlier: list[dict[str, str]] = []
        self._seconds = 0.0
        self._writing = threading.Lock()  # codecarbon tells of figures from a thread of its own

    def decide(self, *, resumed: bool) -> None:
        """Count the rows of the folder in where the run goes on, else begin anew in their place.

        Raises InvalidInput for rows that cannot be read; they are not counted in.
        """
        self.decided = True
        if self._folder is None:
            return
        if resumed:
            self._earlier = read_sessions(self._folder / EMISSIONS_FILE)
        else:  # they are of a result that this one replaces, and must not outlive it if this run is killed
            for name in (EMISSIONS_FILE, FACTS_FILE):
                (self._folder / name).unlink(missing_ok=True)

    def take(self, total: Any) -> None:
        """Keep codecarbon's record of this session so far in place of an earlier one."""
        with self._writing:
            if total.duration < self._seconds:
                return
            self._seconds = total.duration
            rows = [*self._earlier, {name: str(_blank(value)) for name, value in total.values.items()}]
            grams, energy_kwh, seconds = sums(rows)
            self.footprint = self._summarise(total, grams, energy_kwh, seconds)
            if self._folder is not None and self.decided:
                self._write(self._folder, rows, self.footprint)

    def _write(self, folder: Path, rows: Sequence[Mapping[str, str]], footprint: Footprint) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _write(folder / EMISSIONS_FILE, _as_csv(rows))
            _write(folder / FACTS_FILE, _as_json(footprint, len(rows)))
            self.unwritten = None
        except OSError as error:  # a full disk takes nothing from what was counted
            self.unwritten = error


class Handler:
    """What codecarbon tells of its figures: now and then while it counts, and at the end. take: given its record."""

    def __init__(self, take: Callable[[Any], None]) -> None:
        self._take = take

    def out(self, total: Any, delta: Any) -> None:
        """Take the record at the end."""
        self._take(total)

    def live_out(self, total: Any, delta: Any) -> None:
        """Take the record so far."""
        self._take(total)

    def exit(self) -> None:
        """There is nothing to close."""


def read_sessions(path: Path) -> list[dict[str, str]]:
    """Give the rows of an emissions.csv, codecarbon's own or ours. Raises InvalidInput."""
    try:
        rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"), newline="")))
        sums(rows)
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, TypeError, ValueError) as error:
        raise InvalidInput(f"'{path}' is no emissions.csv of codecarbon ({type(error).__name__}: {error})") from None
    if not rows:
        raise InvalidInput(f"'{path}' has no rows; codecarbon writes one a run")
    return rows


def sums(rows: Sequence[Mapping[str, str]]) -> tuple[float, float, float]:
    """Give grams of CO2 equivalent, kWh and seconds over all rows."""
    return (
        sum(float(row["emissions"]) for row in rows) * 1000,
        sum(float(row["energy_consumed"]) for row in rows),
        sum(float(row["duration"]) for row in rows),
    )


def _blank(value: Any) -> Any:
    return "" if value is None else value


def _as_csv(rows: Sequence[Mapping[str, str]]) -> str:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _as_json(footprint: Footprint, sessions: int) -> str:
    facts = {"summary": str(footprint), **asdict(footprint), "sessions": sessions}
    return json.dumps(facts, indent=2, ensure_ascii=False) + "\n"


def _write(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)
