"""The training loop: what a step is, evaluations in between, and what happens when the loss leaves the numbers."""

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor

import zoo
from tests.checkpoints import assert_same_bytes
from tests.training.samples import make_dropless, make_features, make_model, make_run, unwatched
from zoo.errors import InvalidInput, TrainingDiverged
from zoo.layers.stacks import Stack
from zoo.tasks import get_task
from zoo.tasks.base import Features, collate
from zoo.training.evaluation import evaluate
from zoo.training.loop import train
from zoo.training.state import State


def weights_of(model: zoo.Model) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def trained(model: zoo.Model, features: list[Features], held_out: list[Features] | None = None, **config: Any) -> State:
    return train(make_run(model, features, **config), get_task(model.task), features, held_out or [], unwatched)


def assert_close(found: dict[str, Tensor], expected: dict[str, Tensor], atol: float) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(
            found[name], tensor, atol=atol, rtol=0, msg=lambda text, name=name: f"{name}: {text}"
        )


# --- a step -----------------------------------------------------------------------------------------------------------


def make_masked(count: int) -> list[Features]:
    """Texts with between none and all of their positions to be told, so that batches weigh differently."""
    features = make_features(count)
    for index, feature in enumerate(features):
        told = max(1, len(feature.ids) * (index % 4) // 3)
        feature.label = feature.ids[:told] + [-100] * (len(feature.ids) - told)
    return features


@pytest.mark.parametrize("task", ["text-classification", "fill-mask"])
def test_accumulated_batches_are_one_large_batch(task: str) -> None:
    """Whatever the number of terms in each: a mean over all, not a mean of means."""
    features = make_features(12) if task == "text-classification" else make_masked(12)
    whole, pieces = make_dropless(task), make_dropless(task)
    settings = {"learning_rate": 1e-3, "epochs": 3, "data_seed": 1}
    one = trained(whole, features, batch_size=12, **settings)
    other = trained(pieces, features, batch_size=3, accumulation=4, **settings)
    assert one.step == other.step == 3
    assert other.losses == pytest.approx(one.losses, abs=2e-6)
    # Adam divides by the gradient's size: where a gradient is nothing but rounding, the direction is the rounding's.
    exact = {name for name in weights_of(whole) if not name.endswith("attention.key.bias")}
    assert_close(*({n: t for n, t in weights_of(m).items() if n in exact} for m in (pieces, whole)), atol=2e-4)


def test_a_step_is_the_one_a_plain_loop_takes() -> None:
    model, features = make_dropless(), make_features(6)
    plain = copy.deepcopy(model)
    state = trained(model, features, batch_size=6, epochs=4, learning_rate=3e-3, weight_decay=0.0, warmup_steps=2)
    optimizer = torch.optim.AdamW(plain.parameters(), lr=3e-3, weight_decay=0.0)
    inputs = collate(sorted(features, key=lambda feature: len(feature.ids)), 0, torch.device("cpu"))
    labels = torch.tensor([f.label for f in sorted(features, key=lambda feature: len(feature.ids))])
    losses = []
    for share in (0.5, 1.0, 1.0, 0.5):
        optimizer.param_groups[0]["lr"] = 3e-3 * share
        loss = torch.nn.functional.cross_entropy(plain(**inputs).logits, labels)
        losses.append(loss.item())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(plain.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    assert state.losses == pytest.approx(losses, abs=1e-6)
    assert_close(
        {n: t for n, t in weights_of(model).items() if not n.endswith("key.bias")},
        {n: t for n, t in weights_of(plain).items() if not n.endswith("key.bias")},
        atol=1e-4,
    )


def test_gradients_are_scaled_down_to_the_norm_allowed() -> None:
    """Below Adam's epsilon, 1e-8, a gradient moves next to nothing."""
    model, features = make_model(), make_features(7)
    before = weights_of(model)
    trained(model, features, max_gradient_norm=1e-14, weight_decay=0, learning_rate=0.01, epochs=1)
    assert_close(weights_of(model), before, atol=1e-6)


def test_layers_computed_again_give_the_same_weights() -> None:
    """Bit for bit, dropout included; and less is kept for the backward pass."""
    features = make_features(9)
    kept: list[int] = []
    weights = []
    for again in (False, True):
        model = make_model()
        stored = 0

        def store(tensor: Tensor) -> Tensor:
            nonlocal stored
            stored += tensor.nbytes
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(store, lambda tensor: tensor):
            trained(model, features, gradient_checkpointing=again, epochs=1, batch_size=9, learning_rate=1e-2)
        kept.append(stored)
        weights.append(weights_of(model))
        assert not any(module.recomputes for module in model.modules() if isinstance(module, Stack))
    assert_same_bytes(weights[1], weights[0])
    assert kept[1] < kept[0]


def test_layers_that_cannot_be_computed_again_are_refused() -> None:
    model, features = make_model(), make_features(3)
    model.backbone = torch.nn.Sequential()
    with pytest.raises(InvalidInput) as raised:
        trained(model, features, gradient_checkpointing=True)
    assert str(raised.value) == (
        "gradient_checkpointing: the architecture 'bert' is not made of zoo.layers' stacks, whose layers could be "
        "computed again; leave it out"
    )


def test_bfloat16_keeps_weights_and_optimiser_in_float32() -> None:
    model, features = make_dropless(), make_features(8)
    seen: set[torch.dtype] = set()
    linear = model.backbone.get_submodule("layers.0.attention.query")
    linear.register_forward_hook(lambda module, inputs, output: seen.add(output.dtype))
    state = trained(model, features, precision="bf16", learning_rate=1e-3, epochs=4)
    assert seen == {torch.bfloat16}
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert {entry["exp_avg"].dtype for entry in state.optimizer.state.values()} == {torch.float32}
    exact = trained(make_dropless(), features, learning_rate=1e-3, epochs=4)
    assert state.losses == pytest.approx(exact.losses, abs=0.02)
    assert state.losses != exact.losses


def test_training_tells_of_each_step_and_ends_in_the_mode_for_use() -> None:
    model, features = make_model(), make_features(7)
    told: list[tuple[int, int, float]] = []
    run = make_run(model, features, batch_size=3, epochs=2)
    state = train(run, get_task(model.task), features, [], lambda *facts: told.append(facts))
    assert [(step, steps) for step, steps, _ in told] == [(step, 6) for step in range(1, 7)]
    assert state.losses == [loss for _, _, loss in told]
    assert state.train_loss() == told[-1][2]
    assert not model.training
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_train_loss_is_the_mean_over_the_last_tenth() -> None:
    model = make_model()
    state = State(model, torch.optim.SGD(model.parameters()), losses=[float(number) for number in range(30)])
    assert state.train_loss() == 28.0


def test_training_leaves_the_callers_random_numbers_alone() -> None:
    torch.manual_seed(11)
    expected = torch.rand(2)
    torch.manual_seed(11)
    trained(make_model(), make_features(3), epochs=1)
    assert torch.rand(2).equal(expected)


# --- evaluations in between -------------------------------------------------------------------------------------------


def test_an_evaluation_is_the_loss_and_the_metrics_over_all_of_the_held_out() -> None:
    """However they are batched."""
    model, held_out = make_dropless("fill-mask"), make_masked(9)
    every = collate(held_out, 0, torch.device("cpu"))
    labels = get_task("fill-mask").collate_labels(held_out, every["input_ids"].shape[1], model.settings)
    with torch.no_grad():
        logits = model(**every).logits
    expected = {
        "eval_loss": float(torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())),
        "accuracy": float((logits.argmax(-1) == labels)[labels != -100].float().mean()),
    }
    for settings in ({"batch_size": 2}, {"batch_size": 9}, {"tokens_per_batch": 40}):
        found = evaluate(model, get_task("fill-mask"), held_out, zoo.FinetuneConfig(**settings))
        assert found == pytest.approx(expected, abs=1e-6)
    assert expected["accuracy"] > 0 or expected["eval_loss"] > 0


def test_the_best_evaluations_weights_are_kept() -> None:
    """A rate far too high at the end: what it learnt before is taken back."""
    model, features = make_dropless(), make_features(20)
    seen: list[dict[str, Tensor]] = []
    run = make_run(model, features, batch_size=5, epochs=6, learning_rate=0.02, eval_steps=3, schedule="constant")
    state = train(
        run, get_task(model.task), features, make_features(10, 4), lambda *facts: seen.append(weights_of(model))
    )
    assert [evaluation.step for evaluation in state.evaluations] == [3, 6, 9, 12, 15, 18, 21, 24]
    best = min(state.evaluations, key=lambda evaluation: evaluation.metrics["eval_loss"])
    assert best.step < 24
    assert state.best_evaluation() is best
    assert_same_bytes(weights_of(model), seen[best.step - 1])
    found = evaluate(model, get_task(model.task), make_features(10, 4), run.config)
    assert found == pytest.approx(best.metrics, abs=1e-6)


def test_the_last_weights_stay_where_nobody_asked_for_evaluations_on_the_way() -> None:
    model, features = make_dropless(), make_features(20)
    state = trained(model, features, make_features(10, 4), batch_size=5, epochs=6, learning_rate=0.02)
    assert [evaluation.step for evaluation in state.evaluations] == [24]
    assert state.best is None


@pytest.mark.parametrize("patience", [1, 2])
def test_training_stops_when_the_held_out_loss_no_longer_falls(patience: int) -> None:
    model, features = make_dropless(), make_features(20)
    settings = {"batch_size": 5, "epochs": 30, "learning_rate": 0.02, "schedule": "constant", "eval_steps": 2}
    state = trained(model, features, make_features(10, 4), patience=patience, **settings)
    losses = [evaluation.metrics["eval_loss"] for evaluation in state.evaluations]
    best = losses.index(min(losses))
    assert state.step == 2 * len(losses) < 120
    assert len(losses) == best + 1 + patience


# --- what is no number ------------------------------------------------------------------------------------------------


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
    with pytest.raises(TrainingDiverged) as stopped:
        trained(model, features, batch_size=3, max_steps=max_steps, learning_rate=rate)
    assert str(stopped.value) == (
        f"The loss became nan at step {step}. Training stopped. Try a smaller learning_rate than {rate:g}, "
        "or more warmup_steps"
    )
    assert not model.training


def test_a_gradient_that_is_no_number_changes_no_weight() -> None:
    model, features = make_model(), make_features(7)
    model.head.get_parameter("classifier.weight").register_hook(lambda gradient: gradient * math.inf)
    before = weights_of(model)
    with pytest.raises(TrainingDiverged) as stopped:
        trained(model, features, batch_size=7, epochs=1, learning_rate=1e-3)
    assert str(stopped.value) == (
        "The gradient's norm became inf at step 1. Training stopped. Try a smaller learning_rate than 0.001, "
        "or more warmup_steps"
    )
    assert_same_bytes(weights_of(model), before)


def test_a_held_out_loss_that_is_no_number_stops_training() -> None:
    model, features = make_model(), make_features(7)
    with pytest.raises(TrainingDiverged) as stopped:
        trained(model, features, make_features(2), batch_size=7, epochs=1, learning_rate=1e38)
    assert str(stopped.value) == (
        "The loss over the held-out examples became nan at step 1. Training stopped. "
        "Try a smaller learning_rate than 1e+38, or more warmup_steps"
    )
