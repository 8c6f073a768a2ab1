"""The learning rate over the steps of a run."""

import math

import pytest
import torch

import zoo
from zoo.training.schedule import count_warmup_steps, learning_rate_share


@pytest.mark.parametrize(
    ("warmup_steps", "expected"),
    [
        (0, [1, 0.8, 0.6, 0.4, 0.2]),
        (2, [0.5, 1, 1, 2 / 3, 1 / 3]),
        (0.4, [0.5, 1, 1, 2 / 3, 1 / 3]),
        (5, [0.2, 0.4, 0.6, 0.8, 1]),
        (10, [0.1, 0.2, 0.3, 0.4, 0.5]),
    ],
)
def test_the_learning_rate_rises_over_the_warm_up_and_falls_to_nothing(
    warmup_steps: float, expected: list[float]
) -> None:
    config = zoo.FinetuneConfig(warmup_steps=warmup_steps)
    assert [learning_rate_share(step, 5, config) for step in range(5)] == pytest.approx(expected)
    assert learning_rate_share(5, 5, config) == (0 if warmup_steps <= 5 else pytest.approx(0.6))


def test_a_cosine_is_torchs_own() -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    oracle = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=7)
    config = zoo.FinetuneConfig(schedule="cosine", warmup_steps=2)
    for step in range(2, 9):
        assert learning_rate_share(step, 9, config) == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-12)
        optimizer.step()
        oracle.step()
    assert learning_rate_share(0, 9, config) == 0.5
    assert learning_rate_share(9, 9, config) == pytest.approx(0, abs=math.ulp(1))


def test_a_constant_rate_stays_after_the_warm_up() -> None:
    config = zoo.FinetuneConfig(schedule="constant", warmup_steps=2)
    assert [learning_rate_share(step, 5, config) for step in range(6)] == [0.5, 1, 1, 1, 1, 1]


def test_a_share_of_all_steps_becomes_a_number_of_them() -> None:
    counts = [count_warmup_steps(zoo.FinetuneConfig(warmup_steps=given), 30) for given in (0, 0.1, 0.52, 1, 7)]
    assert counts == [0, 3, 16, 1, 7]
