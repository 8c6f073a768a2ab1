"""Two runs beside each other: what adapting a model saves against pretraining one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.errors import InvalidInput
from zoo_carbon.sessions import EMISSIONS_FILE, read_sessions, sums


@dataclass(frozen=True)
class Emitted:
    """What a run came to. name: where that is written."""

    name: str
    energy_kwh: float
    grams: float


@dataclass(frozen=True)
class Comparison:
    """A pretraining and an adaptation."""

    pretraining: Emitted
    adaptation: Emitted

    @property
    def energy_ratio(self) -> float:
        """How many adaptations use as much electricity as the pretraining: the fairer one, as grids differ."""
        return self.pretraining.energy_kwh / self.adaptation.energy_kwh

    @property
    def grams_ratio(self) -> float:
        """How many adaptations emit as much as the pretraining."""
        return self.pretraining.grams / self.adaptation.grams


def compare(pretraining: Path, adaptation: Path) -> Comparison:
    """Compare two runs. Raises InvalidInput, see read_run; also for an adaptation that used nothing."""
    found = Comparison(read_run(pretraining), read_run(adaptation))
    if min(found.adaptation.energy_kwh, found.adaptation.grams) <= 0:
        raise InvalidInput(f"'{adaptation}' says that nothing was used, so there is no ratio; it would be above 0")
    return found


def read_run(path: Path) -> Emitted:
    """Give what a run came to: the sum of the rows of an emissions.csv, or an estimate that was saved as JSON.

    path: of the file, or of the folder with the emissions.csv. Raises InvalidInput.
    """
    path = path.expanduser()
    if path.is_dir():
        path /= EMISSIONS_FILE
    if not path.is_file():
        raise InvalidInput(
            f"There is no file '{path}'; it would be the emissions.csv of a run, the folder with it, or what "
            "`zoo carbon estimate --json` printed"
        )
    if path.suffix != ".json":
        grams, energy_kwh, _ = sums(read_sessions(path))
        return Emitted(str(path), energy_kwh, grams)
    try:
        facts: Any = json.loads(path.read_text(encoding="utf-8"))
        return Emitted(str(path), float(facts["energy_kwh"]), float(facts["grams"]))
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidInput(
            f"'{path}' is no estimate ({type(error).__name__}: {error}); it would be what "
            "`zoo carbon estimate --json` printed"
        ) from None
