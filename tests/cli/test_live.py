"""What a training run looks like while it lasts."""

import io
import math
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from tests.cli.conftest import Zoo
from zoo.cli.curves import Course, sparkline
from zoo.cli.live import Panel, memory_in_use, shown, training_view

SECONDS_A_STEP = 0.5


def model(device: str = "cpu") -> Any:
    """What the panel reads of a model."""
    return SimpleNamespace(
        architecture=SimpleNamespace(name="bert"), task="text-classification", device=SimpleNamespace(type=device)
    )


@pytest.fixture
def clock() -> Iterator[Any]:
    now = SimpleNamespace(seconds=100.0)
    yield now


@pytest.fixture
def panel(clock: Any) -> Iterator[Panel]:
    """A panel of a run of 2,000 steps that has begun, on a terminal of 84 columns."""
    console = Console(record=True, width=84, file=io.StringIO(), force_terminal=True)
    memory = {"memory": 1_234_567_890, "GPU memory": 3_210_000_000}
    panel = Panel(console, "training", clock=lambda: clock.seconds, memory=lambda run: memory)
    panel.zoo_training_started(SimpleNamespace(model=model(), steps=2000))
    yield panel
    panel.close()


def picture(panel: Panel) -> str:
    """The panel's text, without what only colours it."""
    console = Console(record=True, width=84, file=io.StringIO(), force_terminal=True)
    console.print(panel.render())
    return console.export_text()


def take_steps(panel: Panel, clock: Any, first: int, last: int) -> None:
    for step in range(first, last + 1):
        clock.seconds += SECONDS_A_STEP
        metrics = {
            "loss": 0.25 + 0.5 * math.exp(-step / 300), "learning_rate": 5e-5 * (1 - step / 2000),
            "gradient_norm": 1.5, "tokens_per_second": 12345.0, "CO2_grams": step / 4000,
        }  # fmt: skip
        panel.zoo_training_step(step=step, metrics=metrics)


def test_the_panel_before_the_first_step(panel: Panel) -> None:
    assert picture(panel) == (
        "╭─ training bert for text-classification ──────────────────────────────────────────╮\n"
        "│                                                                                  │\n"
        "│  ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━  step 0 of 2,000  0:00:00     │\n"
        "│                                                                                  │\n"
        "╰──────────────────────────────────────────────────────────────────────────────────╯\n"
    )


def test_the_panel_shows_where_a_run_is_how_it_does_and_what_it_takes(panel: Panel, clock: Any) -> None:
    take_steps(panel, clock, 1, 1200)
    for step, loss in ((200, 0.61), (400, 0.5), (600, 0.4), (800, 0.45), (1000, 0.46), (1200, 0.47)):
        panel.zoo_training_evaluated(step=step, metrics={"eval_loss": loss, "accuracy": 1 - loss})
    assert picture(panel) == (
        "╭─ training bert for text-classification ──────────────────────────────────────────╮\n"
        "│                                                                                  │\n"
        "│  █▇▆▅▄▃▃▃▂▂▂▂▁▁▁▁▁▁▁▁               loss 0.2598                                  │\n"
        "│  ━━━━━━━━━━━━━━━━━━━╸━━━━━━━━━━━━━  step 1,200 of 2,000  0:10:00  0:06:40 to go  │\n"
        "│                                                                                  │\n"
        "│  learning rate   2.00e-05   gradient norm   1.5                                  │\n"
        "│  tokens/s        12,345     CO2             0.3 g                                │\n"
        "│  memory          1.2 GB     GPU memory      3.2 GB                               │\n"
        "│                                                                                  │\n"
        "│  after step  eval loss  accuracy                                                 │\n"
        "│         400     0.5000    0.5000                                                 │\n"
        "│         600     0.4000    0.6000  best                                           │\n"
        "│         800     0.4500    0.5500                                                 │\n"
        "│       1,000     0.4600    0.5400                                                 │\n"
        "│       1,200     0.4700    0.5300                                                 │\n"
        "│                                                                                  │\n"
        "╰──────────────────────────────────────────────────────────────────────────────────╯\n"
    )


def test_a_run_that_goes_on_counts_its_own_time_and_draws_its_own_part(panel: Panel, clock: Any) -> None:
    take_steps(panel, clock, 1001, 1200)
    lines = picture(panel).splitlines()
    assert lines[2:4] == [
        "│                  █▅▃▁               loss 0.2598                                  │",
        "│  ━━━━━━━━━━━━━━━━━━━╸━━━━━━━━━━━━━  step 1,200 of 2,000  0:01:40  0:06:40 to go  │",
    ]


def test_the_best_evaluation_stays_though_it_was_long_ago(panel: Panel, clock: Any) -> None:
    take_steps(panel, clock, 1, 7)
    for step in range(1, 8):
        panel.zoo_training_evaluated(step=step, metrics={"eval_loss": float(step)})
    lines = [line.strip("│ ") for line in picture(panel).splitlines()]
    assert lines[10:15] == ["1     1.0000  best", *(f"{step}     {step}.0000" for step in (4, 5, 6, 7))]


# --- its parts --------------------------------------------------------------------------------------------------------


def test_a_course_holds_the_mean_of_late_and_as_many_stretches_however_long_the_run() -> None:
    course = Course(most=4)
    course.add(3.0)
    assert course.recent == pytest.approx(3.0)
    course.add(1.0)
    assert course.recent == pytest.approx((3.0 * 0.95 + 1.0) / 1.95)
    for value in (5.0, 7.0, 2.0, 4.0, 6.0, 8.0):
        course.add(value)
    assert course.means == [4.0, 5.0]  # of four values each
    course.add(9.0)
    assert course.means == [4.0, 5.0]


@pytest.mark.parametrize(
    ("values", "width", "line"),
    [
        ([], 3, ""),
        ([2.0], 3, "▁▁▁"),
        ([0.0, 7.0], 4, "▁▁██"),
        ([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], 8, "▁▂▃▄▅▆▇█"),
        ([0.0, 2.0, 6.0, 8.0], 2, "▁█"),
        ([1.0, 2.0], 0, ""),
    ],
)
def test_a_line_is_as_wide_as_asked_for(values: list[float], width: int, line: str) -> None:
    assert sparkline(values, width) == line


@pytest.mark.parametrize(
    ("name", "value", "cell"),
    [
        ("learning_rate", 5e-5, ("learning rate", "5.00e-05")),
        ("tokens_per_second", 12345.6, ("tokens/s", "12,346")),
        ("CO2_grams", 0.12345, ("CO2", "0.123 g")),
        ("heat_of_gpu_watts", 300.0, ("heat of gpu", "300 W")),
        ("teacher_share", 0.5, ("teacher share", "0.5")),
        ("\x1b[2Jsteps_seconds", 2.0, ("\\x1b[2Jsteps", "2 s")),
    ],
)
def test_a_figure_is_shown_with_the_unit_in_its_name(name: str, value: float, cell: tuple[str, str]) -> None:
    assert shown(name, value) == cell


def test_memory_is_what_the_system_says_this_process_holds() -> None:
    found = memory_in_use(SimpleNamespace(model=model()))
    status = Path("/proc/self/status").read_text(encoding="ascii")
    (resident,) = re.findall(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)
    assert list(found) == ["memory"]
    assert found["memory"] == pytest.approx(int(resident) * 1024, rel=0.2)


# --- where it is shown ------------------------------------------------------------------------------------------------


def run_on_terminal(*arguments: str, **environment: str) -> tuple[str, str]:
    """Run `zoo` with a terminal of 84 columns as its stderr, and give what it wrote on stdout and there."""
    terminal, other_end = os.openpty()
    settings = {**os.environ, "COLUMNS": "84", "LINES": "40", "TERM": "xterm", **environment}
    command = [sys.executable, "-m", "zoo.cli.main", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=other_end, text=True, env=settings) as running:
        os.close(other_end)
        told = b""
        try:
            while piece := os.read(terminal, 65536):
                told += piece
        except OSError:  # the other end is closed
            pass
        assert running.stdout is not None
        results = running.stdout.read()
    os.close(terminal)
    assert running.returncode == 0, told.decode()
    return results, re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", told.decode()).replace("\r", "")


def test_a_terminal_gets_the_panel_and_stdout_the_results_alone(run_zoo: Zoo, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("sentence,label\n" + "good,yes\nbad,no\n" * 3)
    data = str(tmp_path / "data.csv")
    arguments = ("finetune", str(folder), "--train", data, "--eval", data, "--max-steps", "2", "--batch-size", "3")
    plain = run_zoo(*arguments, "--out", str(tmp_path / "plain"))
    results, told = run_on_terminal(*arguments, "--out", str(tmp_path / "out"))
    assert results == plain.stdout.replace(str(tmp_path / "plain"), str(tmp_path / "out"))
    lines = told.splitlines()
    assert lines[0] == "columns guessed: text is 'sentence'; name others with --column (columns={...})"
    last = lines[-(lines[::-1].index(next(line for line in lines[::-1] if line.startswith("╭"))) + 1) :]
    assert last[0] == "╭─ training bert for text-classification ──────────────────────────────────────────╮"
    assert re.search(r"━  step 2 of 2  0:00:\d\d +│$", last[3])
    assert any(re.fullmatch(r"│ +2 +\d\.\d{4} +\d\.\d{4} +\d\.\d{4} +│", line) for line in last)
    _, dumb = run_on_terminal(*arguments, "--out", str(tmp_path / "dumb"), TERM="dumb")
    assert "training: step 2 of 2, loss " in dumb and "╭" not in dumb


def test_elsewhere_it_is_lines(capsys: pytest.CaptureFixture[str]) -> None:
    run = SimpleNamespace(model=model(), steps=30)
    with training_view("learning") as lines:
        for step in range(1, 31):
            lines.zoo_training_step(run=run, step=step, metrics={"loss": 1 / step})
        lines.zoo_training_evaluated(step=30, metrics={"eval_loss": 0.5, "accuracy": 0.25})
    expected = [f"learning: step {step} of 30, loss {1 / step:.4f}" for step in range(3, 31, 3)]
    assert capsys.readouterr().err.splitlines() == [
        *expected, "learning: after step 30, eval_loss 0.5000, accuracy 0.2500",
    ]  # fmt: skip
