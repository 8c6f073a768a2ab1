"""Evaluations in cards: for people and for the Hub, beside what stands there already."""

from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from zoo.errors import InvalidInput
from zoo.hub.evaluations import Evaluation, with_evaluation, write_evaluation

FIRST = Evaluation(
    "text-classification", "dev.tsv", 1200, {"accuracy": (0.91, 0.895, 0.925)}, "zoo eval ./m --data dev.tsv"
)
ENTRY = """### text-classification on dev.tsv

On 1,200 examples; the intervals are those of 95 in 100 bootstrap draws.

| metric | value | interval |
|---|---|---|
| accuracy | 0.9100 | 0.8950 to 0.9250 |

```
zoo eval ./m --data dev.tsv
```"""


def test_a_card_is_begun_where_there_is_none(tmp_path: Path) -> None:
    folder = tmp_path / "my-model"
    folder.mkdir()
    assert write_evaluation(folder, FIRST) == folder / "README.md"
    text = (folder / "README.md").read_text()
    assert text.partition("---\n\n")[2] == f"# my-model\n\n## Evaluation\n\n{ENTRY}\n"
    (result,) = ModelCard(text).data.eval_results
    assert (result.task_type, result.dataset_name, result.metric_type, result.metric_value) == (
        "text-classification", "dev.tsv", "accuracy", 0.91,
    )  # fmt: skip
    assert [path.name for path in folder.iterdir()] == ["README.md"]


def test_what_a_card_says_already_stays_and_the_same_data_is_said_once() -> None:
    card = "---\nlicense: mit\nmodel-index: []\ntags:\n- mine\n---\n\n# mine\n\n## Use\n\nas you like\n"
    once = with_evaluation(card, "mine", FIRST)
    assert once.endswith(f"# mine\n\n## Use\n\nas you like\n\n## Evaluation\n\n{ENTRY}\n")
    data = ModelCard(once).data
    assert (data.license, data.tags, data.model_name) == ("mit", ["mine"], "mine")
    assert with_evaluation(once, "mine", FIRST) == once
    better = Evaluation(FIRST.task, FIRST.dataset, 1200, {"accuracy": (0.95, 0.94, 0.96)}, FIRST.command)
    changed = with_evaluation(once, "mine", better)
    assert changed == with_evaluation(card, "mine", better)
    other = Evaluation(FIRST.task, "test.tsv", 7, {"accuracy": (0.5, 0.2, 0.8)}, "zoo eval ./m --data test.tsv")
    both = with_evaluation(once, "mine", other)
    assert both.count("## Evaluation\n") == 1
    assert ENTRY in both and "### text-classification on test.tsv" in both
    assert {result.dataset_name for result in ModelCard(both).data.eval_results} == {"dev.tsv", "test.tsv"}


def test_a_card_that_cannot_be_read_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("---\nlicense: [\n---\n")
    with pytest.raises(
        InvalidInput, match=r"^The card '.*README\.md' cannot be added to: .*\. Mend its metadata first$"
    ):
        write_evaluation(tmp_path, FIRST)
    assert (tmp_path / "README.md").read_text() == "---\nlicense: [\n---\n"
