"""Runs that are broken off and gone on with: the same losses and weights, bit for bit, as if nothing had happened."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import zoo
from tests.checkpoints import assert_same_bytes, read_tensors, write_checkpoint, write_tokenizer
from zoo.errors import InvalidInput, ResumeRefused, TrainingDiverged, UnfinishedRun
from zoo.training.checkpoints import find_step

EXAMPLES = [
    {"text": f"{'the ' * (number % 5)}{word} film was {'very ' * (number % 3)}{word}", "label": word}
    for number, word in enumerate(["good", "bad", "not", "home"] * 6)
]
HELD_OUT = [{"text": f"a {word} cat", "label": word} for word in ("good", "bad", "not", "home")]
SETTINGS: dict[str, dict[str, Any]] = {
    "batches": {"batch_size": 5, "warmup_steps": 0.2},
    "accumulated tokens": {"tokens_per_batch": 40, "accumulation": 2, "schedule": "cosine"},
    "evaluations": {"batch_size": 5, "eval_steps": 2, "learning_rate": 0.02},
    "frozen": {"batch_size": 5, "frozen_layers": 1, "layer_decay": 0.8, "gradient_checkpointing": True},
    "bf16": {"batch_size": 7, "precision": "bf16"},
}
JOB = """
import json, os, resource, signal, sys
import torch, zoo

torch.set_num_threads(1)
job = json.loads(sys.argv[1])

def watch(step, steps, loss):
    print(step, loss.hex(), flush=True)
    if step == job.get("kill_after"):
        os.kill(os.getpid(), signal.SIGKILL)
    if step == job.get("full_after"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))  # larger files fail, as on a full disk

try:
    result = zoo.finetune(
        job["model"], job["train"], job["eval"], task="text-classification",
        config=zoo.FinetuneConfig(**job["config"]), resume=job["resume"], watch=watch,
    )
except zoo.ZooError as error:
    sys.exit(f"{type(error).__name__}: {error}")
print(json.dumps({"losses": [loss.hex() for loss in result.losses], "metrics": result.metrics}))
"""


class Broken(Exception):
    """What stops a run in these tests."""


@pytest.fixture
def backbone(tmp_path: Path) -> Path:
    write_checkpoint(tmp_path / "backbone")
    write_tokenizer(tmp_path / "backbone")
    return tmp_path / "backbone"


def config_for(name: str, out: Path, **changes: Any) -> dict[str, Any]:
    usual = {"epochs": 2, "learning_rate": 5e-3, "save_steps": 3, "output_dir": str(out)}
    return usual | SETTINGS[name] | changes


def finetune(
    backbone: Path, config: dict[str, Any], stop_after: int | None = None, **options: Any
) -> zoo.FinetuneResult:
    def watch(step: int, steps: int, loss: float) -> None:
        if step == stop_after:
            raise Broken

    examples = options.pop("examples", EXAMPLES)
    return zoo.finetune(
        options.pop("model", str(backbone)), examples, HELD_OUT, task="text-classification",
        config=zoo.FinetuneConfig(**config), watch=watch, **options,
    )  # fmt: skip


def run_job(backbone: Path, config: dict[str, Any], **job: Any) -> subprocess.CompletedProcess[str]:
    facts = {"model": str(backbone), "train": EXAMPLES, "eval": HELD_OUT, "config": config, "resume": False} | job
    return subprocess.run(
        [sys.executable, "-c", JOB, json.dumps(facts)],
        env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip


@pytest.mark.parametrize("kill_after", [1, 4, 9])
def test_a_killed_run_goes_on_to_the_same_losses_and_weights(backbone: Path, tmp_path: Path, kill_after: int) -> None:
    """Killed by a signal that nothing can catch: before the first checkpoint, after one, and after several."""
    whole = run_job(backbone, config_for("batches", tmp_path / "whole"))
    assert whole.returncode == 0, whole.stderr
    config = config_for("batches", tmp_path / "out")
    killed = run_job(backbone, config, kill_after=kill_after)
    assert killed.returncode == -signal.SIGKILL
    assert find_step(tmp_path / "out") == {1: None, 4: 3, 9: 6}[kill_after]  # step 9 was told of, and not yet saved
    resumed = run_job(backbone, config, resume=True)
    assert resumed.returncode == 0, resumed.stderr
    expected, found = (json.loads(done.stdout.splitlines()[-1]) for done in (whole, resumed))
    assert found == expected
    assert len(found["losses"]) == 10
    assert_same_bytes(read_tensors(tmp_path / "out"), read_tensors(tmp_path / "whole"))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "config.json", "model.safetensors", "report.html", "tokenizer.json", "tokenizer_config.json",
    ]  # fmt: skip


@pytest.mark.parametrize("name", SETTINGS)
def test_whatever_the_settings_a_run_broken_off_twice_ends_the_same(backbone: Path, tmp_path: Path, name: str) -> None:
    whole = finetune(backbone, config_for(name, tmp_path / "whole"))
    config = config_for(name, tmp_path / "out", save_steps=2)
    for stop_after, resume in ((3, False), (5, True)):
        torch.manual_seed(stop_after)  # the caller's random numbers have no part in it
        with pytest.raises(Broken):
            finetune(backbone, config, stop_after, resume=resume)
    resumed = finetune(backbone, config, resume=True)
    assert resumed.losses == whole.losses
    assert resumed.metrics == whole.metrics
    assert_same_bytes(dict(resumed.model.named_parameters()), dict(whole.model.named_parameters()))


def test_matrices_that_lie_transposed_in_memory_go_on_the_same(tmp_path: Path) -> None:
    """GPT-2's files hold them so, and the fused optimiser walks through weights and moments by their place in memory."""
    spec = zoo.make_spec("gpt2", vocab_size=53, n_positions=19, n_embd=24, n_layer=2, n_head=4)
    zoo.build(spec, "text-generation", seed=3).save(tmp_path / "gpt2")
    write_tokenizer(tmp_path / "gpt2")
    texts = [{"text": example["text"]} for example in EXAMPLES]
    settings = {"epochs": 2, "batch_size": 2, "learning_rate": 5e-3}
    model = zoo.load(str(tmp_path / "gpt2"))
    assert any(not parameter.is_contiguous() for parameter in model.parameters())
    whole = zoo.finetune(model, texts, config=zoo.FinetuneConfig(**settings))
    config = zoo.FinetuneConfig(**settings, save_steps=2, output_dir=tmp_path / "out")

    def stop(step: int, steps: int, loss: float) -> None:
        if step == 5:
            raise Broken

    with pytest.raises(Broken):
        zoo.finetune(str(tmp_path / "gpt2"), texts, config=config, watch=stop)
    resumed = zoo.finetune(str(tmp_path / "gpt2"), texts, config=config, resume=True)
    assert resumed.losses == whole.losses
    assert_same_bytes(dict(resumed.model.named_parameters()), dict(whole.model.named_parameters()))


def test_a_full_disk_keeps_the_checkpoint_before(backbone: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    failed = run_job(backbone, config_for("batches", out), full_after=4)
    assert failed.returncode == 1
    path = out / "checkpoints" / "step-00000006"
    pattern = (
        rf"CheckpointNotSaved: The checkpoint '{re.escape(str(path))}' could not be written after step 6: .*File too large.*\. "
        r"Training stopped\. That of step 3 is kept\. Free some disk, then go on with --resume \(resume=True\)"
    )
    assert re.fullmatch(pattern, failed.stderr.splitlines()[-1])
    assert [path.name for path in (out / "checkpoints").iterdir()] == ["step-00000003"]
    resumed = run_job(backbone, config_for("batches", out), resume=True)
    whole = run_job(backbone, config_for("batches", tmp_path / "whole"))
    assert resumed.stdout.splitlines()[-1] == whole.stdout.splitlines()[-1]
    assert_same_bytes(read_tensors(out), read_tensors(tmp_path / "whole"))


def test_only_the_newest_checkpoint_is_kept_and_it_holds_no_pickle(backbone: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "checkpoints" / ".step-00000003.partial").mkdir(parents=True)  # what a kill in the middle of a save leaves
    with pytest.raises(Broken):
        finetune(backbone, config_for("evaluations", out), stop_after=8)
    (kept,) = (out / "checkpoints").iterdir()
    assert kept.name == "step-00000006"
    assert sorted(path.name for path in kept.iterdir()) == [
        "best.safetensors", "model.safetensors", "optimizer.safetensors", "random.safetensors", "state.json",
    ]  # fmt: skip


def test_minutes_between_checkpoints_may_be_fractions(backbone: Path, tmp_path: Path) -> None:
    config = config_for("batches", tmp_path / "out", save_steps=None, save_minutes=1e-9)
    with pytest.raises(Broken):
        finetune(backbone, config, stop_after=5)
    assert find_step(tmp_path / "out") == 4
    rare = config_for("batches", tmp_path / "other", save_steps=None, save_minutes=60)
    with pytest.raises(Broken):
        finetune(backbone, rare, stop_after=5)
    assert find_step(tmp_path / "other") is None


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.fixture
def stopped(backbone: Path, tmp_path: Path) -> Path:
    """The folder of a run that was broken off after step 4, and saved after step 3."""
    with pytest.raises(Broken):
        finetune(backbone, config_for("batches", tmp_path / "out"), stop_after=4)
    return tmp_path / "out"


def test_an_unfinished_run_is_not_overwritten(backbone: Path, stopped: Path) -> None:
    with pytest.raises(UnfinishedRun) as raised:
        finetune(backbone, config_for("batches", stopped))
    assert str(raised.value) == (
        f"'{stopped}' holds a run that stopped after step 3. Go on with it by --resume (resume=True); to begin anew, "
        f"choose another folder or remove {stopped / 'checkpoints'}"
    )
    assert find_step(stopped) == 3


def test_another_order_or_other_data_are_refused(backbone: Path, stopped: Path) -> None:
    with pytest.raises(ResumeRefused) as raised:
        finetune(
            backbone, config_for("batches", stopped, batch_size=4, seed=1), resume=True, examples=EXAMPLES[1:],
        )  # fmt: skip
    path = stopped / "checkpoints" / "step-00000003"
    differing = raised.value.differing
    assert {key: pair for key, pair in differing.items() if key in ("batch_size", "seed")} == {
        "batch_size": (5, 4), "seed": (0, 1),
    }  # fmt: skip
    assert list(differing) == ["batch_size", "examples", "seed", "weights"]  # another seed, another head
    lines = str(raised.value).splitlines()
    assert lines[0] == (
        f"The run saved in '{path}' cannot be gone on with: it differs in what decides its order and its weights."
    )
    assert lines[1] == "  batch_size: was 5, is 4"
    assert lines[-1] == "Give it what it had, or begin anew in another folder"


def test_other_weights_are_refused(backbone: Path, stopped: Path) -> None:
    other = zoo.load(str(backbone), "text-classification", labels=sorted({e["label"] for e in EXAMPLES}))
    with torch.no_grad():
        other.get_parameter("backbone.layers.0.attention.query.weight")[0, 0] += 1e-3
    with pytest.raises(ResumeRefused) as raised:
        finetune(backbone, config_for("batches", stopped), resume=True, model=other)
    assert list(raised.value.differing) == ["weights"]


def test_the_rate_may_change_when_a_run_goes_on(backbone: Path, stopped: Path) -> None:
    result = finetune(backbone, config_for("batches", stopped, learning_rate=1e-4), resume=True)
    assert len(result.losses) == 10


def test_a_finished_result_is_not_trained_over_by_resuming(backbone: Path, tmp_path: Path) -> None:
    config = config_for("batches", tmp_path / "out")
    finetune(backbone, config)
    with pytest.raises(InvalidInput) as raised:
        finetune(backbone, config, resume=True)
    assert str(raised.value) == (
        f"'{tmp_path / 'out'}' holds a finished result and no checkpoint to go on from; to train anew, do not resume"
    )


@pytest.mark.parametrize(("changes", "resume"), [({"save_steps": 2}, False), ({"save_minutes": 1}, False), ({}, True)])
def test_checkpoints_need_a_folder(backbone: Path, changes: dict[str, int], resume: bool) -> None:
    with pytest.raises(InvalidInput) as raised:
        finetune(backbone, changes, resume=resume)
    assert str(raised.value) == (
        "Checkpoints to resume from are in output_dir, which is not given; it would be a folder"
    )


def test_a_run_that_diverges_says_what_it_kept(backbone: Path, tmp_path: Path, stopped: Path) -> None:
    with pytest.raises(TrainingDiverged) as raised:
        finetune(backbone, config_for("batches", stopped, learning_rate=1e30), resume=True)
    assert str(raised.value) == (
        "The loss became nan at step 5. Training stopped. Try a smaller learning_rate than 1e+30, or more warmup_steps. "
        "The state after step 3 is kept: with --resume (resume=True) and such a setting the run goes on from there"
    )
    assert len(finetune(backbone, config_for("batches", stopped), resume=True).losses) == 10


def test_weights_that_are_no_numbers_are_not_saved(backbone: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingDiverged) as raised:
        finetune(backbone, config_for("batches", tmp_path / "out", learning_rate=1e39, warmup_steps=0, save_steps=1))
    assert re.match(r"The parameter '[\w.]+' became nan at step 1\. Training stopped\. ", str(raised.value))
    assert find_step(tmp_path / "out") is None
