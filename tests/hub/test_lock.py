"""zoo.lock: what a project holds is what everybody in it gets, or an error that says what differs."""

import hashlib
import json
import logging
import os
import shutil
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import zoo
from zoo import errors
from zoo.hub import syncing
from zoo.hub.lock import Lock, LockedCheckpoint, LockedFile, _quoted, find_pin, lock_path
from zoo.hub.sources import stored_checkpoint
from zoo.hub.store import Repository
from zoo.references import parse

LeftInStore = Callable[[], list[str]]
HEADER = "# Written by `zoo lock`. Commit it with the project; `zoo sync --frozen` then gives everybody the same.\n"


@pytest.fixture
def locked(project: Path, hub: Any, published: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose lock holds me/small at its first commit. Gives the lock."""
    monkeypatch.setenv("ZOO_LOCK", str(project / "zoo.lock"))
    syncing.add(["me/small"], endpoint=hub.endpoint)
    monkeypatch.delenv("ZOO_LOCK")
    return project / "zoo.lock"


def move_on(hub: Any, folder: Path) -> str:
    """Push another README to me/small, and give the commit."""
    (folder / "README.md").write_text("# moved on\n")
    return zoo.push(folder, "me/small", endpoint=hub.endpoint, token=hub.token)


def edit(lock: Path, old: str, new: str) -> None:
    """Change a lock by hand."""
    text = lock.read_text()
    assert old in text
    lock.write_text(text.replace(old, new))


def forget(repo_id: str = "me/small") -> None:
    """Empty the store of a repository."""
    shutil.rmtree(Repository(repo_id).path)


# --- the file ---------------------------------------------------------------------------------------------------------


def test_a_lock_holds_the_commit_every_file_and_the_plugin(locked: Path, hub: Any, published: str) -> None:
    checkpoint = zoo.pull("me/small", endpoint=hub.endpoint)
    lines = []
    for name in sorted(path.name for path in checkpoint.path.iterdir()):
        content = (checkpoint.path / name).read_bytes()
        blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        git = "" if name == "model.safetensors" else f', git_blob = "{blob}"'
        sha256 = hashlib.sha256(content).hexdigest()
        lines.append(f'"{name}" = {{ size_bytes = {len(content)}, sha256 = "{sha256}"{git} }}\n')
    assert locked.read_text() == (
        f"{HEADER}version = 1\n\n"
        '[checkpoints."me/small"]\n'
        'repository = "me/small"\n'
        f'endpoint = "{hub.endpoint}"\n'
        f'commit = "{published}"\n'
        'architecture = "bert"\n'
        'plugin = "zoo-encoder-only"\n'
        'plugin_version = "0.1.0"\n\n'
        '[checkpoints."me/small".files]\n' + "".join(lines)
    )


digests = st.text("0123456789abcdef", min_size=64, max_size=64)
git_ids = st.text("0123456789abcdef", min_size=40, max_size=40)
plain = st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=20)
names = st.text(st.characters(categories=["L", "N", "P", "S"], exclude_characters="/\\:"), max_size=20).map(
    "n{}".format
)
paths = st.lists(names, min_size=1, max_size=3).map("/".join)
words = st.text("abcXYZ019", min_size=1, max_size=9)
repositories = st.tuples(words, words).map("/".join)
references = st.one_of(words, repositories, st.tuples(repositories, words).map("@".join))
files = st.builds(LockedFile, size_bytes=st.integers(0, 2**63 - 1), sha256=digests, git_blob=st.none() | git_ids)
checkpoints = st.builds(
    LockedCheckpoint,
    repository=repositories,
    endpoint=st.sampled_from(["https://huggingface.co", "http://127.0.0.1:8900", "https://hub.example/zoo"]),
    commit=git_ids,
    architecture=st.none() | plain,
    plugin=st.none() | plain,
    plugin_version=st.none() | plain,
    base=st.none() | digests,
    files=st.tuples(files, st.dictionaries(paths, files, max_size=4)).map(
        lambda all_: {"config.json": all_[0], **all_[1]}
    ),
)
locks = st.dictionaries(references, checkpoints, max_size=4).map(lambda entries: Lock(checkpoints=entries))


@settings(max_examples=40, deadline=None)
@given(lock=locks)
def test_what_is_written_is_read_again(lock: Lock, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("lock") / "zoo.lock"
    lock.save(path)
    assert Lock.load(path) == lock
    assert [other.name for other in path.parent.iterdir()] == ["zoo.lock"]


@settings(max_examples=40, deadline=None)
@given(lock=locks, data=st.data())
def test_the_same_content_gives_the_same_text_in_whatever_order_it_came(lock: Lock, data: st.DataObject) -> None:
    shuffled = {
        reference: locked.model_copy(update={"files": dict(data.draw(st.permutations(list(locked.files.items()))))})
        for reference, locked in data.draw(st.permutations(list(lock.checkpoints.items())))
    }
    assert Lock(checkpoints=shuffled).to_toml() == lock.to_toml()


@given(text=st.text())
def test_any_text_becomes_a_string_of_toml_on_one_line(text: str) -> None:
    quoted = _quoted(text)
    assert tomllib.loads(f"text = {quoted}") == {"text": text}
    assert quoted.isprintable()


def one(repository: str, commit: str) -> LockedCheckpoint:
    """An entry with one file."""
    return LockedCheckpoint(
        repository=repository,
        endpoint="https://huggingface.co",
        commit=commit * 40,
        files={"config.json": LockedFile(size_bytes=7, sha256=commit * 64)},
    )


@pytest.mark.skipif(shutil.which("git") is None, reason="git merges")
def test_what_two_branches_add_around_an_old_entry_merges(tmp_path: Path) -> None:
    base, ours, theirs = Lock().changed({"m/m": one("m/m", "a")}), {"a/a": one("a/a", "b")}, {"z/z": one("z/z", "c")}
    for name, lock in (("base", base), ("ours", base.changed(ours)), ("theirs", base.changed(theirs))):
        lock.save(tmp_path / name)
    subprocess.run(["git", "merge-file", "ours", "base", "theirs"], cwd=tmp_path, check=True)
    assert Lock.load(tmp_path / "ours") == base.changed(ours | theirs)


def test_the_base_of_an_adapter_is_kept_while_its_commit_stays(locked: Path, hub: Any, folder: Path) -> None:
    edit(locked, '\n\n[checkpoints."me/small".files]', f'\nbase = "{"5" * 64}"\n\n[checkpoints."me/small".files]')
    assert [change.before == change.after for change in syncing.update()] == [True]
    assert Lock.load(locked).checkpoints["me/small"].base == "5" * 64
    move_on(hub, folder)
    syncing.update()
    assert Lock.load(locked).checkpoints["me/small"].base is None


FILE = '"config.json" = { size_bytes = 1, sha256 = "' + "0" * 64 + '" }'
TABLE = (
    'version = 1\n[checkpoints."a/b"]\nrepository = "a/b"\nendpoint = "https://huggingface.co"\n'
    f'commit = "{"1" * 40}"\n[checkpoints."a/b".files]\n{FILE}\n'
)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("version = 1", "version = ", "it is not valid TOML (Invalid value (at line 1, column 11))"),
        ("version = 1", "version = 2", "it is of version 2, and this Zoo reads version 1; update Zoo"),
        ("version = 1", "version = '1'", "it is not a lock (version: Input should be 1)"),
        ("version = 1", "version = 1\nmore = 1", "it is not a lock (more: Extra inputs are not permitted)"),
        ('"config.json"', '"../config.json"', None),
        ('"config.json"', '"/etc/config.json"', None),
        ('"config.json"', '".git/config.json"', None),
        (
            '"config.json"',
            '"vocab.txt"',
            "it is not a lock (checkpoints.a/b.files: it has neither config.json nor adapter_config.json)",
        ),
        ("0" * 64, "0" * 63, None),
        ("0" * 64, "../" + "0" * 61, None),
        ("0" * 64, "A" * 64, None),
        ("1" * 40, "main", None),
        ('repository = "a/b"', 'repository = "../b"', None),
        ('repository = "a/b"', 'repository = "b"', None),
        ("https://huggingface.co", "file:///etc", None),
        ("https://huggingface.co", "https://me:secret@hub.example", None),
        ('checkpoints."a/b"', 'checkpoints."./b"', None),
        ('checkpoints."a/b"', 'checkpoints."a/b@"', None),
        ("size_bytes = 1,", "size_bytes = -1,", None),
        ("size_bytes = 1,", "size_bytes = '1',", None),
        ("size_bytes = 1,", "", "it is not a lock (checkpoints.a/b.files.config.json.size_bytes: Field required)"),
        ('commit = "', 'plugin = "\\u001b[2J"\ncommit = "', None),
        ('commit = "', 'base = "none"\ncommit = "', None),
        (FILE, f"{FILE}\n{FILE}", "it is not valid TOML (Cannot overwrite a value (at line 8, column 112))"),
        ("version = 1", "version = " + "[" * 100_000, None),
        ("version = 1", "version = " + "1" * 10_000, None),
        ("version = 1", "\udcff", None),
    ],
)
def test_a_damaged_or_hostile_lock_is_corrupt(tmp_path: Path, old: str, new: str, reason: str | None) -> None:
    path = tmp_path / "zoo.lock"
    path.write_text(TABLE)
    assert Lock.load(path).checkpoints.keys() == {"a/b"}
    path.write_text(TABLE.replace(old, new), errors="surrogateescape")
    with pytest.raises(errors.CorruptFile) as raised:
        Lock.load(path)
    if reason is not None:
        assert str(raised.value) == (
            f"The file '{path}' is corrupt: {reason}. It was not loaded; fetch it again, or tell its author"
        )


# --- finding it -------------------------------------------------------------------------------------------------------


def test_the_nearest_lock_above_counts(project: Path) -> None:
    assert lock_path() is None
    (project.parent / "zoo.lock").touch()
    assert lock_path() == project.parent / "zoo.lock"
    (project / "zoo.lock").touch()
    assert lock_path() == project / "zoo.lock"


def test_the_search_ends_at_home(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(project))
    (project / "zoo.lock").touch()
    (project.parent / "zoo.lock").touch()
    assert lock_path() is None
    monkeypatch.chdir(project)
    assert lock_path() == project / "zoo.lock"


def test_the_environment_names_a_lock_or_switches_it_off(
    locked: Path, hub: Any, folder: Path, published: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = move_on(hub, folder)
    forget()
    monkeypatch.setenv("ZOO_LOCK", "")
    assert zoo.pull("me/small", endpoint=hub.endpoint).commit == second
    monkeypatch.setenv("ZOO_LOCK", str(locked))
    monkeypatch.chdir("/")
    assert zoo.pull("me/small", endpoint=hub.endpoint).commit == published
    monkeypatch.setenv("ZOO_LOCK", str(locked) + "s")
    with pytest.raises(errors.CorruptFile, match=r"it cannot be read \(No such file or directory\)"):
        zoo.pull("me/small", endpoint=hub.endpoint)


def test_where_everybody_may_write_only_the_user_s_own_lock_counts(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "zoo.lock").touch()
    project.chmod(0o777)
    assert lock_path() == project / "zoo.lock"
    monkeypatch.setattr(os, "getuid", lambda: 4711)
    assert lock_path() is None
    project.chmod(0o755)
    assert lock_path() == project / "zoo.lock"


# --- obeying it -------------------------------------------------------------------------------------------------------


def test_a_locked_reference_loads_at_its_commit_wherever_its_branch_is(
    locked: Path, hub: Any, folder: Path, published: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = move_on(hub, folder)
    forget()
    model = zoo.load("me/small", endpoint=hub.endpoint)
    assert model.checkpoint is not None and model.checkpoint.commit == published
    monkeypatch.chdir(locked.parent.parent)
    assert zoo.pull("me/small", endpoint=hub.endpoint).commit == second


def test_a_locked_reference_that_is_stored_makes_no_request(locked: Path, proxy: Any, published: str) -> None:
    assert zoo.load("me/small", endpoint=proxy.endpoint).checkpoint.commit == published  # type: ignore[union-attr]
    assert zoo.load("me/small", local_only=True).checkpoint.commit == published  # type: ignore[union-attr]
    assert proxy.requests == []


def test_another_revision_than_the_locked_one_is_an_error(locked: Path, hub: Any, published: str) -> None:
    hub.api().create_tag("me/small", tag="v1")
    with pytest.raises(errors.LockConflict) as raised:
        zoo.load("me/small", revision="v1", endpoint=hub.endpoint)
    assert str(raised.value) == (
        f"'me/small@v1' was asked for, and {locked} holds 'me/small' at {published[:12]}. Leave the revision out to get "
        "that; to move on: zoo lock update me/small; to hold this one too: zoo lock add me/small@v1"
    )
    for revision in ("main", published):
        assert zoo.pull("me/small", revision=revision, endpoint=hub.endpoint).commit == published
    syncing.add(["me/small@v1"], endpoint=hub.endpoint)
    assert zoo.pull("me/small@v1", endpoint=hub.endpoint).commit == published


@pytest.mark.parametrize("held", ["all-minilm-l6-v2", "sentence-transformers/all-MiniLM-L6-v2"])
def test_a_repository_is_locked_under_all_its_names(project: Path, held: str) -> None:
    repository = "sentence-transformers/all-MiniLM-L6-v2"
    Lock(checkpoints={held: one(repository, "a")}).save(project / "zoo.lock")
    for name in ("all-minilm-l6-v2", repository):
        pin = find_pin(parse(name))
        assert pin is not None and (pin.reference, pin.locked.commit) == (held, "a" * 40)
        with pytest.raises(errors.LockConflict):
            zoo.pull(f"{name}@v2")
    with pytest.raises(errors.InvalidReference):
        zoo.pull("no-such-name")


def test_a_locked_name_needs_no_catalogue(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Lock(checkpoints={"mine": one("me/mine", "a")}).save(project / "zoo.lock")
    monkeypatch.setenv("ZOO_PLUGINS", "")
    pin = find_pin(parse("mine"))
    assert pin is not None and pin.locked.repository == "me/mine"


def test_what_is_not_locked_loads_as_usual_and_says_so_once(
    locked: Path, hub: Any, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    commit = zoo.push(folder, "me/other", endpoint=hub.endpoint, token=hub.token)
    with caplog.at_level(logging.WARNING, "zoo"):
        assert zoo.pull("me/other", endpoint=hub.endpoint).commit == commit
        assert zoo.pull("me/other", endpoint=hub.endpoint).commit == commit
    assert caplog.messages == [
        f"{locked} does not hold 'me/other': it is loaded unlocked. To hold it: zoo lock add me/other"
    ]


def test_a_hub_that_gives_other_files_for_the_commit_is_refused(
    locked: Path, proxy: Any, published: str, left_in_store: LeftInStore
) -> None:
    def lie(content: dict[str, Any]) -> None:
        for sibling in content["siblings"]:
            if sibling["rfilename"] == "model.safetensors":
                sibling["lfs"]["sha256"] = "e" * 64

    forget()
    proxy.tamper_listing(lie)
    expected = Lock.load(locked).checkpoints["me/small"].files["model.safetensors"].sha256
    with pytest.raises(errors.DigestMismatch) as raised:
        zoo.load("me/small", endpoint=proxy.endpoint)
    assert str(raised.value) == (
        f"'model.safetensors' has the digest {'e' * 64}, but {locked} promises {expected}. The file was not kept. Try "
        "again; if it stays so, the hub or the network changes files, and its operator should know"
    )
    assert left_in_store() == []


def test_a_small_file_must_have_the_locked_sha256_too(locked: Path, hub: Any, left_in_store: LeftInStore) -> None:
    actual = Lock.load(locked).checkpoints["me/small"].files["config.json"].sha256
    edit(locked, actual, "d" * 64)
    forget()
    with pytest.raises(errors.DigestMismatch) as raised:
        zoo.pull("me/small", endpoint=hub.endpoint)
    assert (raised.value.file, raised.value.actual, raised.value.expected) == ("config.json", actual, "d" * 64)
    assert left_in_store() == []


def test_a_size_that_is_not_that_of_the_digest_is_an_error_of_the_lock(locked: Path, hub: Any, folder: Path) -> None:
    size_bytes = (folder / "config.json").stat().st_size
    edit(locked, f"size_bytes = {size_bytes},", "size_bytes = 3,")
    with pytest.raises(errors.CorruptFile, match=r"it promises 3 bytes of 'config\.json'"):
        zoo.pull("me/small", endpoint=hub.endpoint)


def test_only_the_locked_files_are_fetched(locked: Path, hub: Any) -> None:
    lines = [line for line in locked.read_text().splitlines() if not line.startswith(('"tokenizer', '"zoo'))]
    locked.write_text("\n".join(lines))
    forget()
    checkpoint = zoo.pull("me/small", endpoint=hub.endpoint)
    assert sorted(path.name for path in checkpoint.path.iterdir()) == ["README.md", "config.json", "model.safetensors"]


def test_the_lock_s_own_hub_is_asked_where_the_user_s_does_not_answer_and_gets_no_token(
    project: Path, proxy: Any, published: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    syncing.add(["me/small"], endpoint=proxy.endpoint)
    forget()
    proxy.requests.clear()
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert zoo.pull("me/small").commit == published
    assert proxy.requests
    assert {headers.get("authorization") for _, headers in proxy.requests} == {None}
    syncing.update(token="hf_secret")
    assert {headers.get("authorization") for _, headers in proxy.requests} == {None}
    monkeypatch.setenv("HF_ENDPOINT", proxy.endpoint)
    forget()
    proxy.requests.clear()
    assert zoo.pull("me/small").commit == published
    assert {headers.get("authorization") for _, headers in proxy.requests} == {"Bearer hf_secret"}


# --- changing it ------------------------------------------------------------------------------------------------------


def test_adding_again_changes_nothing_and_updating_moves_on(
    locked: Path, hub: Any, folder: Path, published: str
) -> None:
    second, before = move_on(hub, folder), locked.read_bytes()
    assert syncing.add(["me/small"], endpoint=hub.endpoint) == [syncing.Change("me/small", published, published)]
    assert locked.read_bytes() == before
    assert syncing.update() == [syncing.Change("me/small", published, second)]
    assert Lock.load(locked).checkpoints["me/small"].commit == second
    assert zoo.pull("me/small", local_only=True).commit == second
    assert syncing.remove(["me/small"]) == [syncing.Change("me/small", second, None)]
    assert locked.read_text() == f"{HEADER}version = 1\n"


def test_a_reference_to_a_commit_stays_there(locked: Path, hub: Any, folder: Path, published: str) -> None:
    syncing.add([f"me/small@{published}"], endpoint=hub.endpoint)
    move_on(hub, folder)
    assert syncing.update([f"me/small@{published}"]) == [syncing.Change(f"me/small@{published}", published, published)]


def test_one_reference_that_fails_leaves_the_lock_as_it_was(locked: Path, hub: Any, folder: Path) -> None:
    zoo.push(folder, "me/other", endpoint=hub.endpoint, token=hub.token)
    before = locked.read_bytes()
    with pytest.raises(errors.RepositoryNotFound):
        syncing.add(["me/other", "me/nothing"], endpoint=hub.endpoint)
    assert locked.read_bytes() == before


def test_what_cannot_be_locked_says_why(locked: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(errors.InvalidReference, match="a folder has no commit that a lock could hold"):
        syncing.add([str(folder)])
    with pytest.raises(errors.InvalidReference, match=f"{locked} does not hold it; it holds me/small"):
        syncing.update(["me/other"])
    monkeypatch.setenv("ZOO_LOCK", "")
    with pytest.raises(errors.InvalidInput) as raised:
        syncing.add(["me/small"])
    assert str(raised.value) == "ZOO_LOCK is set to nothing, which means that no lock is used. Unset it to begin one"


def test_the_first_lock_begins_in_this_folder(project: Path, hub: Any, published: str) -> None:
    with pytest.raises(errors.InvalidInput) as raised:
        syncing.sync()
    assert str(raised.value) == "There is no zoo.lock in this folder or above it. Begin one with: zoo lock add REF"
    syncing.add(["me/small"], endpoint=hub.endpoint)
    assert lock_path() == project / "source" / "zoo.lock"


# --- syncing to it ----------------------------------------------------------------------------------------------------


def test_sync_fetches_what_is_locked_and_frozen_finds_it_right(locked: Path, hub: Any, published: str) -> None:
    forget()
    assert stored_checkpoint("me/small", published) is None
    for frozen in (False, True):
        synced = syncing.sync(frozen=frozen, endpoint=hub.endpoint)
        assert [(one.reference, one.checkpoint.commit, one.remark) for one in synced] == [("me/small", published, None)]


def test_frozen_lists_every_difference(locked: Path, hub: Any, folder: Path, published: str) -> None:
    zoo.push(folder, "me/other", endpoint=hub.endpoint, token=hub.token)
    zoo.push(folder, "me/third", endpoint=hub.endpoint, token=hub.token)
    syncing.add(["me/other", "me/third"], endpoint=hub.endpoint)
    lock = Lock.load(locked)
    small, other, third = (lock.checkpoints[name] for name in ("me/small", "me/other", "me/third"))
    other_files = {**other.files, "config.json": LockedFile(size_bytes=9, sha256="a" * 64)}
    lock.changed(
        {
            "me/small": small.model_copy(update={"commit": "f" * 40}),
            "me/other": other.model_copy(update={"files": other_files, "plugin_version": "9.9"}),
            "me/third": third.model_copy(update={"plugin": "zoo-bertish", "plugin_version": "1.0"}),
            "me/gone": small.model_copy(update={"repository": "me/gone"}),
        }
    ).save(locked)
    weights = (Repository("me/third").snapshot(third.commit) / "model.safetensors").resolve()
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x7f")
    damaged = hashlib.sha256(weights.read_bytes()).hexdigest()
    config_blob = other.files["config.json"].git_blob
    with pytest.raises(errors.LockNotMet) as raised:
        syncing.sync(frozen=True, endpoint=hub.endpoint)
    assert str(raised.value) == (
        f"4 of 4 references are not as {locked} holds them:\n"
        "  me/gone:\n"
        f"    the repository is not at {hub.endpoint} any more (me/gone@{published})\n"
        "  me/other:\n"
        f"    config.json has the digest {config_blob}; locked is {'a' * 64}\n"
        "    the plugin for 'bert' is zoo-encoder-only 0.1.0; locked is zoo-encoder-only 9.9 "
        "(pip install zoo-encoder-only==9.9)\n"
        "  me/small:\n"
        f"    the commit is not at {hub.endpoint} any more (me/small@{'f' * 40})\n"
        "  me/third:\n"
        f"    model.safetensors has the digest {damaged} on this machine; locked is "
        f"{third.files['model.safetensors'].sha256} (fetch it anew: zoo rm me/third, then zoo sync)\n"
        "    the plugin for 'bert' is zoo-encoder-only 0.1.0; locked is zoo-bertish 1.0 (pip install zoo-bertish==1.0)\n"
        "Where that change is meant, take it into the lock with: zoo lock update me/gone me/other me/small me/third"
    )


def test_without_frozen_a_plugin_is_only_remarked_on(locked: Path, hub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_PLUGINS", "")
    remark = "the plugin for 'bert' is none; locked is zoo-encoder-only 0.1.0 (pip install zoo-encoder-only==0.1.0)"
    assert [one.remark for one in syncing.sync(endpoint=hub.endpoint)] == [remark]
    with pytest.raises(errors.LockNotMet) as raised:
        syncing.sync(frozen=True, endpoint=hub.endpoint)
    assert raised.value.differences == {"me/small": (remark,)}


def test_frozen_asks_nobody_where_that_is_ruled_out(
    locked: Path, proxy: Any, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert len(syncing.sync(frozen=True, endpoint=proxy.endpoint)) == 1
    forget()
    with pytest.raises(errors.LockNotMet) as raised:
        syncing.sync(frozen=True, endpoint=proxy.endpoint)
    assert raised.value.differences == {"me/small": (f"it is not in the store at {home}/hub, and no hub may be asked",)}
    assert proxy.requests == []


def test_a_file_beside_the_locked_ones_is_a_difference(locked: Path, hub: Any) -> None:
    lines = [line for line in locked.read_text().splitlines() if not line.startswith('"tokenizer.json')]
    locked.write_text("\n".join(lines))
    with pytest.raises(errors.LockNotMet) as raised:
        syncing.sync(frozen=True, endpoint=hub.endpoint)
    assert raised.value.differences == {"me/small": ("tokenizer.json is in the store, and not in the lock",)}


def test_a_checkpoint_is_shown_as_it_is_locked(locked: Path, hub: Any, folder: Path, published: str) -> None:
    from zoo.hub.showing import describe

    move_on(hub, folder)
    assert describe("me/small")["commit"] == published
    assert json.dumps(describe("me/small"))
