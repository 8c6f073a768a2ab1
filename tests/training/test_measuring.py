"""zoo eval: metrics with intervals, against values by hand."""

from pathlib import Path
from typing import Any

import pytest
import torch

import zoo
from tests.checkpoints import LABELS, write_checkpoint, write_lookup, write_tokenizer
from tests.training.samples import make_features, make_model
from zoo.errors import InvalidInput
from zoo.tasks import get_task
from zoo.tasks.question_answering import Answer
from zoo.training.evaluation import evaluate, examine
from zoo.training.measuring import Interval, data_name, measure


@pytest.fixture
def model(tmp_path: Path) -> zoo.Model:
    """Tells a text by its first word: `cat` is O, all others are the last label."""
    scores = {"cat": [9.0, 0, 0, 0, 0], "dog": [0.0, 0, 0, 0, 9]}
    labels = {"id2label": dict(enumerate(LABELS)), "label2id": {name: index for index, name in enumerate(LABELS)}}
    write_lookup(tmp_path, "BertForTokenClassification", scores, **labels)
    return zoo.load(str(tmp_path))


def test_a_metric_comes_with_the_interval_of_its_bootstrap_draws(model: zoo.Model) -> None:
    examples: list[dict[str, Any]] = [{"tokens": ["cat"], "tags": ["O"]}] * 6 + [
        {"tokens": ["cat"], "tags": ["B-LOC"]}
    ] * 4
    found = measure(model, examples, resamples=400)
    assert (found.task, found.examples) == ("token-classification", 10)
    accuracy = found.metrics["accuracy"]
    assert accuracy.value == pytest.approx(0.6)
    # Of 10 draws at 0.6: 2.5 % have 3 or fewer right, 97.5 % have 9 or fewer.
    assert accuracy.low == pytest.approx(0.3, abs=0.11)
    assert accuracy.high == pytest.approx(0.9, abs=0.11)
    assert measure(model, examples, resamples=400) == found
    other = measure(model, examples, zoo.FinetuneConfig(seed=1), resamples=7)
    assert other.metrics["accuracy"].value == accuracy.value
    assert other.metrics["accuracy"] != accuracy


def test_what_is_always_right_has_no_width(model: zoo.Model) -> None:
    examples = [{"tokens": ["cat", "dog"], "tags": ["O", "I-LOC"]}] * 5
    found = measure(model, examples, resamples=20)
    assert found.metrics == dict.fromkeys(("precision", "recall", "f1", "accuracy"), Interval(1.0, 1.0, 1.0))


def test_examples_with_several_windows_are_drawn_whole() -> None:
    task = get_task("question-answering")
    records = [
        (0, Answer("a film", 0, 6, 0.2), ["a cat"]),
        (0, Answer("a cat", 0, 5, 0.7), ["a cat"]),
        (1, Answer("dog", 0, 3, 0.1), ["home"]),
    ]
    assert task.collapse(records) == [("a cat", ["a cat"]), ("dog", ["home"])]
    assert task.measure(task.collapse(records)) == {"exact": 0.5, "f1": 0.5}


def test_an_evaluation_is_what_is_examined_and_measured() -> None:
    model, features = make_model(), make_features(7)
    task, config = get_task(model.task), zoo.FinetuneConfig(batch_size=3)
    loss, records = examine(model, task, features, config)
    assert evaluate(model, task, features, config) == {"eval_loss": loss, **task.measure(records)}
    assert [label for _, label in records] == [feature.label for feature in features]


def test_what_cannot_be_measured_is_refused(tmp_path: Path, model: zoo.Model) -> None:
    for examples, resamples, message in (
        ([{"tokens": ["cat"], "tags": ["O"]}], 0, "resamples is 0; it would be at least 1"),
        ([{"tokens": [], "tags": []}], 9, "No example holds anything to measure: all are empty"),
        (
            [{"tokens": ["cat"], "tags": ["X"]}],
            9,
            f"Example 0 has the tag 'X'; the model's labels are: {', '.join(LABELS)}",
        ),
    ):
        with pytest.raises(InvalidInput) as raised:
            measure(model, examples, resamples=resamples)
        assert str(raised.value) == message


def test_data_is_named_without_the_folders_of_this_machine(tmp_path: Path) -> None:
    (tmp_path / "test.csv").write_text("")
    assert data_name(tmp_path / "test.csv") == data_name(str(tmp_path / "test.csv")) == "test.csv"
    assert data_name("me/films:test") == "me/films:test"


def test_vectors_are_measured_with_the_pooling_of_the_checkpoint(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    write_tokenizer(tmp_path)
    model = zoo.load(str(tmp_path), "feature-extraction")
    texts = ["the cat sat", "a dog ran home", "good"]
    found = measure(model, [{"text": text, "positive": text} for text in texts], resamples=5)
    assert found.metrics["recall@1"] == Interval(1.0, 1.0, 1.0)
    assert not torch.is_grad_enabled() or not model.training
