"""Timing several ways of doing one thing side by side."""

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Comparison:
    """Seconds of each way in each round. The first way is what the others are compared with."""

    seconds: Mapping[str, list[float]]

    def median(self, name: str) -> float:
        """Give a way's median time."""
        return statistics.median(self.seconds[name])

    def ratios(self, name: str) -> list[float]:
        """Give how many times faster than the first a way was, round by round, sorted."""
        first = next(iter(self.seconds.values()))
        return sorted(base / own for base, own in zip(first, self.seconds[name], strict=True))


def compare(ways: Mapping[str, Callable[[], Any]], rounds: int, warm_ups: int = 1) -> Comparison:
    """Run each way once a round, one after the other, so that a busy machine is busy for all of them."""
    for _ in range(warm_ups):
        for way in ways.values():
            way()
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - start)
    return Comparison(seconds)


def machine() -> dict[str, Any]:
    """Say what this was measured on."""
    load = os.getloadavg()[0]
    name = f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads"
    return {"machine": name, "load": round(load, 2), "torch": torch.__version__}
