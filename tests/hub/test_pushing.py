"""Pushing: checked first, committed in one step, nobody overwritten."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import zoo
from zoo import errors
from zoo.hub.client import HubClient, Silent
from zoo.publishing import pushable


def test_a_pushed_model_comes_back_the_same(hub: Any, folder: Path) -> None:
    model = zoo.load(str(folder))
    commit = zoo.push(model, "me/model", endpoint=hub.endpoint, token=hub.token, message="first")
    again = zoo.load("me/model", endpoint=hub.endpoint)
    assert again.checkpoint is not None and again.checkpoint.commit == commit
    assert again.labels == model.labels
    assert again.predict(["a small model goes", "to its hub"]) == model.predict(["a small model goes", "to its hub"])
    assert hub.api().list_repo_commits("me/model")[0].title == "first"


def test_the_card_of_a_finetuned_model_says_what_is_known(hub: Any, published: str) -> None:
    examples = [{"text": "a small model", "label": "low"}, {"text": "its hub", "label": "high"}]
    model = zoo.load("me/small", endpoint=hub.endpoint)
    zoo.finetune(model, examples, examples, config=zoo.FinetuneConfig(epochs=1, batch_size=2))
    zoo.push(model, "me/tuned", endpoint=hub.endpoint, token=hub.token)
    checkpoint = zoo.pull("me/tuned", endpoint=hub.endpoint)
    card = (checkpoint.path / "README.md").read_text()
    _, metadata, prose = card.split("---\n", 2)
    for line in ("library_name: zoo", "pipeline_tag: text-classification", "base_model: me/small", "- bert"):
        assert line in metadata.splitlines()
    assert f"It was fine-tuned from [me/small](https://huggingface.co/me/small) at commit `{published}`." in prose
    assert "Its labels are: `low`, `middle`, `high`." in prose
    assert "2 examples." in prose
    assert hub.api().model_info("me/tuned").pipeline_tag == "text-classification"


def test_a_folder_s_own_card_is_kept(hub: Any, folder: Path) -> None:
    (folder / "README.md").write_text("---\nlicense: mit\n---\n\n# mine\n")
    zoo.push(folder, "me/own", endpoint=hub.endpoint, token=hub.token)
    checkpoint = zoo.pull("me/own", endpoint=hub.endpoint)
    assert (checkpoint.path / "README.md").read_text() == "---\nlicense: mit\n---\n\n# mine\n"


def test_code_pickles_and_hidden_files_stay_at_home(hub: Any, folder: Path) -> None:
    for name in ("modeling.py", "pytorch_model.bin", "optimizer.pt", ".secret", ".git/config"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"x")
    taken, left_out = pushable(folder)
    assert taken == ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
    assert left_out == ["modeling.py", "optimizer.pt", "pytorch_model.bin"]
    zoo.push(folder, "me/clean", endpoint=hub.endpoint, token=hub.token)
    assert sorted(hub.api().list_repo_files("me/clean")) == [".gitattributes", "README.md", *taken]


def test_a_link_that_leaves_the_folder_is_not_followed(hub: Any, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "private.txt").write_text("private")
    (folder / "vocab.txt").symlink_to(tmp_path / "private.txt")
    assert "vocab.txt" in pushable(folder)[1]


def test_what_does_not_load_is_not_pushed(hub: Any, folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"hidden_size": 48}))
    with pytest.raises(errors.WeightsMismatch):
        zoo.push(folder, "me/broken", endpoint=hub.endpoint, token=hub.token)
    (folder / "config.json").write_text(json.dumps(config | {"surprise": 1}))
    with pytest.raises(errors.UnknownConfigKey):
        zoo.push(folder, "me/broken", endpoint=hub.endpoint, token=hub.token)
    assert not hub.api().repo_exists("me/broken")


def test_a_lost_race_overwrites_nothing(hub: Any, folder: Path, published: str) -> None:
    client = HubClient(hub.endpoint, hub.token)
    readme = folder / "README.md"
    readme.write_text("# theirs\n")
    theirs = client.commit("me/small", {"README.md": readme}, published, "theirs", Silent())
    readme.write_text("# ours\n")
    with pytest.raises(errors.PushConflict) as caught:
        client.commit("me/small", {"README.md": readme}, published, "ours", Silent())
    assert str(caught.value) == (
        f"'me/small' has moved on since {published[:12]}: somebody else pushed meanwhile, and nothing of theirs was "
        "overwritten. Look at their change, then push again"
    )
    assert client.head("me/small") == theirs


def test_writing_needs_the_right_token(hub: Any, folder: Path) -> None:
    with pytest.raises(errors.AccessDenied) as caught:
        zoo.push(folder, "me/small", endpoint=hub.endpoint, token="hf_wrong")
    assert str(caught.value) == (
        f"{hub.endpoint} refused the token for: creating 'me/small'. Give one that may do it with --token or HF_TOKEN"
    )


@pytest.mark.parametrize("name", ["small", "me/small@v1", "./folder", "../x"])
def test_a_push_goes_to_a_repository(folder: Path, name: str) -> None:
    with pytest.raises(errors.InvalidReference, match="a push goes to the main branch of a repository, 'org/name'"):
        zoo.push(folder, name)


def test_a_second_push_of_the_same_changes_nothing(hub: Any, folder: Path, published: str) -> None:
    assert zoo.push(folder, "me/small", endpoint=hub.endpoint, token=hub.token) == published


def test_progress_counts_each_file_once(hub: Any, folder: Path) -> None:
    class Counting(Silent):
        def __init__(self) -> None:
            self.bytes: dict[str, int] = {}

        def advanced(self, name: str, count: int, size_bytes: int) -> None:
            self.bytes[name] = self.bytes.get(name, 0) + count

    watcher = Counting()
    zoo.push(folder, "me/counted", endpoint=hub.endpoint, token=hub.token, watcher=watcher)
    assert watcher.bytes["model.safetensors"] == (folder / "model.safetensors").stat().st_size


def test_the_real_client_reads_what_zoo_pushed(hub: Any, folder: Path, published: str) -> None:
    metadata = hub.api().get_safetensors_metadata("me/small")
    model = zoo.load(str(folder))
    assert metadata.parameter_count == {"F32": sum(parameter.numel() for parameter in model.parameters())}
    assert torch.is_tensor(next(model.parameters()))
