"""Pushing: checked first, committed in one step, nobody overwritten."""

import json
import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

import zoo
from tests.checkpoints import read_tensors, write_tensors
from tests.hub.cutting import Cutter, cutting, push
from zoo import errors
from zoo.checkpoint.canary import read_canary
from zoo.hub.client import HubClient, Silent
from zoo.hub.pulling import verify
from zoo.loading import verify_model
from zoo.publishing import plan_push, publish, pushable

KILLS = 20


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
    assert sorted(hub.api().list_repo_files("me/clean")) == [".gitattributes", "README.md", *taken, "zoo.json"]


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
    theirs = client.commit("me/small", {"README.md": readme}, published, "theirs", Silent()).commit
    readme.write_text("# ours\n")
    with pytest.raises(errors.PushConflict) as caught:
        client.commit("me/small", {"README.md": readme}, published, "ours", Silent())
    assert str(caught.value) == (
        f"'me/small' has moved on since {published[:12]}: somebody else pushed meanwhile, and nothing of theirs was "
        "overwritten. Look at their change, then push again"
    )
    assert client.head("me/small") == theirs


def test_writing_needs_the_right_token(hub: Any, folder: Path) -> None:
    with pytest.raises(errors.InvalidToken) as caught:
        zoo.push(folder, "me/small", endpoint=hub.endpoint, token="hf_wrong")
    assert str(caught.value) == (
        f"The token for {hub.endpoint} is not valid: the hub does not know it (creating 'me/small'). It may be mistyped, "
        "expired, or another hub's. Give one of this hub with --token or HF_TOKEN, or store it with: hf auth login"
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


def client_of(hub: Any) -> HubClient:
    return HubClient(hub.endpoint, hub.token)


def send(hub: Any, folder: Path, repo_id: str = "me/small", private: bool = False, create_pr: bool = False) -> Any:
    """Push, and give the plan and what became of it."""
    return publish(folder, repo_id, client_of(hub), private, create_pr, None, Silent())


# --- only what changed --------------------------------------------------------------------------------------------------


def test_only_what_changed_is_uploaded(hub: Any, folder: Path, published: str) -> None:
    sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# mine\n")
    plan, landed = send(hub, folder)
    assert plan.parent == published
    assert plan.uploaded == {"README.md": 28}
    assert {name: size for name, size in plan.unchanged.items() if name != "zoo.json"} == sizes
    assert (plan.removed, plan.left_out) == ((), ())
    assert [commit.commit_id for commit in hub.api().list_repo_commits("me/small")][:2] == [landed.commit, published]


def test_what_an_earlier_checkpoint_left_behind_goes_in_the_same_commit(hub: Any, folder: Path, published: str) -> None:
    model = zoo.load(folder)
    sharded = folder.with_name("sharded")
    model.save(sharded, max_shard_size="12KB")
    plan, landed = send(hub, sharded)
    assert plan.removed == ("model.safetensors",)
    names = hub.api().list_repo_files("me/small")
    assert "model.safetensors" not in names
    assert "model.safetensors.index.json" in names
    again = zoo.load("me/small", endpoint=hub.endpoint, verify=True)
    assert again.checkpoint is not None and again.checkpoint.commit == landed.commit
    assert again.predict(["a small model"]) == model.predict(["a small model"])
    back, _ = send(hub, folder)
    assert all((name.startswith("model") and "-of-" in name) or name.endswith(".index.json") for name in back.removed)
    assert len(back.removed) > 2


def test_a_dry_run_says_all_and_changes_nothing(hub: Any, folder: Path) -> None:
    (folder / "modeling.py").write_text("")
    plan = plan_push(folder, "me/dry", client_of(hub))
    assert plan.parent is None
    assert list(plan.uploaded) == [
        "README.md", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "zoo.json",
    ]  # fmt: skip
    assert plan.left_out == ("modeling.py",)
    assert not hub.api().repo_exists("me/dry")
    send(hub, folder, "me/dry")
    again = plan_push(folder, "me/dry", client_of(hub))
    assert (again.uploaded, list(again.unchanged)) == ({}, list(plan.uploaded))


# --- the card -----------------------------------------------------------------------------------------------------------


def test_a_card_whose_metadata_is_not_valid_is_refused(hub: Any, folder: Path) -> None:
    for text, reason in {
        "---\nlicense: [mit\n---\n": "while parsing a flow sequence",
        "---\n- mit\n---\n": "repo card metadata block should be a dict",
        "---\nmodel-index: 3\n---\n": "",
    }.items():
        (folder / "README.md").write_text(text)
        with pytest.raises(errors.PushRefused) as caught:
            zoo.push(folder, "me/card", endpoint=hub.endpoint, token=hub.token)
        assert str(caught.value).startswith(
            f"The push to 'me/card' was refused: the metadata of README.md is not valid: {reason}"
        )
        assert str(caught.value).endswith(". Nothing was uploaded")
    assert not hub.api().repo_exists("me/card")


def test_license_and_origin_of_the_weights_stay_in_a_new_card(hub: Any, folder: Path) -> None:
    (folder / "README.md").write_text(
        "---\nlicense: other\nlicense_name: acme\nlicense_link: https://a.example/l\nbase_model: org/base\n---\n"
    )
    zoo.push(zoo.load(folder), "me/copy", endpoint=hub.endpoint, token=hub.token)
    card = hub.api().model_info("me/copy").card_data.to_dict()
    kept = {"license": "other", "license_name": "acme", "license_link": "https://a.example/l", "base_model": "org/base"}
    assert {key: card[key] for key in kept} == kept
    assert card["library_name"] == "zoo"


def test_a_card_that_was_edited_on_the_hub_is_not_overwritten(hub: Any, folder: Path, published: str) -> None:
    hub.api().upload_file(repo_id="me/small", path_in_repo="README.md", path_or_fileobj=b"# edited there\n")
    (folder / "generation_config.json").write_text("{}")
    plan, _ = send(hub, folder)
    assert list(plan.uploaded) == ["generation_config.json"]
    checkpoint = zoo.pull("me/small", endpoint=hub.endpoint)
    assert (checkpoint.path / "README.md").read_text() == "# edited there\n"


# --- the canary ---------------------------------------------------------------------------------------------------------


def test_a_push_brings_a_canary_that_holds_after_the_pull(hub: Any, folder: Path, published: str) -> None:
    assert not (folder / "zoo.json").exists()
    model = zoo.load("me/small", endpoint=hub.endpoint, verify=True)
    assert model.checkpoint is not None
    canary = read_canary(model.checkpoint.path)
    assert canary is not None
    assert sorted(canary.files) == ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
    assert verify_model(model).texts == 7


def test_a_canary_of_the_same_files_stays_and_one_of_others_is_written_anew(
    hub: Any, folder: Path, published: str
) -> None:
    first = zoo.pull("me/small", endpoint=hub.endpoint).path / "zoo.json"
    text = first.read_text().replace('"torch":"', '"torch":"0.')
    (folder / "zoo.json").write_text(text)
    zoo.push(folder, "me/small", endpoint=hub.endpoint, token=hub.token)
    (folder / "zoo.json").unlink()
    plan, _ = send(hub, folder)
    assert plan.uploaded == {}
    kept = zoo.pull("me/small", endpoint=hub.endpoint, refresh=True).path
    assert (kept / "zoo.json").read_text() == text
    tensors = read_tensors(folder)
    tensors["classifier.bias"][0] += 1
    write_tensors(folder, tensors)
    plan, _ = send(hub, folder)
    assert list(plan.uploaded) == ["model.safetensors", "zoo.json"]
    zoo.load("me/small", endpoint=hub.endpoint, revision=hub.api().model_info("me/small").sha, verify=True)


def test_a_canary_that_does_not_come_out_stops_the_push(hub: Any, folder: Path, published: str) -> None:
    canary = json.loads((zoo.pull("me/small", endpoint=hub.endpoint).path / "zoo.json").read_text())
    canary["cases"][2]["samples"][0]["values"]["float32"][0][1] += 1
    (folder / "zoo.json").write_text(json.dumps(canary))
    with pytest.raises(errors.CanaryMismatch):
        zoo.push(folder, "me/other", endpoint=hub.endpoint, token=hub.token)
    assert not hub.api().repo_exists("me/other")


# --- whom it reaches ----------------------------------------------------------------------------------------------------


def test_a_pull_request_leaves_main_and_can_be_pulled(hub: Any, folder: Path, published: str) -> None:
    (folder / "README.md").write_text("# better\n")
    url = zoo.push(folder, "me/small", create_pr=True, endpoint=hub.endpoint, token=hub.token)
    assert url == f"{hub.endpoint}/me/small/discussions/1"
    assert hub.api().model_info("me/small").sha == published
    pulled = zoo.pull("me/small", revision="refs/pr/1", endpoint=hub.endpoint)
    assert (pulled.path / "README.md").read_text() == "# better\n"
    assert zoo.pull("me/small", endpoint=hub.endpoint).commit == published


def test_private_is_for_new_repositories_and_never_silently_public(hub: Any, folder: Path, published: str) -> None:
    zoo.push(folder, "me/secret", private=True, endpoint=hub.endpoint, token=hub.token)
    assert hub.api().model_info("me/secret").private
    zoo.push(folder, "me/secret", private=True, endpoint=hub.endpoint, token=hub.token)
    with pytest.raises(errors.PushRefused) as caught:
        zoo.push(folder, "me/small", private=True, endpoint=hub.endpoint, token=hub.token)
    assert str(caught.value) == (
        "The push to 'me/small' was refused: it is to be private, but exists already, and is public; change that on the "
        "hub first. Nothing was uploaded"
    )


# --- races and cuts -----------------------------------------------------------------------------------------------------


def test_a_commit_that_lands_during_a_push_is_not_lost(hub: Any, proxy: Any, folder: Path, published: str) -> None:
    theirs = []

    def tamper(request: str, answer: Any) -> Any:
        if "/preupload/" in request and not theirs:
            api = hub.api()
            theirs.append(api.upload_file(repo_id="me/small", path_in_repo="NOTES.md", path_or_fileobj=b"theirs").oid)
        return answer

    proxy.tamper = tamper
    (folder / "README.md").write_text("# ours\n")
    with pytest.raises(errors.PushConflict) as caught:
        zoo.push(folder, "me/small", endpoint=proxy.endpoint, token=hub.token)
    assert caught.value.parent == published
    assert hub.api().model_info("me/small").sha == theirs[0]
    proxy.tamper = lambda request, answer: answer
    zoo.push(folder, "me/small", endpoint=proxy.endpoint, token=hub.token)
    assert {"NOTES.md", "README.md"} <= set(hub.api().list_repo_files("me/small"))


@pytest.fixture
def changed(hub: Any, folder: Path, published: str) -> Path:
    """A folder whose push to me/small sends new weights of some size, and a new config."""
    spec = zoo.make_spec(
        "bert",
        vocab_size=12,
        hidden_size=120,
        num_hidden_layers=3,
        num_attention_heads=3,
        intermediate_size=400,
        max_position_embeddings=19,
    )
    zoo.build(spec, "text-classification", labels=["low", "middle", "high"], seed=8).save(folder)
    return folder


def assert_unharmed(hub: Any, commit: str) -> None:
    """The repository is at its old commit, and whole."""
    assert hub.api().model_info("me/small").sha == commit
    zoo.hub.store.remove("me/small")
    checkpoint = zoo.pull("me/small", endpoint=hub.endpoint)
    assert checkpoint.commit == commit
    assert verify(checkpoint) == 6


def pushed_bytes(hub: Any, folder: Path) -> int:
    """How many bytes a push of the folder sends, learnt from one to another repository."""
    zoo.push(folder.with_name("checkpoint"), "me/measured", endpoint=hub.endpoint, token=hub.token)
    with cutting(hub.endpoint) as cutter:
        hub.api().delete_repo("me/measured")
        zoo.push(folder, "me/measured", endpoint=cutter.endpoint, token=hub.token)
    return cutter.sent


def test_dropped_connections_leave_the_old_commit_and_the_next_push_completes(
    hub: Any, changed: Path, published: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    total = pushed_bytes(hub, changed)
    assert total > 1_000_000
    for number in range(KILLS):
        with cutting(hub.endpoint, after=total * number // KILLS) as cutter:
            with pytest.raises(errors.ZooError) as caught:
                zoo.push(changed, "me/small", endpoint=cutter.endpoint, token=hub.token)
            assert isinstance(caught.value, errors.PushInterrupted | errors.HubUnreachable)
        assert hub.api().model_info("me/small").sha == published
    assert_unharmed(hub, published)
    commit = zoo.push(changed, "me/small", endpoint=hub.endpoint, token=hub.token)
    model = zoo.load("me/small", endpoint=hub.endpoint, revision=commit, verify=True)
    assert model.spec.to_config()["hidden_size"] == 120


def test_a_client_killed_at_any_point_leaves_the_old_commit(hub: Any, changed: Path, published: str) -> None:
    total = pushed_bytes(hub, changed)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["tests.hub.cutting", "zoo.publishing", "zoo_encoder_only.bert", "huggingface_hub.hf_api"]
    )
    for number in range(KILLS):
        with cutting(hub.endpoint, after=total * number // KILLS) as cutter:
            process = context.Process(target=push, args=(str(changed), cutter.endpoint, hub.token))
            process.start()
            kill_when_cut(cutter, process.pid)
            process.join(60)
            assert process.exitcode == -signal.SIGKILL
        assert hub.api().model_info("me/small").sha == published
    assert_unharmed(hub, published)
    assert zoo.push(changed, "me/small", endpoint=hub.endpoint, token=hub.token) != published


def kill_when_cut(cutter: Cutter, pid: int | None) -> None:
    """Wait until the client has sent as much as it may, and kill it there."""
    assert pid is not None
    assert cutter.reached.wait(60)
    os.kill(pid, signal.SIGKILL)
