"""Several ranks train as one process would: the same losses, whatever is shared out among them."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import zoo
from tests.checkpoints import SIZES, read_tensors, write_tokenizer
from tests.training.processes import run_ranks
from zoo.errors import InvalidInput
from zoo.training.checkpoints import find_step
from zoo.training.distributed import sharding
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


def refusal(job: Callable[..., Any], *arguments: Any) -> str:
    """What a rank is told instead."""
    try:
        job(*arguments)
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


@pytest.mark.parametrize("parallel", ["ddp", "fsdp", "tensor"])
def test_whatever_else_is_set_the_losses_are_those_of_one_process(tmp_path: Path, parallel: str) -> None:
    path = write_model(tmp_path, "bert")
    settings = {
        "frozen_layers": 1, "layer_decay": 0.8, "gradient_checkpointing": True, "tokens_per_batch": 60,
        "max_gradient_norm": 0.1, "parallel": parallel,
    }  # fmt: skip
    (alone,) = run_ranks(1, finetune, path, "bert", settings)
    for losses, _ in run_ranks(2, finetune, path, "bert", settings):
        assert losses == pytest.approx(alone[0], abs=1e-5)


def test_ranks_that_work_on_the_same_examples_drop_the_same(tmp_path: Path) -> None:
    """Also one that begins when a run goes on: what they hold twice would drift apart otherwise."""
    task, sizes, _ = MODELS["t5"]
    zoo.build(zoo.make_spec("t5", **sizes, dropout_rate=0.3), task, seed=3).save(tmp_path / "t5")
    write_tokenizer(tmp_path / "t5")
    settings = {"parallel": "tensor", "output_dir": tmp_path / "out", "save_steps": 2}
    run_ranks(2, finetune_until, 3, tmp_path / "t5", "t5", settings)
    (first, _), *others = run_ranks(4, finetune, tmp_path / "t5", "t5", settings, resume=True)
    assert len(first) == 10
    assert all(losses == first for losses, _ in others)


def copied_out_of_the_file(path: Path, architecture: str, parallel: str) -> tuple[int, int, int]:
    """Bytes that a rank copies out of the mapped checkpoint, bytes that it copies from elsewhere, and bytes of all weights."""
    found = {"file": 0, "elsewhere": 0}
    copy = sharding._copied

    def copied(part: torch.Tensor, device: torch.device) -> torch.Tensor:
        lines = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
        spans = [line.split()[0].split("-") for line in lines if line.endswith(str(path / "model.safetensors"))]
        mapped = any(int(first, 16) <= part.data_ptr() < int(end, 16) for first, end in spans)
        found["file" if mapped else "elsewhere"] += part.nbytes
        return copy(part, device)

    sharding._copied = copied
    finetune(path, architecture, {"parallel": parallel, "max_steps": 1})
    weights = sum(parameter.numel() for parameter in zoo.load(path).parameters())
    return found["file"], found["elsewhere"], weights * 4


@pytest.mark.parametrize("architecture", ["bert", "gpt2", "t5"])
def test_ranks_read_their_own_slices_of_the_file_and_together_all_of_it(tmp_path: Path, architecture: str) -> None:
    """GPT-2's layout transposes and splits: even so nothing is copied but the slices."""
    path = write_model(tmp_path, architecture)
    read = run_ranks(3, copied_out_of_the_file, path, architecture, "fsdp")
    assert sum(slices for slices, _, _ in read) == read[0][2]
    assert all(0.25 < slices / weights < 0.45 and elsewhere == 0 for slices, elsewhere, weights in read)


def test_of_heads_a_rank_reads_its_own(tmp_path: Path) -> None:
    path = write_model(tmp_path, "gpt2")
    layers = sum(p.numel() for name, p in zoo.load(path).named_parameters() if p.dim() == 2 and ".layers." in name)
    for slices, elsewhere, weights in run_ranks(2, copied_out_of_the_file, path, "gpt2", "tensor"):
        assert elsewhere == 0
        assert weights - 0.55 * layers * 4 < slices < weights - 0.5 * layers * 4  # some biases are shared out too


def pretrain(folder: Path, corpus: Path) -> list[float]:
    """Losses of a model from random weights, with a tokenizer that the first rank trains."""
    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 19}
    config = zoo.FinetuneConfig(epochs=2, batch_size=4, learning_rate=5e-3, max_length=12, output_dir=folder)
    return list(zoo.pretrain("gpt2", sizes | DROPLESS["gpt2"], corpus, vocab_size=280, config=config).losses)


def test_a_model_from_random_weights_is_the_same_with_several_ranks(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.txt"
    corpus.write_text(" ".join(TEXTS), encoding="utf-8")
    (alone,) = run_ranks(1, pretrain, tmp_path / "alone", corpus)
    for losses in run_ranks(2, pretrain, tmp_path / "out", corpus):
        assert losses == pytest.approx(alone, abs=1e-5)
    assert zoo.load(tmp_path / "out").tokenizer.vocab_size == zoo.load(tmp_path / "alone").tokenizer.vocab_size


def distil(path: Path) -> list[float]:
    """Losses of a student, whose objective weighs its terms by another count than the task's."""
    config = zoo.DistillConfig(epochs=1, batch_size=3, accumulation=2, learning_rate=5e-3)
    examples = MODELS["bert"][2]
    return list(zoo.distill(path, {"num_hidden_layers": 1}, examples, config=config).losses)


def test_a_student_is_the_same_with_several_ranks(tmp_path: Path) -> None:
    path = write_model(tmp_path, "bert")
    (alone,) = run_ranks(1, distil, path)
    for losses in run_ranks(2, distil, path):
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
