"""Pull requests: commits beside main, under a number, until somebody merges them. With the unmodified client."""

from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd
from huggingface_hub.errors import HfHubHTTPError, RevisionNotFoundError

from tests.registry.conftest import REPO


def head(api, revision="main"):
    return api.model_info(REPO, revision=revision).sha


def read(api, name, revision):
    return Path(api.hf_hub_download(REPO, name, revision=revision)).read_bytes()


def add(api, name, content, **options):
    operation = CommitOperationAdd(name, content)
    return api.create_commit(REPO, [operation], commit_message=f"add {name}", **options)


def test_a_pull_request_leaves_main_as_it_is_and_can_be_read(hub, api):
    before = head(api)
    opened = add(api, "a.txt", b"new", create_pr=True)
    assert (opened.pr_url, opened.pr_revision, opened.pr_num) == (
        f"{hub.endpoint}/{REPO}/discussions/1", "refs/pr/1", 1,
    )  # fmt: skip
    assert head(api) == before
    assert head(api, "refs/pr/1") == opened.oid
    assert read(api, "a.txt", "refs/pr/1") == b"new"
    assert not api.file_exists(REPO, "a.txt")
    assert [commit.commit_id for commit in api.list_repo_commits(REPO, revision="refs/pr/1")] == [opened.oid, before]


def test_pull_requests_are_listed_when_they_are_asked_for(api):
    opened = [add(api, name, b"x", create_pr=True) for name in ("a.txt", "b.txt")]
    assert api.list_repo_refs(REPO).pull_requests is None
    listed = api.list_repo_refs(REPO, include_pull_requests=True)
    assert [(ref.ref, ref.target_commit) for ref in listed.pull_requests] == [
        ("refs/pr/1", opened[0].oid), ("refs/pr/2", opened[1].oid),
    ]  # fmt: skip
    assert [branch.name for branch in listed.branches] == ["main"]


def test_large_files_and_whole_folders_come_as_a_pull_request_too(api, no_xet, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(bytes(5000))
    (folder / "config.json").write_text("{}")
    opened = api.upload_folder(repo_id=REPO, folder_path=folder, create_pr=True)
    assert sorted(api.list_repo_files(REPO, revision=opened.pr_revision)) == [
        ".gitattributes", "config.json", "model.safetensors",
    ]  # fmt: skip
    assert read(api, "model.safetensors", opened.pr_revision) == bytes(5000)


def test_further_commits_go_to_a_pull_request_by_its_revision(api):
    first = add(api, "a.txt", b"x", create_pr=True)
    second = add(api, "b.txt", b"y", revision="refs/pr/1", parent_commit=first.oid)
    assert head(api, "refs/pr/1") == second.oid
    assert sorted(api.list_repo_files(REPO, revision="refs/pr/1")) == [".gitattributes", "a.txt", "b.txt"]
    with pytest.raises(RevisionNotFoundError):
        add(api, "b.txt", b"z", revision="refs/pr/2")
    with pytest.raises(HfHubHTTPError) as stale:
        add(api, "c.txt", b"z", revision="refs/pr/1", parent_commit=first.oid)
    assert stale.value.response.status_code == 412


def test_a_pull_request_starts_at_the_parent_that_it_names(api):
    start = head(api)
    add(api, "a.txt", b"x")
    opened = add(api, "b.txt", b"y", create_pr=True, parent_commit=start)
    assert sorted(api.list_repo_files(REPO, revision=opened.pr_revision)) == [".gitattributes", "b.txt"]


def test_a_request_sent_again_opens_no_second_one(http, api, lines):
    body = lines.body(lines.header(), lines.file("a"))
    answers = [http.post(f"/api/models/{REPO}/commit/main?create_pr=1", content=body).json() for _ in range(2)]
    assert answers[0] == answers[1]
    assert len(api.list_repo_refs(REPO, include_pull_requests=True).pull_requests) == 1


def test_a_pull_request_that_changes_nothing_is_refused(http, api, lines):
    add(api, "a", b"x")
    body = lines.body(lines.header(), lines.file("a"))
    answer = http.post(f"/api/models/{REPO}/commit/main?create_pr=1", content=body)
    assert (answer.status_code, answer.json()) == (400, {"error": "The pull request would change nothing."})


def test_merging_moves_main_unless_it_has_moved_on(api):
    first, second = (add(api, name, b"x", create_pr=True) for name in ("README.md", "b.txt"))
    api.merge_pull_request(REPO, 1)
    assert head(api) == first.oid
    with pytest.raises(HfHubHTTPError) as refused:
        api.merge_pull_request(REPO, 2)
    assert refused.value.response.status_code == 409
    assert refused.value.response.json()["error"] == (
        f"Branch 'main' of {REPO} has moved on since pull request 2 was opened."
    )
    assert head(api) == first.oid
    assert head(api, "refs/pr/2") == second.oid
    with pytest.raises(RevisionNotFoundError):
        api.merge_pull_request(REPO, 3)


def test_a_pull_request_needs_the_token_and_has_a_page(hub, api, stranger, lines):
    body = lines.body(lines.header(), lines.file("a"))
    assert stranger.post(f"/api/models/{REPO}/commit/main?create_pr=1", content=body).status_code == 401
    assert stranger.post(f"/api/models/{REPO}/discussions/1/merge").status_code == 401
    add(api, "a.txt", b"x", create_pr=True)
    page = stranger.get(f"/{REPO}/discussions/1")
    assert page.status_code == 200
    assert "a.txt" in page.text
    assert stranger.get(f"/{REPO}/discussions/2").status_code == 404
