"""Training examples from memory and from files, and what is refused."""

import builtins
import json
from pathlib import Path
from typing import Any

import datasets
import pytest

from zoo.errors import ExtraMissing, InvalidInput
from zoo.tasks import get_task
from zoo.training.columns import choose_columns, rename
from zoo.training.data import hold_out, read_examples, split

EXAMPLES = [{"text": "the cat, sat", "label": "good"}, {"text": 'a "bad"\nfilm', "label": "bad"}]


def refused(source: Any) -> str:
    with pytest.raises(InvalidInput) as raised:
        read_examples(source)
    return str(raised.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("data.jsonl", "\n".join(json.dumps(example) for example in EXAMPLES) + "\n\n"),
        ("data.jsonl", "\r\n".join(json.dumps(example) for example in EXAMPLES)),
        ("data.json", json.dumps(EXAMPLES, indent=1)),
        ("data.csv", 'text,label\n"the cat, sat",good\n"a ""bad""\nfilm",bad\n'),
        ("data.csv", '\ufefftext,label\r\n"the cat, sat",good\r\n"a ""bad""\nfilm",bad\r\n'),
        ("data.tsv", 'text\tlabel\nthe cat, sat\tgood\n"a ""bad""\nfilm"\tbad'),
    ],
    ids=["lines", "lines of Windows", "list", "commas", "a spreadsheet's commas", "tabs"],
)
def test_every_form_of_file_gives_the_same_examples(tmp_path: Path, name: str, content: str) -> None:
    path = tmp_path / name
    path.write_bytes(content.encode())
    assert read_examples(path) == EXAMPLES
    assert read_examples(str(path)) == EXAMPLES


@pytest.mark.parametrize("separator", ["\u2028", "\u0085", "\x0c", "\u2029"])
def test_only_a_line_feed_ends_a_line(tmp_path: Path, separator: str) -> None:
    example = {"text": f"the{separator}cat", "label": "good"}
    (tmp_path / "data.jsonl").write_text(json.dumps(example, ensure_ascii=False), encoding="utf-8")
    (tmp_path / "data.csv").write_text(f"text,label\nthe{separator}cat,good\n", encoding="utf-8")
    assert read_examples(tmp_path / "data.jsonl") == [example]
    assert read_examples(tmp_path / "data.csv") == [example]


def test_whatever_gives_examples_one_by_one_is_read() -> None:
    assert read_examples(example for example in EXAMPLES) == EXAMPLES
    assert read_examples(tuple(EXAMPLES)) == EXAMPLES


def test_no_examples_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("\n", encoding="utf-8")
    (tmp_path / "empty.csv").write_text("text,label\n", encoding="utf-8")
    for source in ([], tmp_path / "empty.jsonl", tmp_path / "empty.csv"):
        assert refused(source) == "There are no examples to learn from"


def test_examples_that_are_no_mappings_are_refused() -> None:
    assert refused([{"text": "a"}, ("a", "b")]) == (
        "Example 1 is ('a', 'b'); it would be a mapping such as {'text': ..., 'label': ...}"
    )


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    assert refused(tmp_path / "data.xlsx") == (
        f"The data file '{tmp_path / 'data.xlsx'}' is none of: .jsonl, .json, .csv, .tsv, .conll, .txt, .parquet"
    )
    assert refused(tmp_path / "gone.csv") == f"There is no data file '{tmp_path / 'gone.csv'}'"
    for name, content, message in (
        (
            "a.jsonl",
            b'{"text": "a"}\n{"text"\n',
            "is not valid JSON (Expecting ':' delimiter: line 1 column 8 (char 7))",
        ),
        ("a.json", b"[1", "is not valid JSON (Expecting ',' delimiter: line 1 column 3 (char 2))"),
        ("b.json", b'{"text": "a"}', "holds no list of examples"),
        (
            "a.csv",
            b"text\n\xff\n",
            "is not UTF-8 text ('utf-8' codec can't decode byte 0xff in position 5: invalid start byte)",
        ),
    ):
        (tmp_path / name).write_bytes(content)
        assert refused(tmp_path / name) == f"The data file '{tmp_path / name}' {message}"


def test_a_split_holds_out_its_share_and_loses_nothing() -> None:
    examples = [{"text": str(number)} for number in range(23)]
    kept, held_out = split(examples, 0.3, seed=4)
    assert (len(kept), len(held_out)) == (16, 7)
    assert sorted(int(example["text"]) for example in [*kept, *held_out]) == list(range(23))
    assert split(examples, 0.3, seed=4) == (kept, held_out)
    assert split(examples, 0.3, seed=5) != (kept, held_out)


# --- columns of words, whole texts, Parquet, folders ------------------------------------------------------------------


def test_columns_of_words_become_sentences(tmp_path: Path) -> None:
    path = tmp_path / "data.conll"
    path.write_text(
        "-DOCSTART- -X- O\n\nAnna NNP B-PER\nlives VBZ O\n\n\nin\tO\nNew\tB-LOC\nYork\tI-LOC\n", encoding="utf-8"
    )
    assert read_examples(path) == [
        {"tokens": ["Anna", "lives"], "tags": ["B-PER", "O"]},
        {"tokens": ["in", "New", "York"], "tags": ["O", "B-LOC", "I-LOC"]},
    ]
    path.write_text("Anna B-PER\nlives\n", encoding="utf-8")
    assert refused(path) == f"Line 2 of the data file '{path}' is 'lives'; it would be a word and its tag"


def test_a_file_of_plain_text_is_one_text_and_a_folder_of_them_several(tmp_path: Path) -> None:
    for name, text in (("b.txt", "the\n\ncat\n"), ("a/a.txt", "a dog"), ("c.txt", " \n")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert read_examples(tmp_path / "b.txt") == [{"text": "the\n\ncat\n"}]
    assert read_examples(tmp_path) == [{"text": "a dog"}, {"text": "the\n\ncat\n"}]


def make_dataset() -> datasets.Dataset:
    """Labels and tags as numbers, with their names beside, as published datasets keep them."""
    features = datasets.Features(
        text=datasets.Value("string"),
        label=datasets.ClassLabel(names=["bad", "good"]),
        tags=datasets.Sequence(datasets.ClassLabel(names=["O", "B-LOC"])),
    )
    rows = {"text": ["a film", "paris", "?"], "label": [1, 0, -1], "tags": [[0, 0], [1], []]}
    return datasets.Dataset.from_dict(rows, features)


NAMED = [
    {"text": "a film", "label": "good", "tags": ["O", "O"]},
    {"text": "paris", "label": "bad", "tags": ["B-LOC"]},
    {"text": "?", "label": None, "tags": []},  # -1 is how they say that a label is not known
]


def test_labels_kept_as_numbers_get_their_names_back(tmp_path: Path) -> None:
    assert read_examples(make_dataset()) == NAMED
    make_dataset().to_parquet(tmp_path / "data.parquet")
    assert read_examples(tmp_path / "data.parquet") == NAMED


def test_a_broken_parquet_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "data.parquet"
    path.write_bytes(b"PAR2" * 4)
    message = refused(path)
    assert message.startswith(f"The data file '{path}' is not valid Parquet (")
    assert "Parquet magic bytes not found in footer" in message


def test_a_folder_has_splits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "films"
    folder.mkdir()
    for name in ("train", "validation"):
        (folder / f"{name}.jsonl").write_text(json.dumps({"text": name, "label": "x"}), encoding="utf-8")
    assert read_examples(folder) == [{"text": "train", "label": "x"}]
    assert read_examples(str(folder), "eval") == [{"text": "validation", "label": "x"}]
    (folder / "validation.jsonl").unlink()
    assert refused_to_evaluate(folder) == (f"The dataset '{folder}' has no split 'validation' or 'test'; it has: train")


def refused_to_evaluate(source: Any) -> str:
    with pytest.raises(InvalidInput) as raised:
        read_examples(source, "eval")
    return str(raised.value)


def test_a_dataset_that_is_not_there_is_refused() -> None:
    """No hub listens in tests."""
    message = refused("me/nothing:validation")
    assert message.startswith("The dataset 'me/nothing' cannot be loaded: ")
    assert "\n" not in message


def test_without_the_extra_packages_their_data_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = builtins.__import__

    def without(name: str, *rest: Any, **named: Any) -> Any:
        if name.split(".")[0] == "datasets":
            raise ImportError("No module named 'datasets'")
        return original(name, *rest, **named)

    (tmp_path / "data.parquet").write_bytes(b"PAR1")
    monkeypatch.setattr(builtins, "__import__", without)
    for source, what in ((tmp_path / "data.parquet", "Parquet files"), ("me/films", "the dataset 'me/films'")):
        with pytest.raises(ExtraMissing) as raised:
            read_examples(source)
        assert str(raised.value) == (
            f"For {what} Zoo needs more packages (No module named 'datasets'). Try: pip install 'zoo[train]'"
        )
    (tmp_path / "data.csv").write_text("text,label\na,b\n")
    assert read_examples(tmp_path / "data.csv") == [{"text": "a", "label": "b"}]


# --- which column is which --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "names", "wanted", "chosen"),
    [
        ("text-classification", ["text", "label"], {}, {}),
        ("text-classification", ["Review", "Sentiment", "id"], {}, {"text": "Review", "label": "Sentiment"}),
        (
            "text-classification",
            ["premise", "hypothesis", "label"],
            {},
            {"text": "premise", "text_pair": "hypothesis"},
        ),
        ("text-classification", ["text", "label", "hypothesis"], {}, {}),
        ("text-classification", ["text", "sentence", "label"], {"text": "sentence"}, {"text": "sentence"}),
        ("text-classification", ["body", "target"], {"label": "body"}, {"label": "body"}),
        ("token-classification", ["words", "ner_tags"], {}, {"tokens": "words", "tags": "ner_tags"}),
        ("summarization", ["article", "highlights"], {}, {"source": "article", "target": "highlights"}),
        ("fill-mask", ["title"], {}, {}),
    ],
)
def test_columns_are_found_under_the_names_that_published_data_gives_them(
    task: str, names: list[str], wanted: dict[str, str], chosen: dict[str, str]
) -> None:
    assert choose_columns([dict.fromkeys(names, "x")], get_task(task), wanted) == chosen


def test_columns_get_the_tasks_names_and_keep_their_own() -> None:
    examples = [{"review": "a", "label": "b"}, {"label": "c"}]
    assert rename(examples, {"text": "review"}) == [
        {"review": "a", "label": "b", "text": "a"},
        {"label": "c", "text": None},
    ]


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"text": "title"}, "The examples have no column 'title' to be the text; they have: text, label"),
        ({"tags": "label"}, "'text-classification' has no column 'tags'; it has: text, label, text_pair"),
    ],
)
def test_columns_that_are_not_there_are_refused(wanted: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        choose_columns([{"text": "a", "label": "b"}], get_task("text-classification"), wanted)
    assert str(raised.value) == message


# --- what is held out -------------------------------------------------------------------------------------------------


def test_of_each_label_the_same_share_is_held_out_and_at_least_one() -> None:
    examples = [{"text": str(n), "label": "often" if n < 20 else "seldom" if n < 30 else "rare"} for n in range(32)]
    kept, held_out = hold_out(examples, 0.2, seed=4)
    assert sorted(int(example["text"]) for example in [*kept, *held_out]) == list(range(32))
    counts = {label: sum(e["label"] == label for e in held_out) for label in ("often", "seldom", "rare")}
    assert counts == {"often": 4, "seldom": 2, "rare": 1}
    assert hold_out(examples, 0.2, seed=4) == (kept, held_out)
    assert hold_out(examples, 0.2, seed=5) != (kept, held_out)
    assert {e["label"] for e in hold_out(examples, 0.99, seed=4)[0]} == {"often", "seldom", "rare"}


def test_examples_without_single_labels_are_held_out_by_the_share_alone() -> None:
    examples = [{"text": str(number), "label": number / 2} for number in range(10)]
    kept, held_out = hold_out(examples, 0.3, seed=1)
    assert (len(kept), len(held_out)) == (7, 3)


def test_what_cannot_be_held_out_is_refused() -> None:
    for examples, share, message in (
        (
            [{"label": "a"}, {"label": "a"}, {"label": "b"}],
            0.5,
            "The label 'b' has one example, which cannot be both learnt from and held out; add examples, leave it out, "
            "or give held-out examples yourself",
        ),
        ([{"text": "a"}], 0.1, "Of 1 examples, a share of 0.1 leaves none to hold out; give more of them"),
        ([{"text": "a"}], 0.9, "Of 1 examples, a share of 0.9 leaves none to learn from; give more of them"),
    ):
        with pytest.raises(InvalidInput) as raised:
            hold_out(examples, share, seed=0)
        assert str(raised.value) == message
