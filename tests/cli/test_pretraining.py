"""`zoo pretrain` and `zoo distill` as a user types them."""

from pathlib import Path
from typing import Any

import zoo
from tests.cli.conftest import Zoo


def test_pretrain_trains_a_tokenizer_and_a_model_that_run_writes_with(run_zoo: Zoo, tmp_path: Path) -> None:
    (tmp_path / "spec.toml").write_text("hidden_size = 24\nnum_hidden_layers = 2\nmax_position_embeddings = 19\n")
    for name, text in (("a", "the cat sat where the dog sat. " * 9), ("b", "who went home? the cat went. " * 9)):
        (tmp_path / f"{name}.txt").write_text(text)
    arguments = [
        "pretrain", "--arch", "gpt2", "--spec", str(tmp_path / "spec.toml"), "--train", str(tmp_path / "a.txt"),
        "--train", str(tmp_path / "b.txt"), "--vocab-size", "264", "--task", "text-generation",
        "--out", str(tmp_path / "out"), "--epochs", "2", "--batch-size", "8", "--learning-rate", "1e-3",
    ]  # fmt: skip
    done = run_zoo(*arguments, "--resume")
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[0] == "no checkpoint yet: from the beginning"
    assert done.stdout.splitlines()[-1] == f"saved in {tmp_path / 'out'}"
    model = zoo.load(tmp_path / "out")
    assert (model.task, model.spec.vocab_size) == ("text-generation", 264)
    written = run_zoo("run", str(tmp_path / "out"), "the cat", "--max-new-tokens", "3")
    assert written.returncode == 0, written.stderr
    empty = tmp_path / "empty.txt"
    empty.write_text(" \n")
    refused = run_zoo(*arguments[:5], "--train", str(empty), "--out", str(tmp_path / "other"))
    assert (refused.returncode, refused.stderr) == (1, "Error: There are no examples to learn from\n")
    assert "--lora-rank" not in run_zoo("pretrain", "--help").stdout


def test_distill_halves_a_checkpoint_and_pushes_it(run_zoo: Zoo, hub: Any, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "student.toml").write_text('model_type = "distilbert"\n')
    (tmp_path / "data.csv").write_text("text,label\n" + "good,yes\nbad film,no\n" * 3)
    done = run_zoo(
        "distill", str(folder), "--student", str(tmp_path / "student.toml"), "--train", str(tmp_path / "data.csv"),
        "--out", str(tmp_path / "out"), "--max-steps", "2", "--temperature", "3", "--soft-weight", "1.5",
        "--push", "me/student", token=hub.token,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    commit = hub.api().model_info("me/student").sha
    assert done.stdout.splitlines()[-1] == f"saved in {tmp_path / 'out'}, pushed to me/student at {commit[:12]}"
    card = zoo.pull("me/student", endpoint=hub.endpoint).path / "README.md"
    assert "It was distilled from a model that is in no repository.\n" in card.read_text()
    model = zoo.load(tmp_path / "out")
    found = (model.architecture.name, model.labels, model.spec.to_config()["n_layers"])
    assert found == ("distilbert", ("no", "yes"), 1)


def test_the_tokenizer_of_a_repository_is_taken(run_zoo: Zoo, hub: Any, folder: Path, tmp_path: Path) -> None:
    pushed = run_zoo("push", str(folder), "me/words", token=hub.token)
    assert pushed.returncode == 0, pushed.stderr
    (tmp_path / "spec.toml").write_text("hidden_size = 24\nnum_hidden_layers = 1\nmax_position_embeddings = 19\n")
    (tmp_path / "corpus.txt").write_text("good film bad film " * 9)
    done = run_zoo(
        "pretrain", "--arch", "gpt2", "--spec", str(tmp_path / "spec.toml"), "--train", str(tmp_path / "corpus.txt"),
        "--tokenizer", "me/words", "--out", str(tmp_path / "out"), "--max-steps", "1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out/tokenizer.json").read_bytes() == (folder / "tokenizer.json").read_bytes()
    assert zoo.load(tmp_path / "out").spec.vocab_size == 8
