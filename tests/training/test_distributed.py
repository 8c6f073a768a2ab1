"""Several ranks train as one process would: the same losses, whatever is shared out among them."""

from pathlib import Path
from typing import Any

import pytest
import torch

import zoo
from tests.checkpoints import read_tensors, write_tokenizer
from tests.training.processes import run_ranks
from tests.training.runs import DROPLESS, MODELS, TEXTS, finetune, learn_pairs, write_model
from zoo.training.checkpoints import find_step
from zoo.training.distributed import sharding


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
