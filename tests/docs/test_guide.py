"""The guide, carried out as it stands: its files are written, its commands typed, their output compared."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.docs.guide import Command, Written, matches, read_steps
from zoo.testing import checks

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "write-an-architecture-plugin.md"


@pytest.fixture
def reader(tmp_path: Path, home: Path) -> dict[str, str]:
    """The environment of somebody who has Zoo installed, in a virtual environment of their own, without a network."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True)
    scripts = tmp_path / "venv" / "bin"
    python = scripts / "python"
    [packages] = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    installed = sysconfig.get_path("purelib")
    (packages / "zoo_and_its_needs.pth").write_text(f"import site; site.addsitedir({installed!r})\n")
    offline = "--no-deps --no-build-isolation --disable-pip-version-check"
    for name, call in (("zoo", 'zoo.cli.main "$@"'), ("pip", f'pip "$@" {offline}')):
        (scripts / name).write_text(f'#!/bin/sh\nexec "{python}" -m {call}\n')
        (scripts / name).chmod(0o755)
    path = f"{scripts}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "HF_HUB_OFFLINE": "1", "PATH": path, "VIRTUAL_ENV": str(tmp_path / "venv")}


def test_the_guide_can_be_followed_literally(reader: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "zoo-opt"
    folder.mkdir()
    for step in read_steps(GUIDE):
        if isinstance(step, Written):
            write(folder / step.path, step)
        else:
            type_in(step, folder, reader)


def test_the_guide_explains_every_check() -> None:
    explained = [
        line.split("`")[1] for line in GUIDE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")
    ]
    assert set(explained) == {name.removeprefix("test_") for name in vars(checks) if name.startswith("test_")}


@pytest.mark.parametrize(
    ("shown", "found", "expected"),
    [
        ("a  b\nc\n", "a b\nc\n", True),
        ("a\n…\nd\n", "a\nb\nc\nd\n", True),
        ("…b…", "abc", True),
        ("a\n", "a\nb\n", False),
        ("a…c\n", "abd\n", False),
    ],
)
def test_output_is_compared_but_for_what_is_left_out(shown: str, found: str, expected: bool) -> None:
    assert matches(shown, found) is expected


def write(path: Path, step: Written) -> None:
    """Do as told with a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    before = path.read_text(encoding="utf-8") + "\n\n" if step.added else ""
    path.write_text(before + step.text, encoding="utf-8")


def type_in(step: Command, folder: Path, environment: dict[str, str]) -> None:
    """Run a command, and compare what it prints with what the guide shows."""
    done = subprocess.run(
        step.line, shell=True, cwd=folder, env=environment, capture_output=True, text=True, timeout=600
    )
    told = f"$ {step.line}\n{done.stdout}\n{done.stderr}\n\nshown:\n{step.output}"
    assert matches(step.output, done.stdout), told
    assert done.returncode == (1 if "set aside" in step.output else 0), told
