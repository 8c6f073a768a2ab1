"""Pulling: right bytes or a clear error, never a wrong file, over real HTTP."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch

import zoo
from zoo import errors
from zoo.hub import retries
from zoo.hub.pulling import pull
from zoo.hub.sources import stored_checkpoint

LeftInStore = Callable[[], list[str]]


@pytest.fixture(autouse=True)
def _quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "FIRST_WAIT_SECONDS", 0.01)


def upload(hub: Any, repo_id: str, files: dict[str, bytes]) -> None:
    """Put files on the hub as any other tool would, unchecked."""
    api = hub.api()
    api.create_repo(repo_id, exist_ok=True)
    for name, content in files.items():
        source = hub.data.parent / "upload.bin"
        source.write_bytes(content)
        with source.open("rb") as file:
            api.upload_file(path_or_fileobj=file, path_in_repo=name, repo_id=repo_id)


def test_a_pull_brings_the_same_bytes(hub: Any, folder: Path, published: str) -> None:
    checkpoint = zoo.pull("me/small", endpoint=hub.endpoint)
    assert (checkpoint.repo_id, checkpoint.commit) == ("me/small", published)
    assert checkpoint.manifest is not None
    for name in checkpoint.manifest.files:
        if name not in ("README.md", "zoo.json"):
            assert (checkpoint.path / name).read_bytes() == (folder / name).read_bytes()
    names = ["README.md", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
    assert sorted(checkpoint.manifest.files) == [*names, "zoo.json"]
    assert (checkpoint.manifest.architecture, checkpoint.manifest.distribution) == ("bert", "zoo-encoder-only")


def test_a_second_pull_makes_no_request(proxy: Any, published: str) -> None:
    first = zoo.pull("me/small", endpoint=proxy.endpoint)
    asked = len(proxy.requests)
    assert zoo.pull("me/small", endpoint=proxy.endpoint) == first
    model = zoo.load("me/small", endpoint=proxy.endpoint)
    assert len(proxy.requests) == asked
    assert model.predict(["a small model"])[0].label in model.labels


def test_refresh_sees_that_a_branch_has_moved_on(hub: Any, folder: Path, published: str) -> None:
    zoo.pull("me/small", endpoint=hub.endpoint)
    (folder / "README.md").write_text("# changed\n")
    second = zoo.push(folder, "me/small", endpoint=hub.endpoint, token=hub.token)
    assert zoo.pull("me/small", endpoint=hub.endpoint).commit == published
    assert pull("me/small", endpoint=hub.endpoint, refresh=True).commit == second
    assert zoo.pull(f"me/small@{published}", endpoint=hub.endpoint).commit == published


def test_a_tag_and_a_commit_name_revisions(hub: Any, published: str) -> None:
    hub.api().create_tag("me/small", tag="v1")
    assert zoo.pull("me/small@v1", endpoint=hub.endpoint).commit == published
    assert zoo.pull("me/small", revision=published, endpoint=hub.endpoint).commit == published


def test_only_what_belongs_to_a_checkpoint_is_fetched(hub: Any, published: str) -> None:
    upload(hub, "me/small", {"pytorch_model.bin": b"pickle", "modeling.py": b"import os", "onnx/model.onnx": b"onnx"})
    checkpoint = pull("me/small", endpoint=hub.endpoint, refresh=True)
    assert checkpoint.manifest is not None
    assert not {"pytorch_model.bin", "modeling.py", "onnx/model.onnx"} & set(checkpoint.manifest.files)


def test_a_flipped_bit_is_refused_and_nothing_is_left(proxy: Any, published: str, left_in_store: LeftInStore) -> None:
    def flip(answer: Any) -> Any:
        answer.body = answer.body[:-1] + bytes([answer.body[-1] ^ 1])
        return answer

    proxy.tamper_file("model.safetensors", flip)
    with pytest.raises(errors.DigestMismatch) as caught:
        zoo.pull("me/small", endpoint=proxy.endpoint)
    wrong = caught.value
    assert str(wrong) == (
        f"'model.safetensors' has the digest {wrong.actual}, but the commit's listing promises {wrong.expected}. The file "
        "was not kept. Try again; if it stays so, the hub or the network changes files, and its operator should know"
    )
    assert wrong.actual != wrong.expected
    assert left_in_store() == []


def test_a_flipped_bit_in_a_small_file_is_refused_too(proxy: Any, published: str, left_in_store: LeftInStore) -> None:
    def flip(answer: Any) -> Any:
        answer.body = answer.body.replace(b"bert", b"bart")
        return answer

    proxy.tamper_file("config.json", flip)
    with pytest.raises(errors.DigestMismatch, match=r"^'config\.json' has the digest"):
        zoo.pull("me/small", endpoint=proxy.endpoint)
    assert left_in_store() == []


def test_a_cut_connection_goes_on_where_it_stopped(proxy: Any, folder: Path, published: str) -> None:
    cuts = iter([1000, 2000, 3000])

    def cut(answer: Any) -> Any:
        answer.cut_after = next(cuts, None)
        return answer

    proxy.tamper_file("model.safetensors", cut)
    checkpoint = zoo.pull("me/small", endpoint=proxy.endpoint)
    assert (checkpoint.path / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
    ranges = [headers.get("Range") for request, headers in proxy.requests if request.endswith("model.safetensors")]
    assert ranges == [None, "bytes=1000-", "bytes=3000-", "bytes=6000-"]


def test_a_later_pull_resumes_an_earlier_one(
    proxy: Any, folder: Path, published: str, left_in_store: LeftInStore
) -> None:
    def cut(answer: Any) -> Any:
        answer.cut_after = 5000 if answer.status == 200 else 0
        return answer

    proxy.tamper_file("model.safetensors", cut)
    with pytest.raises(errors.HubUnreachable, match="5000 of"):
        zoo.pull("me/small", endpoint=proxy.endpoint)
    assert any(name.endswith(".partial") for name in left_in_store())
    assert stored_checkpoint("me/small", None) is None
    proxy.tamper = lambda request, answer: answer
    proxy.requests.clear()
    checkpoint = zoo.pull("me/small", endpoint=proxy.endpoint)
    assert (checkpoint.path / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
    ranges = [headers.get("Range") for request, headers in proxy.requests if request.endswith("model.safetensors")]
    assert ranges == ["bytes=5000-"]
    assert not any(name.endswith(".partial") for name in left_in_store())


def test_a_partial_file_that_was_damaged_is_fetched_anew(
    proxy: Any, hub: Any, folder: Path, published: str, home: Path
) -> None:
    digest = next(f.lfs.sha256 for f in hub.api().model_info("me/small", files_metadata=True).siblings if f.lfs)
    blobs = home / "hub" / "models--me--small" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / f"{digest}.partial").write_bytes(b"not the beginning of this file")
    checkpoint = zoo.pull("me/small", endpoint=proxy.endpoint)
    assert (checkpoint.path / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()


def test_a_server_that_ignores_ranges_is_read_from_the_start(proxy: Any, folder: Path, published: str) -> None:
    answers = iter([1000])
    whole = (folder / "model.safetensors").read_bytes()

    def ignore(answer: Any) -> Any:
        answer.status, answer.body, answer.cut_after = 200, whole, next(answers, None)
        return answer

    proxy.tamper_file("model.safetensors", ignore)
    checkpoint = zoo.pull("me/small", endpoint=proxy.endpoint)
    assert (checkpoint.path / "model.safetensors").read_bytes() == whole


def test_a_busy_server_is_asked_again(proxy: Any, published: str) -> None:
    busy = iter([503, 429, 500])

    def refuse(answer: Any) -> Any:
        status = next(busy, None)
        if status is not None:
            answer.status, answer.body = status, b""
        return answer

    proxy.tamper_file("model.safetensors", refuse)
    assert zoo.pull("me/small", endpoint=proxy.endpoint).commit == published


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", "a\\..\\x", "C:x", ".git/config", "a//b", "x\n", ""])
def test_a_file_name_that_leaves_the_folder_is_refused(
    proxy: Any, published: str, name: str, left_in_store: LeftInStore
) -> None:
    proxy.tamper_listing(lambda content: content["siblings"][0].update(rfilename=name))
    with pytest.raises(errors.RefusedContent) as caught:
        zoo.pull("me/small", endpoint=proxy.endpoint)
    assert str(caught.value) == (
        f"The repository 'me/small' was refused: it has a file named {name!r}, which could be written outside its folder. "
        "Nothing was fetched. Tell the operator of the hub"
    )
    assert left_in_store() == []


@pytest.mark.parametrize("commit", ["../../x", "main", "", None, "A" * 40])
def test_a_commit_that_is_none_is_refused(
    proxy: Any, published: str, commit: str | None, left_in_store: LeftInStore
) -> None:
    proxy.tamper_listing(lambda content: content.update(sha=commit))
    with pytest.raises(errors.HubUnreachable, match=r"as the commit of 'me/small'"):
        zoo.pull("me/small", endpoint=proxy.endpoint)
    assert left_in_store() == []


def test_a_digest_that_is_none_is_refused(proxy: Any, published: str, left_in_store: LeftInStore) -> None:
    def change(content: dict[str, Any]) -> None:
        for sibling in content["siblings"]:
            if sibling.get("lfs"):
                sibling["lfs"]["sha256"] = "../../../x"

    proxy.tamper_listing(change)
    with pytest.raises(errors.HubUnreachable, match=r"no usable digest for 'model\.safetensors'"):
        zoo.pull("me/small", endpoint=proxy.endpoint)
    assert left_in_store() == []


def test_a_disk_without_room_is_known_before_fetching(proxy: Any, published: str, left_in_store: LeftInStore) -> None:
    def change(content: dict[str, Any]) -> None:
        for sibling in content["siblings"]:
            if sibling.get("lfs"):
                sibling["lfs"]["size"] = 10**15

    proxy.tamper_listing(change)
    with pytest.raises(errors.NotEnoughDisk, match=r"and 1000000\.0 GB are needed"):
        zoo.pull("me/small", endpoint=proxy.endpoint)
    assert left_in_store() == []


def test_a_repository_of_pickles_is_refused_with_a_way_out(hub: Any, left_in_store: LeftInStore) -> None:
    upload(hub, "me/pickles", {"config.json": b'{"model_type": "bert"}', "pytorch_model.bin": b"\x80\x02."})
    with pytest.raises(errors.RefusedContent) as caught:
        zoo.pull("me/pickles", endpoint=hub.endpoint)
    assert str(caught.value) == (
        "'me/pickles' was refused: its weights are pickles only (pytorch_model.bin), and a pickle can run any code when it "
        "is read. Ask for safetensors: another revision may have them (often refs/pr/1). Or make them, in a process "
        "without network and rights: zoo convert me/pickles --out FOLDER --allow-pickle-conversion"
    )
    assert left_in_store() == []


def test_a_repository_without_config_or_weights_is_no_checkpoint(hub: Any, left_in_store: LeftInStore) -> None:
    upload(hub, "me/empty", {"README.md": b"# nothing\n"})
    with pytest.raises(
        errors.NotACheckpoint, match=r"^'me/empty' does not hold a checkpoint: it has no config\.json\."
    ):
        zoo.pull("me/empty", endpoint=hub.endpoint)
    upload(hub, "me/empty", {"config.json": b"{}"})
    with pytest.raises(
        errors.NotACheckpoint, match=r"^'me/empty' does not hold a checkpoint: it has no model\.safetensors\."
    ):
        zoo.pull("me/empty", endpoint=hub.endpoint)
    assert left_in_store() == []


def test_corrupt_headers_are_refused_and_nothing_is_left(hub: Any, left_in_store: LeftInStore) -> None:
    overlap = json.dumps({
        "a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
        "b": {"dtype": "F32", "shape": [1], "data_offsets": [2, 6]},
    }).encode()  # fmt: skip
    content = len(overlap).to_bytes(8, "little") + overlap + bytes(6)
    upload(hub, "me/corrupt", {"config.json": b'{"model_type": "bert"}', "model.safetensors": content})
    with pytest.raises(errors.CorruptFile, match="the tensor 'b' starts at byte 2 and overlaps the one before"):
        zoo.pull("me/corrupt", endpoint=hub.endpoint)
    assert left_in_store() == []


def test_an_index_may_only_name_shards_beside_it(hub: Any, left_in_store: LeftInStore) -> None:
    index = json.dumps({"weight_map": {"a": "../model-00001-of-00001.safetensors"}}).encode()
    upload(hub, "me/index", {"config.json": b'{"model_type": "bert"}', "model.safetensors.index.json": index})
    with pytest.raises(errors.CorruptFile, match="which is not a safetensors file beside it"):
        zoo.pull("me/index", endpoint=hub.endpoint)
    index = json.dumps({"weight_map": {"a": "model-00001-of-00001.safetensors"}}).encode()
    upload(hub, "me/index", {"model.safetensors.index.json": index})
    with pytest.raises(errors.CorruptFile, match="which the repository does not have"):
        zoo.pull("me/index", endpoint=hub.endpoint)
    assert left_in_store() == []


def test_shards_are_pulled_and_loaded(hub: Any, folder: Path, published: str, tmp_path: Path) -> None:
    model = zoo.load(str(folder))
    model.save(tmp_path / "sharded", max_shard_size="10KB")
    zoo.push(tmp_path / "sharded", "me/sharded", endpoint=hub.endpoint, token=hub.token)
    again = zoo.load("me/sharded", endpoint=hub.endpoint)
    assert again.checkpoint is not None and len(list(again.checkpoint.path.glob("*.safetensors"))) > 2
    for (name, ours), (other, theirs) in zip(model.state_dict().items(), again.state_dict().items(), strict=True):
        assert name == other
        assert torch.equal(ours, theirs)


def test_a_missing_repository_a_private_one_and_a_wrong_revision_each_say_so(
    hub: Any, folder: Path, published: str
) -> None:
    with pytest.raises(errors.RepositoryNotFound) as caught:
        zoo.pull("me/nothing", endpoint=hub.endpoint)
    assert str(caught.value) == (
        f"There is no repository 'me/nothing' to be seen at {hub.endpoint} without a token. It may be mistyped, private or "
        "gone. Try: zoo search nothing, or give a token with HF_TOKEN"
    )
    zoo.push(folder, "me/secret", private=True, endpoint=hub.endpoint, token=hub.token)
    with pytest.raises(errors.RepositoryNotFound):
        zoo.pull("me/secret", endpoint=hub.endpoint)
    assert pull("me/secret", endpoint=hub.endpoint, token=hub.token).repo_id == "me/secret"
    with pytest.raises(errors.RevisionNotFound) as wrong:
        zoo.pull("me/small@v9", endpoint=hub.endpoint)
    assert str(wrong.value) == (
        f"The repository 'me/small' at {hub.endpoint} has no revision 'v9'. Leave it out for the main branch: zoo pull me/small"
    )


def test_a_gated_repository_names_the_page_to_ask_at(proxy: Any, published: str) -> None:
    def gate(request: str, answer: Any) -> Any:
        answer.status, answer.headers["X-Error-Code"] = 403, "GatedRepo"
        return answer

    proxy.tamper = gate
    with pytest.raises(errors.GatedRepository) as caught:
        zoo.pull("me/small", endpoint=proxy.endpoint)
    assert str(caught.value) == (
        f"The repository 'me/small' is gated: ask for access at {proxy.endpoint}/me/small, then give your token with HF_TOKEN"
    )


def test_no_network_says_which_hub_was_asked(left_in_store: LeftInStore) -> None:
    with pytest.raises(errors.NoNetwork, match=r"^There is no connection to http://127\.0\.0\.1:9 "):
        zoo.pull("me/small", endpoint="http://127.0.0.1:9")
    assert left_in_store() == []


def test_an_answer_that_is_no_hubs_is_an_error_of_ours(proxy: Any) -> None:
    def confuse(request: str, answer: Any) -> Any:
        answer.status, answer.body = 200, b"<html>welcome to the hotel network</html>"
        return answer

    proxy.tamper = confuse
    with pytest.raises(errors.HubUnreachable, match="did not answer as a hub does"):
        zoo.pull("me/small", endpoint=proxy.endpoint)


def test_staying_local_never_asks(proxy: Any, published: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(errors.NotInStore):
        zoo.load("me/small", local_only=True, endpoint=proxy.endpoint)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(errors.NotInStore):
        zoo.pull("me/small", endpoint=proxy.endpoint)
    assert proxy.requests == []
    monkeypatch.delenv("HF_HUB_OFFLINE")
    pulled = zoo.pull("me/small", endpoint=proxy.endpoint)
    asked = len(proxy.requests)
    assert zoo.load("me/small", local_only=True).checkpoint == pulled
    assert len(proxy.requests) == asked


def test_what_another_client_fetched_is_verified_and_not_fetched_again(proxy: Any, hub: Any, published: str) -> None:
    huggingface_hub.snapshot_download("me/small", endpoint=hub.endpoint)
    assert stored_checkpoint("me/small", None) is None
    checkpoint = zoo.pull("me/small", endpoint=proxy.endpoint)
    assert checkpoint.commit == published
    assert [request for request, _ in proxy.requests if "/resolve/" in request] == []


def test_damage_by_another_client_is_found(proxy: Any, hub: Any, folder: Path, published: str) -> None:
    path = Path(huggingface_hub.snapshot_download("me/small", endpoint=hub.endpoint)) / "model.safetensors"
    blob = path.resolve()
    blob.write_bytes(blob.read_bytes()[:-1] + b"\x7f")
    checkpoint = zoo.pull("me/small", endpoint=proxy.endpoint)
    assert (checkpoint.path / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()


def test_transformers_finds_what_zoo_pulled(hub: Any, published: str) -> None:
    from transformers import AutoModelForSequenceClassification

    ours = zoo.load("me/small", endpoint=hub.endpoint)
    local = {"local_files_only": True}  # said twice, for the search for an adapter does not read the first
    theirs = AutoModelForSequenceClassification.from_pretrained("me/small", adapter_kwargs=local, **local).eval()
    ids = torch.tensor([[2, 5, 6, 7, 3]])
    with torch.no_grad():
        torch.testing.assert_close(ours(ids).logits, theirs(ids).logits, atol=1e-5, rtol=0)


def test_the_catalogue_s_digest_must_hold(hub: Any, folder: Path, left_in_store: LeftInStore) -> None:
    zoo.push(folder, "sentence-transformers/all-MiniLM-L6-v2", endpoint=hub.endpoint, token=hub.token)
    with pytest.raises(errors.DigestMismatch) as caught:
        zoo.pull("all-minilm-l6-v2", endpoint=hub.endpoint)
    assert caught.value.promised_by == "the catalogue"
    assert caught.value.expected == "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
    assert left_in_store() == []


def test_two_processes_that_pull_the_same_both_end_well(hub: Any, published: str, home: Path) -> None:
    code = "import sys, zoo; print(zoo.pull('me/small', endpoint=sys.argv[1]).commit)"
    command = [sys.executable, "-c", code, hub.endpoint]
    environment = {**os.environ, "HF_HOME": str(home)}
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) for _ in range(2)]
    assert [process.communicate(timeout=60)[0].strip() for process in both] == [published, published]


def test_the_token_goes_to_the_hub_only(proxy: Any, hub: Any, published: str) -> None:
    pull("me/small", endpoint=proxy.endpoint, token=hub.token)
    assert {headers.get("authorization") for _, headers in proxy.requests} == {f"Bearer {hub.token}"}


def test_the_unmodified_client_s_own_verification_agrees(hub: Any, published: str) -> None:
    zoo.pull("me/small", endpoint=hub.endpoint)
    command = ["hf", "cache", "verify", "me/small"]
    environment = {
        **os.environ,
        "HF_ENDPOINT": hub.endpoint,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "verified" in done.stdout.lower()
