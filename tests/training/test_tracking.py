"""Trackers: objects that look on at one run by the hooks that plugins have."""

from pathlib import Path
from typing import Any

import pytest

import zoo
from tests.checkpoints import write_checkpoint, write_tokenizer
from zoo.errors import InvalidInput

EXAMPLES = [{"text": text, "label": text} for text in ("good", "bad", "film", "dog", "cat")]
CONFIG = zoo.FinetuneConfig(epochs=2, batch_size=2, learning_rate=6e-3)


@pytest.fixture
def backbone(tmp_path: Path) -> str:
    write_checkpoint(tmp_path / "backbone")
    write_tokenizer(tmp_path / "backbone")
    return str(tmp_path / "backbone")


class Witness:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.notes: list[tuple[Any, ...]] = []

    @zoo.hookimpl
    def zoo_training_started(self, run: Any) -> None:
        self.notes.append(("started", run.steps, run.config.batch_size))

    @zoo.hookimpl
    def zoo_training_step(self, run: Any, step: int, metrics: dict[str, float]) -> None:
        self.notes.append(("step", step, round(metrics["learning_rate"], 6), metrics["loss"]))

    @zoo.hookimpl
    def zoo_training_evaluated(self, step: int, metrics: dict[str, float]) -> None:
        self.notes.append(("evaluated", step, sorted(metrics)))

    @zoo.hookimpl
    def zoo_training_finished(self, result: Any) -> None:
        self.notes.append(("finished", len(result.losses)))


def test_a_tracker_is_told_of_all_of_its_run_and_of_no_other(backbone: str) -> None:
    witness, config = Witness(), CONFIG.model_copy(update={"eval_steps": 4})
    losses = zoo.finetune(
        backbone, EXAMPLES, EXAMPLES, task="text-classification", config=config, trackers=[witness]
    ).losses
    assert witness.notes == [
        ("started", 6, 2),
        *(("step", step, round(1e-3 * (7 - step), 6), losses[step - 1]) for step in (1, 2, 3, 4)),
        ("evaluated", 4, ["accuracy", "eval_loss", "f1"]),
        *(("step", step, round(1e-3 * (7 - step), 6), losses[step - 1]) for step in (5, 6)),
        ("evaluated", 6, ["accuracy", "eval_loss", "f1"]),
        ("finished", 6),
    ]
    zoo.finetune(backbone, EXAMPLES, task="text-classification", config=zoo.FinetuneConfig(max_steps=1))
    assert len(witness.notes) == 10


def test_the_gradients_norm_and_the_speed_are_those_of_the_step(backbone: str) -> None:
    found: list[dict[str, float]] = []

    class Look:
        @zoo.hookimpl
        def zoo_training_step(self, metrics: dict[str, float]) -> None:
            found.append(metrics)

    config = zoo.FinetuneConfig(max_steps=2, batch_size=5, learning_rate=1e-3, max_gradient_norm=1e-6)
    zoo.finetune(backbone, EXAMPLES, task="text-classification", config=config, trackers=[Look()])
    assert [sorted(name for name in metrics if name != "CO2_grams") for metrics in found] == [
        ["gradient_norm", "learning_rate", "loss", "tokens_per_second"]
    ] * 2
    assert all(metrics["gradient_norm"] > 0.01 for metrics in found)  # of the gradient as it was, not as it was clipped
    assert all(metrics["tokens_per_second"] > 0 for metrics in found)


def test_what_a_tracker_raises_ends_the_run(backbone: str) -> None:
    class Broken:
        @zoo.hookimpl
        def zoo_training_step(self, step: int) -> None:
            raise OverflowError(f"full at step {step}")

    with pytest.raises(OverflowError, match=r"^full at step 1$"):
        zoo.finetune(backbone, EXAMPLES, task="text-classification", config=CONFIG, trackers=[Broken()])


class Idle:
    """Implements nothing."""

    def __repr__(self) -> str:
        return "Idle()"


class Mistaken(Idle):
    """Implements what is no hook."""

    @zoo.hookimpl
    def zoo_training_stopped(self) -> None: ...


@pytest.mark.parametrize(
    ("tracker", "message"),
    [
        (
            Idle(),
            "Idle() cannot be a tracker: it implements no hook. "
            "It would have a method such as zoo_training_step(self, step, metrics), marked with @zoo.hookimpl",
        ),
        (Mistaken(), "Idle() cannot be a tracker: it implements zoo_training_stopped(), which is no hook of Zoo"),
    ],
)
def test_what_cannot_be_a_tracker_is_refused_before_anything_is_learnt(
    backbone: str, tracker: Any, message: str
) -> None:
    with pytest.raises(InvalidInput) as raised:
        zoo.finetune(backbone, EXAMPLES, task="text-classification", config=CONFIG, trackers=[tracker])
    assert str(raised.value) == message
