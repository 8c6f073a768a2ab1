"""What every test gets: no network beyond this machine, a home of its own, and a real registry on request."""

import ipaddress
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.update(  # before huggingface_hub is imported: it reads them once
    HF_HUB_DISABLE_TELEMETRY="1",
    HF_HUB_DISABLE_UPDATE_CHECK="1",
    HF_HUB_DISABLE_PROGRESS_BARS="1",
    ZOO_CARBON="off",  # counting takes seconds a training; its own tests switch it on
    HF_ENDPOINT="http://127.0.0.1:9",  # nobody listens there: a test that forgets its endpoint fails at once
)
for _name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
    os.environ.pop(_name, None)

import pytest  # noqa: E402
from huggingface_hub import HfApi, constants  # noqa: E402


@dataclass(frozen=True)
class Hub:
    """A running registry. endpoint: its address; token: the one that may write; data: its folder."""

    endpoint: str
    token: str
    data: Path

    def api(self, token: str | bool | None = None) -> HfApi:
        """The unmodified client, with the writing token unless told otherwise (False: none)."""
        return HfApi(endpoint=self.endpoint, token=self.token if token is None else token)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """A fresh registry over real HTTP on a free port of this machine."""
    from zoo_registry.server.app import create_app
    from zoo_registry.server.serving import serving

    data, token = tmp_path / "registry", "hf_" + "t" * 34
    with serving(create_app(data, token)) as endpoint:
        yield Hub(endpoint, token, data)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty Hugging Face home for each test, in this process and in those it starts."""
    home = tmp_path / "hf-home"
    monkeypatch.setenv("HF_HOME", str(home))
    paths = {
        "HF_HOME": home,
        "HF_HUB_CACHE": home / "hub",
        "HUGGINGFACE_HUB_CACHE": home / "hub",
        "HF_ASSETS_CACHE": home / "assets",
        "HUGGINGFACE_ASSETS_CACHE": home / "assets",
        "HF_XET_CACHE": home / "xet",
        "HF_TOKEN_PATH": home / "token",
        "HF_STORED_TOKENS_PATH": home / "stored_tokens",
        "CHECK_FOR_UPDATE_DONE_PATH": home / ".check_for_update_done",
        "AGENT_HARNESSES_PATH": home / ".agent_harnesses.json",
    }
    for name, path in paths.items():
        monkeypatch.setattr(constants, name, str(path))
    return home


@pytest.fixture(autouse=True)
def only_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections leave this machine for no test's sake."""
    connect, connect_ex, getaddrinfo = socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo

    def check(host: Any) -> None:
        if isinstance(host, bytes):
            host = host.decode()
        if host not in (None, "", "localhost") and not _is_loopback(host):
            raise OSError(f"A test tried to reach {host}; tests may reach this machine only.")

    def guarded_connect(self: socket.socket, address: Any) -> None:
        check(address[0] if isinstance(address, tuple) else None)
        connect(self, address)

    def guarded_connect_ex(self: socket.socket, address: Any) -> int:
        check(address[0] if isinstance(address, tuple) else None)
        return connect_ex(self, address)

    def guarded_getaddrinfo(host: Any, *rest: Any, **named: Any) -> Any:
        check(host)
        return getaddrinfo(host, *rest, **named)

    monkeypatch.setattr(socket.socket, "connect", guarded_connect)
    monkeypatch.setattr(socket.socket, "connect_ex", guarded_connect_ex)
    monkeypatch.setattr(socket, "getaddrinfo", guarded_getaddrinfo)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False
