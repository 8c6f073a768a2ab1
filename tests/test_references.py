"""References: what a user may type for a checkpoint."""

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from zoo.errors import InvalidReference
from zoo.references import Reference, is_commit, parse

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("all-minilm-l6-v2", Reference(name="all-minilm-l6-v2")),
        ("bert.base_2", Reference(name="bert.base_2")),
        ("x@v1.0", Reference(name="x", revision="v1.0")),
        ("org/name", Reference(repo_id="org/name")),
        ("0rg/n4me.v1_b-", Reference(repo_id="0rg/n4me.v1_b-")),
        ("org/name@main", Reference(repo_id="org/name", revision="main")),
        (f"org/name@{COMMIT}", Reference(repo_id="org/name", revision=COMMIT)),
        ("org/name@refs/pr/1", Reference(repo_id="org/name", revision="refs/pr/1")),
        ("o/" + "n" * 94, Reference(repo_id="o/" + "n" * 94)),
        (".", Reference(folder=Path())),
        ("..", Reference(folder=Path(".."))),
        ("./folder", Reference(folder=Path("folder"))),
        ("./folder@v1", Reference(folder=Path("folder@v1"))),
        ("../up/there", Reference(folder=Path("../up/there"))),
        ("/data/bert", Reference(folder=Path("/data/bert"))),
        ("~/bert", Reference(folder=Path.home() / "bert")),
    ],
)
def test_a_reference_is_taken_apart(text: str, reference: Reference) -> None:
    assert parse(text) == reference


@pytest.mark.parametrize("text", ["x@v1.0", "org/name", "org/name@refs/pr/1", "/data/bert", "name"])
def test_a_reference_is_written_as_it_was_typed(text: str) -> None:
    assert str(parse(text)) == text


def test_the_revision_may_be_given_beside_the_text() -> None:
    assert parse("org/name", "v1") == parse("org/name@v1")
    assert parse("org/name@v1", "v1") == parse("org/name@v1")


NAMES = "names consist of letters, digits, '-', '_' and '.', with at most one '/'"


@pytest.mark.parametrize(
    ("text", "revision", "reason"),
    [
        ("", None, NAMES),
        (" ", None, NAMES),
        ("org/name ", None, NAMES),
        ("org/name\n", None, NAMES),
        ("org/", None, NAMES),
        ("a/b/c", None, NAMES),
        ("org/.hidden", None, NAMES),
        ("org/..", None, NAMES),
        ("org/a..b", None, NAMES),
        ("org/a--b", None, NAMES),
        ("org/name.", None, NAMES),
        ("-org/name", None, NAMES),
        ("o/" + "n" * 95, None, NAMES),
        ("org\\name", None, NAMES),
        ("models--org--name/x", None, NAMES),
        ("örg/name", None, NAMES),
        ("\0", None, NAMES),
        ("@v1", None, NAMES),
        ("org/name@", None, "'' cannot be a branch, a tag or a commit"),
        ("org/name@..", None, "'..' cannot be a branch, a tag or a commit"),
        ("org/name@a/../b", None, "'a/../b' cannot be a branch, a tag or a commit"),
        ("org/name@a//b", None, "'a//b' cannot be a branch, a tag or a commit"),
        ("org/name@v1@v2", None, "'v1@v2' cannot be a branch, a tag or a commit"),
        ("org/name@/v1", None, "'/v1' cannot be a branch, a tag or a commit"),
        ("org/name@v1\n", None, "'v1\n' cannot be a branch, a tag or a commit"),
        ("org/name", "v 1", "'v 1' cannot be a branch, a tag or a commit"),
        ("org/name@v1", "v2", "it names the revision 'v1', but revision='v2' was given too"),
        ("org/name@", "v2", "it names the revision '', but revision='v2' was given too"),
        ("./folder", "v1", "a folder has no revisions"),
        ("s3://bucket/key", None, "no installed plugin knows the scheme 's3'"),
        ("https://huggingface.co/org/name", None, "no installed plugin knows the scheme 'https'"),
        ("~nobody-of-that-name/x", None, "there is no user whose folder '~nobody-of-that-name' would be"),
    ],
)
def test_what_names_no_checkpoint_is_refused(text: str, revision: str | None, reason: str) -> None:
    with pytest.raises(InvalidReference) as caught:
        parse(text, revision)
    assert str(caught.value) == (
        f"'{text}' does not name a checkpoint: {reason}. Write a catalogue name, 'org/name', 'org/name@revision' or "
        "'./folder'. Try: zoo list --catalogue"
    )


@pytest.mark.parametrize(
    ("revision", "answer"),
    [(COMMIT, True), (COMMIT[:-1], False), (COMMIT.upper(), False), (COMMIT + "\n", False), ("main", False), (None, False)],
)  # fmt: skip
def test_a_commit_is_forty_lower_case_hexadecimal_digits(revision: str | None, answer: bool) -> None:
    assert is_commit(revision) is answer


PIECES = st.sampled_from(
    ["org", "name", "/", "..", ".", "-", "--", "@", "~", ":", "\\", "\0", "\n", " ", "v1", "é", "%2f"]
)
TEXTS = st.one_of(st.text(), st.lists(PIECES, max_size=8).map("".join))


@given(text=TEXTS, revision=st.one_of(st.none(), TEXTS))
@example(text="~\0", revision=None)
@example(text="~~", revision=None)
def test_any_text_is_one_thing_that_cannot_leave_its_place_or_is_refused(text: str, revision: str | None) -> None:
    try:
        reference = parse(text, revision)
    except InvalidReference as error:
        assert error.reference == text
        return
    assert [reference.name, reference.repo_id, reference.folder].count(None) == 2
    if reference.folder is not None:
        assert text in (".", "..") or text.startswith(("/", "./", "../", "~"))
        return
    for part in [reference.name or reference.repo_id or "", reference.revision or "x"]:
        assert not part.startswith(("/", ".", "-"))
        assert not set(part) & set("\\~:%@ \n\0é")
    if reference.repo_id is not None:
        assert ".." not in reference.repo_id
        assert "--" not in reference.repo_id
        assert reference.repo_id.count("/") == 1
    assert ".." not in (reference.revision or "")
    assert parse(str(reference)) == reference
