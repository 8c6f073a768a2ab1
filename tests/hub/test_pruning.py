"""Pruning takes what no checkpoint needs, and leaves alone what any tool uses or is about to use."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from huggingface_hub import hf_hub_download

import zoo
from zoo.hub import store
from zoo.hub.pruning import prune
from zoo.hub.pulling import verify

LeftInStore = Callable[[], list[str]]
DAY = 86_400


def put(path: Path, content: bytes = b"12345", age_seconds: float = 0) -> Path:
    """Write a file, as if so long ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    then = time.time() - age_seconds
    os.utime(path, (then, then))
    return path


def test_a_store_without_leftovers_stays_as_it_is(hub: Any, published: str, left_in_store: LeftInStore) -> None:
    checkpoint = zoo.pull("me/small", endpoint=hub.endpoint)
    before = left_in_store()
    pruned = prune()
    assert (pruned.leftovers, pruned.busy, pruned.freed_bytes) == ((), (), 0)
    assert left_in_store() == before
    assert verify(checkpoint) == 6


def test_leftovers_of_every_kind_go_and_nothing_else(hub: Any, published: str, left_in_store: LeftInStore) -> None:
    checkpoint = zoo.pull("me/small", endpoint=hub.endpoint)
    before = left_in_store()
    folder = store.Repository("me/small").path
    gone = [
        put(folder / "blobs" / ("a" * 64), b"x" * 100),
        put(folder / "blobs" / ("b" * 40)),
        put(folder / "blobs" / f"{'c' * 64}.1a2b3c4d.incomplete", age_seconds=DAY + 60),
        put(folder / "blobs" / f"{'d' * 64}.partial", age_seconds=DAY + 60),
        put(folder / "blobs" / f"{'d' * 64}.partial.json", age_seconds=DAY + 60),
        put(folder / "zoo" / f"{'e' * 40}.json"),
        put(folder / "zoo" / f"{'f' * 40}.partial"),
    ]
    staged = folder / "snapshots" / f".{'e' * 40}.4711"
    staged.mkdir()
    (staged / "config.json").symlink_to(f"../../blobs/{'b' * 40}")
    told = prune(dry_run=True)
    assert all(path.exists() for path in gone)
    pruned = prune()
    assert pruned == told
    assert sorted(leftover.path for leftover in pruned.leftovers) == sorted([*gone, staged])
    assert pruned.freed_bytes == 100 + 6 * 5
    assert left_in_store() == before
    assert not staged.exists()
    assert verify(checkpoint) == 6


def test_a_young_partial_file_stays_with_its_journal(hub: Any, published: str) -> None:
    zoo.pull("me/small", endpoint=hub.endpoint)
    blobs = store.Repository("me/small").path / "blobs"
    young = [
        put(blobs / f"{'a' * 64}.partial", age_seconds=DAY + 60),
        put(blobs / f"{'a' * 64}.partial.json", age_seconds=DAY - 600),  # written to since
        put(blobs / f"{'b' * 64}.9f.incomplete", age_seconds=60),
    ]
    assert prune().leftovers == ()
    assert all(path.is_file() for path in young)


def test_what_another_tool_links_to_stays(hub: Any, published: str) -> None:
    path = Path(hf_hub_download("me/small", "config.json", endpoint=hub.endpoint, token=hub.token))
    assert prune().leftovers == ()
    assert path.is_file()


def test_a_blob_that_another_tool_has_locked_stays(hub: Any, published: str, home: Path) -> None:
    zoo.pull("me/small", endpoint=hub.endpoint)
    blob = put(store.Repository("me/small").path / "blobs" / ("a" * 64))
    with FileLock(home / "hub" / ".locks" / "models--me--small" / f"{'a' * 64}.lock"):
        assert prune().leftovers == ()
        assert blob.is_file()
    assert [leftover.path for leftover in prune().leftovers] == [blob]


def test_a_repository_that_another_process_pulls_is_passed_over(hub: Any, published: str) -> None:
    zoo.pull("me/small", endpoint=hub.endpoint)
    blob = put(store.Repository("me/small").path / "blobs" / ("a" * 64))
    holds = (
        "import sys; from zoo.hub.store import Repository\n"
        "with Repository('me/small').locked(): print(flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", holds], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        pruned = prune()
        assert (pruned.leftovers, pruned.busy) == ((), ("me/small",))
        assert blob.is_file()
        other.kill()
    assert len(prune().leftovers) == 1


def test_content_that_snapshots_share_counts_once(hub: Any, folder: Path, published: str) -> None:
    first = zoo.pull(f"me/small@{published}", endpoint=hub.endpoint)
    (folder / "README.md").write_text("# second\n")
    zoo.push(folder, "me/small", endpoint=hub.endpoint, token=hub.token)
    zoo.pull("me/small", endpoint=hub.endpoint)
    stored = store.list_stored()
    blobs = [path for path in (first.path.parents[1] / "blobs").iterdir() if path.is_file()]
    assert store.size_on_disk(stored) == sum(path.stat().st_size for path in blobs)
    assert store.size_on_disk(stored) < sum(one.size_bytes for one in stored)


def test_removing_one_revision_frees_what_it_alone_uses_and_touches_nothing_else(
    hub: Any, folder: Path, published: str
) -> None:
    first = zoo.pull(f"me/small@{published}", endpoint=hub.endpoint)
    old_card = (first.path / "README.md").resolve()
    (folder / "README.md").write_text("# second\n")
    zoo.push(folder, "me/small", endpoint=hub.endpoint, token=hub.token)
    second = zoo.pull("me/small", endpoint=hub.endpoint)
    partial = put(first.path.parents[1] / "blobs" / f"{'a' * 64}.partial")
    freed = old_card.stat().st_size + store.Repository("me/small").manifest(published).stat().st_size
    assert store.remove("me/small", published) == freed
    assert not old_card.exists()
    assert partial.is_file()
    assert verify(second) == 6


def test_a_removal_waits_for_a_pull(hub: Any, published: str) -> None:
    zoo.pull("me/small", endpoint=hub.endpoint)
    holds = (
        "import sys, time; from zoo.hub.store import Repository\n"
        "with Repository('me/small').locked(): print(flush=True); time.sleep(1)"
    )
    with subprocess.Popen([sys.executable, "-c", holds], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        began = time.monotonic()
        assert store.remove("me/small") > 0
        assert time.monotonic() - began > 0.5


@pytest.mark.parametrize("revision", [None, "main"])
def test_removing_what_is_not_there_frees_nothing(revision: str | None) -> None:
    assert store.remove("me/none", revision) == 0
