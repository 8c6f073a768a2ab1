"""What the registry accepts, and in which portions it answers."""

from dataclasses import dataclass

MIB = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Sizes, counts and times of one registry; the defaults suit model weights on one machine.

    commit_bytes: largest commit request; 100 MB of small files in base64 are 140 MB.
    json_bytes: largest JSON or form body of any other request.
    lfs_bytes: files of at least this size go through the LFS protocol, whatever their name.
    multipart_bytes: objects of at least this size are uploaded in parts.
    part_bytes: size of one part; grows where an object would need more than `parts` of them.
    grant_seconds: how long a signed upload address stays valid.
    tree_page, expanded_page, commit_page, repository_page: entries in one page of an answer.
    """

    commit_bytes: int = 256 * MIB
    json_bytes: int = 16 * MIB
    lfs_bytes: int = 10 * MIB
    multipart_bytes: int = 1024 * MIB
    part_bytes: int = 64 * MIB
    parts: int = 1000
    grant_seconds: int = 24 * 3600
    tree_page: int = 1000
    expanded_page: int = 50
    commit_page: int = 100
    repository_page: int = 1000
