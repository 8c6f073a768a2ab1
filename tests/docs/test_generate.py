"""The guide to writing: its blocks run on small checkpoints, and it leaves no setting out."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import transformers

import zoo
from tests.docs.guide import Command, matches, read_steps
from tests.generation.samples import T5
from tests.generation.samples import write as write_model
from tests.tasks.test_conversation import write_chat
from zoo.generation.defaults import DRAWING, PINNED, READ, REFORMED
from zoo.generation.settings import GenerationSettings, Wishes

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "generate.md"
TEXT = GUIDE.read_text(encoding="utf-8")


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the checkpoints that the guide speaks of."""
    for name in ("writer", "translator"):
        (tmp_path / name).mkdir()
    write_chat(tmp_path / "writer")
    config = transformers.T5Config(**T5, eos_token_id=3, decoder_start_token_id=0)
    write_model(tmp_path / "translator", "T5ForConditionalGeneration", config)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_block_runs(reader: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    blocks = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    assert len(blocks) == TEXT.count("```python") > 8
    for block in blocks:
        exec(compile(block, str(GUIDE), "exec"), names)
    assert [type(answer) for answer in names["answers"]] == [zoo.Generated] * 2
    assert len(names["chat"].messages) == 5
    assert capsys.readouterr().out


def test_every_command_prints_what_the_guide_shows(reader: Path, home: Path) -> None:
    commands = [step for step in read_steps(GUIDE) if isinstance(step, Command)]
    assert len(commands) == 2
    for command in commands:
        line = command.line.replace("zoo run", f"{sys.executable} -m zoo.cli.main run")
        run = subprocess.run(line, shell=True, capture_output=True, text=True, timeout=120, env={**os.environ})
        assert run.returncode == 0, run.stderr
        assert matches(command.output, run.stdout), run.stdout


def test_every_setting_has_its_row_and_its_default() -> None:
    rows = {row[0]: row[1] for row in re.findall(r"^\| `(\w+)` \| (\S+) \|", TEXT, re.MULTILINE)}
    assert set(rows) == set(Wishes.__annotations__)
    usual = GenerationSettings()
    said = {"all": None, "none": (), "False": False, "64": None}
    for name, default in rows.items():
        value = getattr(usual, name)
        # Probabilities of 1 and 0 leave everything in, as nothing does.
        expected = {"top_p": 1.0, "typical_p": 1.0, "min_p": 0.0}.get(name, value)
        assert (said[default] if default in said else float(default)) == expected, name
    assert usual.new_tokens(5) == 64


def test_every_key_of_a_checkpoint_s_defaults_is_named() -> None:
    missing = [key for key in (*READ, *DRAWING, *REFORMED, *PINNED) if f"`{key}`" not in TEXT]
    assert missing == []
