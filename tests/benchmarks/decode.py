"""Greedy decoding beside transformers: `python -m tests.benchmarks.decode [ROW …]`, all rows without a name.

Both read the same checkpoint of random weights and write the same tokens, which is checked before anything is timed; in
bfloat16 they may go apart where the best two logits are neighbours, and with quantised weights anywhere. Times are of
whole calls, prompt included; Zoo's also turn text to tokens and back.
"""

import argparse
import gc
import json
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers

import zoo
from tests.benchmarks.rows import CLASSES, ROWS, Row, make_prompts, write_model
from tests.benchmarks.timing import Comparison, compare, machine
from tests.benchmarks.words import to_words

LITGPT = Path(__file__).with_name("litgpt_decode.py")
HEADING = f"{'row':22}{'way':14}{'ms a step':>10}  {'ratio':>5}  {'range':11}  reach"


def main() -> None:
    """Measure, print a table, and write figures if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=", ".join(row.name for row in ROWS))
    parser.add_argument("--rounds", type=int, help="how often each is timed")
    parser.add_argument("--threads", type=int, help="torch's threads; on a busy machine 1 tells more than its cores")
    parser.add_argument("--folder", type=Path, help="where models are kept; a temporary folder if left out")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument(
        "--compiled", action="store_true", help="also transformers' static cache and Zoo, both compiled"
    )
    parser.add_argument("--litgpt", type=Path, help="a Python that has litgpt, for the Llama row")
    options = parser.parse_args()
    unknown = set(options.rows) - {row.name for row in ROWS}
    if unknown:
        parser.error(f"there is no row {', '.join(sorted(unknown))}; there are {', '.join(row.name for row in ROWS)}")
    chosen = [row for row in ROWS if row.name in options.rows or not options.rows]
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(options.threads or torch.get_num_threads())
    figures: dict[str, Any] = machine()
    print(*(f"{key}: {value}" for key, value in figures.items()), f"transformers: {transformers.__version__}", sep="; ")
    print(HEADING)
    with tempfile.TemporaryDirectory() as temporary:
        for row in chosen:
            folder = (options.folder or Path(temporary)) / f"{row.model}-{row.dtype}"
            write_model(folder, row)
            litgpt = options.litgpt if row.model.startswith("llama") else None
            found = measure(row, folder, options.rounds or row.rounds, options.compiled, litgpt)
            figures[row.name] = {name: show(row, name, found) for name in found.seconds}
            gc.collect()
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1), encoding="utf-8")


def measure(row: Row, folder: Path, rounds: int, compiled: bool, litgpt: Path | None) -> Comparison:
    """Time a row's ways. Raises AssertionError where they do not write the same tokens."""
    ids = make_prompts(row)
    ways: dict[str, Callable[[], list[list[int]]]] = {"transformers": of_transformers(row, folder, ids)}
    ways["zoo"] = of_zoo(row, folder, ids)
    if compiled:
        ways["static+compile"] = of_transformers(row, folder, ids, compiled=True)
        ways["zoo compiled"] = of_zoo(row, folder, ids, compiled=True)
    expected = ways["transformers"]()
    assert {len(tokens) for tokens in expected} == {row.new}, f"not all answers in row {row.name} have {row.new} tokens"
    for name, way in ways.items():
        for prompt, written, own in zip(ids, expected, way(), strict=True):
            told = f"{name} writes other tokens than transformers in row {row.name}"
            assert own == written or row.quantize or is_tie(row, folder, prompt, written, own), told
    if litgpt is None:
        return compare(ways, rounds)
    with of_litgpt(row, litgpt) as write:
        return compare({**ways, "litgpt": write}, rounds)


def is_tie(row: Row, folder: Path, prompt: torch.Tensor, expected: list[int], found: list[int]) -> bool:
    """Tell whether transformers' own logits of the first two tokens that differ are neighbours in bfloat16."""
    if row.dtype != "bfloat16":
        return False
    common = next(index for index, pair in enumerate(zip(expected, found, strict=True)) if len(set(pair)) == 2)
    kind: Any = CLASSES[row.model]
    with torch.no_grad():
        read = torch.cat((prompt, torch.tensor(expected[:common], dtype=torch.int64)))
        logits = kind.from_pretrained(folder, dtype=torch.bfloat16).eval()(read[None]).logits[0, -1].float()
    high, low = logits[expected[common]], logits[found[common]]
    return bool((high - low).abs() <= 2**-7 * high.abs())


def of_transformers(row: Row, folder: Path, ids: torch.Tensor, compiled: bool = False) -> Callable[[], list[list[int]]]:
    """Give transformers' way: its usual cache, or a static one and a compiled, frozen pass."""
    kind: Any = CLASSES[row.model]
    model = kind.from_pretrained(folder, dtype=getattr(torch, row.dtype)).eval()
    settings: dict[str, Any] = {"max_new_tokens": row.new, "do_sample": False, "num_beams": row.beams}
    if compiled:
        import torch._inductor.config as inductor

        inductor.freezing = True
        model.forward = torch.compile(model.forward)
        settings["cache_implementation"] = "static"
    start = 1 if model.config.is_encoder_decoder else row.prompt

    def write() -> list[list[int]]:
        with torch.no_grad():
            written = model.generate(ids, attention_mask=torch.ones_like(ids), **settings)
        tokens: list[list[int]] = written[:, start:].tolist()
        return tokens

    return write


def of_zoo(row: Row, folder: Path, ids: torch.Tensor, compiled: bool = False) -> Callable[[], list[list[int]]]:
    """Give Zoo's way."""
    model = zoo.load(folder, device="cpu", quantize=row.quantize)
    if compiled:
        model.compile()
    texts = [to_words(row_ids) for row_ids in ids.tolist()]
    return lambda: [answer.token_ids for answer in model.generate(texts, max_new_tokens=row.new, num_beams=row.beams)]


def show(row: Row, name: str, found: Comparison) -> dict[str, Any]:
    """Print a line of the table, and give its figures."""
    ratios = found.ratios(name)
    ratio, milliseconds = ratios[len(ratios) // 2], 1000 * found.median(name) / row.new
    reach = f"{row.reach}" if name == "zoo" and row.reach else ""
    print(
        f"{row.name:22}{name:14}{milliseconds:10.2f}  {ratio:5.2f}  {ratios[0]:.2f}-{ratios[-1]:<6.2f}  {reach}",
        flush=True,
    )
    return {"ms_a_step": milliseconds, "ratio": ratio, "range": [ratios[0], ratios[-1]], "seconds": found.seconds[name]}


@contextmanager
def of_litgpt(row: Row, python: Path) -> Iterator[Callable[[], int]]:
    """Give litgpt's way, which runs in its own environment: the same sizes, random weights of its own."""
    sizes = [str(size) for size in (row.prompt, row.new, torch.get_num_threads())]
    with subprocess.Popen(
        [python, LITGPT, *sizes], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        asked, answers = process.stdin, process.stdout
        assert asked is not None and answers is not None

        def write() -> int:
            print(file=asked, flush=True)
            count = int(answers.readline())
            assert count == row.new, f"litgpt wrote {count} tokens in row {row.name}, not {row.new}"
            return count

        yield write
        asked.close()


if __name__ == "__main__":
    main()
