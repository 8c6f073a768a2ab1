"""Names of files: what no path may be made of, and what not every disk could hold, is refused before anything is fetched."""

from collections.abc import Callable
from typing import Any

import pytest

import zoo
from zoo import errors
from zoo.hub.names import check_chosen_names, check_file_name

OUTSIDE = [
    "", ".", "..", "../x", "a/../x", "/x", "//x", "a//b", "a/", "./a", "a\\b", "..\\x", "C:x", "C:/x", "a:stream",
    ".git/config", ".GIT/config", "a/.Git/hooks", "x\n", "x\x00", "x\x1b[2J", "\u202egnp.exe", "a\u200bb", "a\u2028b",
    "\ud800", "\\\\host\\share", "a" * 1000, None, 3, ["a"],
]  # fmt: skip


@pytest.mark.parametrize("name", OUTSIDE, ids=range(len(OUTSIDE)))
def test_a_name_that_could_leave_its_folder_is_refused(name: Any) -> None:
    with pytest.raises(errors.RefusedContent) as caught:
        check_file_name(name, "me/small")
    assert str(caught.value) == (
        f"The repository 'me/small' was refused: it has a file named {name!r}, which could be written outside its folder. "
        "Nothing was fetched. Tell the operator of the hub"
    )


@pytest.mark.parametrize(
    "name", ["config.json", "1_Pooling/config.json", "a b/c", "..a", "a..", "é.json", "中文", "a" * 999]
)
def test_an_ordinary_name_passes(name: str) -> None:
    check_file_name(name, "me/small")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        *((name, "is a device on Windows") for name in ("con", "CON", "nul.txt", "a/Aux.json", "COM1", "lpt9.x.y")),
        *((name, "is a device on Windows") for name in ("COM¹.txt", "conin$", "prn .txt")),
        *((name, "ends in a dot or a space") for name in ("a.", "a ", "LICENSE.txt. ", "a./b")),
        *((f"a{sign}b", "has a character that Windows does not allow") for sign in '<>"|?*'),
        ("é" * 128, "has a part of more than 255 bytes"),
    ],
)
def test_a_name_that_not_every_disk_can_hold_is_refused(name: str, reason: str) -> None:
    with pytest.raises(errors.RefusedContent) as caught:
        check_chosen_names(["config.json", name], "me/small")
    assert str(caught.value) == (
        f"The repository 'me/small' was refused: it has a file named {name!r}, which {reason}. "
        "Nothing of it can be used. Ask its author to rename it"
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [("a.json", "A.json"), ("A/x", "a/X"), ("é", "e\u0301"), ("É", "e\u0301"), ("straße", "STRASSE"), ("ﬁ", "FI")],
)
def test_names_that_a_disk_may_take_for_one_are_refused(one: str, other: str) -> None:
    with pytest.raises(errors.RefusedContent) as caught:
        check_chosen_names([one, "config.json", other], "me/small")
    assert str(caught.value) == (
        f"The repository 'me/small' was refused: it has a file named {other!r} and one named {one!r}, which are the same "
        "on a disk that is blind to case. Nothing of it can be used. Ask its author to rename it"
    )


def test_a_name_that_is_a_folder_too_is_refused() -> None:
    with pytest.raises(errors.RefusedContent) as caught:
        check_chosen_names(["License", "LICENSE/a/b"], "me/small")
    assert str(caught.value) == (
        "The repository 'me/small' was refused: it has a file named 'License', and one named 'LICENSE/a/b' inside it. "
        "Nothing of it can be used. Ask its author to rename it"
    )


def test_names_apart_pass() -> None:
    check_chosen_names(
        ["config.json", "a/config.json", "a/b", "A.B/c", "console", "com", "com10", "nulls.txt"], "me/small"
    )


@pytest.mark.parametrize("names", [["LICENSE.a", "LICENSE.A"], ["LICENSE/aux.txt"], ["LICENSE", "LICENSE/x"]])
def test_a_repository_with_such_a_file_to_fetch_is_refused_before_anything_is_stored(
    proxy: Any, published: str, names: list[str], left_in_store: Callable[[], list[str]]
) -> None:
    sibling = {"size": 3, "blobId": "0" * 40}
    proxy.tamper_listing(lambda content: content["siblings"].extend({"rfilename": n, **sibling} for n in names))
    with pytest.raises(errors.RefusedContent, match=r"Ask its author to rename it$"):
        zoo.pull("me/small", endpoint=proxy.endpoint)
    assert left_in_store() == []


def test_such_a_file_that_is_not_fetched_does_no_harm(proxy: Any, published: str) -> None:
    names = ["aux.png", "AUX.png", "assets/what?.png"]
    sibling = {"size": 3, "blobId": "0" * 40}
    proxy.tamper_listing(lambda content: content["siblings"].extend({"rfilename": n, **sibling} for n in names))
    assert zoo.pull("me/small", endpoint=proxy.endpoint).commit == published
