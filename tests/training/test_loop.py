"""The training loop: batches, schedule, optimiser, and what happens when the loss leaves the numbers."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import zoo
from tests.checkpoints import LABELS, SIZES
from zoo.errors import TrainingDiverged
from zoo.tasks import get_task
from zoo.tasks.base import Features
from zoo.training.loop import Run, batches, count_steps, learning_rate_share, make_optimizer, train


def make_model() -> zoo.Model:
    return zoo.build(zoo.make_spec("bert", **SIZES), "text-classification", labels=LABELS, seed=2)


def make_run(model: zoo.Model, examples: int, **config: float) -> Run:
    chosen = zoo.FinetuneConfig.model_validate(config)
    return Run(model, chosen, count_steps(examples, chosen))


def make_features(count: int) -> list[Features]:
    generator = torch.Generator().manual_seed(3)
    lengths = torch.randint(1, 19, (count,), generator=generator).tolist()
    ids = [torch.randint(1, 53, (length,), generator=generator).tolist() for length in lengths]
    return [Features(row, [0] * len(row), index, label=index % 5) for index, row in enumerate(ids)]


@pytest.mark.parametrize(
    ("examples", "config", "expected"),
    [
        (7, {"batch_size": 3, "epochs": 2}, 6),
        (6, {"batch_size": 3, "epochs": 2}, 4),
        (1, {"batch_size": 3, "epochs": 2}, 2),
        (7, {"batch_size": 3, "epochs": 2, "max_steps": 5}, 5),
        (7, {"batch_size": 3, "epochs": 2, "max_steps": 50}, 6),
    ],
)
def test_steps_are_counted_from_examples_batches_and_epochs(
    examples: int, config: dict[str, float], expected: int
) -> None:
    assert count_steps(examples, zoo.FinetuneConfig.model_validate(config)) == expected


@settings(max_examples=30, deadline=None)
@given(examples=st.integers(1, 150), batch_size=st.integers(1, 9), epochs=st.integers(1, 3), seed=st.integers(0, 2**32))
def test_every_example_comes_once_an_epoch(examples: int, batch_size: int, epochs: int, seed: int) -> None:
    features = make_features(examples)
    config = zoo.FinetuneConfig(batch_size=batch_size, epochs=epochs, seed=seed)
    drawn = list(batches(features, Run(None, config, count_steps(examples, config))))  # type: ignore[arg-type]
    assert len(drawn) == count_steps(examples, config)
    per_epoch = len(drawn) // epochs
    for epoch in range(epochs):
        seen = [index for batch in drawn[epoch * per_epoch : (epoch + 1) * per_epoch] for index in batch]
        assert sorted(seen) == list(range(examples))
    assert all(1 <= len(batch) <= batch_size for batch in drawn)


def test_the_order_is_the_seeds_and_changes_from_epoch_to_epoch() -> None:
    features = make_features(40)

    def order(seed: int) -> list[list[int]]:
        config = zoo.FinetuneConfig(batch_size=4, epochs=2, seed=seed)
        return list(batches(features, Run(None, config, 20)))  # type: ignore[arg-type]

    assert order(1) == order(1)
    assert order(1) != order(2)
    assert order(1)[:10] != order(1)[10:]


def test_a_batch_holds_texts_of_like_length() -> None:
    features = make_features(128)
    config = zoo.FinetuneConfig(batch_size=4, epochs=1)
    drawn = list(batches(features, Run(None, config, 32)))  # type: ignore[arg-type]
    spreads = [max(len(features[i].ids) for i in batch) - min(len(features[i].ids) for i in batch) for batch in drawn]
    assert max(spreads) <= 3


@pytest.mark.parametrize(
    ("warmup_steps", "expected"),
    [
        (0, [1, 0.8, 0.6, 0.4, 0.2]),
        (2, [0.5, 1, 1, 2 / 3, 1 / 3]),
        (5, [0.2, 0.4, 0.6, 0.8, 1]),
        (10, [0.1, 0.2, 0.3, 0.4, 0.5]),
    ],
)
def test_the_learning_rate_rises_over_the_warm_up_and_falls_to_nothing(
    warmup_steps: int, expected: list[float]
) -> None:
    run = Run(None, zoo.FinetuneConfig(warmup_steps=warmup_steps), 5)  # type: ignore[arg-type]
    assert [learning_rate_share(step, run) for step in range(5)] == pytest.approx(expected)
    assert learning_rate_share(5, run) == (0 if warmup_steps <= 5 else pytest.approx(0.6))


def test_matrices_decay_and_norms_and_biases_do_not() -> None:
    model = make_model()
    frozen = model.backbone.get_parameter("embeddings.tokens.weight").requires_grad_(False)
    groups = make_optimizer(model, zoo.FinetuneConfig(weight_decay=0.3, learning_rate=0.125)).param_groups
    decay = {id(parameter): group["weight_decay"] for group in groups for parameter in group["params"]}
    assert all(group["lr"] == 0.125 for group in groups)
    for name, parameter in model.named_parameters():
        if parameter is frozen:
            assert id(parameter) not in decay
        else:
            assert decay[id(parameter)] == (0.0 if "norm" in name or name.endswith("bias") else 0.3), name


def test_one_step_is_adamws_own() -> None:
    """At the first step Adam moves every weight by the learning rate against the sign of its gradient."""
    features = make_features(3)
    dropless = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    model = zoo.build(zoo.make_spec("bert", **SIZES, **dropless), "text-classification", labels=LABELS, seed=2)
    weight = model.head.get_parameter("classifier.weight")
    before = weight.detach().clone()
    train(
        make_run(model, 3, learning_rate=0.01, weight_decay=0.5, batch_size=3, epochs=1),
        get_task("text-classification"),
        features,
        lambda step, steps, loss: None,
    )
    moved = (weight.detach() - before * (1 - 0.01 * 0.5)) / 0.01
    torch.testing.assert_close(moved.abs(), torch.ones_like(moved), atol=1e-2, rtol=0)


def test_gradients_are_scaled_down_to_the_norm_allowed() -> None:
    """Below Adam's epsilon, 1e-8, a gradient moves next to nothing."""
    model, features = make_model(), make_features(7)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    run = make_run(model, 7, max_gradient_norm=1e-14, weight_decay=0, learning_rate=0.01, epochs=1)
    train(run, get_task("text-classification"), features, lambda *facts: None)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.detach(), before[name], atol=1e-6, rtol=0)


def test_training_tells_of_each_step_and_ends_in_the_mode_for_use() -> None:
    model, features = make_model(), make_features(7)
    run = make_run(model, 7, batch_size=3, epochs=2)
    told: list[tuple[int, int, float]] = []
    loss = train(run, get_task("text-classification"), features, lambda *facts: told.append(facts))
    assert [(step, steps) for step, steps, _ in told] == [(step, 6) for step in range(1, 7)]
    assert loss == told[-1][2]
    assert not model.training
    assert all(parameter.grad is None for parameter in model.parameters())


def test_training_leaves_the_callers_random_numbers_alone() -> None:
    torch.manual_seed(11)
    expected = torch.rand(2)
    torch.manual_seed(11)
    model = make_model()
    train(make_run(model, 3, epochs=1), get_task("text-classification"), make_features(3), lambda *facts: None)
    assert torch.rand(2).equal(expected)


@pytest.mark.parametrize(
    ("broken", "rate", "max_steps", "step"),
    [(True, 1e-3, 9, 1), (False, 1e30, 9, 2), (False, 1e38, 1, 2)],
    ids=["infinite weights", "an absurd rate", "an absurd rate at the last step"],
)
def test_a_loss_that_is_no_number_stops_training(broken: bool, rate: float, max_steps: int, step: int) -> None:
    model, features = make_model(), make_features(7)
    if broken:
        with torch.no_grad():
            model.backbone.get_parameter("layers.1.feedforward.up.weight").fill_(math.inf)
    run = make_run(model, 7, batch_size=3, max_steps=max_steps, learning_rate=rate)
    with pytest.raises(TrainingDiverged) as stopped:
        train(run, get_task("text-classification"), features, lambda *facts: None)
    assert str(stopped.value) == (
        f"The loss became nan at step {step}. Training stopped. Try a smaller learning_rate than {rate:g}, "
        "or more warmup_steps"
    )
    assert not model.training
