"""What quantised weights cost: perplexity of a small GPT-2 on tiny Shakespeare, character by character.

Trains the model on the first nine tenths of the text for some minutes, saves it, and measures the last tenth with the
weights as they are and with each kind of quantised ones, the same characters each time; in bfloat16 a character a step, as
texts are written.

    python tests/benchmarks/quantization.py input.txt /tmp/shakespeare --steps 300
"""

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

import zoo

CONTEXT, BATCH = 64, 16


def read(path: Path) -> tuple[Tensor, Tensor]:
    """Give the text for training and that for measuring, as numbers of its characters."""
    text = path.read_text(encoding="utf-8")
    numbers = {letter: number for number, letter in enumerate(sorted(set(text)))}
    ids = torch.tensor([numbers[letter] for letter in text])
    return ids[: len(ids) * 9 // 10], ids[len(ids) * 9 // 10 :]


def train(ids: Tensor, folder: Path, steps: int) -> None:
    """Teach a GPT-2 of 3.2 million parameters, and save it."""
    torch.manual_seed(0)
    spec = zoo.make_spec(
        "gpt2",
        vocab_size=int(ids.max()) + 1,
        hidden_size=256,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=CONTEXT,
    )
    model = zoo.build(spec, "text-generation", seed=0, device="cpu").train()
    print(f"{sum(parameter.numel() for parameter in model.parameters()):,} parameters", flush=True)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1)
    began = time.monotonic()
    for step in range(1, steps + 1):
        for group in optimiser.param_groups:
            group["lr"] = 1e-3 * min(1.0, step / 30) * (0.1 + 0.9 * (1 - step / steps))
        starts = torch.randint(len(ids) - CONTEXT, (BATCH,)).tolist()
        batch = torch.stack([ids[start : start + CONTEXT] for start in starts])
        loss = model(batch, labels=batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        if step % 25 == 0:
            print(f"step {step}: loss {loss.item():.3f}, {time.monotonic() - began:.0f} s", flush=True)
    model.eval().save(folder)


def perplexity(model: zoo.Model, ids: Tensor) -> float:
    """Give exp of the mean loss of a character, over texts that follow one another."""
    rows = ids[: len(ids) // CONTEXT * CONTEXT].view(-1, CONTEXT)
    with torch.inference_mode():
        losses = [float(model(batch, labels=batch).loss) * len(batch) for batch in rows.split(BATCH)]
    return math.exp(sum(losses) / len(rows))


def perplexity_of_steps(model: zoo.Model, ids: Tensor) -> float:
    """Give the same where each character is read by itself, beside a cache of those before."""
    rows = ids[: len(ids) // CONTEXT * CONTEXT].view(-1, CONTEXT)
    backbone: Any = model.backbone
    assert model.head is not None
    total = 0.0
    with torch.inference_mode():
        for batch in rows.split(BATCH):
            cache = backbone.new_cache(CONTEXT)
            for place in range(CONTEXT - 1):
                newest = batch[:, place : place + 1]
                scores = model.head(backbone(newest, None, cache), newest, None)[:, 0].float()
                total += float(F.cross_entropy(scores, batch[:, place + 1], reduction="sum"))
    return math.exp(total / (len(rows) * (CONTEXT - 1)))


def main() -> None:
    """Train unless that is done, and print a line for each kind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("text", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=300)
    arguments = parser.parse_args()
    trained_on, held_out = read(arguments.text)
    if not arguments.folder.exists():
        train(trained_on, arguments.folder, arguments.steps)
    for dtype, kinds, measure in (
        ("float32", ("int8", "int4"), perplexity),
        ("bfloat16", ("int8",), perplexity_of_steps),
    ):
        whole = measure(zoo.load(arguments.folder, device="cpu", dtype=dtype), held_out)
        show(dtype, whole, whole)
        for kind in kinds:
            model = zoo.load(arguments.folder, device="cpu", dtype=dtype, quantize=kind)
            show(f"{dtype}, {kind}", measure(model, held_out), whole)


def show(weights: str, found: float, whole: float) -> None:
    """Print a line."""
    print(json.dumps({"weights": weights, "perplexity": found, "ratio": found / whole}), flush=True)


if __name__ == "__main__":
    main()
