"""finetune: small models learn small tasks, reproducibly, and bad data is refused before the first step."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

import zoo
from tests.checkpoints import (
    LABELS,
    assert_same_bytes,
    label_keys,
    read_config,
    read_tensors,
    write_checkpoint,
    write_lookup,
    write_tokenizer,
)
from tests.training.samples import make_dropless
from zoo.errors import InvalidInput
from zoo.tasks.base import HeadSettings

GOOD = ["a good film", "the film was very good", "good , good !", "very good and good", "karin is good", "good dog"]
BAD = ["a bad film", "the film was very bad", "bad , bad !", "very bad and bad", "karin is bad", "bad dog"]
REVIEWS = [{"text": text, "label": "good"} for text in GOOD] + [{"text": text, "label": "bad"} for text in BAD]
UNSEEN = [{"text": "anna is very good", "label": "good"}, {"text": "the cat was bad", "label": "bad"}]
FAST = {"learning_rate": 5e-3, "batch_size": 4, "epochs": 8}


@pytest.fixture
def backbone(tmp_path: Path) -> str:
    """A checkpoint without a head, with tokenizer."""
    folder = tmp_path / "backbone"
    write_checkpoint(folder)
    write_tokenizer(folder)
    return str(folder)


def learn(ref: Any, examples: Any, task: str | None = "text-classification", **config: Any) -> zoo.FinetuneResult:
    return zoo.finetune(ref, examples, task=task, config=zoo.FinetuneConfig.model_validate(FAST | config))


def first_and_last(ref: Any, examples: Any, task: str, **config: Any) -> tuple[float, float]:
    """Train, and give the mean loss of the first and of the last quarter of the steps."""
    losses: list[float] = []
    zoo.finetune(
        ref,
        examples,
        task=task,
        config=zoo.FinetuneConfig.model_validate(FAST | config),
        watch=lambda step, steps, loss: losses.append(loss),
    )
    quarter = len(losses) // 4
    return sum(losses[:quarter]) / quarter, sum(losses[-quarter:]) / quarter


# --- learning ---------------------------------------------------------------------------------------------------------


def test_a_small_model_learns_a_separable_task_entirely(backbone: str) -> None:
    result = zoo.finetune(
        backbone,
        REVIEWS,
        eval=UNSEEN,
        task="text-classification",
        config=zoo.FinetuneConfig(epochs=40, batch_size=4, learning_rate=5e-3, warmup_steps=4),
    )
    assert result.model.labels == ("bad", "good")
    assert result.metrics["accuracy"] == 1.0
    assert result.metrics["train_loss"] < 0.1
    found = result.model.predict([example["text"] for example in REVIEWS])
    assert [label.label for label in found] == [example["label"] for example in REVIEWS]
    assert result.emissions is None
    assert result.path is None


def test_several_labels_are_learnt_together(backbone: str) -> None:
    examples = [
        {"text": f"the {'good' * good} {'film' * film} was in paris", "label": ["good"] * good + ["film"] * film}
        for good in (0, 1)
        for film in (0, 1)
    ] * 3
    result = learn(backbone, examples, epochs=80, batch_size=12)
    assert result.model.settings == HeadSettings(("film", "good"), "multi_label_classification")
    for example, labels in zip(examples, result.model.predict([e["text"] for e in examples]), strict=True):
        assert {label.label for label in labels if label.score > 0.5} == set(example["label"])


def test_a_number_is_learnt(backbone: str) -> None:
    examples = [{"text": text, "label": 1.5} for text in GOOD] + [{"text": text, "label": -2} for text in BAD]
    result = zoo.finetune(
        backbone,
        examples,
        eval=examples,
        task="text-classification",
        config=zoo.FinetuneConfig(epochs=60, batch_size=4, learning_rate=5e-3),
    )
    assert result.model.settings == HeadSettings(("score",), "regression")
    found = result.model.predict([example["text"] for example in examples])
    assert [label.score for label in found] == pytest.approx([example["label"] for example in examples], abs=0.6)
    errors = [(label.score - example["label"]) ** 2 for label, example in zip(found, examples, strict=True)]
    assert result.metrics["mse"] == pytest.approx(sum(errors) / len(errors), abs=1e-5)


def test_pairs_of_texts_are_learnt_from(backbone: str) -> None:
    examples = [
        {"text": one, "text_pair": other, "label": "animal" if other != "film" else "thing"}
        for one in ("cat", "dog", "film")
        for other in ("cat", "dog", "film")
    ]
    result = learn(backbone, examples, epochs=40)
    found = result.model.predict([(example["text"], example["text_pair"]) for example in examples])
    assert [label.label for label in found] == [example["label"] for example in examples]


def test_tags_of_words_are_learnt(backbone: str) -> None:
    examples = [
        {"tokens": ["anna", "lives", "in", "berlin"], "tags": ["PER", "O", "O", "LOC"]},
        {"tokens": ["the", "unknowns", "went", "to", "paris"], "tags": ["O", "PER", "O", "O", "LOC"]},
        {"tokens": [], "tags": []},  # nothing to learn from, and no harm
        {"tokens": ["karin", "ran"], "tags": ["PER", "O"]},
    ]
    result = zoo.finetune(
        backbone,
        examples,
        eval=examples,
        task="token-classification",
        config=zoo.FinetuneConfig(epochs=40, batch_size=1, learning_rate=3e-3),
    )
    assert result.model.labels == ("O", "LOC", "PER")
    assert result.metrics["accuracy"] == 1.0
    (found,) = result.model.predict(["the unknowns went to paris"])
    assert [(entity.label, entity.text) for entity in found] == [("PER", "unknowns"), ("LOC", "paris")]


def test_spans_are_learnt_in_every_window(backbone: str) -> None:
    examples = [
        {
            "question": "where is anna ?",
            "context": f"{filler * 8}anna is in {place} .",
            "answers": {"text": [place], "answer_start": [len(filler) * 8 + 11]},
        }
        for place in ("berlin", "paris")
        for filler in ("", "the cat ", "a dog ")
    ]
    result = zoo.finetune(
        backbone,
        examples,
        eval=examples,
        task="question-answering",
        config=zoo.FinetuneConfig(epochs=30, batch_size=4, learning_rate=3e-3),
    )
    assert result.metrics["exact"] > 0.9
    found = result.model.predict([(example["question"], example["context"]) for example in examples[:2]])
    assert [answer.text for answer in found] == ["berlin", "berlin"]


@pytest.mark.parametrize("batch_size", [1, 4])
def test_masked_tokens_are_learnt_from_short_and_empty_texts_too(tmp_path: Path, batch_size: int) -> None:
    write_checkpoint(tmp_path, "BertForMaskedLM")
    write_tokenizer(tmp_path)
    examples = [{"text": "the cat sat in paris"}, {"text": "cat"}, {"text": ""}, {"text": "anna ran home"}] * 3
    before, after = first_and_last(
        str(tmp_path), examples, "fill-mask", batch_size=batch_size, epochs=40, max_steps=100
    )
    assert after < before / 2


# --- which model ------------------------------------------------------------------------------------------------------


def test_a_reference_gets_a_head_for_the_labels_in_the_data(backbone: str) -> None:
    config = zoo.FinetuneConfig(max_steps=1)
    result = zoo.finetune(backbone, REVIEWS, eval=UNSEEN, task="text-classification", config=config)
    assert result.model.labels == ("bad", "good")
    assert result.model.fresh_parameters == ("head.classifier.weight", "head.classifier.bias")


def test_a_head_that_knows_the_labels_goes_on_learning(tmp_path: Path) -> None:
    oracle = write_checkpoint(tmp_path, "BertForSequenceClassification", **label_keys(("good", "bad", "other")))
    write_tokenizer(tmp_path)
    result = learn(str(tmp_path), REVIEWS, task=None, max_steps=1, learning_rate=1e-6)
    assert result.model.labels == ("good", "bad", "other")
    assert result.model.fresh_parameters == ()
    found = result.model.head.get_parameter("classifier.weight")
    torch.testing.assert_close(found, oracle.classifier.weight, atol=1e-5, rtol=0)


def test_a_regression_head_goes_on_learning_whatever_its_name(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, "BertForSequenceClassification", num_labels=1)
    write_tokenizer(tmp_path)
    result = learn(str(tmp_path), [{"text": "a film", "label": 0.5}], max_steps=1)
    assert result.model.fresh_parameters == ()
    assert result.model.labels == ("LABEL_0",)


def test_labels_in_another_sense_are_learnt_in_that_sense(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, "BertForSequenceClassification", **label_keys(("bad", "good")))
    write_tokenizer(tmp_path)
    result = learn(str(tmp_path), [{"text": "a film", "label": ["bad", "good"]}], max_steps=1)
    assert result.model.settings == HeadSettings(("bad", "good"), "multi_label_classification")


def test_a_model_is_trained_in_place(tmp_path: Path) -> None:
    write_lookup(tmp_path, "BertForTokenClassification", {"cat": [1.0, 0, 0, 0, 0]}, **label_keys())
    model = zoo.load(str(tmp_path))
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    result = learn(model, [{"tokens": ["cat"], "tags": ["B-LOC"]}], task=None)
    assert result.model is model
    assert not model.head.get_parameter("classifier.bias").equal(before["head.classifier.bias"])
    assert model.labels == LABELS
    assert model.record.settings["epochs"] == 8
    assert (model.record.examples, model.record.evaluated, model.record.metrics) == (1, 0, result.metrics)


def test_the_same_seed_gives_identical_weights_and_another_others(backbone: str) -> None:
    weights = []
    for run, seed in enumerate((1, 1, 2)):
        torch.manual_seed(run)  # what the caller's own random numbers are has no part in it
        model = learn(backbone, REVIEWS, seed=seed, epochs=2).model
        weights.append({name: parameter.detach() for name, parameter in model.named_parameters()})
    first, second, other = weights
    assert_same_bytes(second, first)
    assert not first["head.classifier.weight"].equal(other["head.classifier.weight"])


def test_the_result_is_saved_and_loads_as_what_it_is(backbone: str, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    result = learn(backbone, REVIEWS, epochs=1, output_dir=folder)
    assert result.path == folder
    model = zoo.load(str(folder))
    assert (model.task, model.labels, model.fresh_parameters) == ("text-classification", ("bad", "good"), ())
    assert_same_bytes(dict(model.named_parameters()), dict(result.model.named_parameters()))
    assert model.predict(GOOD) == result.model.predict(GOOD)
    assert read_config(folder)["problem_type"] == "single_label_classification"
    assert "classifier.weight" in read_tensors(folder)


@pytest.mark.parametrize("suffix", ["jsonl", "json", "csv", "tsv"])
def test_a_file_teaches_what_the_list_teaches(backbone: str, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"reviews.{suffix}"
    separator = "\t" if suffix == "tsv" else ","
    path.write_text(
        {
            "jsonl": "\n".join(json.dumps(example) for example in REVIEWS),
            "json": json.dumps(REVIEWS),
        }.get(suffix)
        or "\n".join([f"text{separator}label", *(f'"{e["text"]}"{separator}{e["label"]}' for e in REVIEWS)]),
        encoding="utf-8",
    )
    from_file, from_list = (learn(backbone, source, max_steps=2).model for source in (path, REVIEWS))
    assert_same_bytes(dict(from_file.named_parameters()), dict(from_list.named_parameters()))


# --- what is refused --------------------------------------------------------------------------------------------------


def refused(ref: Any, examples: Any, task: str | None = "text-classification") -> str:
    steps: list[int] = []
    with pytest.raises(InvalidInput) as raised:
        zoo.finetune(ref, examples, task=task, watch=lambda step, total, loss: steps.append(step))
    assert steps == []
    return str(raised.value)


@pytest.mark.parametrize(
    ("task", "examples", "message"),
    [
        ("text-classification", [], "There are no examples to learn from"),
        (
            "text-classification",
            [{"text": "a", "label": "x"}, {"text": "b", "lable": "x"}],
            "Example 1 has no 'label', which 'text-classification' learns from; it has: text, lable",
        ),
        (
            "text-classification",
            [{"text": "a", "label": None}],
            "Example 0 has nothing (null) as its 'label'; leave it out, or fill it in",
        ),
        (
            "text-classification",
            [{"text": "a", "label": "good"}, {"text": "b", "label": "good"}],
            "All examples have the label 'good', so there is nothing to tell apart; give examples of at least two labels",
        ),
        (
            "text-classification",
            [{"text": "a", "label": "good"}, {"text": " ", "label": "bad"}],
            "Example 1 has an empty 'text'; leave it out",
        ),
        (
            "text-classification",
            [{"text": 7, "label": "x"}, {"text": "a", "label": "y"}],
            "Input 0 is 7; a text is expected",
        ),
        (
            "text-classification",
            [{"text": "a", "label": "x"}, {"text": "b", "label": 0.5}],
            "The labels are not of one sort; they would all be names, all lists of names, or all numbers",
        ),
        (
            "text-classification",
            [{"text": "a", "label": 1.0}, {"text": "b", "label": float("nan")}],
            "Example 1 has the label nan; regression learns from numbers",
        ),
        (
            "token-classification",
            [{"tokens": ["a"], "tags": ["O"]}, {"tokens": ["a", "film"], "tags": ["O"]}],
            "Example 1 has 2 tokens and 1 tags; they go in pairs",
        ),
        (
            "token-classification",
            [{"tokens": "the", "tags": ["O", "O", "O"]}],
            "Example 0 has the tokens 'the'; it would be a list, one for each word",
        ),
        (
            "token-classification",
            [{"tokens": ["a"], "tags": 5}],
            "Example 0 has the tags 5; it would be a list, one for each word",
        ),
        (
            "token-classification",
            [{"tokens": [1, 2], "tags": ["O", "O"]}],
            "Example 0 has the tokens [1, 2]; they would be texts",
        ),
        (
            "token-classification",
            [{"tokens": [""], "tags": ["O"]}],
            "No example holds anything to learn from: all are empty",
        ),
        (
            "token-classification",
            [{"tokens": [], "tags": []}],
            "No example holds anything to learn from: all are without words",
        ),
        (
            "token-classification",
            [{"tokens": ["a"], "tags": ["O"]}, {"tokens": ["a", "film"], "tags": ["O", None]}],
            "Example 1 has the tag None; tags would be names, such as O, or numbers",
        ),
        (
            "question-answering",
            [{"question": "where", "context": "home", "answers": {"text": [], "answer_start": []}}],
            "Example 0 has no answer; it would have one, taken from its context: leave it out",
        ),
        (
            "question-answering",
            [{"question": " ", "context": "home", "answers": {"text": ["home"], "answer_start": [0]}}],
            "Example 0 has an empty 'question'; leave it out",
        ),
        (
            "question-answering",
            [{"question": "where", "context": "", "answers": {"text": ["home"], "answer_start": [0]}}],
            "Example 0 has an empty 'context'; leave it out",
        ),
        (
            "question-answering",
            [{"question": "where", "context": "went home", "answers": {"text": ["home"], "answer_start": [4]}}],
            "Example 0 has the answer 'home' at 4, and its context has ' hom' there; "
            "answer_start would count the characters of the context before the answer",
        ),
        (
            "question-answering",
            [{"question": "where", "context": "went home", "answers": {"text": [""], "answer_start": [4]}}],
            "Example 0 has the answer '' at 4, and its context has '' there; "
            "answer_start would count the characters of the context before the answer",
        ),
        (
            "question-answering",
            [{"question": "where", "context": "home", "answers": "home"}],
            "Example 0 has the answers 'home'; they would have lists 'text' and 'answer_start'",
        ),
        (
            "question-answering",
            [{"question": "where", "context": "home"}],
            "Example 0 has no 'answers', which 'question-answering' learns from; it has: question, context",
        ),
        (
            "fill-mask",
            [{"title": "a"}],
            "Example 0 has no 'text', which 'fill-mask' learns from; it has: title",
        ),
        ("fill-mask", [{"text": ""}, {"text": " "}], "No text holds anything to learn from: all are empty"),
        (
            None,
            [{"text": "a"}],
            "Example 0 has no 'positive', which 'feature-extraction' learns from; it has: text",
        ),
    ],
)
def test_bad_data_is_refused_before_the_first_step(
    backbone: str, task: str | None, examples: list[dict[str, Any]], message: str
) -> None:
    assert refused(backbone, examples, task) == message


def test_a_surplus_field_of_a_table_is_refused(backbone: str, tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("text,label\na film,good\na film,good,and more\n", encoding="utf-8")
    assert refused(backbone, path) == f"Example 1 of the data file '{path}' has more fields than the header names"


def test_an_empty_text_is_refused(backbone: str) -> None:
    assert (
        refused(backbone, [*REVIEWS, {"text": " \n", "label": "good"}])
        == "Example 12 has an empty 'text'; leave it out"
    )


def test_texts_longer_than_the_model_are_cut_only_where_that_is_accepted(backbone: str) -> None:
    """The model takes 19 tokens, two of them special."""
    fits, long = {"text": "good " * 17, "label": "good"}, {"text": "bad " * 18, "label": "bad"}
    assert refused(backbone, [fits, long]) == (
        "Example 1 has more than the model's 19 tokens; shorten them, or accept that they are cut at the end with "
        "--truncate (truncate=True)"
    )
    assert "; shorten them" in refused(backbone, [long, fits, long, long])
    assert refused(backbone, [long, fits, long, long]).startswith(
        "Example 0 has more than the model's 19 tokens, and so have 2 others; "
    )
    told: list[str] = []
    config = zoo.FinetuneConfig(max_steps=1, truncate=True)
    zoo.finetune(backbone, [fits, long], task="text-classification", config=config, say=told.append)
    assert told == ["labels with one example only: good, bad", "1 of 2 examples are cut at 19 tokens"]
    with pytest.raises(InvalidInput, match=r"^Example 0 has more than max_length's 7 tokens, and so has 1 other; "):
        learn(backbone, [fits, long], max_length=7)


def test_a_label_that_only_held_out_examples_have_is_refused(backbone: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        zoo.finetune(backbone, REVIEWS, [*UNSEEN, {"text": "the dog", "label": "other"}], task="text-classification")
    assert str(raised.value) == (
        "Among the held-out examples: Example 2 has the label 'other'; the model's labels are: bad, good"
    )


def test_examples_are_held_out_by_seed_where_none_are_given(backbone: str) -> None:
    config = {"held_out_share": 0.25, "max_steps": 1}
    first, again, other = (learn(backbone, REVIEWS, **config, data_seed=seed) for seed in (1, 1, 2))
    assert (first.model.record.examples, first.model.record.evaluated) == (8, 4)
    assert list(first.metrics) == ["train_loss", "eval_loss", "accuracy", "f1"]
    assert first.metrics == again.metrics
    assert first.metrics["eval_loss"] != other.metrics["eval_loss"]


def test_columns_of_other_names_are_guessed_and_said_or_named(backbone: str) -> None:
    renamed = [{"review": e["text"], "stars": e["label"], "note": "x"} for e in REVIEWS]
    told: list[str] = []
    config = zoo.FinetuneConfig(**FAST | {"max_steps": 2})
    guessed = zoo.finetune(backbone, renamed, renamed, task="text-classification", config=config, say=told.append)
    assert told == ["columns guessed: text is 'review', label is 'stars'; name others with --column (columns={...})"]
    told.clear()
    named = zoo.FinetuneConfig(**FAST | {"max_steps": 2, "columns": {"text": "review", "label": "stars"}})
    result = zoo.finetune(backbone, renamed, task="text-classification", config=named, say=told.append)
    assert told == []
    plain = learn(backbone, REVIEWS, max_steps=2)
    for model in (guessed.model, result.model):
        assert_same_bytes(dict(model.named_parameters()), dict(plain.model.named_parameters()))


def test_numbers_of_a_table_are_learnt_as_numbers(backbone: str, tmp_path: Path) -> None:
    """A table has texts only; one fraction among them tells numbers from names."""
    (tmp_path / "train.csv").write_text("text,label\na good film,1.5\na bad film,-2\n", encoding="utf-8")
    (tmp_path / "names.csv").write_text("text,label\na good film,1\na bad film,0\n", encoding="utf-8")
    numbers = learn(backbone, tmp_path / "train.csv", max_steps=1)
    assert numbers.model.settings == HeadSettings(("score",), "regression")
    assert learn(numbers.model, tmp_path / "names.csv", max_steps=1).model is numbers.model
    assert learn(backbone, tmp_path / "names.csv", max_steps=1).model.labels == ("0", "1")


@pytest.mark.parametrize(
    ("class_name", "settings", "example", "message"),
    [
        (
            "BertForSequenceClassification",
            label_keys(),
            {"text": "a", "label": "good"},
            "Example 0 has the label 'good'; the model's labels are: O, B-PER, I-PER, B-LOC, I-LOC",
        ),
        (
            "BertForSequenceClassification",
            label_keys() | {"problem_type": "multi_label_classification"},
            {"text": "a", "label": ["O", "good"]},
            "Example 0 has the label 'good'; the model's labels are: O, B-PER, I-PER, B-LOC, I-LOC",
        ),
        (
            "BertForSequenceClassification",
            {"num_labels": 1},
            {"text": "a", "label": "good"},
            "Example 0 has the label 'good'; regression learns from numbers",
        ),
        (
            "BertForTokenClassification",
            label_keys(),
            {"tokens": ["a"], "tags": ["PER"]},
            "Example 0 has the tag 'PER'; the model's labels are: O, B-PER, I-PER, B-LOC, I-LOC",
        ),
    ],
)
def test_labels_that_a_given_model_does_not_know_are_refused(
    tmp_path: Path, class_name: str, settings: dict[str, Any], example: dict[str, Any], message: str
) -> None:
    write_checkpoint(tmp_path, class_name, **settings)
    write_tokenizer(tmp_path)
    assert refused(zoo.load(str(tmp_path)), [example], task=None) == message


def test_a_model_is_not_trained_for_another_task_than_its_own(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, "BertForMaskedLM")
    assert refused(zoo.load(str(tmp_path)), REVIEWS) == (
        "The model is made for 'fill-mask', and training asks for 'text-classification'. "
        'Load it for the task: zoo.load(..., "text-classification", labels=[...])'
    )


def test_labels_may_be_the_numbers_of_a_heads_own(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, "BertForSequenceClassification", **label_keys(("bad", "good")))
    write_tokenizer(tmp_path)
    numbered = [example | {"label": ["bad", "good"].index(example["label"])} for example in REVIEWS]
    by_number, by_name = learn(str(tmp_path), numbered), learn(str(tmp_path), REVIEWS)
    assert by_number.model.labels == ("bad", "good")
    assert by_number.model.fresh_parameters == ()
    pairs = zip(by_number.model.parameters(), by_name.model.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_raw_text_is_learnt_in_full_rows(tmp_path: Path) -> None:
    """A file of plain text is one text; its pieces fill rows of the model's length, and none is left out."""
    spec = zoo.make_spec("gpt2", vocab_size=53, n_positions=19, n_embd=24, n_layer=2, n_head=4)
    zoo.build(spec, "text-generation", seed=3).save(tmp_path / "gpt2")
    write_tokenizer(tmp_path / "gpt2")
    (tmp_path / "text.txt").write_text("the cat sat in paris .\nthe dog ran home .\n" * 20, encoding="utf-8")
    config = zoo.FinetuneConfig(epochs=60, batch_size=4, learning_rate=1e-2)
    result = zoo.finetune(str(tmp_path / "gpt2"), tmp_path / "text.txt", tmp_path / "text.txt", config=config)
    # 20 times 11 tokens in pieces of 17, each with its two special tokens
    assert len(result.losses) == 60 * 4
    assert result.metrics["perplexity"] < 1.5
    assert result.metrics["perplexity"] == pytest.approx(math.exp(result.metrics["eval_loss"]), rel=1e-4)


def test_texts_that_belong_together_are_learnt_to_be_alike(backbone: str) -> None:
    pairs = [("cat", "dog"), ("good", "bad"), ("home", "paris"), ("anna", "karin"), ("ran", "sat"), ("very", "not")]
    examples = [{"text": f"the {one}", "positive": f"a {other} !"} for one, other in pairs]
    model = make_dropless("feature-extraction", initializer_range=0.2)
    model.tokenizer = zoo.load(backbone).tokenizer
    config = zoo.FinetuneConfig(epochs=60, batch_size=6, learning_rate=1e-3, warmup_steps=0.1)
    result = zoo.finetune(model, examples, examples, config=config)
    assert result.losses[-1] < result.losses[0] / 10
    assert list(result.metrics) == ["train_loss", "eval_loss", "recall@1", "recall@10", "mrr"]
    assert result.metrics["recall@1"] == result.metrics["mrr"] == 1.0


def test_a_report_of_the_run_is_written_beside_the_result(backbone: str, tmp_path: Path) -> None:
    config = zoo.FinetuneConfig.model_validate(FAST | {"epochs": 1, "output_dir": tmp_path / "out"})
    zoo.finetune(backbone, REVIEWS, UNSEEN, task="text-classification", config=config)
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "<svg" in page
    assert "<script" not in page
    assert f"{len(REVIEWS)} to learn from, {len(UNSEEN)} held out" in page
    assert all(label in page for label in ("good", "bad"))
