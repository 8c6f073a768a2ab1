"""What becomes of ranks that cannot train together, or lose one another, and of a command that starts them."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import zoo
from tests.training.processes import run_ranks
from tests.training.runs import MODELS, WORDS, finetune, learn_pairs, refusal, write_model
from zoo.errors import InvalidInput
from zoo.training.checkpoints import find_step
from zoo.training.distributed.parallel import Parallel


def test_more_ranks_than_a_batch_has_examples_are_refused(tmp_path: Path) -> None:
    path = write_model(tmp_path, "bert")
    assert (
        run_ranks(3, refusal, finetune, path, "bert", {"batch_size": 2})
        == [
            "InvalidInput: The largest batch has 2 examples, and 3 ranks share each; start fewer, or make batch_size at least 3"
        ]
        * 3
    )


def test_fewer_whole_batches_than_ranks_are_refused(tmp_path: Path) -> None:
    path = write_model(tmp_path, "bert")
    assert (
        run_ranks(2, refusal, learn_pairs, path, {})
        == [
            "InvalidInput: accumulation gives a step 1 batches, which stay whole here, and 2 ranks share them; it would be at "
            "least 2"
        ]
        * 2
    )


def test_heads_that_cannot_be_shared_out_evenly_are_refused(tmp_path: Path) -> None:
    path = write_model(tmp_path, "qwen3")
    assert (
        run_ranks(3, refusal, finetune, path, "qwen3", {"parallel": "tensor"})
        == [
            "InvalidInput: parallel is 'tensor', and the model's 4 attention heads cannot be shared out evenly among 3 ranks. "
            "Try another number of ranks, or parallel='fsdp'"
        ]
        * 3
    )


def test_lora_is_not_shared_out_by_heads(tmp_path: Path) -> None:
    path = write_model(tmp_path, "bert")
    assert (
        run_ranks(2, refusal, finetune, path, "bert", {"parallel": "tensor", "lora": {}})
        == [
            "InvalidInput: LoRA's matrices are not shared out among ranks; with lora, parallel would be 'ddp' or 'fsdp'"
        ]
        * 2
    )


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        (
            {"WORLD_SIZE": "2", "RANK": "0"},
            "WORLD_SIZE is 2, and there is no MASTER_ADDR, MASTER_PORT; a launcher sets all of RANK, WORLD_SIZE, "
            "MASTER_ADDR, MASTER_PORT. Start with torchrun or --nproc-per-node, or unset WORLD_SIZE",
        ),
        (
            {"WORLD_SIZE": "two", "RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"},
            "WORLD_SIZE is 'two'; it would be a number. Start with torchrun, which sets it",
        ),
        (
            {"WORLD_SIZE": "2", "RANK": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"},
            "RANK is 2, and WORLD_SIZE 2; ranks are counted from 0. Start with torchrun, which sets both",
        ),
    ],
)
def test_a_launcher_that_says_half_is_told_the_rest(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], message: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InvalidInput) as raised:
        zoo.finetune("./nowhere", [])
    assert str(raised.value) == message


def killed(path: Path) -> str:
    """What a rank is told when the last one is killed after a step."""
    if os.environ["RANK"] == "1":
        take = Parallel.clip

        def kill(self: Parallel, *arguments: Any) -> None:
            take(self, *arguments)
            os.kill(os.getpid(), signal.SIGKILL)

        Parallel.clip = kill  # type: ignore[method-assign]
    return refusal(finetune, path, "bert", {})


def test_when_a_rank_is_killed_the_others_end(tmp_path: Path) -> None:
    path = write_model(tmp_path, "bert")
    first, second = run_ranks(2, killed, path)
    assert second is None
    assert re.fullmatch(
        r"RankLost: Rank 0 of 2 cannot reach another one \(.+\)\. That one has ended, or never came: its own message says "
        r"why\. A run with checkpoints goes on with --resume \(resume=True\)",
        first,
    )


# --- from the command line --------------------------------------------------------------------------------------------


def run_zoo(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "zoo.cli.main", *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    examples = MODELS["bert"][2]
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, examples)), encoding="utf-8")
    return tmp_path / "train.jsonl"


def test_the_command_starts_its_ranks_and_prints_once(tmp_path: Path, data: Path) -> None:
    path, out = write_model(tmp_path, "bert"), tmp_path / "out"
    options = ["--task", "text-classification", "--train", str(data), "--batch-size", "5", "--epochs", "1"]
    done = run_zoo("finetune", str(path), *options, "--out", str(out), "--nproc-per-node", "2", "--parallel", "fsdp")
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(rf"train_loss: \d\.\d{{4}}\nsaved in {re.escape(str(out))}\n", done.stdout)
    assert re.fullmatch(r"(training: step \d of 5, loss \d\.\d{4}\n){5}", done.stderr)
    assert sorted(zoo.load(out).labels) == sorted(WORDS)


def test_of_what_goes_wrong_the_user_is_told_once(tmp_path: Path, data: Path) -> None:
    path = write_model(tmp_path, "bert")
    options = ["--task", "text-classification", "--train", str(data), "--out", str(tmp_path / "out")]
    done = run_zoo("finetune", str(path), *options, "--max-length", "4", "--nproc-per-node", "2")
    assert done.returncode == 1
    assert re.fullmatch(r"Error: Example 0 has more than max_length's 4 tokens, .*\n", done.stderr)
    assert done.stdout == ""


def test_of_wrong_usage_the_user_is_told_once(tmp_path: Path) -> None:
    done = run_zoo("finetune", "./backbone", "--train", "x.csv", "--nproc-per-node", "2")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "Error: Missing option '--out'."
    assert done.stderr.count("Error: ") == 1


def children_of(process: int) -> list[int]:
    """The processes that a process has started, by age."""
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text("utf-8").split()]


def test_when_a_rank_of_a_command_is_killed_the_others_end_and_the_user_is_told_once(
    tmp_path: Path, data: Path
) -> None:
    path = write_model(tmp_path, "bert")
    options = ["--task", "text-classification", "--train", str(data), "--epochs", "1000", "--save-steps", "2"]
    command = [sys.executable, "-m", "zoo.cli.main", "finetune", str(path), *options, "--nproc-per-node", "2"]
    command += ["--out", str(tmp_path / "out")]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        while find_step(tmp_path / "out") is None:
            assert running.poll() is None
            time.sleep(0.05)
        ranks = children_of(running.pid)
        os.kill(ranks[-1], signal.SIGKILL)
        told = [line for line in running.stderr.read().splitlines() if not line.startswith("training: ")]
    assert running.returncode == 1
    assert told == [
        "Error: Rank 1 of 2 was ended by SIGKILL, and the others with it. That is how a system out of memory ends a process: "
        "try fewer ranks, or a smaller batch_size. A run with checkpoints goes on with --resume (resume=True)"
    ]
    assert not any(Path(f"/proc/{rank}").exists() for rank in ranks)
