"""Batches: every example once an epoch, in an order of the seed, padded little, within the budget of tokens."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import zoo
from zoo.errors import InvalidInput
from zoo.training.batches import count_steps, steps


def make_lengths(count: int, seed: int = 3) -> list[int]:
    return torch.randint(1, 19, (count,), generator=torch.Generator().manual_seed(seed)).tolist()


@pytest.mark.parametrize(
    ("examples", "config", "expected"),
    [
        (7, {"batch_size": 3, "epochs": 2}, 6),
        (6, {"batch_size": 3, "epochs": 2}, 4),
        (1, {"batch_size": 3, "epochs": 2}, 2),
        (7, {"batch_size": 3, "epochs": 2, "max_steps": 5}, 5),
        (7, {"batch_size": 3, "epochs": 2, "max_steps": 50}, 6),
        (7, {"batch_size": 2, "accumulation": 3, "epochs": 2}, 4),
    ],
)
def test_steps_are_counted_from_examples_batches_and_epochs(
    examples: int, config: dict[str, Any], expected: int
) -> None:
    assert count_steps(make_lengths(examples), zoo.FinetuneConfig(**config)) == expected


@settings(max_examples=30, deadline=None)
@given(
    examples=st.integers(1, 150),
    batch_size=st.integers(1, 9),
    accumulation=st.integers(1, 3),
    epochs=st.integers(1, 3),
    tokens=st.none() | st.integers(18, 90),
    seed=st.integers(0, 2**32),
)
def test_every_example_comes_once_an_epoch(
    examples: int, batch_size: int, accumulation: int, epochs: int, tokens: int | None, seed: int
) -> None:
    lengths = make_lengths(examples)
    config = zoo.FinetuneConfig(
        batch_size=batch_size, tokens_per_batch=tokens, accumulation=accumulation, epochs=epochs, seed=seed
    )
    drawn = list(steps(lengths, config))
    assert len(drawn) == count_steps(lengths, config)
    assert all(1 <= len(batches) <= accumulation for batches in drawn)
    every = [batch for batches in drawn for batch in batches]
    for batch in every:
        longest = max(lengths[index] for index in batch)
        assert 1 <= len(batch) <= batch_size if tokens is None else longest * len(batch) <= tokens
    seen: list[int] = [index for batch in every for index in batch]
    for epoch in range(epochs):
        assert sorted(seen[epoch * examples : (epoch + 1) * examples]) == list(range(examples))


@pytest.mark.parametrize("config", [{"batch_size": 4}, {"tokens_per_batch": 50, "accumulation": 2}])
def test_a_run_can_be_gone_on_with_from_any_step(config: dict[str, Any]) -> None:
    lengths, chosen = make_lengths(41), zoo.FinetuneConfig(epochs=3, **config)
    whole = list(steps(lengths, chosen))
    for start in (0, 1, len(whole) // 2, len(whole) - 1, len(whole)):
        assert list(steps(lengths, chosen, start)) == whole[start:]


def test_the_order_is_the_seeds_and_changes_from_epoch_to_epoch() -> None:
    def order(**seeds: int) -> list[list[list[int]]]:
        return list(steps(make_lengths(40), zoo.FinetuneConfig(batch_size=4, epochs=2, **seeds)))

    assert order(seed=1) == order(seed=1)
    assert order(seed=1) != order(seed=2)
    assert order(seed=1) == order(seed=2, data_seed=1)
    assert order(seed=1)[:10] != order(seed=1)[10:]
    assert order(seed=1)[10:] != order(seed=2)[:10]


def test_a_batch_holds_texts_of_like_length() -> None:
    lengths = make_lengths(128)
    drawn = [batch for batches in steps(lengths, zoo.FinetuneConfig(batch_size=4, epochs=1)) for batch in batches]
    assert len(drawn) == 32
    assert max(max(lengths[i] for i in batch) - min(lengths[i] for i in batch) for batch in drawn) <= 3


def test_a_budget_of_tokens_is_used_up() -> None:
    lengths = make_lengths(500)
    drawn = [
        batch for batches in steps(lengths, zoo.FinetuneConfig(tokens_per_batch=200, epochs=1)) for batch in batches
    ]
    padded = [max(lengths[index] for index in batch) * len(batch) for batch in drawn]
    assert sum(lengths) / sum(padded) > 0.9  # little of what goes through the model is padding
    assert sum(padded) / (200 * len(drawn)) > 0.85  # and few batches stay much below the budget


def test_an_example_above_the_budget_is_refused() -> None:
    with pytest.raises(InvalidInput) as raised:
        count_steps([3, 12, 9, 14], zoo.FinetuneConfig(tokens_per_batch=10))
    assert str(raised.value) == (
        "tokens_per_batch is 10, and an example has 12 tokens; it would be at least the longest example's 14"
    )
