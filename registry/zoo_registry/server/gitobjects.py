"""Git's object ids, computed as git does, so that a repository's ids stay what `git clone` would give."""

import hashlib
from collections.abc import Mapping

POINTER_START = b"version https://git-lfs.github.com/spec/v1\n"


def object_id(kind: str, content: bytes) -> str:
    """The id of a git object: sha1 over its kind, size and content, as 40 hexadecimal digits.

    kind: "blob", "tree" or "commit".
    """
    return hashlib.sha1(f"{kind} {len(content)}\0".encode() + content, usedforsecurity=False).hexdigest()


def pointer(sha256: str, size: int) -> bytes:
    """The text that git stores in place of an LFS file of `size` bytes."""
    return POINTER_START + f"oid sha256:{sha256}\nsize {size}\n".encode()


def tree_ids(blobs: Mapping[str, str]) -> dict[str, str]:
    """The tree id of every folder, the root under "".

    blobs: blob id by file path.
    """
    children: dict[str, dict[str, tuple[str, str]]] = {"": {}}
    for path, blob in blobs.items():
        folder, _, name = path.rpartition("/")
        children.setdefault(folder, {})[name] = ("100644", blob)
        while folder:
            parent = folder.rpartition("/")[0]
            children.setdefault(parent, {})
            folder = parent
    ids: dict[str, str] = {}
    for folder in sorted(children, key=lambda path: path.count("/") if path else -1, reverse=True):
        ids[folder] = _tree_id(children[folder])
        if folder:
            parent, _, name = folder.rpartition("/")
            children[parent][name] = ("40000", ids[folder])
    return ids


def _tree_id(entries: Mapping[str, tuple[str, str]]) -> str:
    # git sorts a folder as if its name ended in a slash
    order = sorted(entries, key=lambda name: name.encode() + (b"/" if entries[name][0] == "40000" else b""))
    lines = (f"{entries[name][0]} {name}\0".encode() + bytes.fromhex(entries[name][1]) for name in order)
    return object_id("tree", b"".join(lines))


def commit_id(tree: str, parent: str | None, author: str, date_seconds: int, message: str) -> str:
    """The id of a commit whose author is also its committer, in UTC.

    author: "name <address>"; date_seconds: since 1970; message: title, and a description after an empty line.
    """
    lines = [f"tree {tree}"]
    if parent is not None:
        lines.append(f"parent {parent}")
    stamp = f"{author} {date_seconds} +0000"
    lines += [f"author {stamp}", f"committer {stamp}", "", message.rstrip("\n") + "\n"]
    return object_id("commit", "\n".join(lines).encode())
