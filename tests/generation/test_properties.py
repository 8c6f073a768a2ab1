"""Properties of writing: however a text is read it means the same, and chance is that of the settings, and nothing else."""

import math
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import zoo
from tests.checkpoints import WORDS
from tests.generation.samples import PROMPTS, gpt2
from zoo.generation.decoding import decode
from zoo.generation.settings import GenerationSettings
from zoo.testing.models import decode as read
from zoo.testing.models import toy_model

WRITERS = [info.name for info in zoo.list_architectures() if info.kind != "encoder-only"]
MODELS: dict[str, zoo.Model] = {}
TIME = 12


def model_of(name: str) -> zoo.Model:
    """A small random model that writes, made once."""
    if name not in MODELS:
        kind = next(info.kind for info in zoo.list_architectures() if info.name == name)
        MODELS[name] = toy_model(name, "text-generation" if kind == "decoder-only" else "text2text-generation")
    return MODELS[name]


@pytest.mark.parametrize("name", WRITERS)
@settings(max_examples=10, deadline=None, derandomize=True)
@given(
    cuts=st.sets(st.integers(1, TIME - 1)),
    padding=st.lists(st.integers(0, 7), min_size=1, max_size=3),
    seed=st.integers(0, 99),
)
def test_cached_is_uncached_is_read_in_chunks(name: str, cuts: set[int], padding: list[int], seed: int) -> None:
    model = model_of(name)
    ids = torch.randint(3, 53, (len(padding), TIME), generator=torch.Generator().manual_seed(seed))
    mask = torch.arange(TIME)[None, :] >= torch.tensor(padding)[:, None]
    cache = model.backbone.new_cache(TIME)  # type: ignore[operator]
    places = [0, *sorted(cuts), TIME]
    with torch.no_grad():
        parts = [read(model, ids[:, first:last], mask[:, :last], cache) for first, last in pairwise(places)]
        expected = read(model, ids, mask)
        alone = [read_alone(model, ids, row, count) for row, count in enumerate(padding)]
    found = torch.cat(parts, 1)
    scale = max(1.0, float(expected.abs().max()))
    torch.testing.assert_close(found[mask], expected[mask], atol=1e-5 * scale, rtol=0)
    if model.architecture.kind == "decoder-only":  # beside an encoder the source of a row is its own
        torch.testing.assert_close(found[mask], torch.cat(alone), atol=1e-5 * scale, rtol=0)


def read_alone(model: zoo.Model, ids: Tensor, row: int, padding: int) -> Tensor:
    """One row by itself, without padding, cache or mask."""
    return read(model, ids[[row], padding:])[0]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> zoo.Model:
    folder: Path = tmp_path_factory.mktemp("gpt2")
    gpt2(folder)
    return zoo.load(folder, device="cpu")


TEXTS = st.lists(
    st.lists(st.sampled_from([word for word in WORDS if word.isalpha()]), min_size=1, max_size=9).map(" ".join),
    min_size=1,
    max_size=5,
)
WAYS: list[dict[str, Any]] = [
    {},
    {"num_beams": 3},
    {"temperature": 1.5, "seed": 3},
    {"temperature": 0.9, "top_k": 7, "seed": 8, "repetition_penalty": 1.2},
    {"temperature": 1.2, "top_p": 0.8, "best_of": 2, "seed": 1},
]


@pytest.mark.parametrize("way", WAYS, ids=str)
@settings(max_examples=8, deadline=None, derandomize=True)
@given(prompts=TEXTS, batch_size=st.integers(1, 5), others=TEXTS, place=st.integers(0, 5))
def test_an_answer_does_not_depend_on_what_else_is_asked(
    model: zoo.Model, way: dict[str, Any], prompts: list[str], batch_size: int, others: list[str], place: int
) -> None:
    alone = [model.generate([prompt], max_new_tokens=7, **way)[0] for prompt in prompts]
    among = [*others[:place], *prompts, *others[place:]]
    found = model.generate(among, max_new_tokens=7, batch_size=batch_size, **way)
    first = len(others[:place])
    for row, expected in zip(found[first : first + len(prompts)], alone, strict=True):
        assert (row.token_ids, row.text, row.finish_reason) == (
            expected.token_ids,
            expected.text,
            expected.finish_reason,
        )
        assert row.log_probability == pytest.approx(expected.log_probability, abs=1e-4)


def test_a_seed_repeats_its_answer_and_others_give_others(model: zoo.Model) -> None:
    drawn = [model.generate(PROMPTS[:1], temperature=1.5, max_new_tokens=8, seed=seed)[0] for seed in range(8)]
    again = [model.generate(PROMPTS[:1], temperature=1.5, max_new_tokens=8, seed=seed)[0] for seed in range(8)]
    assert drawn == again
    assert len({row.text for row in drawn}) == 8


# --- what is drawn, and how often -------------------------------------------------------------------------------------

SCORES = [1.5, 0.2, -0.7, 2.1, 0.9, -2.5, 1.1, 0.0]
DRAWS = 4000
# The chi-squared distribution's value that is passed once in a thousand, by degrees of freedom.
RARE = {1: 10.83, 2: 13.82, 3: 16.27, 4: 18.47, 5: 20.52, 6: 22.46, 7: 24.32}
CHANCES: list[dict[str, Any]] = [
    {"temperature": 1.0},
    {"temperature": 0.6},
    {"temperature": 1.7},
    {"temperature": 1.0, "top_k": 3},
    {"temperature": 1.4, "top_k": 5},
    {"temperature": 1.0, "top_p": 0.7},
    {"temperature": 1.8, "top_p": 0.85},
    {"temperature": 1.0, "min_p": 0.2},
    {"temperature": 1.5, "min_p": 0.1},
    {"temperature": 1.3, "top_k": 6, "top_p": 0.8, "min_p": 0.15},
]


class Table:
    """A model that gives the same scores after every text."""

    def advance(self, newest: Tensor) -> Tensor:
        return torch.tensor([SCORES]).expand(len(newest), -1)

    def keep(self, rows: Sequence[int]) -> None:
        """There is nothing to keep."""


@pytest.mark.parametrize("chance", CHANCES, ids=str)
def test_tokens_are_drawn_as_often_as_the_settings_say(chance: dict[str, Any]) -> None:
    *_, rows = decode(
        Table(),
        torch.zeros((DRAWS, 1), dtype=torch.int64),
        [[0]] * DRAWS,
        GenerationSettings(**chance),
        [1] * DRAWS,
        range(DRAWS),
        str,
    )
    found = Counter(row.token_ids[0] for row in rows)
    expected = shares(**chance)
    assert set(found) <= set(expected)
    squared = sum((found[token] - DRAWS * share) ** 2 / (DRAWS * share) for token, share in expected.items())
    assert squared < RARE[len(expected) - 1]


def shares(temperature: float, top_k: int = 99, top_p: float = 1.0, min_p: float = 0.0) -> dict[int, float]:
    """How often each token should come, worked out number by number."""
    weights = {token: math.exp(score / temperature) for token, score in enumerate(SCORES)}
    ordered = sorted(weights, key=lambda token: -weights[token])[:top_k]
    total, nucleus, reached = sum(weights[token] for token in ordered), [], 0.0
    for token in ordered:
        if reached < top_p:
            nucleus.append(token)
        reached += weights[token] / total
    kept = [token for token in nucleus if weights[token] >= min_p * weights[nucleus[0]]]
    total = sum(weights[token] for token in kept)
    return {token: weights[token] / total for token in kept}
