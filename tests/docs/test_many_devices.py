"""The guide to training on many devices: its commands run, its scripts are scripts, and it names every way there is."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

import zoo
from tests.checkpoints import write_checkpoint, write_tokenizer
from tests.docs.guide import Command, Written, matches, read_steps

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "many-devices.md"
TEXT = GUIDE.read_text(encoding="utf-8")


def test_every_command_prints_what_the_guide_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    write_checkpoint(Path("backbone"))
    write_tokenizer(Path("backbone"))
    steps = read_steps(GUIDE)
    for step in steps:
        if isinstance(step, Written):
            Path(step.path).write_text(step.text, encoding="utf-8")
    commands = [step for step in steps if isinstance(step, Command)]
    assert len(commands) == 3
    for command in commands:
        line = command.line.replace("zoo ", f"{sys.executable} -m zoo.cli.main ", 1)
        run = subprocess.run(line, shell=True, capture_output=True, text=True, timeout=300, env={**os.environ})
        assert run.returncode == 0, run.stderr
        assert matches(command.output, run.stdout), run.stdout


def test_scripts_for_clusters_are_valid_and_give_options_that_there_are() -> None:
    """A cluster is not there to run them; a shell and a parser read them all the same."""
    scripts = re.findall(r"^```bash\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    assert len(scripts) == 2
    shown = subprocess.run(
        [sys.executable, "-m", "zoo.cli.main", "finetune", "--help"], capture_output=True, text=True, check=True
    ).stdout
    for script in scripts:
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)
        options = re.findall(r"--[a-z-]+", script.partition("zoo finetune")[2])
        assert options and all(f"{option} " in shown for option in options), options
    blocks = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        calls = [node for node in ast.walk(ast.parse(block)) if isinstance(node, ast.Attribute)]
        assert all(hasattr(zoo, call.attr) for call in calls if ast.unparse(call).startswith("zoo."))


def test_the_guide_names_every_way_of_sharing() -> None:
    named = re.findall(r"^\| `(\w+)` \|", TEXT, re.MULTILINE)
    assert tuple(named) == ("parallel", *get_args(zoo.FinetuneConfig.model_fields["parallel"].annotation))
