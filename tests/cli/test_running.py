"""`zoo run`: every setting of writing, streams, and chats by arguments, in a pipe and on a terminal."""

import json
import os
import pty
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import zoo
from tests.generation.samples import gpt2
from tests.tasks.test_conversation import write_chat
from zoo.cli.running import WISHES, run_command
from zoo.generation.settings import Wishes

Zoo = Callable[..., subprocess.CompletedProcess[str]]
DEVICE = "device: cpu (no GPU found)\n"
HINT = "A chat: the model remembers what was said. /exit ends it.\n"


@pytest.fixture
def chat(tmp_path: Path) -> Path:
    """A checkpoint that chats."""
    folder = tmp_path / "chat"
    folder.mkdir()
    write_chat(folder)
    return folder


def answers(folder: Path, *texts: str, system: str | None = None) -> list[str]:
    conversation = zoo.load(folder, device="cpu").conversation(system)
    return [conversation.say(text, max_new_tokens=3).text for text in texts]


def test_every_setting_of_writing_is_an_option() -> None:
    options = {option.name for option in run_command.params}
    assert {name for name, _, _ in WISHES} | {"stop", "early_stopping"} == set(Wishes.__annotations__)
    assert set(Wishes.__annotations__) <= options


def test_lines_of_a_pipe_are_the_turns_of_a_chat(run_zoo: Zoo, chat: Path) -> None:
    run = run_zoo("run", str(chat), "--system", "be", "--max-new-tokens", "3", stdin="hi\n\n and \n/exit\nnever said\n")
    assert (run.returncode, run.stderr) == (0, DEVICE)
    assert run.stdout == "".join(f"{text}\n" for text in answers(chat, "hi", "and", system="be"))


def test_arguments_are_turns_too_and_raw_takes_them_as_they_stand(run_zoo: Zoo, chat: Path) -> None:
    said = json.loads(run_zoo("run", str(chat), "hi", "and", "--max-new-tokens", "3", "--json").stdout)
    assert [(row["input"], row["output"]["text"]) for row in said] == list(
        zip(("hi", "and"), answers(chat, "hi", "and"), strict=True)
    )
    raw = run_zoo(
        "run", str(chat), "hi", "--raw", "--max-new-tokens", "3", "--early-stopping", "never", "--num-beams", "2"
    )
    expected = zoo.load(chat, device="cpu").generate(["hi"], max_new_tokens=3, early_stopping="never", num_beams=2)
    assert raw.stdout == f"hi\n  {expected[0].text}\n"


def test_a_chat_that_fails_in_a_pipe_ends_with_status_1(run_zoo: Zoo, chat: Path) -> None:
    run = run_zoo("run", str(chat), "--max-new-tokens", "3", stdin=f"hi\n{'x' * 60}\nand\n")
    assert run.returncode == 1
    assert run.stdout == f"{answers(chat, 'hi')[0]}\n"
    assert re.fullmatch(
        DEVICE.replace("(", r"\(").replace(")", r"\)")
        + r"Error: Prompt 0 has \d+ tokens; the model takes at most 40\. "
        r"Shorten it, or keep only its end with truncate=True\n",
        run.stderr,
    )


def test_what_does_not_chat_takes_no_system_text(run_zoo: Zoo, chat: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    gpt2(plain)
    run = run_zoo("run", str(plain), "the cat", "--system", "be")
    assert run.returncode == 2
    assert run.stderr.splitlines()[-1] == f"Error: '{plain}' does not chat: it has no chat template; leave --system out"
    raw = run_zoo("run", str(chat), "hi", "--raw", "--system", "be")
    assert raw.stderr.splitlines()[-1] == f"Error: '{chat}' does not chat; leave --system out"


def typed(home: Path, *arguments: str, keys: str) -> tuple[str, int]:
    """What a terminal shows when these keys are typed, one line after another, and the exit status."""
    environment = {**os.environ, "HF_HOME": str(home), "COLUMNS": "100", "TERM": "dumb"}
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "zoo.cli.main", *arguments], stdin=theirs, stdout=theirs, stderr=theirs, env=environment
    )
    os.close(theirs)
    lines, shown, end = keys.splitlines(keepends=True), "", time.monotonic() + 100
    while time.monotonic() < end:
        try:
            shown += os.read(ours, 4096).decode()
        except OSError:  # the other side has gone
            break
        if shown.endswith("> ") and lines:
            os.write(ours, lines.pop(0).encode())
    os.close(ours)
    return shown.replace("\r\n", "\n"), process.wait(timeout=20)


def test_a_chat_is_typed_on_a_terminal_and_an_error_ends_a_turn_only(home: Path, chat: Path) -> None:
    shown, status = typed(
        home, "run", str(chat), "--device", "cpu", "--max-new-tokens", "3", keys=f"hi\n{'x' * 60}\nand\n/exit\n"
    )
    first, second = answers(chat, "hi", "and")
    assert status == 0
    parts = shown.split("> ")
    assert parts[0] == HINT
    assert parts[1] == f"hi\n{first}\n"
    assert parts[2].startswith(f"{'x' * 60}\nError: Prompt 0 has ")
    assert parts[3:] == [f"and\n{second}\n", "/exit\n"]


def test_the_end_of_what_is_typed_ends_the_chat(home: Path, chat: Path) -> None:
    shown, status = typed(home, "run", str(chat), "--device", "cpu", keys="\x04")
    assert (shown.split("> ")[0], status) == (HINT, 0)


def test_one_answer_is_streamed_to_a_terminal(home: Path, tmp_path: Path) -> None:
    gpt2(tmp_path / "plain", eos=None)
    expected = zoo.load(tmp_path / "plain", device="cpu").generate(["the cat"], max_new_tokens=5)[0].text
    arguments = ("run", str(tmp_path / "plain"), "the cat", "--device", "cpu", "--max-new-tokens", "5")
    assert typed(home, *arguments, keys="") == (f"the cat\n  {expected}\n", 0)
