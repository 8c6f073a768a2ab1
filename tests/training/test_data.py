"""Training examples from memory and from files, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from zoo.errors import InvalidInput
from zoo.training.data import read_examples, split

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
        f"The data file '{tmp_path / 'data.xlsx'}' is none of: .jsonl, .json, .csv, .tsv"
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
