"""Several ranks train as one process would: the same losses, whatever is shared out among them."""

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
from tests.checkpoints import SIZES, read_tensors, write_tokenizer
from tests.training.processes import run_ranks
from zoo.errors import InvalidInput
from zoo.training.checkpoints import find_step
from zoo.training.distributed.parallel import Parallel

WORDS = ["good", "bad", "not", "home", "cat", "dog", "berlin"]
TEXTS = [f"{'the ' * (n % 5)}{word} film was {'very ' * (n % 3)}{word}" for n, word in enumerate(WORDS * 3)]
PAIRS = [{"source": text, "target": f"{text.split()[-1]} {'and ' * (n % 4)}the"} for n, text in enumerate(TEXTS)]
DROPLESS = {
    "bert": {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
    "gpt2": {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0},
    "t5": {"dropout_rate": 0.0},
    "qwen3": {},
}
MODELS: dict[str, tuple[str, dict[str, Any], list[dict[str, Any]]]] = {
    "bert": ("text-classification", dict(SIZES), [{"text": t, "label": t.split()[-1]} for t in TEXTS]),
    "gpt2": (
        "text-generation",
        {"vocab_size": 53, "n_positions": 19, "n_embd": 24, "n_layer": 2, "n_head": 4},
        [{"text": text} for text in TEXTS],
    ),
    "t5": (
        "text2text-generation",
        {
            "vocab_size": 53, "d_model": 24, "num_layers": 2, "num_decoder_layers": 2, "num_heads": 4, "d_kv": 10,
            "d_ff": 40, "relative_attention_num_buckets": 8, "relative_attention_max_distance": 9,
        },
        PAIRS,
    ),
    "qwen3": (
        "text-generation",
        {
            "vocab_size": 53, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4,
            "num_key_value_heads": 2, "head_dim": 10, "intermediate_size": 40, "max_position_embeddings": 19,
        },
        [{"text": text} for text in TEXTS],
    ),
}  # fmt: skip


def write_model(folder: Path, architecture: str) -> Path:
    """A checkpoint with random weights and a tokenizer, without dropout."""
    task, sizes, _ = MODELS[architecture]
    spec = zoo.make_spec(architecture, **sizes, **DROPLESS[architecture])
    labels = sorted(WORDS) if task == "text-classification" else None
    zoo.build(spec, task, labels=labels, seed=3).save(folder / architecture)
    write_tokenizer(folder / architecture)
    return folder / architecture


def finetune(path: Path, architecture: str, settings: dict[str, Any], **options: Any) -> tuple[list[float], Any]:
    """What a rank does: losses and metrics of a run."""
    task, _, examples = MODELS[architecture]
    config = zoo.FinetuneConfig(**{"epochs": 2, "batch_size": 5, "learning_rate": 5e-3, **settings})
    result = zoo.finetune(path, examples, examples[:6], task=options.pop("task", task), config=config, **options)
    return list(result.losses), result.metrics


def refusal(*arguments: Any, **options: Any) -> str:
    """What a rank is told instead."""
    try:
        finetune(*arguments, **options)
    except zoo.ZooError as error:
        return f"{type(error).__name__}: {error}"
    return "it trained"


@pytest.mark.parametrize("architecture", MODELS)
@pytest.mark.parametrize("parallel", ["ddp", "fsdp", "tensor"])
def test_two_ranks_have_the_losses_of_one_process(tmp_path: Path, architecture: str, parallel: str) -> None:
    path = write_model(tmp_path, architecture)
    settings = {"parallel": parallel, "accumulation": 2, "eval_steps": 3}
    (alone,) = run_ranks(1, finetune, path, architecture, settings)
    for losses, metrics in run_ranks(2, finetune, path, architecture, settings):
        assert losses == pytest.approx(alone[0], abs=1e-5)
        assert metrics == pytest.approx(alone[1], abs=1e-4)


def assert_close(found: Path, expected: Path) -> None:
    """Compare two saved checkpoints; the key's bias has no gradient but rounding, whose direction Adam follows."""
    one, other = read_tensors(found), read_tensors(expected)
    assert one.keys() == other.keys()
    for name, tensor in other.items():
        if "key.bias" not in name and "k_proj.bias" not in name:
            torch.testing.assert_close(
                one[name], tensor, atol=2e-5, rtol=0, msg=lambda text, name=name: f"{name}: {text}"
            )


@pytest.mark.parametrize("parallel", ["ddp", "fsdp", "tensor"])
def test_the_first_rank_saves_the_checkpoint_that_one_process_saves(tmp_path: Path, parallel: str) -> None:
    path = write_model(tmp_path, "bert")
    run_ranks(1, finetune, path, "bert", {"output_dir": tmp_path / "alone"})
    run_ranks(2, finetune, path, "bert", {"output_dir": tmp_path / "out", "parallel": parallel})
    assert_close(tmp_path / "out", tmp_path / "alone")
    names = ["config.json", "model.safetensors", "report.html", "tokenizer.json", "tokenizer_config.json"]
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == names
    assert "good" in zoo.load(tmp_path / "out").labels


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_lora_learns_the_same_on_several_ranks(tmp_path: Path, parallel: str) -> None:
    path = write_model(tmp_path, "bert")
    settings = {"lora": {"rank": 3}, "parallel": parallel}
    (alone,) = run_ranks(1, finetune, path, "bert", {**settings, "output_dir": tmp_path / "alone"})
    for losses, _ in run_ranks(2, finetune, path, "bert", {**settings, "output_dir": tmp_path / "out"}):
        assert losses == pytest.approx(alone[0], abs=1e-5)
    assert_close(tmp_path / "out", tmp_path / "alone")


def learn_pairs(path: Path, settings: dict[str, Any]) -> list[float]:
    """Losses of texts that are told from the others of their batch."""
    pairs = [{"text": text, "positive": text.split()[-1]} for text in TEXTS]
    config = zoo.FinetuneConfig(epochs=2, batch_size=5, learning_rate=5e-3, **settings)
    return list(zoo.finetune(path, pairs, task="feature-extraction", config=config).losses)


def test_batches_whose_examples_are_compared_stay_whole(tmp_path: Path) -> None:
    """Three ranks, four batches a step, the last step of an epoch with one: some have nothing that counts."""
    path = write_model(tmp_path, "bert")
    (alone,) = run_ranks(1, learn_pairs, path, {"accumulation": 4})
    for losses in run_ranks(3, learn_pairs, path, {"accumulation": 4}):
        assert losses == pytest.approx(alone, abs=1e-5)


# --- going on ---------------------------------------------------------------------------------------------------------


class Broken(Exception):
    """What stops a run in these tests."""


def finetune_until(step: int, *arguments: Any, **options: Any) -> None:
    """The same, broken off after a step by the first rank; the others lose it."""

    def stop(taken: int, steps: int, loss: float) -> None:
        if taken == step:
            raise Broken

    try:
        finetune(*arguments, watch=stop, **options)
    except (Broken, zoo.ZooError):
        return
    raise AssertionError("the run was not broken off")


@pytest.mark.parametrize("parallel", ["ddp", "fsdp", "tensor"])
def test_what_two_ranks_saved_one_goes_on_with_and_then_four(tmp_path: Path, parallel: str) -> None:
    path, out = write_model(tmp_path, "bert"), tmp_path / "out"
    (alone,) = run_ranks(1, finetune, path, "bert", {"eval_steps": 2})
    settings = {"eval_steps": 2, "output_dir": out, "save_steps": 3, "parallel": parallel}
    run_ranks(2, finetune_until, 4, path, "bert", settings)
    assert find_step(out) == 3
    run_ranks(1, finetune_until, 7, path, "bert", settings, resume=True)
    assert find_step(out) == 6
    for losses, metrics in run_ranks(4, finetune, path, "bert", settings, resume=True):
        assert losses == pytest.approx(alone[0], abs=1e-5)
        assert metrics == pytest.approx(alone[1], abs=1e-4)


# --- what cannot be ---------------------------------------------------------------------------------------------------


def test_more_ranks_than_a_batch_has_examples_are_refused(tmp_path: Path) -> None:
    path = write_model(tmp_path, "bert")
    assert (
        run_ranks(3, refusal, path, "bert", {"batch_size": 2})
        == [
            "InvalidInput: The largest batch has 2 examples, and 3 ranks share each; start fewer, or make batch_size at least 3"
        ]
        * 3
    )


def test_heads_that_cannot_be_shared_out_evenly_are_refused(tmp_path: Path) -> None:
    path = write_model(tmp_path, "qwen3")
    assert (
        run_ranks(3, refusal, path, "qwen3", {"parallel": "tensor"})
        == [
            "InvalidInput: parallel is 'tensor', and the model's 4 attention heads cannot be shared out evenly among 3 ranks. "
            "Try another number of ranks, or parallel='fsdp'"
        ]
        * 3
    )


def test_lora_is_not_shared_out_by_heads(tmp_path: Path) -> None:
    path = write_model(tmp_path, "bert")
    assert (
        run_ranks(2, refusal, path, "bert", {"parallel": "tensor", "lora": {}})
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
    return refusal(path, "bert", {})


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
