"""token-classification: words with labels, joined to entities."""

from pathlib import Path
from typing import Any

import pytest
import torch

import zoo
from tests.checkpoints import LABELS, label_keys, write_checkpoint, write_lookup, write_tokenizer
from zoo import Entity
from zoo.errors import InvalidInput

PER_BEGINS, PER_GOES_ON, LOC_BEGINS, LOC_GOES_ON = (
    [9.0 if label == wanted else 0.0 for label in LABELS] for wanted in LABELS[1:]
)
OTHER = [9.0, 0.0, 0.0, 0.0, 0.0]
WORD_SCORES = {
    "anna": PER_BEGINS, "karin": PER_GOES_ON, "berlin": LOC_BEGINS, "paris": LOC_GOES_ON,
    "un": PER_BEGINS, "##known": LOC_BEGINS, "##s": LOC_GOES_ON,
    **dict.fromkeys(("lives", "in", "and", ",", ".", "the", "ran"), OTHER),
}  # fmt: skip


@pytest.fixture(scope="module")
def tagger(tmp_path_factory: pytest.TempPathFactory) -> zoo.Model:
    """Anna begins a person, Karin goes on with one, Berlin begins a place, Paris goes on with one."""
    folder = tmp_path_factory.mktemp("tagger")
    write_lookup(folder, "BertForTokenClassification", WORD_SCORES, **label_keys())
    return zoo.load(str(folder))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("the ran in .", []),
        ("", []),
        ("anna lives in berlin .", [("PER", "anna", 0, 4), ("LOC", "berlin", 14, 20)]),
        ("Anna  Karin lives in Berlin Paris", [("PER", "Anna  Karin", 0, 11), ("LOC", "Berlin Paris", 21, 33)]),
        ("anna anna", [("PER", "anna", 0, 4), ("PER", "anna", 5, 9)]),  # each B- begins anew
        ("karin karin", [("PER", "karin karin", 0, 11)]),  # an I- without its B- begins too
        ("karin anna", [("PER", "karin", 0, 5), ("PER", "anna", 6, 10)]),
        ("anna paris", [("PER", "anna", 0, 4), ("LOC", "paris", 5, 10)]),  # another kind begins anew
        ("anna , karin", [("PER", "anna", 0, 4), ("PER", "karin", 7, 12)]),  # O stands between
        ("unknowns lives", [("PER", "unknowns", 0, 8)]),  # the word's first piece decides
        ("anna,berlin.", [("PER", "anna", 0, 4), ("LOC", "berlin", 5, 11)]),
    ],
)
def test_words_of_one_entity_are_joined(
    tagger: zoo.Model, text: str, expected: list[tuple[str, str, int, int]]
) -> None:
    (found,) = tagger.predict([text])
    assert [(entity.label, entity.text, entity.start, entity.end) for entity in found] == expected
    assert all(text[entity.start : entity.end] == entity.text for entity in found)


def test_the_score_is_the_mean_over_the_words_first_pieces(tmp_path: Path) -> None:
    oracle = write_checkpoint(tmp_path, "BertForTokenClassification", **label_keys(["PER", "LOC"]))
    write_tokenizer(tmp_path)
    model = zoo.load(str(tmp_path))
    assert model.tokenizer is not None
    text = "unknowns lives in berlin"
    encoding = model.tokenizer.encode([text])[0]
    assert encoding.word_ids == [None, 0, 0, 0, 1, 2, 3, None]
    with torch.no_grad():
        scores, choices = oracle(torch.tensor([encoding.ids])).logits[0].softmax(-1)[[1, 4, 5, 6]].max(-1)
    words = [(0, 8), (9, 14), (15, 17), (18, 24)]
    expected: list[Entity] = []
    group: list[int] = []
    for word in range(4):
        group.append(word)
        if word == 3 or choices[word + 1] != choices[word]:
            start, end = words[group[0]][0], words[group[-1]][1]
            score = pytest.approx(float(scores[group].mean()), abs=1e-5)
            expected.append(Entity(["PER", "LOC"][int(choices[word])], text[start:end], start, end, score))
            group = []
    assert model.predict([text]) == [expected]


@pytest.mark.parametrize("batch_size", [1, 2, 7])
def test_results_come_in_the_order_of_the_texts_whatever_the_batches(tagger: zoo.Model, batch_size: int) -> None:
    texts = ["anna", "the ran in the ran in the ran in berlin", "", "berlin paris", "the anna", "in"]
    found = [[entity.text for entity in entities] for entities in tagger.predict(texts, batch_size=batch_size)]
    assert found == [["anna"], ["berlin"], [], ["berlin paris"], ["anna"], []]


def test_what_lies_beyond_the_longest_input_is_not_seen(tagger: zoo.Model) -> None:
    (found,) = tagger.predict(["the " * 16 + "anna berlin"])
    assert [entity.text for entity in found] == ["anna"]


def test_nothing_gives_nothing(tagger: zoo.Model) -> None:
    assert tagger.predict([]) == []


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ("anna", "One text was given where a list of texts is expected; write [text]"),
        ([["anna"]], "Input 0 is ['anna']; a text is expected"),
        (["anna", ("a", "b")], "Input 1 is ('a', 'b'); a text is expected"),
    ],
)
def test_inputs_that_are_no_texts_are_refused(tagger: zoo.Model, inputs: Any, message: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        tagger.predict(inputs)
    assert str(refused.value) == message
