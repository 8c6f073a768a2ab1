"""The web pages: they show what is public, as text."""

REPO = "me/toy"


def test_the_first_page_lists_public_repositories(hub, stranger):
    assert "<p>No public repositories yet.</p>" in stranger.get("/").text
    api = hub.api()
    api.create_repo(REPO)
    api.create_repo("me/secret", private=True)
    page = stranger.get("/")
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert '<a href="/me/toy">me/toy</a>' in page.text
    assert "secret" not in page.text


def test_a_repositorys_page_shows_its_card_and_files_escaped(api, stranger):
    card = b"---\nlicense: mit\n---\n# Toy <script>alert(1)</script>\n"
    api.upload_file(repo_id=REPO, path_in_repo="README.md", path_or_fileobj=card)
    oid = api.upload_file(repo_id=REPO, path_in_repo='a"<b>.txt', path_or_fileobj=b"x").oid
    page = stranger.get("/me/toy").text
    assert "<pre># Toy &lt;script&gt;alert(1)&lt;/script&gt;</pre>" in page
    assert f'<a href="/me/toy/resolve/{oid}/a%22%3Cb%3E.txt">a&quot;&lt;b&gt;.txt</a></td><td>1 bytes</td>' in page
    assert stranger.get(f"/me/toy/resolve/{oid}/a%22%3Cb%3E.txt").text == "x"
    assert stranger.get("/me/toy/tree/main").text == page


def test_a_commits_address_shows_that_commit(api, stranger):
    info = api.upload_file(repo_id=REPO, path_in_repo="a.txt", path_or_fileobj=b"x", commit_message="add <a>")
    api.delete_file("a.txt", REPO)
    page = stranger.get(info.commit_url).text
    assert "add &lt;a&gt;" in page
    assert ">a.txt</a>" in page


def test_a_private_repository_has_no_page_for_strangers(hub, stranger):
    hub.api().create_repo("me/secret", private=True)
    assert stranger.get("/me/secret").status_code == 404
