"""Which files are fetched: the checkpoint's own, more or fewer by patterns, never code."""

import json
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

import zoo
from zoo import errors
from zoo.hub.pulling import plan_pull, pull

EXTRAS = {
    "onnx/model.onnx": b"other weights",
    "notes/a.txt": b"a",
    "notes/b.txt": b"b",
    "modeling.py": b"print()",
    "pytorch_model.bin": b"\x80\x02.",
}


@pytest.fixture
def extended(hub: Any, published: str) -> str:
    """The small checkpoint with files of other frameworks, code and pickles beside it. Gives the commit."""
    from huggingface_hub import CommitOperationAdd

    added = [CommitOperationAdd(name, BytesIO(content)) for name, content in EXTRAS.items()]
    return str(hub.api().create_commit("me/small", added, commit_message="more").oid)


def names(path: Path) -> set[str]:
    return {str(file.relative_to(path)) for file in path.rglob("*") if file.is_file()}


OWN = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "README.md", "zoo.json"}


def test_a_checkpoint_s_own_files_are_fetched_and_no_others(proxy: Any, extended: str) -> None:
    assert names(zoo.pull("me/small", endpoint=proxy.endpoint).path) == OWN
    asked = [request.split("/resolve/")[1].split("/", 1)[1] for request, _ in proxy.requests if "/resolve/" in request]
    assert sorted(asked) == sorted(OWN)


def test_patterns_add_and_leave_out(hub: Any, extended: str) -> None:
    pulled = pull("me/small", endpoint=hub.endpoint, include=["notes/", "*.onnx"], exclude=["notes/b*", "README.md"])
    assert names(pulled.path) == OWN - {"README.md"} | {"notes/a.txt", "onnx/model.onnx"}
    assert pulled.manifest is not None
    assert (pulled.manifest.include, pulled.manifest.exclude) == (("notes/", "*.onnx"), ("notes/b*", "README.md"))


def test_what_was_left_out_is_fetched_when_it_is_wanted(proxy: Any, extended: str) -> None:
    pull("me/small", endpoint=proxy.endpoint, exclude=["model.safetensors"])
    with_all = zoo.load("me/small", endpoint=proxy.endpoint)
    assert with_all.checkpoint is not None
    assert names(with_all.checkpoint.path) == OWN
    proxy.requests.clear()
    pull("me/small", endpoint=proxy.endpoint)
    pull("me/small", endpoint=proxy.endpoint, exclude=["README.md"])  # less than there is
    assert proxy.requests == []
    wider = pull("me/small", endpoint=proxy.endpoint, include=["notes/a.txt"])
    asked = [request for request, _ in proxy.requests if "/resolve/" in request]
    assert [request.rpartition("/")[2] for request in asked] == ["a.txt"]
    assert wider.manifest is not None
    assert set(wider.manifest.files) == OWN | {"notes/a.txt"}


def test_what_was_left_out_is_not_missed_where_no_hub_may_be_asked(hub: Any, extended: str) -> None:
    pulled = pull("me/small", endpoint=hub.endpoint, exclude=["tokenizer*"])
    assert pull("me/small", local_only=True) == pulled


@pytest.mark.parametrize(("pattern", "suffix"), [("*.py", ".py"), ("pytorch_model.bin", ".bin")])
def test_code_and_pickles_are_refused_with_what_leaves_them_out(
    hub: Any, extended: str, pattern: str, suffix: str, left_in_store: Callable[[], list[str]]
) -> None:
    with pytest.raises(errors.RefusedContent) as caught:
        pull("me/small", endpoint=hub.endpoint, include=[pattern])
    name = {"*.py": "modeling.py"}.get(pattern, pattern)
    assert str(caught.value) == (
        f"'{name}' of 'me/small' was refused: a checkpoint is data, and files like this can run as code. "
        f"Leave it out: --exclude '*{suffix}'"
    )
    assert left_in_store() == []
    everything = pull("me/small", endpoint=hub.endpoint, include=["*"], exclude=["*.py", "*.bin"])
    assert {"onnx/model.onnx", "notes/a.txt", "notes/b.txt"} <= names(everything.path)


def test_a_pattern_that_fits_nothing_is_an_error(hub: Any, extended: str) -> None:
    with pytest.raises(errors.InvalidInput) as caught:
        pull("me/small", endpoint=hub.endpoint, include=["*.gguf"])
    assert str(caught.value) == "'me/small' has no file that fits '*.gguf'. See: zoo show me/small"


def test_a_dry_run_says_what_is_to_come_and_fetches_nothing(
    proxy: Any, extended: str, left_in_store: Callable[[], list[str]]
) -> None:
    plan = plan_pull("me/small", endpoint=proxy.endpoint, include=["notes/a.txt"])
    assert plan is not None
    assert (plan.repo_id, plan.commit, plan.endpoint, plan.here) == ("me/small", extended, proxy.endpoint, {})
    assert set(plan.to_fetch) == OWN | {"notes/a.txt"}
    assert plan.to_fetch["notes/a.txt"] == 1
    assert left_in_store() == []
    assert [request for request, _ in proxy.requests if "/resolve/" in request] == []
    zoo.pull("me/small", endpoint=proxy.endpoint)
    plan = plan_pull("me/small", endpoint=proxy.endpoint, include=["notes/a.txt"])
    assert plan is not None
    assert (dict(plan.to_fetch), set(plan.here)) == ({"notes/a.txt": 1}, OWN)
    proxy.requests.clear()
    plan = plan_pull("me/small", endpoint=proxy.endpoint)
    assert plan is not None
    assert (plan.endpoint, plan.to_fetch, set(plan.here), proxy.requests) == (None, {}, OWN, [])


def test_the_shards_of_an_index_are_planned_too(hub: Any, folder: Path, published: str, tmp_path: Path) -> None:
    zoo.load(str(folder)).save(tmp_path / "sharded", max_shard_size="10KB")
    zoo.push(tmp_path / "sharded", "me/sharded", endpoint=hub.endpoint, token=hub.token)
    index = json.loads((tmp_path / "sharded" / "model.safetensors.index.json").read_text())
    plan = plan_pull("me/sharded", endpoint=hub.endpoint)
    assert plan is not None
    assert set(index["weight_map"].values()) <= set(plan.to_fetch)
    assert len(set(index["weight_map"].values())) > 2


def test_a_lock_decides_which_files_there_are(hub: Any, published: str, project: Path) -> None:
    from zoo.hub.syncing import add

    add(["me/small"], endpoint=hub.endpoint)
    with pytest.raises(errors.InvalidInput) as caught:
        pull("me/small", endpoint=hub.endpoint, include=["*.md"])
    assert str(caught.value) == (
        f"{project / 'source' / 'zoo.lock'} holds which files make 'me/small'. Leave --include and --exclude out, or take it "
        "out of the lock: zoo lock remove me/small"
    )
