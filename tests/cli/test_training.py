"""`zoo finetune` as a user types it."""

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

import zoo
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
        if name not in ("output_dir", "columns", "lora"):
            usual = "" if field.default is None else f" [default: {str(field.default).lower()}]"
            assert f"--{name.replace('_', '-')} " in shown
            assert f" {field.description}.{usual}".replace("- ", "-") in shown.replace("- ", "-"), name


def test_a_dataset_of_the_hub_is_read_by_its_name_and_columns_are_named_by_flags(
    run_zoo: Zoo, hub: Any, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    hub.api().create_repo("me/films", repo_type="dataset")
    for name, rows in (("train", ROWS), ("validation", ROWS[1:3])):
        content = "\n".join(json.dumps({"film": text, "verdict": label}) for text, label in rows)
        hub.api().upload_file(
            path_or_fileobj=content.encode(), path_in_repo=f"{name}.jsonl", repo_id="me/films", repo_type="dataset"
        )
    arguments = ["finetune", str(folder), "--train", "me/films", "--eval", "me/films", "--max-steps", "1"]
    flags = ["--column", "text=film", "--column", "label=verdict", "--out", str(tmp_path / "out")]
    done = run_zoo(*arguments, *flags)
    assert done.returncode == 0, done.stderr
    assert [line.partition(":")[0] for line in done.stdout.splitlines()[:3]] == ["train_loss", "eval_loss", "accuracy"]
    unknown = run_zoo(*arguments, "--out", str(tmp_path / "other"), "--column", "label=verdict")
    assert unknown.stderr == (
        "Error: Example 0 has no 'text', which 'text-classification' learns from; it has: film, verdict, label\n"
    )
    wrong = run_zoo(*arguments, "--out", str(tmp_path / "other"), "--column", "film")
    assert (
        wrong.stderr.splitlines()[-1] == "Error: Invalid value for '--column': 'film' is not of the form text=sentence"
    )


def test_lora_is_asked_for_by_any_of_its_flags_and_answers_beside_its_base(
    run_zoo: Zoo, folder: Path, data: str, tmp_path: Path
) -> None:
    out = tmp_path / "adapter"
    (tmp_path / "settings.toml").write_text("epochs = 9\n[lora]\nrank = 2\nalpha = 3.0\n")
    arguments = ["finetune", str(folder), "--train", data, "--out", str(out)]
    done = run_zoo(*arguments, "--config", str(tmp_path / "settings.toml"), "--lora-targets", "feedforward.up")
    assert done.returncode == 0, done.stderr
    config = json.loads((out / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["target_modules"]) == (
        2, 3.0, ["bert.encoder.layer.0.intermediate.dense", "bert.encoder.layer.1.intermediate.dense"],
    )  # fmt: skip
    answered = run_zoo("run", str(folder), "good film", "--adapter", str(out), "--json")
    expected = zoo.load(folder, adapter=out).predict(["good film"])[0]
    assert json.loads(answered.stdout)[0]["output"] == {"label": expected.label, "score": expected.score}
    pushed = run_zoo(*arguments, "--lora-rank", "2", "--push", "me/adapted")
    assert pushed.returncode == 2
    assert pushed.stderr.splitlines()[-1] == (
        f"Error: --push: an adapter beside '{folder}' would be of no use to others, who do not have that folder. Name a base "
        "on a hub, or add --lora-merge"
    )


def test_what_is_guessed_is_said(run_zoo: Zoo, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("sentence,label\ngood,yes\nbad,no\n")
    done = run_zoo(
        "finetune",
        str(folder),
        "--train",
        str(tmp_path / "data.csv"),
        "--out",
        str(tmp_path / "out"),
        "--max-steps",
        "1",
    )
    assert done.stderr.splitlines()[:2] == [
        "columns guessed: text is 'sentence'; name others with --column (columns={...})",
        "labels with one example only: yes, no",
    ]


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
    assert list(result["metrics"]) == ["train_loss", "eval_loss", "accuracy", "f1"]
    assert result == {
        "path": str(tmp_path / "out"), "steps": 2, "metrics": result["metrics"], "emissions": None, "footprint": None,
        "learnt_parameters": 10354, "parameters": 10354, "commit": None,
    }  # fmt: skip
    lines = [f"{name}: {value:.4f}" for name, value in result["metrics"].items()]
    assert plain.stdout.splitlines() == [*lines, f"saved in {tmp_path / 'out'}"]


def test_evaluations_are_told_of_as_they_come(run_zoo: Zoo, folder: Path, data: str, tmp_path: Path) -> None:
    arguments = ["--train", data, "--eval", data, "--out", str(tmp_path / "out"), "--batch-size", "2"]
    done = run_zoo("finetune", str(folder), *arguments, "--max-steps", "4", "--eval-steps", "2")
    told = [re.sub(r"\d\.\d{4}", "N", line) for line in done.stderr.splitlines()]
    assert told == [
        "training: step 1 of 4, loss N",
        "training: step 2 of 4, loss N",
        "training: after step 2, eval_loss N, accuracy N, f1 N",
        "training: step 3 of 4, loss N",
        "training: step 4 of 4, loss N",
        "training: after step 4, eval_loss N, accuracy N, f1 N",
    ]


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


def test_eval_prints_intervals_and_writes_them_into_the_card_with_the_command(
    run_zoo: Zoo, folder: Path, data: str
) -> None:
    arguments = ["eval", str(folder), "--data", data, "--resamples", "20"]
    done = run_zoo(*arguments)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["METRIC", "VALUE", "FROM", "TO"]
    assert [line.split()[0] for line in lines[1:]] == ["accuracy", "f1"]
    assert done.stderr.splitlines()[-1] == f"written into {folder / 'README.md'}"
    card = (folder / "README.md").read_text()
    assert f"\n```\nzoo {' '.join(arguments)}\n```\n" in card
    accuracy = json.loads(run_zoo(*arguments, "--json", "--no-card").stdout)["metrics"]["accuracy"]
    assert lines[1].split()[1:] == [f"{accuracy[key]:.4f}" for key in ("value", "low", "high")]
    assert (folder / "README.md").read_text() == card
    assert zoo.load(folder).labels == ("no", "yes")
