"""Speaking to a hub: listings, searches, commits. What it answers is checked here before anything relies on it."""

from __future__ import annotations

import io
import logging
import os
import reprlib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from threading import Event, Lock
from typing import TYPE_CHECKING, Any, Literal, Protocol

from pydantic import ValidationError

from zoo import __version__
from zoo.checkpoint.manifest import FileEntry
from zoo.errors import (
    HubUnreachable,
    PushConflict,
    PushInterrupted,
    RepositoryMoved,
)
from zoo.hub.connections import Connections
from zoo.hub.failures import translated
from zoo.hub.names import check_file_name
from zoo.hub.ranges import read_range
from zoo.hub.retries import RETRIED_STATUS, Patience, retry_after
from zoo.hub.tokens import allow, guard
from zoo.hub.transfer import Transfer, file_url, run
from zoo.references import is_commit, is_repository

if TYPE_CHECKING:
    from huggingface_hub import HfApi, ModelInfo


TIMEOUT_SECONDS = 30.0
Token = str | Literal[False] | None
"""None for HF_TOKEN or the one stored by `hf auth`; False for none."""


@dataclass(frozen=True)
class Listing:
    """A repository at one commit: every file with size and digest."""

    repo_id: str
    commit: str
    files: Mapping[str, FileEntry]


@dataclass(frozen=True)
class Found:
    """One repository that a search gave."""

    repo_id: str
    task: str | None
    downloads: int | None


@dataclass(frozen=True)
class Landed:
    """What a commit became. pull_request: its address, where one was opened instead of moving the main branch."""

    commit: str
    pull_request: str | None = None


def default_endpoint() -> str:
    """Give the hub's address: HF_ENDPOINT, or the public Hub."""
    from huggingface_hub import constants

    return os.environ.get("HF_ENDPOINT") or str(constants.ENDPOINT)


def is_offline() -> bool:
    """Tell whether HF_HUB_OFFLINE=1 rules out asking any hub."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE) or os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


class HubClient:
    """A hub at one address, with the user's token where there is one. endpoint, token: as they were given, or the usual."""

    def __init__(self, endpoint: str | None = None, token: Token = None) -> None:
        """endpoint: None for HF_ENDPOINT or the public Hub."""
        self.endpoint = (endpoint or default_endpoint()).rstrip("/")
        self.token = token

    @cached_property
    def _api(self) -> HfApi:
        from huggingface_hub import HfApi

        return HfApi(endpoint=self.endpoint, token=self.token, library_name="zoo", library_version=__version__)

    @cached_property
    def _headers(self) -> dict[str, str]:
        from huggingface_hub.utils._headers import build_hf_headers

        headers: dict[str, str] = build_hf_headers(token=self.token, library_name="zoo", library_version=__version__)
        return headers

    @cached_property
    def _connections(self) -> Connections:
        from huggingface_hub import constants

        return Connections(constants.HF_HUB_DOWNLOAD_TIMEOUT)

    def listing(self, repo_id: str, revision: str | None = None) -> Listing:
        """Resolve a revision to its commit and list the files. Raises the errors of `_translated`, RefusedContent."""
        with self._translated(repo_id, revision, f"reading '{repo_id}'"):
            ask = partial(
                self._api.model_info, repo_id, revision=revision, files_metadata=True, timeout=TIMEOUT_SECONDS
            )
            info = self._patiently(ask)
        commit = self._checked_commit(info.sha, repo_id)
        if info.id != repo_id and is_repository(info.id):
            warnings.warn(RepositoryMoved(repo_id, info.id, self.endpoint), stacklevel=2)
        files = {}
        for sibling in info.siblings or []:
            check_file_name(sibling.rfilename, repo_id)
            try:
                if sibling.lfs is not None:
                    entry = FileEntry(size_bytes=sibling.lfs.size, sha256=sibling.lfs.sha256)
                else:
                    entry = FileEntry(size_bytes=sibling.size or 0, git_blob=sibling.blob_id)
            except ValidationError:
                raise HubUnreachable(self.endpoint, f"it gave no usable digest for '{sibling.rfilename}'") from None
            files[sibling.rfilename] = entry
        return Listing(repo_id, commit, files)

    def fetch(self, listing: Listing, blobs: Mapping[str, Path], watcher: Watcher) -> None:
        """Put files' verified content where `blobs` says, by name, several at once.

        Raises DigestMismatch, NotEnoughDisk and the errors of `_translated`; what arrived is kept for the next try.
        """
        stopped, lock = Event(), Lock()

        def advance(name: str, count: int) -> None:
            with lock:
                watcher.advanced(name, count, listing.files[name].size_bytes)

        ordered = sorted(blobs, key=lambda name: listing.files[name].size_bytes, reverse=True)  # the longest first
        transfers = [
            (
                Transfer(
                    self._connections,
                    file_url(self.endpoint, listing.repo_id, listing.commit, name),
                    self._headers,
                    listing.files[name],
                    name,
                    stopped,
                ),
                blobs[name],
                partial(advance, name),
            )
            for name in ordered
        ]
        for folder in {blob.parent for blob in blobs.values()}:
            folder.mkdir(parents=True, exist_ok=True)
        with self._translated(listing.repo_id, listing.commit, f"reading '{listing.repo_id}'"):
            run(transfers, self._connections, stopped)

    def read(self, listing: Listing, name: str, start: int, end: int) -> bytes:
        """Give the bytes [start, end) of a file, not verified; no more than `end` bytes of any answer are taken in.

        Raises HubUnreachable where fewer come, and the errors of `_translated`.
        """
        url = file_url(self.endpoint, listing.repo_id, listing.commit, name)
        with self._translated(listing.repo_id, listing.commit, f"reading '{name}' of '{listing.repo_id}'"):
            content = read_range(self._connections, url, start, end, self._headers)
        if len(content) != end - start:
            raise HubUnreachable(self.endpoint, f"it gave {len(content)} of {end - start} bytes of '{name}'")
        return content

    def search(self, text: str, limit: int = 20) -> list[Found]:
        """Give repositories whose name fits a text."""
        with self._translated(text, None, "searching"):
            models = list(self._api.list_models(search=text, limit=limit))
        return [Found(model.id, model.pipeline_tag, model.downloads) for model in models]

    def head(self, repo_id: str) -> str:
        """Give the commit that the main branch points to."""
        with self._translated(repo_id, None, f"reading '{repo_id}'"):
            info = self._api.model_info(repo_id)
        return self._checked_commit(info.sha, repo_id)

    def create(self, repo_id: str, private: bool) -> None:
        """Make sure the repository exists."""
        with self._translated(repo_id, None, f"creating '{repo_id}'"):
            self._api.create_repo(repo_id, private=private, exist_ok=True)

    def is_private(self, repo_id: str) -> bool:
        """Tell whether only its owners see a repository."""
        with self._translated(repo_id, None, f"reading '{repo_id}'"):
            return bool(self._api.model_info(repo_id).private)

    def commit(
        self,
        repo_id: str,
        files: Mapping[str, Path],
        parent: str,
        message: str,
        watcher: Watcher,
        *,
        removed: Sequence[str] = (),
        create_pr: bool = False,
    ) -> Landed:
        """Upload files and commit them on top of `parent`, all or none.

        watcher: told how much of each file has been read for the upload. removed: names of files to take away.
        create_pr: open a pull request instead of moving the main branch.
        Raises PushConflict when the branch has moved on, PushInterrupted, and the errors of `_translated`.
        """
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete
        from huggingface_hub.errors import HfHubHTTPError

        watcher.asked(self.endpoint)
        opened = [(name, _WatchedFile(name, path, watcher)) for name, path in files.items()]
        try:
            added = [CommitOperationAdd(name, file) for name, file in opened]
            for operation, (_, file) in zip(added, opened, strict=True):
                _ = operation.upload_info.sha256  # read once for the digest, before what is read counts as progress
                file.watched = True
            deleted = [CommitOperationDelete(name) for name in removed]
            with self._translated(repo_id, None, f"writing to '{repo_id}'"), _plain_uploads():
                try:
                    info = self._api.create_commit(
                        repo_id, [*added, *deleted], commit_message=message, parent_commit=parent, create_pr=create_pr
                    )
                except HfHubHTTPError as error:
                    if error.response.status_code == 412:
                        raise PushConflict(repo_id, parent) from error
                    raise
        except HubUnreachable as error:
            raise PushInterrupted(repo_id, self.endpoint, error.reason, parent) from error
        finally:
            for _, file in opened:
                file.close()
        return Landed(self._checked_commit(info.oid, repo_id), info.pr_url)

    def _checked_commit(self, commit: Any, repo_id: str) -> str:
        """Give a commit that a hub named, if it looks like one: it becomes a path. Raises HubUnreachable."""
        if not is_commit(commit):
            raise HubUnreachable(self.endpoint, f"it gave {reprlib.repr(commit)} as the commit of '{repo_id}'")
        return str(commit)

    def _patiently(self, ask: Callable[[], ModelInfo]) -> ModelInfo:
        """Ask again while the hub is busy or breaks off; where none is to be reached, that is known at once."""
        import httpx2
        from huggingface_hub.errors import HfHubHTTPError

        patience = Patience(self.endpoint, Event())
        while True:
            asked_seconds = None
            try:
                return ask()
            except HfHubHTTPError as error:
                patience.fail()
                if error.response.status_code not in RETRIED_STATUS or patience.is_spent:
                    raise
                asked_seconds = retry_after(error.response.headers)
            except (httpx2.ReadError, httpx2.RemoteProtocolError, httpx2.ReadTimeout):
                patience.fail()
                if patience.is_spent:
                    raise
            patience.wait(asked_seconds)

    @contextmanager
    def _translated(self, repo_id: str, revision: str | None, action: str) -> Iterator[None]:
        """Ask with the token at its own origin alone, and turn what goes wrong into our errors. See zoo.hub.failures."""
        authorization = self._headers.get("authorization")
        if authorization is not None:
            allow(authorization, self.endpoint)
        guard()
        with translated(self.endpoint, repo_id, revision, action, with_token=authorization is not None):
            yield


class _WatchedFile(io.BufferedReader):
    """A file that tells how far it has been read.

    Being a file object, it also makes the library use plain HTTP uploads, which every hub understands.
    """

    def __init__(self, name: str, path: Path, watcher: Watcher) -> None:
        super().__init__(path.open("rb", buffering=0))
        self.watched = False
        self._name, self._size_bytes, self._watcher = name, path.stat().st_size, watcher

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        if self.watched and data:
            self._watcher.advanced(self._name, len(data), self._size_bytes)
        return data


@contextmanager
def _plain_uploads() -> Iterator[None]:
    """Silence the library's warning that file objects don't go through Xet: that is meant."""
    logger = logging.getLogger("huggingface_hub._commit_api")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


class Watcher(Protocol):
    """Told how a pull or push goes on."""

    def asked(self, endpoint: str) -> None:
        """A hub is asked: what follows is not from the store alone."""
        ...

    def waits(self, repo_id: str) -> None:
        """Another process is fetching from the same repository; this one goes on after it."""
        ...

    def advanced(self, name: str, count: int, size_bytes: int) -> None:
        """So many bytes more of a file, of `size_bytes` in all, are in place; fewer, where count is negative."""
        ...


class Silent:
    """A Watcher that does nothing."""

    def asked(self, endpoint: str) -> None:
        """Ignored."""

    def waits(self, repo_id: str) -> None:
        """Ignored."""

    def advanced(self, name: str, count: int, size_bytes: int) -> None:
        """Ignored."""
