"""Repositories: making, finding, changing and deleting them with the unmodified client."""

import io
from pathlib import Path

import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

REPO = "me/toy"
BAD_NAMES = [
    (".hidden", "me"),
    ("a/b", "me"),
    ("..", "me"),
    ("toy.git", "me"),
    ("a..b", "me"),
    ("x" * 97, "me"),
    ("toÿ", "me"),
    ("a b", "me"),
    ("toy", "api"),
    ("toy", "datasets"),
    ("toy", "-me"),
    ("", "me"),
]


def test_whoami_names_the_owner_of_the_token(hub):
    user = hub.api().whoami()
    assert (user["name"], user["type"], user["auth"]["accessToken"]["role"]) == ("zoo", "user", "write")


def test_whoami_refuses_an_unknown_token(hub):
    with pytest.raises(HfHubHTTPError, match=r"^Invalid user token\.") as refused:
        hub.api("hf_wrong").whoami()
    assert refused.value.response.json() == {
        "error": "This registry does not know the token. Use the one that 'zoo serve' was started with."
    }


def test_create_repo_answers_with_its_address(hub):
    url = hub.api().create_repo(REPO)
    assert (url, url.repo_id, url.repo_type) == (f"{hub.endpoint}/me/toy", REPO, "model")


def test_a_repository_without_a_namespace_gets_the_owners(hub):
    assert hub.api().create_repo("toy").repo_id == "zoo/toy"


def test_creating_twice_is_a_conflict_unless_it_may_exist(hub, api):
    with pytest.raises(HfHubHTTPError) as refused:
        api.create_repo(REPO)
    assert refused.value.response.status_code == 409
    assert refused.value.response.json() == {
        "error": "Repository me/toy exists already.",
        "url": f"{hub.endpoint}/me/toy",
    }
    assert api.create_repo(REPO, exist_ok=True).repo_id == REPO


def test_a_new_repository_has_one_commit_with_gitattributes(api):
    assert api.list_repo_files(REPO) == [".gitattributes"]
    assert [commit.title for commit in api.list_repo_commits(REPO)] == ["initial commit"]


def test_creating_without_a_token_is_refused(hub):
    with pytest.raises(HfHubHTTPError) as refused:
        hub.api(False).create_repo(REPO)
    assert refused.value.response.status_code == 401
    assert refused.value.response.json() == {
        "error": "This needs a token: send the header 'Authorization: Bearer TOKEN'."
    }


def test_bad_repository_names_are_refused(http):
    for name, organization in BAD_NAMES:
        answer = http.post("/api/repos/create", json={"name": name, "organization": organization})
        assert (answer.status_code, answer.json()["error"][:13]) == (400, "Repository na"), (organization, name)


def test_the_message_for_a_bad_name_says_what_is_allowed(http):
    answer = http.post("/api/repos/create", json={"name": ".hidden", "organization": "me"})
    assert answer.json() == {
        "error": "Repository name '.hidden' is not allowed: use up to 96 letters, digits, '.', '_' and '-', "
        "starting with a letter or digit, not ending in '.' or '-', without '..' or '--'."
    }


def test_spaces_are_said_to_be_unsupported(hub, api, http):
    with pytest.raises(HfHubHTTPError) as refused:
        api.create_repo("me/app", repo_type="space", space_sdk="static")
    assert refused.value.response.status_code == 501
    assert refused.value.response.json() == {
        "error": "Repositories of type 'space' are not supported; supported are model, dataset."
    }
    assert http.get("/api/spaces/me/app").json() == {
        "error": "This registry holds models and datasets; spaces are not supported."
    }


def test_a_dataset_and_a_model_of_one_name_are_two_repositories(hub, api):
    api.create_repo(REPO, repo_type="dataset")
    api.upload_file(repo_id=REPO, repo_type="dataset", path_in_repo="data.csv", path_or_fileobj=b"a,b\n")
    assert api.dataset_info(REPO).id == REPO
    assert "data.csv" not in api.list_repo_files(REPO)
    path = api.hf_hub_download(REPO, "data.csv", repo_type="dataset")
    assert Path(path).read_bytes() == b"a,b\n"


def test_a_deleted_repository_is_gone_with_its_objects(hub, api, no_xet):
    api.upload_file(repo_id=REPO, path_in_repo="model.safetensors", path_or_fileobj=b"only here")
    api.upload_file(repo_id=REPO, path_in_repo="shared.txt", path_or_fileobj=b"in both")
    api.create_repo("me/other")
    api.upload_file(repo_id="me/other", path_in_repo="shared.txt", path_or_fileobj=b"in both")
    api.delete_repo(REPO)
    assert not api.repo_exists(REPO)
    kept = {path.read_bytes() for path in (hub.data / "objects").glob("*/*")}
    assert b"only here" not in kept
    assert b"in both" in kept


def test_deleting_a_missing_repository_says_so(hub):
    with pytest.raises(RepositoryNotFoundError) as refused:
        hub.api().delete_repo("me/none")
    assert refused.value.response.json() == {
        "error": "Repository me/none does not exist here, or is private and needs a token."
    }
    hub.api().delete_repo("me/none", missing_ok=True)


def test_a_moved_repository_keeps_its_content(api):
    oid = api.upload_file(repo_id=REPO, path_in_repo="a.txt", path_or_fileobj=b"a").oid
    api.move_repo(REPO, "you/renamed")
    assert api.model_info("you/renamed").sha == oid
    assert not api.repo_exists(REPO)


def test_a_repository_can_not_move_onto_another(api):
    api.create_repo("me/other")
    with pytest.raises(HfHubHTTPError) as refused:
        api.move_repo(REPO, "me/other")
    assert refused.value.response.json() == {"error": "Repository me/other exists already."}


def test_a_private_repository_does_not_exist_for_strangers(hub):
    owner, stranger = hub.api(), hub.api(False)
    owner.create_repo("me/secret", private=True)
    owner.upload_file(repo_id="me/secret", path_in_repo="a.txt", path_or_fileobj=b"a")
    assert owner.model_info("me/secret").private is True
    for call in (
        lambda: stranger.model_info("me/secret"),
        lambda: stranger.hf_hub_download("me/secret", "a.txt"),
        lambda: stranger.list_repo_tree("me/secret").__next__(),
        lambda: stranger.list_repo_refs("me/secret"),
        lambda: stranger.list_repo_commits("me/secret"),
        lambda: stranger.get_paths_info("me/secret", ["a.txt"]),
        lambda: stranger.auth_check("me/secret"),
        lambda: stranger.upload_file(repo_id="me/secret", path_in_repo="b", path_or_fileobj=b"b"),
        lambda: hub.api("hf_wrong").model_info("me/secret"),
    ):
        with pytest.raises(RepositoryNotFoundError):
            call()
    assert [model.id for model in stranger.list_models()] == []
    assert [model.id for model in owner.list_models()] == ["me/secret"]


def test_settings_make_a_repository_public_or_private(hub, api):
    api.update_repo_settings(REPO, private=True)
    assert not hub.api(False).repo_exists(REPO)
    api.update_repo_settings(REPO, private=False)
    assert hub.api(False).repo_exists(REPO)


def test_a_gated_repository_shows_its_listing_but_not_its_files_to_strangers(hub, api):
    api.upload_file(repo_id=REPO, path_in_repo="a.txt", path_or_fileobj=b"a")
    api.update_repo_settings(REPO, gated="auto")
    stranger = hub.api(False)
    assert stranger.model_info(REPO).gated == "auto"
    with pytest.raises(GatedRepoError) as refused:
        stranger.auth_check(REPO)
    assert refused.value.response.json() == {
        "error": "Access to me/toy is gated. Send a token that this registry knows."
    }
    with pytest.raises(GatedRepoError):
        stranger.hf_hub_download(REPO, "a.txt")
    api.auth_check(REPO)


def test_auth_check_for_writing_needs_the_token(hub, api):
    api.auth_check(REPO, write=True)
    hub.api(False).auth_check(REPO)
    with pytest.raises(HfHubHTTPError) as refused:
        hub.api(False).auth_check(REPO, write=True)
    assert refused.value.response.status_code == 401


def test_reads_of_public_repositories_work_with_a_token_from_elsewhere(hub, api):
    assert hub.api("hf_of_another_hub").model_info(REPO).id == REPO


def test_list_models_searches_filters_and_sorts(hub):
    api = hub.api()
    for name in ("me/bert-small", "me/gpt", "you/BERT-large", "you/100_percent"):
        api.create_repo(name)

    def ids(**query) -> list[str]:
        return [model.id for model in api.list_models(**query)]

    assert ids() == ["you/100_percent", "you/BERT-large", "me/gpt", "me/bert-small"]
    assert ids(search="bert") == ["you/BERT-large", "me/bert-small"]
    assert ids(search="0_p") == ["you/100_percent"]
    assert ids(search="%") == []
    assert ids(author="me") == ["me/gpt", "me/bert-small"]
    assert ids(limit=1) == ["you/100_percent"]
    api.upload_file(repo_id="me/gpt", path_in_repo="a", path_or_fileobj=b"a")
    assert ids(sort="last_modified", limit=1) == ["me/gpt"]
    assert ids(sort="created_at", limit=1) == ["you/100_percent"]


def test_list_models_comes_in_pages(registry_with):
    registry = registry_with(repository_page=2)
    for number in range(4):
        registry.api.create_repo(f"me/m{number}")
    assert [model.id for model in registry.api.list_models(author="me")] == [
        *("me/m3", "me/m2", "me/m1", "me/m0", "me/toy"),
    ]


def test_the_card_gives_tags_to_search_by(api):
    card = b"---\nlicense: mit\npipeline_tag: fill-mask\ntags: [toy, 2024-01-01]\nbase_model: me/base\n---\n# Toy\n"
    api.upload_file(repo_id=REPO, path_in_repo="README.md", path_or_fileobj=card)
    info = api.model_info(REPO)
    assert info.pipeline_tag == "fill-mask"
    assert info.tags == ["fill-mask", "license:mit", "toy", "2024-01-01", "base_model:me/base"]
    assert info.card_data is not None
    assert info.card_data.license == "mit"
    assert [model.id for model in api.list_models(filter=["toy", "license:mit"])] == [REPO]
    assert [model.id for model in api.list_models(pipeline_tag="fill-mask")] == [REPO]
    assert list(api.list_models(filter="other")) == []
    api.delete_file("README.md", REPO)
    assert api.model_info(REPO).tags == []


def test_a_card_that_unfolds_without_end_is_left_alone(http, commit, lines, api):
    bomb = b"---\na: &a [x, x, x]\nb: &b [*a, *a, *a]\ntags: [*b, *b]\n---\n"
    assert commit(lines.header(), lines.file("README.md", bomb)).status_code == 200
    assert api.model_info(REPO).tags == []


def test_filters_that_are_not_there_are_refused_rather_than_ignored(hub):
    with pytest.raises(HfHubHTTPError) as refused:
        list(hub.api().list_models(num_parameters="min:1B"))
    assert refused.value.response.json() == {"error": "Filtering by num_parameters is not supported here."}


def test_an_unknown_address_answers_in_json(http):
    answer = http.get("/api/nothing/at/all/here")
    assert (answer.status_code, answer.json()) == (
        404,
        {"error": "This registry does not answer GET /api/nothing/at/all/here."},
    )


def test_a_body_that_is_not_json_is_refused(http):
    answer = http.post("/api/repos/create", content=b"{")
    assert (answer.status_code, answer.json()) == (400, {"error": "The request's body is not a JSON object."})


def test_a_body_longer_than_allowed_is_refused(registry_with):
    answer = registry_with(json_bytes=3000).http.post("/api/repos/create", content=b" " * 3001)
    assert (answer.status_code, answer.json()) == (413, {"error": "The request's body is longer than 3000 bytes."})


def test_everything_is_still_there_after_a_restart(hub, api, tmp_path, no_xet):
    from zoo_registry.server.app import create_app
    from zoo_registry.server.serving import serving

    api.upload_file(repo_id=REPO, path_in_repo="model.bin", path_or_fileobj=io.BytesIO(b"weights"))
    info = api.model_info(REPO, files_metadata=True)
    with serving(create_app(hub.data)) as endpoint:
        again = HfApi(endpoint=endpoint, token=hub.token)
        assert again.model_info(REPO, files_metadata=True) == info
        again.upload_file(repo_id=REPO, path_in_repo="b.txt", path_or_fileobj=b"the token is known")
