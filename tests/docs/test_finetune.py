"""The guide to fine-tuning: its files are written, its commands and blocks run, and it names every task and file."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import zoo
from tests.checkpoints import write_checkpoint, write_tokenizer
from tests.docs.guide import Command, Written, matches, read_steps
from zoo.tasks import _MODULES, get_task
from zoo.training.files import READERS

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "finetune.md"
TEXT = GUIDE.read_text(encoding="utf-8")


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the checkpoint and the files that the guide speaks of."""
    write_checkpoint(tmp_path / "backbone")
    write_tokenizer(tmp_path / "backbone")
    for step in read_steps(GUIDE):
        if isinstance(step, Written):
            (tmp_path / step.path).write_text(step.text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_block_runs_and_every_command_prints_what_the_guide_shows(
    reader: Path, home: Path, hub: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In order: what a command names may be the work of a block before it."""
    monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
    monkeypatch.setenv("HF_TOKEN", hub.token)
    names: dict[str, Any] = {}
    blocks = re.findall(r"^```(?:python|console)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    commands = iter(step for step in read_steps(GUIDE) if isinstance(step, Command))
    assert [block.count("\n$ ") + 1 if block.startswith("$ ") else 0 for block in blocks] == [3, 0, 0, 0, 0, 0, 2]
    for block in blocks:
        if not block.startswith("$ "):
            exec(compile(block, str(GUIDE), "exec"), names)
            continue
        for _ in range(block.count("\n$ ") + 1):
            check(next(commands))
    assert zoo.load("./merged").predict(["a very good film"])[0].label == "good"
    journal = [json.loads(line) for line in Path("journal.jsonl").read_text().splitlines()]
    assert [list(entry) for entry in journal] == [
        ["steps", "settings"],
        *([["step", "loss", "learning_rate", "gradient_norm", "tokens_per_second"]] * 2),
        ["step", "eval_loss", "accuracy", "f1"],
        *([["step", "loss", "learning_rate", "gradient_norm", "tokens_per_second"]] * 2),
        ["step", "eval_loss", "accuracy", "f1"],
    ]


def check(command: Command) -> None:
    """Run a command, and compare what it prints."""
    line = command.line.replace("zoo ", f"{sys.executable} -m zoo.cli.main ", 1)
    run = subprocess.run(line, shell=True, capture_output=True, text=True, timeout=120, env={**os.environ})
    assert run.returncode == 0, run.stderr
    assert matches(command.output, run.stdout), run.stdout


def test_the_guide_names_every_task_with_its_columns_and_every_kind_of_file() -> None:
    rows = re.findall(r"^\| ([a-z0-9, -]+) \| (`.*) \|$", TEXT, re.MULTILINE)
    columns = {task: said for tasks, said in rows for task in tasks.split(", ")}
    assert set(columns) == set(_MODULES)
    for task, said in columns.items():
        assert all(f"`{column}`" in said for column in (*get_task(task).columns, *get_task(task).optional_columns)), (
            task
        )
    assert all(f"`{suffix}`" in TEXT for suffix in READERS)
