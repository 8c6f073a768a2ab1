"""What decoding may take: no memory that grows with each token, weights and cache at most, rows only while they run."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

import zoo
from tests.generation.samples import PROMPTS, T5, gpt2, write
from zoo.generation.decoding import Row, decode
from zoo.generation.settings import GenerationSettings
from zoo.tasks.writing import ModelScorer

LLAMA = {
    "vocab_size": 53, "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 6,
    "num_key_value_heads": 2, "max_position_embeddings": 900, "pad_token_id": 0, "eos_token_id": None,
}  # fmt: skip


def steps_of(model: zoo.Model, ids: Tensor, mask: Tensor, most: int) -> tuple[ModelScorer, Iterator[list[Row]]]:
    """Give a decoding under way, and its steps."""
    source, start = None, ids
    if hasattr(model.backbone, "encode"):
        source, start = model.backbone.encode(ids, mask), torch.zeros((len(ids), 1), dtype=torch.int64)
    backbone: Any = model.backbone
    scorer = ModelScorer(model, mask, source, backbone.new_cache(start.shape[1] + most))
    settings, seeds = GenerationSettings(), [0] * len(ids)
    return scorer, decode(scorer, start, start.tolist(), settings, [most] * len(ids), seeds, lambda tokens: "")


@pytest.mark.parametrize("kind", ["llama", "t5"])
@pytest.mark.parametrize("padded", [False, True])
@torch.inference_mode()
def test_a_step_leaves_nothing_behind_and_takes_no_more_than_the_one_before(
    tmp_path: Path, kind: str, padded: bool
) -> None:
    if kind == "llama":
        write(tmp_path, "LlamaForCausalLM", transformers.LlamaConfig(**LLAMA))
    else:
        config = transformers.T5Config(**T5, eos_token_id=52, decoder_start_token_id=0)
        write(tmp_path, "T5ForConditionalGeneration", config)
    model = zoo.load(tmp_path, device="cpu")
    ids = torch.randint(4, 50, (3, 7), generator=torch.Generator().manual_seed(1))
    mask = torch.arange(7)[None] >= torch.tensor([[0], [2 if padded else 0], [0]])
    _, steps = steps_of(model, ids, mask, 800)
    for _ in range(30):
        next(steps)
    left, taken = [], []
    for _ in range(3):
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
            for _ in range(20):
                next(steps)
        sizes = [event.self_cpu_memory_usage for event in profiled.events()]
        left.append(sum(sizes))
        taken.append(sum(size for size in sizes if size > 0))
        for _ in range(200):
            next(steps)
    scores = 3 * 53 * 4
    assert all(abs(size) <= 3 * scores for size in left)  # the last step's own, whenever they are let go
    # What grows is what attention itself works with for a while: a row of scores for each head of a layer, and its mask.
    heads, layers = (6, 2) if kind == "llama" else (3, 3)
    assert taken[2] - taken[0] <= 440 * 20 * layers * 3 * 4 * (2 * heads + 2)


def test_rows_that_have_ended_leave_the_batch_and_the_cache_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpt2(tmp_path, eos=None)
    model = zoo.load(tmp_path, device="cpu")
    expected = [answer.token_ids for answer in model.generate(PROMPTS, max_new_tokens=16, temperature=3.0, seed=2)]
    places = {
        token: {row.index(token) if token in row else 16 for row in expected} for row in expected for token in row
    }
    end = max(places, key=lambda token: len(places[token]))
    monkeypatch.setattr(type(model), "generation_settings", GenerationSettings(end_token_ids=(end,)))
    sizes: list[tuple[int, int]] = []
    advance = ModelScorer.advance

    def counted(self: ModelScorer, newest: Tensor) -> Tensor:
        scores = advance(self, newest)
        memory = self._cache.layers[0].memory
        assert memory is not None
        sizes.append((len(newest), len(memory[0])))
        return scores

    monkeypatch.setattr(ModelScorer, "advance", counted)
    found = model.generate(PROMPTS, max_new_tokens=16, temperature=3.0, seed=2)
    cut = [tokens[: tokens.index(end)] if end in tokens else tokens for tokens in expected]
    assert [answer.token_ids for answer in found] == cut
    lengths = [len(tokens) + (end in whole) for tokens, whole in zip(cut, expected, strict=True)]
    running = [sum(length > step for length in lengths) for step in range(max(lengths))]
    assert len(set(running)) > 1
    assert sizes == [(count, count) for count in running]


PEAK = """
import sys
import zoo

def own():
    lines = open("/proc/self/status").read().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("RssAnon:"))) * 1024

model = zoo.load(sys.argv[1], device="cpu")
model.packs_weights = False
model.generate(["the cat"], max_new_tokens=2)
before = own()
model.packs_weights = True
for pieces, _ in enumerate(model.stream("the cat sat", max_new_tokens=60)):
    most = max(own(), most if pieces else 0)
layers = model.spec.num_hidden_layers
cache = 2 * layers * 4 * 64 * model.spec.hidden_size
weights = sum(p.numel() * p.element_size() for p in model.parameters())
print(most - before, model.packed_bytes, cache, weights)
"""


def has_own_memory() -> bool:
    status = Path("/proc/self/status")
    return status.exists() and "RssAnon:" in status.read_text(encoding="ascii")


@pytest.mark.skipif(not has_own_memory(), reason="the system does not tell a process's own memory from mapped files")
def test_a_process_takes_one_copy_of_the_weights_the_cache_and_little_else(tmp_path: Path) -> None:
    # Mapped weights are the system's to drop; a process's own is the copy in the order that is read fastest.
    config = transformers.GPT2Config(
        vocab_size=53, n_embd=768, n_layer=5, n_head=12, n_positions=90, pad_token_id=0, eos_token_id=None
    )
    write(tmp_path, "GPT2LMHeadModel", config)
    done = subprocess.run([sys.executable, "-c", PEAK, str(tmp_path)], capture_output=True, text=True, check=True)
    grown, packed, cache, weights = map(int, done.stdout.split())
    assert 0.9 * weights < packed < 1.01 * weights
    assert grown < packed + cache + 0.1 * weights


def moved(rows: Sequence[int], shared: int) -> tuple[list[bool], bool]:
    """Tell which rows' memory was written when rows take others' places, and whether it is the same memory."""
    from zoo.layers.cache import Cache

    cache, key = Cache(1, capacity=9), torch.randn(4, 2, 6, 5)
    cache.layers[0].extend(key, key)
    memory = cache.layers[0].memory
    assert memory is not None
    before, address = memory[0].clone(), memory[0].data_ptr()
    cache.select(rows, shared)
    after = cache.layers[0].memory
    assert after is not None
    assert after[0][:, :, :shared].equal(before[: len(rows), :, :shared])
    assert after[0][:, :, shared:6].equal(before[list(rows), :, shared:6])
    changed = (after[0] != before[: len(rows)]).flatten(1).any(1)
    return changed.tolist(), after[0].data_ptr() == address


def test_beams_in_another_order_move_only_the_rows_that_change() -> None:
    assert moved([0, 1, 2, 3], 2) == ([False] * 4, True)
    assert moved([0, 3, 2, 3], 2) == ([False, True, False, False], True)
    assert moved([1, 0, 2], 0) == ([True, True, False], True)
