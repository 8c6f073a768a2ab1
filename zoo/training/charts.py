"""Line charts as SVG: small, and without anything that would have to be loaded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import Literal

WIDTH, HEIGHT = 640, 260
LEFT, RIGHT, TOP, BOTTOM = 58, 20, 14, 44
MOST_POINTS = 400

Style = Literal["line", "faint", "dots"]


@dataclass(frozen=True)
class Series:
    """One line of a chart. points: (x, y), by x; those that are no numbers are left out. style: a class of the page's CSS."""

    name: str
    points: Sequence[tuple[float, float]]
    style: Style = "line"


def draw(series: Sequence[Series], x_name: str, y_name: str) -> str:
    """Give the series in one picture, as an `svg` element; empty where there is no point to draw.

    y_name: for who cannot see it; what stands above the picture says it to others.
    """
    drawn = [Series(s.name, thin([p for p in s.points if all(map(math.isfinite, p))]), s.style) for s in series]
    drawn = [one for one in drawn if one.points]
    if not drawn:
        return ""
    xs, ys = zip(*(point for one in drawn for point in one.points), strict=True)
    across, up = _Axis.over(xs, LEFT, WIDTH - RIGHT), _Axis.over(ys, HEIGHT - BOTTOM, TOP)
    name = f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 4}" text-anchor="middle">{escape(x_name)}</text>'
    parts = [*_grid(across, up), name, *(_line(one, across, up) for one in drawn)]
    label = f"{y_name} over {x_name}: {', '.join(one.name for one in drawn)}"
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">{"".join(parts)}</svg>'


def thin(points: Sequence[tuple[float, float]], most: int = MOST_POINTS) -> list[tuple[float, float]]:
    """Give so many points at most: each the mean of as many neighbours."""
    if len(points) <= most:
        return list(points)
    edges = [index * len(points) // most for index in range(most + 1)]
    pieces = [points[start:end] for start, end in pairwise(edges)]
    return [(sum(x for x, _ in piece) / len(piece), sum(y for _, y in piece) / len(piece)) for piece in pieces]


def smooth(values: Sequence[float], share: float = 0.05) -> list[float]:
    """Give for each value the mean over those up to it: of so large a share of all as a window."""
    window = max(1, round(len(values) * share))
    means, total = [], 0.0
    for index, value in enumerate(values):
        total += value - (values[index - window] if index >= window else 0.0)
        means.append(total / min(index + 1, window))
    return means


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Give round numbers that cover a range: steps of 1, 2 or 5 times a power of ten."""
    if high <= low:
        low, high = low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2
    rough = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [index * step for index in range(first, last + 1)]


@dataclass(frozen=True)
class _Axis:
    """Where a value stands. marks: the round numbers, of which the first stands at `start` and the last at `end`."""

    marks: Sequence[float]
    start: float
    end: float

    @classmethod
    def over(cls, values: Sequence[float], start: float, end: float) -> _Axis:
        return cls(ticks(min(values), max(values)), start, end)

    def at(self, value: float) -> float:
        low, high = self.marks[0], self.marks[-1]
        return round(self.start + (value - low) / (high - low) * (self.end - self.start), 1)


def _grid(across: _Axis, up: _Axis) -> list[str]:
    bottom = HEIGHT - BOTTOM
    lines = [f'<path class="grid" d="M{LEFT} {up.at(y)}H{WIDTH - RIGHT}"/>' for y in up.marks]
    rows = [f'<text x="{LEFT - 8}" y="{up.at(y) + 4}" text-anchor="end">{y:.4g}</text>' for y in up.marks]
    columns = [f'<text x="{across.at(x)}" y="{bottom + 18}" text-anchor="middle">{x:.6g}</text>' for x in across.marks]
    return [*lines, *rows, *columns]


def _line(one: Series, across: _Axis, up: _Axis) -> str:
    places = [(across.at(x), up.at(y)) for x, y in one.points]
    path = "M" + "L".join(f"{x} {y}" for x, y in places)
    alone = len(places) == 1
    dots = "".join(f'<circle cx="{x}" cy="{y}" r="3.5"/>' for x, y in places) if one.style == "dots" or alone else ""
    return f'<g class="{one.style}"><title>{escape(one.name)}</title><path d="{path}"/>{dots}</g>'
