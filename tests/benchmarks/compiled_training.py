"""Does `compile` pay in training? MiniLM learns SST-2 with it and without, in turns, in one process.

    python -m tests.benchmarks.compiled_training --data SST2_FOLDER --model CHECKPOINT_FOLDER

Counted is the processor's time of each step after the fifth, on one thread, so that other work on the machine counts for
little; and of the first step, in which all is compiled.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from itertools import pairwise
from pathlib import Path

import torch

import zoo
from tests.benchmarks.sst2 import read_file

UNCOUNTED_STEPS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    train = read_file(options.data / "train.tsv")
    random.Random(0).shuffle(train)
    for precision in ("fp32", "bf16"):
        medians: dict[bool, list[float]] = {False: [], True: []}
        for _ in range(options.rounds):
            for compiles in (False, True):
                seconds = time_steps(train[: 32 * options.steps], options, precision, compiles)
                medians[compiles].append(statistics.median(seconds[UNCOUNTED_STEPS:]))
                what = "compiled" if compiles else "plain"
                print(
                    f"{precision}  {what:<8}  first {seconds[0]:.2f} s, then {medians[compiles][-1]:.3f} s", flush=True
                )
        ratios = [compiled / plain for plain, compiled in zip(medians[False], medians[True], strict=True)]
        print(f"{precision}: compiled / plain {statistics.median(ratios):.2f} [{min(ratios):.2f}-{max(ratios):.2f}]")


def time_steps(train: list[dict[str, str]], options: argparse.Namespace, precision: str, compiles: bool) -> list[float]:
    """Give the processor's seconds of each step."""
    model = zoo.load(str(options.model.resolve()), "text-classification", labels=["0", "1"])
    config = zoo.FinetuneConfig(epochs=1, batch_size=32, precision=precision, compile=compiles)
    times = [0.0]

    class Clock:
        @zoo.hookimpl
        def zoo_training_started(self) -> None:
            times[0] = time.process_time()

        @zoo.hookimpl
        def zoo_training_step(self) -> None:
            times.append(time.process_time())

    zoo.finetune(model, train, config=config, trackers=[Clock()])
    return [end - start for start, end in pairwise(times)]


if __name__ == "__main__":
    main()
