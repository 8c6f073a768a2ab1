"""push, verify, convert and sign as a user meets them."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import zoo
from tests.checkpoints import read_tensors, write_tensors
from tests.hub.keys import make_key

Zoo = Callable[..., subprocess.CompletedProcess[str]]


def told(sizes: dict[str, int], verb: str) -> list[str]:
    """A line for each file, as a dry run prints them."""
    texts = {name: f"{size / 1000:.1f} kB" if size >= 1000 else f"{size} B" for name, size in sizes.items()}
    return [f"{verb} {name} ({text})" for name, text in texts.items()]


def sizes_of(hub: Any, repo_id: str) -> dict[str, int]:
    files = hub.api().model_info(repo_id, files_metadata=True).siblings
    return {file.rfilename: file.size for file in files if file.rfilename != ".gitattributes"}


def test_a_dry_run_prints_what_would_be_done(run_zoo: Zoo, hub: Any, folder: Path) -> None:
    (folder / "train.py").write_text("")
    tried = run_zoo("push", str(folder), "me/film", "--private", "--dry-run", token=hub.token)
    assert tried.returncode == 0, tried.stderr
    assert not hub.api().repo_exists("me/film")
    assert run_zoo("push", str(folder), "me/film", token=hub.token).returncode == 0
    sizes = sizes_of(hub, "me/film")
    assert tried.stdout.splitlines() == ["me/film would be made, private", *told(sizes, "would upload")]
    assert tried.stderr == "left out, as no part of a checkpoint: train.py\n"
    (folder / "README.md").write_text("# mine\n")
    again = run_zoo("push", str(folder), "me/film", "--dry-run", token=hub.token)
    rest = {name: size for name, size in sizes.items() if name != "README.md"}
    assert again.stdout.splitlines() == ["would upload README.md (7 B)", *told(rest, "unchanged")]
    listed = json.loads(run_zoo("push", str(folder), "me/film", "--dry-run", "--json", token=hub.token).stdout)
    assert listed == {
        "repository": "me/film", "uploaded": {"README.md": 7}, "unchanged": rest, "removed": [], "left_out": ["train.py"],
    }  # fmt: skip


def test_a_second_push_says_what_it_spared(run_zoo: Zoo, hub: Any, folder: Path) -> None:
    run_zoo("push", str(folder), "me/film", token=hub.token)
    sizes = sizes_of(hub, "me/film")
    (folder / "README.md").write_text("# mine\n")
    spared = sum(sizes.values()) - sizes["README.md"]
    done = run_zoo("push", str(folder), "me/film", "-m", "A card", token=hub.token)
    commit = hub.api().list_repo_commits("me/film")[0]
    assert (commit.title, done.stdout) == (
        "A card",
        f"me/film at {commit.commit_id[:12]}: 1 file (7 B) uploaded, 4 files ({spared / 1000:.1f} kB) unchanged\n",
    )
    assert done.stderr == "pushed README.md (7 B)\n"
    again = run_zoo("push", str(folder), "me/film", token=hub.token)
    assert again.stdout == (
        f"me/film at {commit.commit_id[:12]}: nothing to upload, 5 files ({(spared + 7) / 1000:.1f} kB) unchanged\n"
    )


def test_a_pull_request_is_opened(run_zoo: Zoo, hub: Any, folder: Path) -> None:
    run_zoo("push", str(folder), "me/film", token=hub.token)
    before = hub.api().model_info("me/film").sha
    (folder / "README.md").write_text("# mine\n")
    opened = run_zoo("push", str(folder), "me/film", "--create-pr", "--json", token=hub.token)
    result = json.loads(opened.stdout)
    assert result["pull_request"] == f"{hub.endpoint}/me/film/discussions/1"
    assert hub.api().model_info("me/film").sha == before
    pulled = run_zoo("pull", "me/film", "--revision", "refs/pr/1")
    assert f"me/film at {result['commit'][:12]}: fetched " in pulled.stdout


def test_verify_tells_wrong_numbers_with_status_1(run_zoo: Zoo, hub: Any, folder: Path) -> None:
    run_zoo("push", str(folder), "me/film", token=hub.token)
    (folder / "zoo.json").write_bytes((zoo.pull("me/film", endpoint=hub.endpoint).path / "zoo.json").read_bytes())
    right = run_zoo("verify", str(folder), "--json")
    (result,) = json.loads(right.stdout)
    assert (result["canary"]["texts"], result["canary"]["dtype"], result["signed_by"]) == (7, "float32", None)
    tensors = read_tensors(folder)
    tensors["classifier.weight"] *= 1.01
    write_tensors(folder, tensors)
    wrong = run_zoo("verify", str(folder))
    assert wrong.returncode == 1
    assert wrong.stderr.startswith(
        f"Error: '{folder}' does not give here what its canary (zoo.json) says for the text \"Ça alors! "
    )
    (folder / "zoo.json").unlink()
    without = run_zoo("verify", str(folder))
    assert without.stdout == f"{folder}: headers are sound\n  canary: none to compare with\n"


def test_pickles_are_converted_when_that_is_allowed(run_zoo: Zoo, folder: Path, tmp_path: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    torch.save(tensors, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    target = tmp_path / "converted"
    refused = run_zoo("convert", str(folder), "--out", str(target))
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == (
        f"Error: '{folder}' was refused: its weights are pickles, and a pickle can run any code when it is read. Zoo can "
        "read them in a process without network and rights, which takes tensors alone, and write safetensors. To let it: "
        f"zoo convert {folder} --out FOLDER --allow-pickle-conversion\n"
    )
    done = run_zoo("convert", str(folder), "--out", str(target), "--allow-pickle-conversion")
    assert (done.returncode, done.stdout) == (0, f"{target}: converted to safetensors, and loaded strictly\n"), (
        done.stderr
    )
    assert {name: tensor.tolist() for name, tensor in read_tensors(target).items()} == {
        name: tensor.tolist() for name, tensor in tensors.items()
    }


def test_sign_push_pull_and_verify(
    run_zoo: Zoo, hub: Any, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private, public = make_key(tmp_path, "mine")
    signed = run_zoo("sign", str(folder), "--key", str(private))
    assert signed.stdout == f"{folder}/model.sig: 4 files signed\n", signed.stderr
    run_zoo("push", str(folder), "me/film", token=hub.token)
    monkeypatch.setenv("ZOO_CONFIG", str(tmp_path / "config.toml"))
    (tmp_path / "config.toml").write_text('[signatures.me]\npolicy = "require"\nkeys = ["mine.pub.pem"]\n')
    assert run_zoo("pull", "me/film").returncode == 0
    verified = run_zoo("verify", "me/film").stdout.splitlines()
    assert verified[1] == "  signature: 4 files signed with mine.pub.pem"
    by_hand = run_zoo("verify", str(folder), "--key", str(public)).stdout.splitlines()
    assert by_hand[1] == "  signature: 4 files signed with mine.pub.pem"


def test_a_policy_refuses_or_warns(
    run_zoo: Zoo, hub: Any, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_zoo("push", str(folder), "me/film", token=hub.token)
    monkeypatch.setenv("ZOO_CONFIG", str(tmp_path / "config.toml"))
    (tmp_path / "config.toml").write_text('[signatures."*"]\npolicy = "require"\n')
    sentence = (
        "The signature of 'me/film' does not hold: it is not signed: it has no model.sig. Ask its author for a signed one, "
        "or change what is asked for under [signatures] in the configuration\n"
    )
    refused = run_zoo("pull", "me/film")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.endswith(f"\nError: {sentence}")
    assert run_zoo("list").stdout == ""
    (tmp_path / "config.toml").write_text('[signatures."*"]\npolicy = "warn"\n')
    warned = run_zoo("pull", "me/film")
    assert warned.returncode == 0
    assert f"\nWarning: {sentence}" in warned.stderr


def test_a_repository_is_signed(run_zoo: Zoo, hub: Any, folder: Path, tmp_path: Path) -> None:
    private, _ = make_key(tmp_path, "mine")
    run_zoo("push", str(folder), "me/film", token=hub.token)
    signed = run_zoo("sign", "me/film", "--key", str(private), token=hub.token)
    commit = hub.api().model_info("me/film").sha
    assert signed.stdout == f"me/film at {commit[:12]}: 4 files signed\n", signed.stderr
    assert "model.sig" in hub.api().list_repo_files("me/film")


@pytest.mark.parametrize("command", ["convert", "sign", "push", "verify"])
def test_each_command_has_an_example(run_zoo: Zoo, command: str) -> None:
    assert f"Example: zoo {command}" in run_zoo(command, "--help").stdout


def test_an_adapter_goes_to_a_hub_and_answers_from_it(run_zoo: Zoo, hub: Any, folder: Path, tmp_path: Path) -> None:
    run_zoo("push", str(folder), "me/film", token=hub.token)
    base = f"me/film@{hub.api().model_info('me/film').sha}"
    (tmp_path / "data.csv").write_text("text,label\ngood,yes\ngood film,yes\nbad,no\nbad film,no\n")
    out = tmp_path / "adapter"
    taught = run_zoo(
        "finetune", "me/film", "--train", str(tmp_path / "data.csv"), "--out", str(out), "--lora-use-dora", "--lora-rank",
        "2", "--push", "me/adapter", token=hub.token,
    )  # fmt: skip
    assert taught.returncode == 0, taught.stderr
    commit = hub.api().model_info("me/adapter").sha[:12]
    assert taught.stdout.splitlines()[-1] == f"saved in {out}, pushed to me/adapter at {commit}"
    assert "beside the weights 530 of 10,834 parameters (4.89 %) learn" in taught.stderr.splitlines()
    beside = run_zoo("run", "me/film", "good film", "--adapter", "me/adapter", "--json")
    folders = run_zoo("run", "me/film", "good film", "--adapter", str(out), "--json")
    assert json.loads(beside.stdout) == json.loads(folders.stdout)
    pulled = run_zoo("pull", "me/adapter")
    assert pulled.stdout.startswith(f"me/adapter at {commit}: already in the store, no request made\n")
    assert pulled.stderr == f"an adapter, to be used beside its base: zoo run {base} --adapter me/adapter\n"
    shown = run_zoo("show", "me/adapter").stdout.splitlines()
    assert {"adapter:      DoRA of rank 2", f"base:         {base}"} <= set(shown)
    again = run_zoo("push", str(out), "me/adapter", token=hub.token)
    assert again.stderr.startswith("pushed report.html (") and again.stderr.count("\n") == 1
    for command in (["run", "me/adapter", "good"], ["plan", "me/adapter"]):
        alone = run_zoo(*command)
        assert (alone.returncode, alone.stderr) == (
            1,
            "Error: 'me/adapter' is an adapter: what was learnt beside a checkpoint, and no checkpoint by itself. Its base is "
            f'{base}. Load both: zoo.load("{base}", adapter="me/adapter") (on the command line: zoo run {base} --adapter '
            "me/adapter)\n",
        )
