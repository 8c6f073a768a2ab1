"""What the registry's tests share: a plain HTTP client, a repository, registries with other limits, commit lines."""

import base64
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
from huggingface_hub import HfApi

from zoo_registry.server.app import create_app
from zoo_registry.server.limits import Limits
from zoo_registry.server.serving import serving

REPO = "me/toy"


@pytest.fixture
def http(hub) -> Iterator[httpx2.Client]:
    """Requests as a program would write them by hand, with the writing token."""
    with httpx2.Client(base_url=hub.endpoint, headers={"Authorization": f"Bearer {hub.token}"}, timeout=20) as client:
        yield client


@pytest.fixture
def stranger(hub) -> Iterator[httpx2.Client]:
    """Requests without a token."""
    with httpx2.Client(base_url=hub.endpoint, timeout=20) as client:
        yield client


@pytest.fixture
def api(hub) -> HfApi:
    """The unmodified client, with the repository `me/toy` there to work on."""
    api = hub.api()
    api.create_repo(REPO)
    return api


@pytest.fixture
def no_xet(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with HF_HUB_DISABLE_XET=1: the client uploads through LFS."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)


class Lines:
    """The lines of a commit request, written by hand."""

    @staticmethod
    def header(summary: str = "change", parent: str | None = None) -> dict[str, Any]:
        parent_commit = {} if parent is None else {"parentCommit": parent}
        return {"key": "header", "value": {"summary": summary, "description": "", **parent_commit}}

    @staticmethod
    def file(path: str, content: bytes = b"x") -> dict[str, Any]:
        text = base64.b64encode(content).decode()
        return {"key": "file", "value": {"path": path, "content": text, "encoding": "base64"}}

    @staticmethod
    def lfs(path: str, oid: str, size: int) -> dict[str, Any]:
        return {"key": "lfsFile", "value": {"path": path, "algo": "sha256", "oid": oid, "size": size}}

    @staticmethod
    def deleted(path: str) -> dict[str, Any]:
        return {"key": "deletedFile", "value": {"path": path}}

    @staticmethod
    def body(*lines: dict[str, Any]) -> bytes:
        return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


@pytest.fixture
def lines() -> type[Lines]:
    return Lines


@pytest.fixture
def commit(http: httpx2.Client) -> Callable[..., httpx2.Response]:
    """Posts lines as one commit to a branch of `me/toy`."""

    def post(*lines: dict[str, Any], branch: str = "main") -> httpx2.Response:
        return http.post(f"/api/models/{REPO}/commit/{branch}", content=Lines.body(*lines))

    return post


@pytest.fixture
def registry_with(tmp_path: Path) -> Iterator[Callable[..., SimpleNamespace]]:
    """Starts a registry with limits of the test's own, such as `tree_page=3`, and the repository `me/toy`."""
    with ExitStack() as stack:

        def start(**limits: int) -> SimpleNamespace:
            token = "hf_" + "s" * 34
            app = create_app(tmp_path / "limited", token, Limits(**limits))
            endpoint = stack.enter_context(serving(app))
            api = HfApi(endpoint=endpoint, token=token)
            api.create_repo(REPO)
            headers = {"Authorization": f"Bearer {token}"}
            http = stack.enter_context(httpx2.Client(base_url=endpoint, headers=headers, timeout=20))
            return SimpleNamespace(api=api, http=http, endpoint=endpoint, token=token)

        yield start
