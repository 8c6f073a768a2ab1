"""Metrics: against values worked out by hand, and what is said where their libraries are missing."""

import sys

import pytest

from zoo.errors import ExtraMissing
from zoo.tasks import metrics


def test_classes_are_weighed_alike_in_f1() -> None:
    """Class 0: 2 of 3 found are right, all 2 of it found: F1 4/5. Class 1: F1 2/3. Class 3: F1 0. Class 2 never comes."""
    found = metrics.classification([0, 0, 0, 1, 1], [0, 0, 3, 1, 3])
    assert found == pytest.approx({"accuracy": 3 / 5, "f1": (4 / 5 + 2 / 3 + 0) / 3})
    assert metrics.classification([0], [0]) == {"accuracy": 1.0, "f1": 1.0}


def test_sets_of_labels_count_whole_and_label_by_label() -> None:
    found = metrics.several_labels([(1, 0, 1), (0, 0, 1)], [(1, 0, 1), (1, 0, 1)])
    assert found == pytest.approx({"accuracy": 1 / 2, "f1": 2 * 3 / (2 * 3 + 1)})
    assert metrics.several_labels([(1,), (0,)], [(1,), (1,)])["accuracy"] == 0.5


def test_numbers_are_compared_by_distance_and_by_order() -> None:
    found = metrics.regression([1.0, 2.0, 4.0], [1.0, 3.0, 4.5])
    assert found == pytest.approx({"mse": (0 + 1 + 0.25) / 3, "pearson": 0.9631, "spearman": 1.0}, abs=1e-3)
    assert metrics.regression([1.0, 1.0], [0.0, 2.0]) == {"mse": 1.0}  # no correlation with what never changes
    assert metrics.regression([3.0], [1.0]) == {"mse": 4.0}


def test_entities_count_whole() -> None:
    """Of two entities one is found whole, the other cut; of two found one is right."""
    right = [["B-PER", "I-PER", "O"], ["B-LOC", "I-LOC"]]
    found = metrics.entities([["B-PER", "I-PER", "O"], ["B-LOC", "O"]], right)
    assert found == pytest.approx({"precision": 1 / 2, "recall": 1 / 2, "f1": 1 / 2, "accuracy": 4 / 5})


@pytest.mark.filterwarnings("error")
def test_tags_without_prefix_are_joined_as_predictions_join_them() -> None:
    found = metrics.entities([["PER", "PER", "O", "LOC"]], [["PER", "PER", "O", "PER"]])
    assert found == pytest.approx({"precision": 1 / 2, "recall": 1 / 2, "f1": 1 / 2, "accuracy": 3 / 4})
    assert metrics.entities([["O"]], [["O"]]) == {"precision": 0, "recall": 0, "f1": 0, "accuracy": 1}


def test_answers_may_be_any_of_the_right_ones_and_share_words() -> None:
    found = metrics.answers_in_text(["The film.", "very good film"], [["a film", "dog"], ["good film"]])
    assert found == pytest.approx({"exact": 1 / 2, "f1": (1 + 2 * (2 / 3) / (1 + 2 / 3)) / 2})


def test_translations_and_summaries_by_the_fields_own_scores() -> None:
    text = ["the cat sat on the mat today"]
    assert metrics.translation(text, text) == pytest.approx({"bleu": 100, "chrf": 100})
    assert metrics.translation(["a b c d"], ["x y z w"])["bleu"] == pytest.approx(0, abs=1e-9)
    found = metrics.summarization(["the cat sat"], ["the cat ran home"])
    # 2 of 3 words, of 4; 1 of 2 pairs, of 3; the longest common sequence has 2.
    assert found == pytest.approx({"rouge1": 4 / 7, "rouge2": 2 / 5, "rougeL": 4 / 7})


def test_without_their_libraries_it_is_said_before_any_training(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics.require_metrics()
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr(sys, "meta_path", [])
    for name in [name for name in sys.modules if name.split(".")[0] in metrics.LIBRARIES]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ExtraMissing) as raised:
        metrics.require_metrics()
    assert str(raised.value) == (
        "For metrics over held-out examples Zoo needs more packages (no module named torchmetrics, seqeval, sacrebleu, "
        "rouge_score). Try: pip install 'zoo[train]'"
    )
