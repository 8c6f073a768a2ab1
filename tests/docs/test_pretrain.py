"""The guide to pretraining and distilling: its files are written, its commands and blocks run, its defaults are true."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import zoo
from tests.docs.guide import Command, Written, matches, read_steps

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "pretrain.md"
TEXT = GUIDE.read_text(encoding="utf-8")


def test_every_command_prints_what_the_guide_shows_and_every_block_runs(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    steps = read_steps(GUIDE)
    for step in steps:
        if isinstance(step, Written):
            Path(step.path).write_text(step.text, encoding="utf-8")
    commands = [step for step in steps if isinstance(step, Command)]
    assert len(commands) == 3
    for command in commands:
        line = command.line.replace("zoo ", f"{sys.executable} -m zoo.cli.main ", 1)
        run = subprocess.run(line, shell=True, capture_output=True, text=True, timeout=120, env={**os.environ})
        assert run.returncode == 0, run.stderr
        assert matches(command.output, run.stdout), run.stdout
    names: dict[str, Any] = {}
    blocks = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        exec(compile(block, str(GUIDE), "exec"), names)
    assert zoo.load("./smaller").spec.model_type == "distilbert"
    assert capsys.readouterr().out.splitlines()[-1].startswith("() ")


def test_the_guide_gives_the_defaults_as_they_are() -> None:
    shown = dict(re.findall(r"^\| `(\w+)` \| (\d+) \|", TEXT, re.MULTILINE))
    config = zoo.DistillConfig()
    assert {name: float(value) for name, value in shown.items()} == {
        name: getattr(config, name) for name in ("soft_weight", "task_weight", "cosine_weight")
    }
    assert f"`temperature` ({config.temperature:g})" in TEXT
