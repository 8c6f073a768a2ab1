"""What a trained model gets wrong."""

from pathlib import Path

import pytest
import torch
import transformers
from sacrebleu import sentence_chrf

import zoo
from tests.checkpoints import write_checkpoint, write_lookup, write_tokenizer
from tests.generation.samples import T5, write
from zoo.training import findings
from zoo.training.findings import Findings, Miss, examine

NAMES = {0: "no", 1: "maybe", 2: "yes"}


def test_confusion_and_misses_of_a_classifier(tmp_path: Path) -> None:
    write_checkpoint(
        tmp_path / "c", "BertForSequenceClassification", id2label=NAMES, label2id={"no": 0, "maybe": 1, "yes": 2}
    )
    write_tokenizer(tmp_path / "c")
    model = zoo.load(str(tmp_path / "c"), device="cpu")
    texts = ["good", "bad film", "cat", "dog ran", "the film was very good", "berlin", "not good", "anna"]
    labels = ["no", "maybe", "yes", "no", "maybe", "yes", "0", 2]
    names = ["no", "maybe", "yes", "no", "maybe", "yes", "no", "yes"]
    answers = model.predict(texts)
    found = examine(model, [{"text": text, "label": label} for text, label in zip(texts, labels, strict=True)])
    assert (found.examined, found.labels) == (8, ("no", "maybe", "yes"))
    for row, expected in enumerate(found.labels):
        for column, answered in enumerate(found.labels):
            pairs = zip(names, answers, strict=True)
            count = sum(name == expected and answer.label == answered for name, answer in pairs)
            assert found.confusion[row][column] == count
    misses = [
        Miss(text, name, answer.label, answer.score)
        for text, name, answer in zip(texts, names, answers, strict=True)
        if answer.label != name
    ]
    assert 2 <= len(misses) < 8
    assert list(found.misses) == sorted(misses, key=lambda miss: -miss.score)


def test_confusions_are_what_was_taken_for_something_else_the_most_frequent_first() -> None:
    found = Findings(30, ("a", "b", "c"), ((9, 2, 0), (5, 9, 1), (0, 0, 4)))
    assert found.confusions() == [("b", "a", 5), ("a", "b", 2), ("b", "c", 1)]


def test_answers_to_questions_are_wrong_where_none_of_the_right_ones_is_given(tmp_path: Path) -> None:
    write_lookup(tmp_path / "q", "BertForQuestionAnswering", {"berlin": (2, 2)})
    write_tokenizer(tmp_path / "q")
    model = zoo.load(str(tmp_path / "q"), "question-answering", device="cpu")
    context = "anna lives in berlin"
    examples = [
        {"question": "where is anna", "context": context, "answers": {"text": ["in berlin", "berlin"]}},
        {"question": "who lives", "context": context, "answers": {"text": ["anna"]}},
    ]
    found = examine(model, examples)
    score = model.predict(examples)[1].score
    assert found == Findings(2, misses=(Miss("who lives", "anna", "berlin", score),))


def test_words_with_a_wrong_tag_are_counted_and_shown_among_those_beside_them(tmp_path: Path) -> None:
    scores = {"anna": (0, 3, 0), "karin": (2, 0, 0), "berlin": (0, 1, 0), "film": (4, 0, 0)}
    write_lookup(
        tmp_path / "t", "BertForTokenClassification", scores,
        id2label={0: "O", 1: "B-PER", 2: "B-LOC"}, label2id={"O": 0, "B-PER": 1, "B-LOC": 2},
    )  # fmt: skip
    write_tokenizer(tmp_path / "t")
    model = zoo.load(str(tmp_path / "t"), device="cpu")
    words = ["film"] * 9 + ["berlin"] + ["film"] * 3
    examples = [
        {"tokens": ["anna", "film"], "tags": ["B-PER", "O"]},
        {"tokens": [], "tags": []},
        {"tokens": ["karin", "film"], "tags": ["B-PER", "O"]},
        {"tokens": words, "tags": ["O"] * 9 + ["B-LOC"] + ["O"] * 3},
    ]
    found = examine(model, examples)
    assert (found.examined, found.labels) == (4, ("O", "B-PER", "B-LOC"))
    assert found.confusion == ((14, 0, 0), (1, 1, 0), (0, 1, 0))
    assert [(miss.text, miss.expected, miss.answered) for miss in found.misses] == [
        ("«karin» film", "B-PER", "O"),
        ("film film film film film film film film «berlin» film film film", "B-LOC", "B-PER"),
    ]
    assert model.tokenizer is not None
    ids = torch.tensor([model.tokenizer.encode(["karin berlin"])[0].ids])
    sure = model(input_ids=ids).logits.softmax(-1).amax(-1)[0]  # here a token's scores depend on it alone
    assert [miss.score for miss in found.misses] == pytest.approx(sure[1:3].tolist())


def test_written_texts_are_shown_where_they_are_least_like_the_right_ones(tmp_path: Path) -> None:
    write(tmp_path / "t5", "T5ForConditionalGeneration", transformers.T5Config(**T5, decoder_start_token_id=0))
    model = zoo.load(str(tmp_path / "t5"), "translation", device="cpu")
    sources = ["the cat sat", "anna lives in berlin", "the film was good"]
    answers = [answer.text for answer in model.generate(sources, max_new_tokens=12)]
    targets = [answers[0], "karin", answers[2] + " karin"]
    examples = [{"source": source, "target": target} for source, target in zip(sources, targets, strict=True)]
    assert model.tokenizer is not None
    longest = max(len(encoding.ids) for encoding in model.tokenizer.encode(targets, target=True))
    answers = [answer.text for answer in model.generate(sources, max_new_tokens=2 * longest)]
    likeness = [sentence_chrf(answer, [target]).score / 100 for answer, target in zip(answers, targets, strict=True)]
    wrong = sorted((like, index) for index, like in enumerate(likeness) if answers[index] != targets[index])
    assert len(wrong) >= 2
    found = examine(model, examples)
    assert (found.examined, found.misses_are) == (3, "Texts least like the right ones, by chrF")
    assert list(found.misses) == [Miss(sources[i], targets[i], answers[i], like) for like, i in wrong]


def test_of_texts_to_be_written_the_first_hundred_are_examined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "t5", "T5ForConditionalGeneration", transformers.T5Config(**T5, decoder_start_token_id=0))
    model = zoo.load(str(tmp_path / "t5"), "summarization", device="cpu")
    monkeypatch.setattr(findings, "MOST_WRITTEN", 2)
    assert examine(model, [{"source": "the cat", "target": "a dog"}] * 3).examined == 2
    assert examine(model, []) == Findings()


def test_tasks_without_right_and_wrong_answers_have_no_findings(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "m", "BertForMaskedLM")
    write_tokenizer(tmp_path / "m")
    assert examine(zoo.load(str(tmp_path / "m"), device="cpu"), [{"text": "good"}]) == Findings()
