"""Branches, tags, history and listings."""

from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd
from huggingface_hub.errors import BadRequestError, HfHubHTTPError, RemoteEntryNotFoundError, RevisionNotFoundError

REPO = "me/toy"


def upload(api, name: str, content: bytes = b"x", **options) -> str:
    return api.upload_file(repo_id=REPO, path_in_repo=name, path_or_fileobj=content, **options).oid


def branches(api) -> dict[str, str]:
    return {ref.name: ref.target_commit for ref in api.list_repo_refs(REPO).branches}


def test_a_branch_starts_at_main_and_goes_its_own_way(api):
    base = upload(api, "a.txt")
    api.create_branch(REPO, branch="work")
    tip = upload(api, "b.txt", revision="work")
    assert branches(api) == {"main": base, "work": tip}
    assert "b.txt" not in api.list_repo_files(REPO)
    assert "b.txt" in api.list_repo_files(REPO, revision="work")


def test_a_branch_may_start_at_any_revision(api):
    first = upload(api, "a.txt")
    upload(api, "b.txt")
    api.create_branch(REPO, branch="old", revision=first[:8])
    assert branches(api)["old"] == first


def test_a_slash_in_a_name_does_not_part_it(api):
    api.create_branch(REPO, branch="feature/one")
    tip = upload(api, "dir/a.txt", revision="feature/one")
    api.create_tag(REPO, tag="v1/rc", revision="feature/one")
    assert api.model_info(REPO, revision="v1/rc").sha == tip
    assert [entry.path for entry in api.list_repo_tree(REPO, "dir", revision="feature/one")] == ["dir/a.txt"]
    assert Path(api.hf_hub_download(REPO, "dir/a.txt", revision="feature/one")).read_bytes() == b"x"
    api.delete_tag(REPO, tag="v1/rc")
    api.delete_branch(REPO, branch="feature/one")
    assert list(branches(api)) == ["main"]


def test_a_tag_stays_where_it_was_put(api):
    first = upload(api, "a.txt")
    api.create_tag(REPO, tag="v1", tag_message="the first")
    upload(api, "b.txt")
    (tag,) = api.list_repo_refs(REPO).tags
    assert (tag.name, tag.ref, tag.target_commit) == ("v1", "refs/tags/v1", first)
    assert api.model_info(REPO, revision="v1").sha == first
    assert api.model_info(REPO, revision="refs/tags/v1").sha == first


def test_existing_names_are_a_conflict_unless_they_may_exist(api):
    api.create_branch(REPO, branch="work")
    api.create_tag(REPO, tag="v1")
    for create, message in (
        (lambda **may: api.create_branch(REPO, branch="work", **may), "Branch 'work' of me/toy exists already."),
        (lambda **may: api.create_tag(REPO, tag="v1", **may), "Tag 'v1' of me/toy exists already."),
    ):
        create(exist_ok=True)
        with pytest.raises(HfHubHTTPError) as refused:
            create()
        assert (refused.value.response.status_code, refused.value.response.json()) == (409, {"error": message})


def test_missing_names_and_revisions_are_not_found(api):
    for call in (
        lambda: api.delete_branch(REPO, branch="none"),
        lambda: api.delete_tag(REPO, tag="none"),
        lambda: api.create_tag(REPO, tag="v1", revision="none"),
        lambda: api.create_branch(REPO, branch="work", revision="0" * 40),
        lambda: api.model_info(REPO, revision="none"),
        lambda: api.list_repo_commits(REPO, revision="none"),
        lambda: list(api.list_repo_tree(REPO, revision="none")),
    ):
        with pytest.raises(RevisionNotFoundError):
            call()


def test_hostile_ref_names_are_refused(api, http):
    for name in (
        "../up",
        "a..b",
        ".a",
        "-a",
        "a.lock",
        "a ",
        "a\\b",
        "refs/heads/x",
        "HEAD",
        "a//b",
        "0" * 40,
        "a.",
        "",
    ):
        answer = http.post(f"/api/models/{REPO}/tag/main", json={"tag": name})
        assert answer.status_code == 400, name
        assert answer.json()["error"].startswith(f"Ref name {name!r} is not allowed: ")
    with pytest.raises(BadRequestError):
        api.create_branch(REPO, branch="a b")


def test_main_can_not_be_deleted(api):
    with pytest.raises(HfHubHTTPError) as refused:
        api.delete_branch(REPO, branch="main")
    assert refused.value.response.json() == {"error": "Branch 'main' of me/toy can't be deleted."}


def test_changing_refs_needs_the_token(hub, api):
    stranger = hub.api(False)
    for call in (
        lambda: stranger.create_branch(REPO, branch="work"),
        lambda: stranger.create_tag(REPO, tag="v1"),
        lambda: stranger.delete_branch(REPO, branch="main"),
        lambda: stranger.super_squash_history(REPO),
        lambda: stranger.update_repo_settings(REPO, private=True),
        lambda: stranger.delete_repo(REPO),
        lambda: stranger.move_repo(REPO, "me/other"),
    ):
        with pytest.raises(HfHubHTTPError) as refused:
            call()
        assert refused.value.response.status_code == 401
    assert api.list_repo_refs(REPO).tags == []


def test_history_is_listed_newest_first_over_pages(registry_with):
    api = registry_with(commit_page=2).api
    for number in range(4):
        upload(api, f"{number}.txt", commit_message=f"commit {number}", commit_description=f"text {number}")
    listed = api.list_repo_commits(REPO)
    titles = ["commit 3", "commit 2", "commit 1", "commit 0", "initial commit"]
    assert [commit.title for commit in listed] == titles
    assert [commit.message for commit in listed] == ["text 3", "text 2", "text 1", "text 0", ""]
    assert {tuple(commit.authors) for commit in listed} == {("zoo",)}


def test_every_old_commit_stays_readable(api):
    oids = [upload(api, "a.txt", content) for content in (b"one", b"two", b"three")]
    for oid, content in zip(oids, (b"one", b"two", b"three"), strict=True):
        assert Path(api.hf_hub_download(REPO, "a.txt", revision=oid)).read_bytes() == content


def test_squashing_keeps_the_files_and_drops_the_history(api):
    upload(api, "a.txt", b"one")
    old = upload(api, "a.txt", b"two")
    api.super_squash_history(REPO, commit_message="fresh start")
    (only,) = api.list_repo_commits(REPO)
    assert only.title == "fresh start"
    assert only.commit_id != old
    assert Path(api.hf_hub_download(REPO, "a.txt")).read_bytes() == b"two"


def fill(api) -> None:
    names = ("a.txt", "b/c.txt", "b/d/e.txt", "b/d/f.txt", "b.txt", "g.txt")
    api.create_commit(REPO, [CommitOperationAdd(name, name.encode()) for name in names], commit_message="fill")


def test_trees_list_a_folder_or_all_below_it(api):
    fill(api)

    def paths(*arguments, **options) -> list[str]:
        return sorted(entry.path for entry in api.list_repo_tree(REPO, *arguments, **options))

    assert paths() == [".gitattributes", "a.txt", "b", "b.txt", "g.txt"]
    assert paths("b") == ["b/c.txt", "b/d"]
    assert paths("b", recursive=True) == ["b/c.txt", "b/d", "b/d/e.txt", "b/d/f.txt"]
    assert len(paths(recursive=True)) == 9
    with pytest.raises(RemoteEntryNotFoundError) as refused:
        paths("none")
    assert refused.value.response.json() == {"error": "me/toy has no folder 'none' at main."}


def test_trees_come_in_pages_that_stay_at_their_commit(registry_with):
    registry = registry_with(tree_page=3)
    fill(registry.api)
    first = registry.http.get(f"/api/models/{REPO}/tree/main?recursive=true")
    registry.api.delete_file("g.txt", REPO)
    rest = registry.http.get(first.links["next"]["url"])
    last = registry.http.get(rest.links["next"]["url"])
    listed = [entry["path"] for page in (first, rest, last) for entry in page.json()]
    assert listed == [
        *(".gitattributes", "a.txt", "b", "b.txt", "b/c.txt", "b/d", "b/d/e.txt", "b/d/f.txt", "g.txt"),
    ]
    assert "next" not in last.links
    registry.api.create_branch(REPO, branch="x/y")
    assert len(list(registry.api.list_repo_tree(REPO, "b", recursive=True, revision="x/y"))) == 4


def test_expanded_entries_name_the_commit_that_last_changed_them(registry_with):
    api = registry_with(expanded_page=2).api
    fill(api)
    changed = upload(api, "b/d/e.txt", b"new")
    upload(api, "z.txt", b"z")
    titles = {entry.path: entry.last_commit.title for entry in api.list_repo_tree(REPO, recursive=True, expand=True)}
    assert titles == {
        ".gitattributes": "initial commit",
        **dict.fromkeys(("a.txt", "b.txt", "b/c.txt", "b/d/f.txt", "g.txt"), "fill"),
        **dict.fromkeys(("b", "b/d", "b/d/e.txt"), "Upload b/d/e.txt with huggingface_hub"),
        "z.txt": "Upload z.txt with huggingface_hub",
    }
    (entry,) = api.get_paths_info(REPO, ["b/d"], expand=True)
    assert entry.last_commit.oid == changed


def test_paths_info_leaves_out_what_is_not_there(api, http):
    fill(api)
    found = api.get_paths_info(REPO, ["a.txt", "none", "b/d"])
    assert [(type(entry).__name__, entry.path) for entry in found] == [("RepoFile", "a.txt"), ("RepoFolder", "b/d")]
    answer = http.post(f"/api/models/{REPO}/paths-info/main", json={"paths": ["a.txt"]})
    assert [entry["path"] for entry in answer.json()] == ["a.txt"]


def test_a_bad_page_length_or_cursor_is_refused(api, http):
    answer = http.get("/api/models?limit=0")
    assert (answer.status_code, answer.json()) == (
        400,
        {"error": "Query parameter limit='0' is not a positive number."},
    )
    answer = http.get("/api/models?cursor=x")
    assert answer.json() == {"error": "Query parameter cursor='x' was not made by this registry."}
