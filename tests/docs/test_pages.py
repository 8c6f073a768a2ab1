"""The pages of architectures: made from the plugins, and as old as they are."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field

import zoo
from zoo.specs import Activation, Count, Epsilon, Probability, Size, TokenId

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs" / "architectures"
sys.path.insert(0, str(ROOT / "docs"))
import make_pages  # noqa: E402


def test_the_pages_are_those_that_the_plugins_give(tmp_path: Path) -> None:
    make_pages.main(tmp_path)
    made = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()}
    kept = {path.name: path.read_text(encoding="utf-8") for path in PAGES.iterdir()}
    old = sorted(name for name in made.keys() | kept.keys() if made.get(name) != kept.get(name))
    assert old == [], f"docs/architectures is not what the plugins say; run: make docs ({', '.join(old)})"


def test_pages_of_architectures_that_are_gone_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(make_pages, "distributions", lambda: {"bert": "zoo-encoder-only"})
    (tmp_path / "gone.md").write_text("")
    make_pages.main(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "bert.md"]


@pytest.mark.parametrize("name", make_pages.distributions())
def test_an_architecture_is_told_from_its_relatives_in_two_sentences(name: str) -> None:
    summary = zoo.get_architecture(name).summary
    sentences = re.split(r"(?<=[.!?])\s+(?=[A-Z])", summary)
    assert len(sentences) == 2 and summary.endswith("."), f"Architecture(name={name!r}, summary={summary!r})"


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (Size, "integer ≥ 1"),
        (Count, "integer ≥ 1, ≤ 1024"),
        (Probability, "number ≥ 0, < 1"),
        (Epsilon | None, "number > 0, < 1 or `null`"),
        (TokenId | list[TokenId] | None, "integer ≥ 0 or list of integers ≥ 0 or `null`"),
        (bool, "`true` or `false`"),
        (Annotated[int, Field(ge=4), Field(ge=1)], "integer ≥ 4"),
        (Literal["relu", "gelu", None], '`"relu"`, `"gelu"` or `null`'),
    ],
)
def test_a_type_is_told_in_words(annotation: object, words: str) -> None:
    assert make_pages.readable(annotation) == words


def test_every_activation_is_offered() -> None:
    assert make_pages.readable(Activation).count("`") == 16


def test_links_between_documents_lead_somewhere() -> None:
    broken = []
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)\s]*)?\)", page.read_text(encoding="utf-8")):
            if "://" not in target and not (page.parent / target).exists():
                broken.append(f"{page.relative_to(ROOT)}: {target}")
    assert broken == []
