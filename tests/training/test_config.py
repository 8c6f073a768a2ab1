"""Settings: what is accepted, from where, and how each is refused."""

from pathlib import Path

import pytest

import zoo
from zoo.errors import InvalidInput


def refused(**settings: object) -> str:
    with pytest.raises(InvalidInput) as raised:
        zoo.FinetuneConfig(**settings)
    return str(raised.value)


def test_settings_that_cannot_train_are_refused() -> None:
    assert refused(epochs=0, learning_speed=1) == (
        "These settings cannot train: epochs is 0: Input should be greater than or equal to 1; "
        "learning_speed is 1: Extra inputs are not permitted"
    )
    assert refused(schedule="exponential") == (
        "These settings cannot train: schedule is 'exponential': Input should be 'linear', 'cosine' or 'constant'"
    )
    assert refused(warmup_steps=2.5) == (
        "These settings cannot train: warmup_steps is 2.5: Value error, it would be a whole number of steps, or a share "
        "below 1"
    )
    assert refused(patience=2) == (
        "These settings cannot train: patience is 2: Value error, it counts evaluations, so eval_steps would say when "
        "they are"
    )


def test_settings_cannot_be_changed_later() -> None:
    with pytest.raises(ValueError, match="frozen"):
        zoo.FinetuneConfig().epochs = 2  # type: ignore[misc]


def test_every_setting_says_what_it_is() -> None:
    fields = zoo.FinetuneConfig.model_fields
    assert {name for name, field in fields.items() if not field.description or field.description.endswith(".")} == set()


def test_settings_come_from_a_file_and_what_is_given_besides_goes_before_them(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text('epochs = 2\nlearning_rate = 1e-4\nschedule = "cosine"\nwarmup_steps = 0.1\n', encoding="utf-8")
    assert zoo.FinetuneConfig.read(path, epochs=5) == zoo.FinetuneConfig(
        epochs=5, learning_rate=1e-4, schedule="cosine", warmup_steps=0.1
    )
    assert zoo.FinetuneConfig.read(str(path)).epochs == 2


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    for content, message in (
        (None, "The settings '{path}' cannot be read: No such file or directory"),
        ("epochs =", "The settings '{path}' are not valid TOML (Invalid value (at end of document))"),
        (
            "epoch = 3",
            "These settings cannot train: epoch is 3: Extra inputs are not permitted (in '{path}')",
        ),
    ):
        path = tmp_path / "settings.toml"
        if content is not None:
            path.write_text(content, encoding="utf-8")
        with pytest.raises(InvalidInput) as raised:
            zoo.FinetuneConfig.read(path)
        assert str(raised.value) == message.format(path=path)


def test_evaluations_on_the_way_need_examples(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as raised:
        zoo.finetune(str(tmp_path), [{"text": "a"}], config=zoo.FinetuneConfig(eval_steps=3))
    assert str(raised.value) == (
        "eval_steps is 3, and there are no examples to evaluate on; give some as eval, or hold some out with held_out_share"
    )
