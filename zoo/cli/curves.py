"""The course of a value over a training run, and a line of it for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult


@dataclass
class Course:
    """The course of a value over a run of any length: its mean of late, and means over equal stretches."""

    most: int = 160
    weight: float = 0.05
    recent: float = 0.0
    means: list[float] = field(default_factory=list)
    _count: int = 0
    _stretch: int = 1
    _open: list[float] = field(default_factory=list)

    def add(self, value: float) -> None:
        """Take the next value. The weight of earlier ones falls by a twentieth each."""
        self._count += 1
        share = self.weight / (1 - (1 - self.weight) ** self._count)  # without a start, the first values count in full
        self.recent += share * (value - self.recent)
        self._open.append(value)
        if len(self._open) == self._stretch:
            self.means.append(sum(self._open) / self._stretch)
            self._open = []
        if len(self.means) == self.most:
            self.means = [(one + other) / 2 for one, other in zip(self.means[::2], self.means[1::2], strict=True)]
            self._stretch *= 2


@dataclass(frozen=True)
class Curve:
    """A line of a run's values, above the part of its bar that they are of. start, end: of that part, as shares."""

    values: Sequence[float]
    start: float
    end: float

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.text import Text

        first, last = (round(share * options.max_width) for share in (self.start, self.end))
        yield Text(" " * first + sparkline(self.values, last - first), style="green")


def sparkline(values: Sequence[float], width: int) -> str:
    """Give so many signs, each as high as the mean of its share of the values."""
    if not values or width < 1:
        return ""
    starts = [index * len(values) // width for index in range(width + 1)]
    pieces = [values[start : max(end, start + 1)] for start, end in pairwise(starts)]
    means = [sum(piece) / len(piece) for piece in pieces]
    low, high = min(means), max(means)
    return "".join("▁▂▃▄▅▆▇█"[round(7 * (mean - low) / (high - low)) if high > low else 0] for mean in means)
