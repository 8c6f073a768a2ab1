"""The guide to emissions: its files are written, its commands typed, its block run."""

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

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "carbon.md"


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the checkpoint that the guide speaks of, and its files."""
    write_checkpoint(tmp_path / "base")
    write_tokenizer(tmp_path / "base")
    for step in read_steps(GUIDE):
        if isinstance(step, Written):
            (tmp_path / step.path).write_text(step.text, encoding="utf-8")
    for name in ("ZOO_CARBON", "CODECARBON_COUNTRY_ISO_CODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("ZOO_CONFIG", str(tmp_path / "config.toml"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_command_prints_what_the_guide_shows(reader: Path) -> None:
    commands = [step for step in read_steps(GUIDE) if isinstance(step, Command)]
    assert len(commands) == 6
    for command in commands:
        line = re.sub(r"^zoo ", f"{sys.executable} -m zoo.cli.main ", command.line)
        done = subprocess.run(line, shell=True, capture_output=True, text=True, timeout=120, env={**os.environ})
        assert done.returncode == 0, done.stderr
        assert matches(command.output, done.stdout), f"$ {command.line}\n{done.stdout}"


def test_the_block_runs_and_prints_what_its_comments_say(reader: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = re.findall(r"^```python\n(.*?)^```$", GUIDE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(block, str(GUIDE), "exec"), names)
    result: zoo.FinetuneResult = names["result"]
    found = result.footprint
    assert found is not None and found.location == "Germany"
    printed = [found.grams / 1000, found.grams, found.energy_kwh, found.estimated, found.methods]
    assert capsys.readouterr().out.splitlines() == [str(value) for value in printed]
