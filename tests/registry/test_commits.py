"""Commits: files in, files out, who comes first, and what is refused."""

import json
import shutil
import subprocess
import threading
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete
from huggingface_hub.errors import HfHubHTTPError, RevisionNotFoundError

REPO = "me/toy"
INITIAL = ".gitattributes"
HOSTILE_PATHS = {
    "/etc/passwd": "it is absolute",
    "C:/windows": "it is absolute",
    "../up": "it holds the segment '..'",
    "a/../../up": "it holds the segment '..'",
    "./a": "it holds the segment '.'",
    "a\\b": "it holds a backslash",
    "a//b": "it holds an empty segment",
    "a/": "it holds an empty segment",
    ".git/config": "it leads into .git",
    "a/.GIT/hooks": "it leads into .git",
    ".git . /config": "it leads into .git",
    "a\nb": "it holds a control character",
    "a\0b": "it holds a control character",
    "a\x85b": "it holds a control character",
    "\ud800": "it holds a control character",
    "x" * 256: "a segment is longer than 255 bytes",
    "x/" * 600 + "y": "it is longer than 1024 bytes",
}
NO_OBJECT = 'A line of the commit request is not a JSON object {"key": ..., "value": {...}}.'
MALFORMED_REQUESTS = {
    b"": "The commit request has no line with the key 'header'.",
    b"nonsense\n": NO_OBJECT,
    b"[" * 100_000: NO_OBJECT,
    b'{"key": "explode", "value": {}}': (
        "Commit operation 'explode' is unknown; known are header, file, lfsFile, deletedFile and deletedFolder."
    ),
    b'{"key": "header", "value": {"summary": " "}}': (
        "The commit header needs a 'summary', and 'description' must be a string."
    ),
    b'{"key": "header", "value": {"summary": "a\\u0000b"}}': (
        "The commit message holds characters that git can't keep."
    ),
    b'{"key": "header", "value": {"summary": "s", "parentCommit": "main"}}': (
        "Parent commit 'main' is not a commit id: 5 to 40 hexadecimal digits are expected."
    ),
    b'{"key": "file", "value": {"path": "a", "content": "???", "encoding": "base64"}}': (
        "The content of file 'a' is not valid base64."
    ),
    b'{"key": "file", "value": {"path": "a", "content": "x", "encoding": "rot13"}}': (
        "File 'a' needs 'content', a string, and 'encoding', 'base64' or 'utf-8'."
    ),
    b'{"key": "lfsFile", "value": {"path": "a", "algo": "md5", "oid": "0"}}': (
        "LFS hash algorithm 'md5' is not supported; use sha256."
    ),
    b'{"key": "lfsFile", "value": {"path": "a", "oid": "../x"}}': (
        "Object id '../x' is not a sha256: 64 lowercase hexadecimal digits are expected."
    ),
}


def head(api) -> str:
    return api.model_info(REPO).sha


def contents(api, revision=None) -> dict[str, bytes]:
    """Every file of the repository but .gitattributes, as downloaded."""
    names = [name for name in api.list_repo_files(REPO, revision=revision) if name != INITIAL]
    found = {}
    for name in names:
        found[name] = Path(api.hf_hub_download(REPO, name, revision=revision)).read_bytes()
    return found


def test_a_small_file_comes_back_byte_for_byte(api):
    content = bytes(range(256)) * 5
    info = api.upload_file(repo_id=REPO, path_in_repo="deep/er/file.txt", path_or_fileobj=content)
    assert contents(api) == {"deep/er/file.txt": content}
    assert info.oid == head(api)
    assert info.commit_url.endswith(f"/me/toy/commit/{info.oid}")


def test_names_outside_ascii_and_urls_come_back(api):
    name = "größe/a b#c?d%2Fe+f&g.txt"
    api.upload_file(repo_id=REPO, path_in_repo=name, path_or_fileobj=b"x")
    assert contents(api) == {name: b"x"}
    assert [entry.path for entry in api.list_repo_tree(REPO, "größe")] == [name]
    assert [entry.path for entry in api.get_paths_info(REPO, [name])] == [name]


def test_an_empty_file_is_a_file(api):
    api.upload_file(repo_id=REPO, path_in_repo="empty.bin", path_or_fileobj=b"")
    assert contents(api) == {"empty.bin": b""}


def test_a_folder_is_uploaded_and_old_files_go_in_one_commit(api, tmp_path, no_xet):
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    (folder / "config.json").write_bytes(b"{}")
    (folder / "sub" / "model.safetensors").write_bytes(b"w" * 3000)
    api.upload_file(repo_id=REPO, path_in_repo="old.txt", path_or_fileobj=b"old")
    before = len(api.list_repo_commits(REPO))
    api.upload_folder(repo_id=REPO, folder_path=folder, delete_patterns="*.txt")
    assert contents(api) == {"config.json": b"{}", "sub/model.safetensors": b"w" * 3000}
    assert len(api.list_repo_commits(REPO)) == before + 1


def test_files_and_folders_are_deleted(api):
    additions = [CommitOperationAdd(name, b"x") for name in ("a.txt", "dir/b.txt", "dir/sub/c.txt", "directory.txt")]
    api.create_commit(REPO, additions, commit_message="add")
    deletions = [CommitOperationDelete("a.txt"), CommitOperationDelete("dir/")]
    api.create_commit(REPO, deletions, commit_message="delete")
    assert contents(api) == {"directory.txt": b"x"}


def test_deleting_a_file_that_is_not_there_says_which(api, commit, lines):
    answer = commit(lines.header(), lines.deleted("none.txt"))
    assert (answer.status_code, answer.headers["X-Error-Code"]) == (404, "EntryNotFound")
    assert answer.json() == {"error": "A file with this name doesn't exist: none.txt"}


def test_a_copy_within_the_repository_needs_no_upload(api, no_xet):
    additions = [CommitOperationAdd("a.bin", b"w" * 100), CommitOperationAdd("a.txt", b"t")]
    api.create_commit(REPO, additions, commit_message="add")
    copies = [CommitOperationCopy("a.bin", "b.bin"), CommitOperationCopy("a.txt", "b.txt")]
    api.create_commit(REPO, copies, commit_message="copy")
    assert contents(api) == {"a.bin": b"w" * 100, "b.bin": b"w" * 100, "a.txt": b"t", "b.txt": b"t"}


def test_unchanged_files_make_no_commit(api, no_xet):
    additions = {"a.txt": b"a", "m.safetensors": b"m" * 50}
    for _ in range(2):
        operations = [CommitOperationAdd(name, content) for name, content in additions.items()]
        api.create_commit(REPO, operations, commit_message="same")
    assert [commit.title for commit in api.list_repo_commits(REPO)] == ["same", "initial commit"]


def test_a_request_that_changes_nothing_answers_with_the_head(api, commit, lines):
    first = commit(lines.header("one"), lines.file("a.txt"))
    second = commit(lines.header("two"), lines.file("a.txt"))
    assert second.json()["commitOid"] == first.json()["commitOid"]
    assert len(api.list_repo_commits(REPO)) == 2


def test_a_request_sent_again_makes_no_second_commit(api, commit, lines):
    commit(lines.header(), lines.file("old.txt"))
    request = [lines.header("replace"), lines.deleted("old.txt"), lines.file("new.txt")]
    first, second = commit(*request), commit(*request)
    assert (second.status_code, second.json()) == (200, first.json())
    assert len(api.list_repo_commits(REPO)) == 3


def test_a_request_with_a_parent_is_known_again_even_after_later_commits(api, commit, lines):
    request = [lines.header("mine", parent=head(api)), lines.file("a.txt")]
    first = commit(*request)
    commit(lines.header("another's"), lines.file("b.txt"))
    second = commit(*request)
    assert (second.status_code, second.json()) == (200, first.json())
    assert [item.title for item in api.list_repo_commits(REPO)] == ["another's", "mine", "initial commit"]


def test_a_stale_parent_is_refused_and_changes_nothing(api):
    old = head(api)
    new = api.upload_file(repo_id=REPO, path_in_repo="a.txt", path_or_fileobj=b"a").oid
    with pytest.raises(HfHubHTTPError) as refused:
        api.upload_file(repo_id=REPO, path_in_repo="b.txt", path_or_fileobj=b"b", parent_commit=old)
    assert refused.value.response.status_code == 412
    assert refused.value.response.json() == {
        "error": f"Branch 'main' of me/toy is at {new}, but the commit is made for parent {old}. "
        "Fetch the new head, apply the change to it, and commit again."
    }
    assert contents(api) == {"a.txt": b"a"}


def test_the_right_parent_is_accepted_in_full_and_shortened(api):
    oid = api.upload_file(repo_id=REPO, path_in_repo="a", path_or_fileobj=b"a", parent_commit=head(api)).oid
    api.upload_file(repo_id=REPO, path_in_repo="b", path_or_fileobj=b"b", parent_commit=oid[:7])
    assert contents(api) == {"a": b"a", "b": b"b"}


def test_of_two_writers_with_one_parent_exactly_one_wins(hub, api):
    parent, outcomes = head(api), []
    barrier = threading.Barrier(2)

    def write(name: str) -> None:
        client = hub.api()
        barrier.wait()
        try:
            client.upload_file(repo_id=REPO, path_in_repo=name, path_or_fileobj=name.encode(), parent_commit=parent)
            outcomes.append(name)
        except HfHubHTTPError as error:
            outcomes.append(error.response.status_code)

    threads = [threading.Thread(target=write, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count(412) == 1
    assert len(contents(api)) == 1


def test_many_writers_without_a_parent_all_land_in_one_line(hub, api):
    def write(number: int) -> None:
        hub.api().upload_file(repo_id=REPO, path_in_repo=f"f{number}", path_or_fileobj=str(number).encode())

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert contents(api) == {f"f{number}": str(number).encode() for number in range(8)}
    assert len(api.list_repo_commits(REPO)) == 9


def test_hostile_paths_are_refused_everywhere(http, commit, lines, api):
    for path, problem in HOSTILE_PATHS.items():
        expected = {"error": f"File path {path!r} is not allowed: {problem}."}
        for line in (lines.file(path), lines.lfs(path, "0" * 64, 1), lines.deleted(path)):
            answer = commit(lines.header(), line)
            assert (answer.status_code, answer.json()) == (400, expected)
        body = json.dumps({"files": [{"path": path, "size": 1}]})
        answer = http.post(f"/api/models/{REPO}/preupload/main", content=body)
        assert (answer.status_code, answer.json()) == (400, expected)
    assert contents(api) == {}


def test_a_path_that_is_no_text_is_refused(commit, lines, api):
    for path in (None, 3, "", ["a"]):
        answer = commit(lines.header(), lines.file(path))
        assert answer.json() == {"error": f"File path {path!r} is not allowed: it must be a non-empty string."}


def test_a_path_can_not_be_a_file_and_a_folder(api, commit, lines):
    assert commit(lines.header(), lines.file("a")).status_code == 200
    answer = commit(lines.header(), lines.file("a/b"))
    assert (answer.status_code, answer.json()) == (
        400,
        {"error": "Path 'a' can't be a file and, for 'a/b', a folder. Delete one of them."},
    )
    assert commit(lines.header(), lines.deleted("a"), lines.file("a/b")).status_code == 200
    assert contents(api) == {"a/b": b"x"}


def test_an_lfs_line_may_name_only_what_this_repository_holds(api, commit, lines, no_xet):
    api.create_repo("me/secret", private=True)
    api.upload_file(repo_id="me/secret", path_in_repo="m.safetensors", path_or_fileobj=b"private weights")
    lfs = api.get_paths_info("me/secret", ["m.safetensors"])[0].lfs
    answer = commit(lines.header(), lines.lfs("stolen.safetensors", lfs.sha256, lfs.size))
    assert (answer.status_code, answer.json()) == (
        400,
        {
            "error": f"File 'stolen.safetensors' names object {lfs.sha256}, which was not uploaded to me/toy. "
            "Upload it first."
        },
    )


def test_an_lfs_line_with_another_size_is_refused(api, commit, lines, no_xet):
    api.upload_file(repo_id=REPO, path_in_repo="m.bin", path_or_fileobj=b"12345")
    oid = api.get_paths_info(REPO, ["m.bin"])[0].lfs.sha256
    answer = commit(lines.header(), lines.lfs("n.bin", oid, 6))
    assert answer.json() == {"error": f"File 'n.bin' is declared with 6 bytes, but object {oid} has 5."}


def test_an_lfs_pointer_in_place_of_the_file_is_refused(api, commit, lines):
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 5\n"
    answer = commit(lines.header(), lines.file("m.bin", pointer))
    assert answer.json() == {
        "error": "File 'm.bin' is a Git LFS pointer, not the file itself. "
        "Fetch the file ('git lfs pull'), then upload it."
    }


def test_malformed_commit_requests_say_what_is_wrong(http, api, hub):
    for body, message in MALFORMED_REQUESTS.items():
        answer = http.post(f"/api/models/{REPO}/commit/main", content=body)
        assert (answer.status_code, answer.json()) == (400, {"error": message})
    assert list((hub.data / "arriving").iterdir()) == []


def test_a_refused_commit_leaves_no_bytes_behind(hub, commit, lines, api):
    before = sorted((hub.data / "objects").glob("*/*"))
    assert commit(lines.header(), lines.file("good.txt", b"new"), lines.deleted("none")).status_code == 404
    assert sorted((hub.data / "objects").glob("*/*")) == before
    assert list((hub.data / "arriving").iterdir()) == []


def test_a_commit_request_longer_than_allowed_is_refused(registry_with, lines):
    registry = registry_with(commit_bytes=5000)
    body = lines.body(lines.header(), lines.file("a", b"x" * 4500))
    expected = {"error": "The commit request is longer than 5000 bytes. Split it into several commits."}
    for content in (body, iter([body[:3000], body[3000:]])):  # the second without Content-Length
        answer = registry.http.post(f"/api/models/{REPO}/commit/main", content=content)
        assert (answer.status_code, answer.json()) == (413, expected)


def test_a_commit_needs_a_token_and_a_branch(hub, api, stranger, commit, lines):
    body = lines.body(lines.header(), lines.file("a"))
    assert stranger.post(f"/api/models/{REPO}/commit/main", content=body).status_code == 401
    with pytest.raises(RevisionNotFoundError):
        api.upload_file(repo_id=REPO, path_in_repo="a", path_or_fileobj=b"a", revision="none")
    answer = commit(lines.header(), lines.file("a"), branch=head(api))
    assert (answer.status_code, answer.headers["X-Error-Code"]) == (404, "RevisionNotFound")


def test_preupload_sends_large_and_binary_files_through_lfs(registry_with):
    registry = registry_with(lfs_bytes=700)
    sizes = {"a.json": 699, "b.json": 700, "c.safetensors": 1, "d/E.BIN": 1, "empty.bin": 0, "tokenizer.model": 5}
    files = [{"path": path, "size": size, "sample": ""} for path, size in sizes.items()]
    answer = registry.http.post(f"/api/models/{REPO}/preupload/main", json={"files": files}).json()
    assert {file["path"]: file["uploadMode"] for file in answer["files"]} == {
        "a.json": "regular",
        "b.json": "lfs",
        "c.safetensors": "lfs",
        "d/E.BIN": "lfs",
        "empty.bin": "regular",
        "tokenizer.model": "lfs",
    }


def test_preupload_honours_gitignore(api, tmp_path):
    folder = tmp_path / "folder"
    (folder / "build").mkdir(parents=True)
    (folder / ".gitignore").write_text("# comment\n*.log\n!keep.log\nbuild/\n/top.txt\n")
    for name in ("a.log", "keep.log", "build/x.txt", "top.txt", "sub.txt"):
        (folder / name).write_text(name)
    api.upload_folder(repo_id=REPO, folder_path=folder)
    assert sorted(contents(api)) == [".gitignore", "keep.log", "sub.txt"]


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git to compare with")
def test_ids_are_those_that_git_computes(api, tmp_path, no_xet):
    files = {"a.txt": b"a", "a/b.txt": b"b", "a-b": b"c", "z/y/x.json": b"{}", "m.bin": b"weights"}
    operations = [CommitOperationAdd(name.replace("a/", "aa/"), content) for name, content in files.items()]
    api.create_commit(REPO, operations, commit_message="title", commit_description="text\nmore")
    tip, first = api.list_repo_commits(REPO)

    def git(*arguments: str, stdin: bytes | None = None) -> str:
        command = ["git", "-C", str(tmp_path / "git"), *arguments]
        return subprocess.run(command, input=stdin, check=True, capture_output=True).stdout.decode().strip()

    (tmp_path / "git").mkdir()
    git("init", "--quiet")
    for file in api.list_repo_tree(REPO, recursive=True):
        if hasattr(file, "blob_id"):
            content = Path(api.hf_hub_download(REPO, file.path)).read_bytes()
            if file.lfs:
                content = (
                    f"version https://git-lfs.github.com/spec/v1\noid sha256:{file.lfs.sha256}\nsize {file.size}\n"
                ).encode()
                assert len(content) == file.lfs.pointer_size
            assert git("hash-object", "-w", "--stdin", stdin=content) == file.blob_id
            git("update-index", "--add", "--cacheinfo", f"100644,{file.blob_id},{file.path}")
    tree = git("write-tree")
    folders = {
        entry.path: entry.tree_id for entry in api.list_repo_tree(REPO, recursive=True) if hasattr(entry, "tree_id")
    }
    assert folders == {path: git("rev-parse", f"{tree}:{path}") for path in ("aa", "z", "z/y")}
    stamp = f"zoo <zoo@registry.invalid> {int(tip.created_at.timestamp())} +0000"
    message = f"tree {tree}\nparent {first.commit_id}\nauthor {stamp}\ncommitter {stamp}\n\ntitle\n\ntext\nmore\n"
    assert git("hash-object", "-t", "commit", "--stdin", "--literally", stdin=message.encode()) == tip.commit_id
