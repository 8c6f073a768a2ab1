"""text-classification: one label, several, or a number."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import zoo
from tests.checkpoints import LABELS, label_keys, write_checkpoint, write_tokenizer
from zoo import Label
from zoo.errors import InvalidInput

TEXTS = [
    "the cat sat",
    "a very good film !",
    "",
    "anna ran home , and karin went from berlin to paris with the dog",
    "the",
]


def make(folder: Path, **changes: Any) -> tuple[zoo.Model, nn.Module]:
    oracle = write_checkpoint(folder, "BertForSequenceClassification", **changes)
    write_tokenizer(folder)
    return zoo.load(str(folder)), oracle


def logits(model: zoo.Model, oracle: nn.Module, text: Any) -> Tensor:
    assert model.tokenizer is not None
    encoding = model.tokenizer.encode([text])[0]
    with torch.no_grad():
        answer: Tensor = oracle(torch.tensor([encoding.ids]), token_type_ids=torch.tensor([encoding.type_ids])).logits
    return answer[0]


@pytest.mark.parametrize("batch_size", [1, 2, 32])
def test_each_text_gets_its_likeliest_label_in_the_order_of_the_texts(tmp_path: Path, batch_size: int) -> None:
    model, oracle = make(tmp_path, **label_keys())
    found = model.predict(TEXTS, batch_size=batch_size)
    assert len({label.score for label in found}) == len(TEXTS)
    for label, text in zip(found, TEXTS, strict=True):
        expected = logits(model, oracle, text).softmax(-1)
        assert label == Label(LABELS[int(expected.argmax())], pytest.approx(float(expected.max()), abs=1e-5))


def test_several_labels_come_likeliest_first_each_with_its_own_probability(tmp_path: Path) -> None:
    model, oracle = make(tmp_path, **label_keys(), problem_type="multi_label_classification")
    for labels, text in zip(model.predict(TEXTS), TEXTS, strict=True):
        expected = logits(model, oracle, text).sigmoid()
        assert [label.score for label in labels] == sorted((label.score for label in labels), reverse=True)
        found = {label.label: label.score for label in labels}
        assert found == {name: pytest.approx(float(expected[i]), abs=1e-5) for i, name in enumerate(LABELS)}


@pytest.mark.parametrize("settings", [{"num_labels": 1}, label_keys(["stars"]) | {"problem_type": "regression"}])
def test_regression_gives_the_number_itself(tmp_path: Path, settings: dict[str, Any]) -> None:
    model, oracle = make(tmp_path, **settings)
    name = "stars" if "id2label" in settings else "LABEL_0"
    expected = [Label(name, pytest.approx(float(logits(model, oracle, text)[0]), abs=1e-5)) for text in TEXTS]
    assert model.predict(TEXTS) == expected


def test_a_pair_of_texts_is_read_as_two_segments(tmp_path: Path) -> None:
    model, oracle = make(tmp_path, **label_keys())
    pair = ("the cat sat", "anna ran home")
    expected = logits(model, oracle, pair).softmax(-1)
    assert model.predict([pair]) == [
        Label(LABELS[int(expected.argmax())], pytest.approx(float(expected.max()), abs=1e-5))
    ]
    assert model.predict([pair]) != model.predict(["the cat sat anna ran home"])


def test_what_a_tokenizer_file_says_of_padding_and_truncation_is_left_aside(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    write_tokenizer(tmp_path)  # pads to 17, truncates to 6
    model = zoo.load(str(tmp_path))
    assert [len(hidden) for hidden in model.predict(["cat", "cat " * 10, "cat " * 40])] == [3, 12, 19]


def test_nothing_gives_nothing(tmp_path: Path) -> None:
    model, _ = make(tmp_path, **label_keys())
    assert model.predict([]) == []


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ("the cat", "One text was given where a list of texts is expected; write [text]"),
        (["the cat", 5], "Input 1 is 5; a text is expected"),
        ([None], "Input 0 is None; a text is expected"),
        ([("a", "b", "c")], "Input 0 is ('a', 'b', 'c'); a text is expected"),
        ([("a", 1)], "Input 0 is ('a', 1); a text is expected"),
        ([b"the"], "Input 0 is b'the'; a text is expected"),
    ],
)
def test_inputs_that_are_no_texts_are_refused(tmp_path: Path, inputs: Any, message: str) -> None:
    model, _ = make(tmp_path, **label_keys())
    with pytest.raises(InvalidInput) as refused:
        model.predict(inputs)
    assert str(refused.value) == message


@pytest.mark.parametrize("batch_size", [0, -1])
def test_a_batch_of_nothing_is_refused(tmp_path: Path, batch_size: int) -> None:
    model, _ = make(tmp_path, **label_keys())
    with pytest.raises(InvalidInput) as refused:
        model.predict(["the cat"], batch_size=batch_size)
    assert str(refused.value) == f"batch_size is {batch_size}; it would be at least 1"
