"""Keeping checkpoints on this machine, and sharing them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from zoo.errors.base import ZooError, ZooWarning, shown_size


class NotInStore(ZooError):
    """Asked to stay local, and the checkpoint is not here."""

    def __init__(self, reference: str, store: Path) -> None:
        self.reference, self.store = reference, store
        super().__init__(
            f"'{reference}' is not in the store at {store}, and asking a hub was ruled out (local_only or HF_HUB_OFFLINE=1). "
            f"With a network: zoo pull {reference}"
        )


class NotEnoughDisk(ZooError):
    """The store's disk has no room for what is to be fetched."""

    def __init__(self, path: Path, needed_bytes: int, free_bytes: int) -> None:
        self.path, self.needed_bytes, self.free_bytes = path, needed_bytes, free_bytes
        super().__init__(
            f"The disk of {path} has {shown_size(free_bytes)} free, and {shown_size(needed_bytes)} are needed. "
            "Free some with zoo rm, or put the store elsewhere with HF_HOME"
        )


class LockConflict(ZooError):
    """A revision was asked for, and the project's lock holds another."""

    def __init__(self, reference: str, locked: str, commit: str, lock: Path) -> None:
        self.reference, self.locked, self.commit, self.lock = reference, locked, commit, lock
        super().__init__(
            f"'{reference}' was asked for, and {lock} holds '{locked}' at {commit[:12]}. Leave the revision out to get that; "
            f"to move on: zoo lock update {locked}; to hold this one too: zoo lock add {reference}"
        )


class LockNotMet(ZooError):
    """What a lock holds is not what there is."""

    def __init__(self, lock: Path, differences: Mapping[str, Sequence[str]], held: int) -> None:
        self.lock, self.differences, self.held = lock, {key: tuple(found) for key, found in differences.items()}, held
        lines = "".join(
            f"\n  {reference}:" + "".join(f"\n    {difference}" for difference in found)
            for reference, found in self.differences.items()
        )
        super().__init__(
            f"{len(differences)} of {held} references are not as {lock} holds them:{lines}\n"
            f"Where that change is meant, take it into the lock with: zoo lock update {' '.join(self.differences)}"
        )


class PushConflict(ZooError):
    """Somebody else committed in between."""

    def __init__(self, repo_id: str, parent: str) -> None:
        self.repo_id, self.parent = repo_id, parent
        super().__init__(
            f"'{repo_id}' has moved on since {parent[:12]}: somebody else pushed meanwhile, and nothing of theirs was "
            "overwritten. Look at their change, then push again"
        )


class PushInterrupted(ZooError):
    """The upload, or the commit at its end, broke off."""

    def __init__(self, repo_id: str, endpoint: str, reason: str, parent: str) -> None:
        self.repo_id, self.endpoint, self.reason, self.parent = repo_id, endpoint, reason, parent
        super().__init__(
            f"The push to '{repo_id}' at {endpoint} broke off: {reason}. Nothing is half done: the repository has the files "
            f"of {parent[:12]}, or where only the last answer was lost, all of the new ones. Push again; large files "
            "that arrived are not sent twice"
        )


class PushRefused(ZooError):
    """A check before a push, by Zoo or by a plugin, said no."""

    def __init__(self, repo_id: str, reason: str) -> None:
        self.repo_id, self.reason = repo_id, reason
        super().__init__(f"The push to '{repo_id}' was refused: {reason}. Nothing was uploaded")


class SignatureRefused(ZooError):
    """A checkpoint is not signed as the user's policy asks for."""

    def __init__(self, where: str, reason: str) -> None:
        self.where, self.reason = where, reason
        super().__init__(
            f"The signature of '{where}' does not hold: {reason}. Ask its author for a signed one, or change what is asked "
            "for under [signatures] in the configuration"
        )


class SignatureWarning(ZooWarning):
    """As SignatureRefused, where the policy is to warn."""
