"""question-answering: a span of the context, also of one longer than the model."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

import zoo
from tests.checkpoints import write_checkpoint, write_lookup, write_tokenizer
from zoo import Answer
from zoo.errors import InvalidInput

QUESTION = "where is anna ?"  # 4 tokens and 3 special ones: of 19 positions, 12 are left for the context


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> zoo.Model:
    """It answers with what begins at Berlin and ends at home."""
    folder = tmp_path_factory.mktemp("reader")
    write_lookup(folder, "BertForQuestionAnswering", {"berlin": [9.0, 0.0], "home": [0.0, 9.0]})
    return zoo.load(str(folder))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[zoo.Model, Any]:
    """A span classifier with random weights, and transformers' own."""
    folder = tmp_path_factory.mktemp("spans")
    oracle = write_checkpoint(folder, "BertForQuestionAnswering")
    write_tokenizer(folder)
    return zoo.load(str(folder)), oracle


def test_the_answer_is_the_span_with_the_largest_product_of_probabilities(made: tuple[zoo.Model, Any]) -> None:
    model, oracle = made
    assert model.tokenizer is not None
    context = "Karin ran  home, and the cat sat."
    encoding = model.tokenizer.encode([(QUESTION, context)])[0]
    with torch.no_grad():
        output = oracle(torch.tensor([encoding.ids]), token_type_ids=torch.tensor([encoding.type_ids]))
    start, end = output.start_logits[0].softmax(-1), output.end_logits[0].softmax(-1)
    spans = {
        (first, last): float(start[first] * end[last])
        for first in range(6, len(encoding.ids) - 1)
        for last in range(first, len(encoding.ids) - 1)
    }
    assert encoding.tokens[5:7] == ["[SEP]", "karin"]
    first, last = max(spans, key=lambda span: spans[span])
    begin, finish = encoding.offsets[first][0], encoding.offsets[last][1]
    score = pytest.approx(spans[first, last], abs=1e-5)
    assert model.predict([(QUESTION, context)]) == [Answer(context[begin:finish], begin, finish, score)]


@pytest.mark.parametrize("words_before", [0, 5, 10, 11, 12, 23, 40, 61])
def test_an_answer_is_found_in_whichever_window_it_stands(reader: zoo.Model, words_before: int) -> None:
    context = "the cat " * (words_before // 2) + "a " * (words_before % 2) + "in  Berlin, the  HOME ." + " dog" * 9
    begin = context.index("Berlin")
    (answer,) = reader.predict([{"question": QUESTION, "context": context}])
    assert answer == Answer("Berlin, the  HOME", begin, begin + 17, pytest.approx(1, abs=1e-3))


@settings(max_examples=25, deadline=None)
@example(["berlin"] * 40)
@given(st.lists(st.sampled_from(["Berlin", "home ", "the", " cat", ",", "unknowns", "ü—", "\n"]), max_size=40))
def test_an_answer_is_exactly_what_the_context_has_at_its_place(
    made: tuple[zoo.Model, Any], reader: zoo.Model, words: list[str]
) -> None:
    context = " ".join(words)
    for model in (reader, made[0]):
        (answer,) = model.predict([(QUESTION, context)])
        assert answer.text == context[answer.start : answer.end]
        assert 0 <= answer.start <= answer.end <= len(context)
        assert 0 <= answer.score <= 1
        assert bool(answer.text.strip()) == bool(context.strip())


def test_an_answer_never_ends_before_it_begins(reader: zoo.Model) -> None:
    (answer,) = reader.predict([(QUESTION, "home cat berlin cat")])
    assert answer.text in ("berlin", "berlin cat", "home")
    assert answer.score < 0.5


def test_an_answer_has_thirty_tokens_at_most(tmp_path: Path) -> None:
    scores = {"berlin": [9.0, 0.0], "home": [0.0, 9.0]}
    write_lookup(tmp_path, "BertForQuestionAnswering", scores, max_position_embeddings=67)
    model = zoo.load(str(tmp_path))
    near, far = "berlin " + "the " * 28 + "home", "berlin " + "the " * 29 + "home"
    assert model.predict([(QUESTION, near)])[0].text == near
    assert len(model.predict([(QUESTION, far)])[0].text.split()) <= 30


@pytest.mark.parametrize("batch_size", [1, 2, 32])
def test_results_come_in_the_order_of_the_questions(reader: zoo.Model, batch_size: int) -> None:
    contexts = ["berlin home", "the cat " * 20 + "berlin is home", "", "the berlin cat home", "berlin a home"]
    expected = ["berlin home", "berlin is home", "", "berlin cat home", "berlin a home"]
    found = reader.predict([(QUESTION, context) for context in contexts], batch_size=batch_size)
    assert [answer.text for answer in found] == expected
    assert found[2] == Answer("", 0, 0, 0.0)


def test_questions_of_different_length_share_a_call(reader: zoo.Model) -> None:
    questions = ["?", "where " * 13, "who is in paris ?"]
    context = "the cat " * 9 + "in berlin home"
    assert [answer.text for answer in reader.predict([(question, context) for question in questions])] == [
        "berlin home"
    ] * 3


def test_nothing_gives_nothing(reader: zoo.Model) -> None:
    assert reader.predict([]) == []


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ("where", "One question was given where a list of them is expected; write [question]"),
        (
            {"question": "where", "context": "home"},
            "One question was given where a list of them is expected; write [question]",
        ),
        (["where"], 'Input 0 is \'where\'; it would be {"question": ..., "context": ...}'),
        (
            [("a", "b"), {"question": "where"}],
            "Input 1 is {'question': 'where'}; it would be {\"question\": ..., \"context\": ...}",
        ),
        ([("where", 5)], 'Input 0 is (\'where\', 5); it would be {"question": ..., "context": ...}'),
        (
            [("a", "b"), ("where " * 15, "home")],
            "Question 1 leaves no room for a context within the model's 19 tokens; shorten it",
        ),
    ],
)
def test_inputs_that_are_no_questions_with_contexts_are_refused(reader: zoo.Model, inputs: Any, message: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        reader.predict(inputs)
    assert str(refused.value) == message
