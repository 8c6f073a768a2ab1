"""TensorBoard's events of a run, as its own reader finds them."""

import sys
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import zoo
from tests.checkpoints import write_checkpoint, write_tokenizer
from zoo.errors import ExtraMissing

EXAMPLES = [{"text": f"a {word} film", "label": word} for word in ("good", "bad", "not", "home")] * 3
HELD_OUT = [{"text": f"{word} cat", "label": word} for word in ("good", "bad", "not", "home")]
SETTINGS = {"epochs": 2, "batch_size": 4, "learning_rate": 6e-3, "eval_steps": 2}


@pytest.fixture
def backbone(tmp_path: Path) -> str:
    write_checkpoint(tmp_path / "backbone")
    write_tokenizer(tmp_path / "backbone")
    return str(tmp_path / "backbone")


class Broken(Exception):
    """What stops a run in these tests."""


def read_events(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Each curve as (step, value)."""
    events = EventAccumulator(str(folder)).Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_every_figure_of_a_run_is_a_curve(backbone: str, tmp_path: Path) -> None:
    config = zoo.FinetuneConfig(**SETTINGS, tensorboard=tmp_path / "events")
    result = zoo.finetune(backbone, EXAMPLES, HELD_OUT, task="text-classification", config=config)
    curves = read_events(tmp_path / "events")
    assert sorted(name for name in curves if name != "train/CO2_grams") == [
        "eval/accuracy", "eval/f1", "eval/loss",
        "train/gradient_norm", "train/learning_rate", "train/loss", "train/tokens_per_second",
    ]  # fmt: skip
    assert curves["train/loss"] == [(step, pytest.approx(loss)) for step, loss in enumerate(result.losses, start=1)]
    assert curves["train/learning_rate"] == [(step, pytest.approx(1e-3 * (7 - step))) for step in range(1, 7)]
    assert [step for step, _ in curves["eval/loss"]] == [2, 4, 6]
    assert min(loss for _, loss in curves["eval/loss"]) == pytest.approx(result.metrics["eval_loss"])
    assert all(speed > 0 for _, speed in curves["train/tokens_per_second"])
    assert result.model.record is not None
    assert "tensorboard" not in result.model.record.settings


def test_a_run_that_goes_on_goes_on_with_its_curves(backbone: str, tmp_path: Path) -> None:
    """The steps after the last checkpoint are taken again, and their first figures are no part of the curve."""
    folder = tmp_path / "events"
    config = zoo.FinetuneConfig(**SETTINGS, tensorboard=folder, save_steps=3, output_dir=tmp_path / "out")

    def stop(step: int, steps: int, loss: float) -> None:
        if step == 5:
            raise Broken

    with pytest.raises(Broken):
        zoo.finetune(backbone, EXAMPLES, HELD_OUT, task="text-classification", config=config, watch=stop)
    resumed = zoo.finetune(backbone, EXAMPLES, HELD_OUT, task="text-classification", config=config, resume=True)
    curves = read_events(folder)
    assert curves["train/loss"] == [(step, pytest.approx(loss)) for step, loss in enumerate(resumed.losses, start=1)]
    assert [step for step, _ in curves["eval/loss"]] == [2, 4, 6]


def test_without_the_package_it_is_said_before_the_data_is_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in [name for name in sys.modules if name.startswith("torch.utils.tensorboard")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    config = zoo.FinetuneConfig(tensorboard=tmp_path / "events")
    with pytest.raises(ExtraMissing) as raised:
        zoo.finetune("no-such-model", tmp_path / "none.csv", task="text-classification", config=config)
    assert str(raised.value) == (
        "For TensorBoard's events Zoo needs more packages (import of tensorboard halted; None in sys.modules). "
        "Try: pip install 'zoo[tensorboard]'"
    )
    assert not (tmp_path / "events").exists()
