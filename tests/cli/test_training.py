"""`zoo finetune` as a user types it."""

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.conftest import Zoo
from zoo.training.checkpoints import find_step
from zoo.training.config import FinetuneConfig

ROWS = [("good", "yes"), ("good film", "yes"), ("bad", "no"), ("bad film", "no")]


@pytest.fixture
def data(tmp_path: Path) -> str:
    path = tmp_path / "data.csv"
    path.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in ROWS * 2))
    return str(path)


def test_flags_go_before_the_settings_of_a_file(run_zoo: Zoo, folder: Path, data: str, tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text('epochs = 9\nschedule = "cosine"\nwarmup_steps = 1\n')
    done = run_zoo(
        "finetune", str(folder), "--train", data, "--out", str(tmp_path / "out"), "--config",
        str(tmp_path / "settings.toml"), "--epochs", "2", "--batch-size", "4", "--gradient-checkpointing",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1].startswith("training: step 4 of 4, loss ")
    assert done.stdout.splitlines()[-1] == f"saved in {tmp_path / 'out'}"


def test_every_setting_has_a_flag_with_its_description_and_default(run_zoo: Zoo) -> None:
    shown = " ".join(run_zoo("finetune", "--help").stdout.split())
    for name, field in FinetuneConfig.model_fields.items():
        if name != "output_dir":
            usual = "" if field.default is None else f" [default: {str(field.default).lower()}]"
            assert f"--{name.replace('_', '-')} " in shown
            assert f" {field.description}.{usual}".replace("- ", "-") in shown.replace("- ", "-"), name


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--epochs", "0"], 1, "Error: These settings cannot train: epochs is 0: Input should be greater than or equal to 1"),
        (
            ["--schedule", "steep"], 2,
            "Error: Invalid value for '--schedule': 'steep' is not one of 'linear', 'cosine', 'constant'.",
        ),
        (["--warmup-steps", "few"], 2, "Error: Invalid value for '--warmup-steps': 'few' is not a number"),
    ],
)  # fmt: skip
def test_wrong_settings_are_refused(
    run_zoo: Zoo, folder: Path, data: str, tmp_path: Path, arguments: list[str], status: int, message: str
) -> None:
    done = run_zoo("finetune", str(folder), "--train", data, "--out", str(tmp_path / "out"), *arguments)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (status, message)
    assert not (tmp_path / "out").exists()


def test_metrics_are_printed_a_line_each(run_zoo: Zoo, folder: Path, data: str, tmp_path: Path) -> None:
    arguments = ["--train", data, "--eval", data, "--out", str(tmp_path / "out"), "--max-steps", "2"]
    plain = run_zoo("finetune", str(folder), *arguments)
    result = json.loads(run_zoo("finetune", str(folder), *arguments, "--json").stdout)
    assert list(result["metrics"]) == ["train_loss", "eval_loss", "accuracy"]
    lines = [f"{name}: {value:.4f}" for name, value in result["metrics"].items()]
    assert plain.stdout.splitlines() == [*lines, f"saved in {tmp_path / 'out'}"]


def test_a_killed_command_goes_on_with_resume(run_zoo: Zoo, folder: Path, data: str, tmp_path: Path) -> None:
    arguments = ["finetune", str(folder), "--train", data, "--epochs", "150", "--batch-size", "3", "--save-steps", "4"]
    command = [sys.executable, "-m", "zoo.cli.main", *arguments, "--out", str(tmp_path / "out")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        deadline = time.monotonic() + 100
        while find_step(tmp_path / "out") is None and running.poll() is None and time.monotonic() < deadline:
            time.sleep(0.001)
        running.kill()
    assert running.returncode == -signal.SIGKILL
    unfinished = run_zoo(*arguments, "--out", str(tmp_path / "out"))
    assert (unfinished.returncode, unfinished.stdout) == (1, "")
    assert re.search(r"holds a run that stopped after step \d+\. Go on with it by --resume", unfinished.stderr)
    resumed = run_zoo(*arguments, "--out", str(tmp_path / "out"), "--resume", "--json")
    assert resumed.returncode == 0, resumed.stderr
    assert re.fullmatch(r"resuming after step \d+", resumed.stderr.splitlines()[0])
    whole = run_zoo(*arguments, "--out", str(tmp_path / "whole"), "--resume", "--json")
    assert whole.stderr.splitlines()[0] == "no checkpoint yet: from the beginning"
    assert json.loads(resumed.stdout)["metrics"] == json.loads(whole.stdout)["metrics"]
    for name in ("model.safetensors", "config.json"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
