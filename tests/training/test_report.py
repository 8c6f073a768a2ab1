"""The page about a training run."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

import zoo
from tests.checkpoints import LABELS, SIZES
from zoo.footprint import Footprint
from zoo.model import TrainingRecord
from zoo.training.findings import Findings, Miss
from zoo.training.report import Report, describe_run, render, save_report

FOOTPRINT = Footprint(
    4.2,
    0.0084,
    812.4,
    "codecarbon 3.3.2",
    "fine-tuning",
    "AMD EPYC (2 threads)",
    "Germany",
    {"memory": "guessed"},
    True,
)
REPORT = Report(
    title="bert, trained for text-classification",
    facts={"architecture": "bert", "examples": "90 to learn from, 30 held out"},
    losses=[2.0, 1.5, 1.25, 1.0],
    learning_rates=[0.001, 0.00075, 0.0005, 0.00025],
    evaluations=[(2, {"eval_loss": 1.75, "f1": 0.5}), (4, {"eval_loss": 1.5, "f1": 0.625})],
    metrics={"train_loss": 1.0, "f1": 0.625},
    findings=Findings(30, ("bad", "good"), ((11, 4), (2, 13)), (Miss("a good film", "good", "bad", 0.875),)),
    settings={"epochs": 3, "learning_rate": 0.001, "columns": {"text": "sentence"}, "targets": ["query", "value"]},
    environment={"torch": "2.13.0"},
    footprint=FOOTPRINT,
)


class Page(HTMLParser):
    """A page's elements that are left open, its tables as rows of texts, and whatever would be loaded."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.rows: list[list[str]] = []
        self.loaded: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loaded += [str(value) for name, value in attrs if name in ("src", "href", "data", "action")]
        self.loaded += [tag] if tag in ("script", "link", "iframe", "object", "img", "base") else []
        if tag not in ("meta", "br", "circle", "path"):
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("circle", "path"):
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "td" in self.open or "th" in self.open:
            self.rows[-1][-1] += data


def test_the_page_shows_all_of_a_run() -> None:
    text = render(REPORT)
    page = Page(text)
    assert page.open == []
    assert page.rows == [
        ["architecture", "bert"],
        ["examples", "90 to learn from, 30 held out"],
        ["", "bad", "good"],
        ["bad", "11", "4"],
        ["good", "2", "13"],
        ["example", "right", "answered", "score"],
        ["a good film", "good", "bad", "0.875"],
        ["epochs", "3"],
        ["learning_rate", "0.001"],
        ["columns", "text: sentence"],
        ["targets", "query, value"],
        ["torch", "2.13.0"],
    ]
    assert re.findall(r'<span class="dim">(\w+)</span><b>([\d.]+)</b>', text) == [("train_loss", "1"), ("f1", "0.625")]
    assert re.findall(r'aria-label="([^"]+)"', text) == [
        "loss over step: each step, mean of the last steps, held-out examples",
        "f1 over step: f1",
        "learning rate over step: learning rate",
    ]
    assert f"<p>{FOOTPRINT}</p>" in text
    assert "Counted on AMD EPYC (2 threads)." in text


def test_the_page_loads_nothing_and_forbids_to() -> None:
    text = render(REPORT)
    assert Page(text).loaded == []
    assert "default-src 'none'" in text
    assert re.findall(r"url\(|@import|https?://", text) == []


def test_what_data_and_settings_say_cannot_become_part_of_the_page() -> None:
    evil = "<script>alert(1)</script>"
    text = render(
        Report(
            title=evil,
            facts={evil: evil},
            losses=[1.0, 2.0],
            learning_rates=[0.1, 0.1],
            evaluations=[(1, {evil: 0.5}), (2, {evil: 0.25})],
            metrics={evil: 1.0},
            findings=Findings(1, (evil, "b"), ((0, 1), (0, 0)), (Miss(evil, evil, "b", 0.5),)),
            settings={evil: evil},
            environment={evil: evil},
            footprint=Footprint(1, 1, 1, evil, evil, evil, evil, {evil: evil}),
        )
    )
    assert "<script" not in text
    assert text.count("&lt;script&gt;alert(1)&lt;/script&gt;") > 10
    assert Page(text).open == []


def test_a_short_run_without_anything_else_has_a_page_too() -> None:
    text = render(Report("a run", {}, losses=[0.5], learning_rates=[0.1]))
    page = Page(text)
    assert (page.open, page.rows) == ([], [])
    assert "Nothing was counted: no plugin that counts, such as zoo-carbon, took part." in text
    assert "What it gets wrong" not in text
    assert text.count("<circle") == 2  # a loss and a learning rate


def test_many_labels_are_told_by_their_most_frequent_confusions() -> None:
    labels = tuple(f"label {index}" for index in range(21))
    confusion = tuple(
        tuple(row + 1 if column == (row + 1) % 21 else 50 * (row == column) for column in range(21))
        for row in range(21)
    )
    page = Page(render(Report("a run", {}, [1.0], [0.1], findings=Findings(99, labels, confusion))))
    assert page.rows[:3] == [
        ["right", "answered", "times"],
        ["label 20", "label 0", "21"],
        ["label 19", "label 20", "20"],
    ]
    assert len(page.rows) == 21


def test_a_long_example_is_cut_and_no_miss_is_said() -> None:
    long = render(Report("a run", {}, [1.0], [0.1], findings=Findings(1, misses=(Miss("word " * 300, "a", "b", 0.5),))))
    assert len(max(Page(long).rows[1], key=len)) == 500
    assert "No answer was wrong." in render(Report("a run", {}, [1.0], [0.1], findings=Findings(3)))


@pytest.fixture
def trained(tmp_path: Path) -> zoo.Model:
    """A model with the record of a training."""
    model = zoo.build(zoo.make_spec("bert", **SIZES), "text-classification", labels=LABELS)
    settings = {"epochs": 2, "max_steps": None, "seed": 0}
    model.record = TrainingRecord("me/base", "1234abcd", 1200, 30, settings, {"train_loss": 0.5}, 0.0042, FOOTPRINT)
    return model


def test_a_trained_model_is_described_from_its_record(trained: zoo.Model, tmp_path: Path) -> None:
    report = describe_run(trained, [0.5, 0.25], [0.1, 0.05], [(2, {"eval_loss": 0.5})])
    count = sum(parameter.numel() for parameter in trained.parameters())
    assert report.title == "bert, trained for text-classification"
    assert report.facts == {
        "architecture": "bert",
        "task": "text-classification",
        "parameters": f"{count:,}",
        "started from": "random weights",
        "examples": "1,200 to learn from, 30 held out",
        "optimiser steps": "2",
    }
    assert (report.settings, report.metrics) == ({"epochs": 2, "seed": 0}, {"train_loss": 0.5})
    assert (report.footprint, report.evaluations) == (FOOTPRINT, [(2, {"eval_loss": 0.5})])
    assert report.environment["device"] == "cpu"
    assert str(Path.home()) not in json.dumps(report.environment)
    save_report(report, tmp_path)
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == render(report)
