"""Tokens go to the endpoint's own origin, over https or on this machine, and nowhere else."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import zoo
from tests.hub.recording import Recorder, Reply, recording, reply
from zoo import errors
from zoo.hub.client import HubClient, Silent

TOKEN = "hf_" + "s" * 34
CONFIG = b'{"model_type": "bert"}'
COMMIT = "c" * 40


@pytest.fixture
def servers() -> Iterator[tuple[Recorder, Recorder]]:
    """A hub, and a server of somebody else's: another port is another origin."""
    with recording() as hub, recording() as other:
        yield hub, other


def listing() -> dict[str, Any]:
    blob = hashlib.sha1(b"blob %d\0" % len(CONFIG) + CONFIG).hexdigest()
    siblings = [{"rfilename": "config.json", "size": len(CONFIG), "blobId": blob}]
    return {"id": "me/small", "sha": COMMIT, "siblings": siblings}


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_to_another_origin_gets_no_token(servers: tuple[Recorder, Recorder], status: int) -> None:
    hub, other = servers
    hub.answer = lambda request: reply(status, location=f"{other.endpoint}{request.split()[1]}")
    other.answer = lambda request: reply(200, listing())
    client = HubClient(hub.endpoint, TOKEN)
    found = client.listing("me/small")
    other.answer = lambda request: (200, {}, CONFIG)
    assert client.read(found, "config.json", 0, len(CONFIG)) == CONFIG
    assert hub.tokens() == [f"Bearer {TOKEN}"] * 2
    assert other.tokens() == [None, None]


def test_a_redirect_at_the_same_origin_keeps_the_token(servers: tuple[Recorder, Recorder]) -> None:
    hub, _ = servers
    hub.answer = lambda request: (
        reply(200, listing()) if "/new/" in request else reply(307, location=f"/new{request.split()[1]}")
    )
    HubClient(hub.endpoint, TOKEN).listing("me/small")
    assert hub.tokens() == [f"Bearer {TOKEN}"] * 2


def test_the_next_page_at_another_origin_gets_no_token(servers: tuple[Recorder, Recorder]) -> None:
    hub, other = servers
    hub.answer = lambda request: reply(200, [{"id": "me/one"}], link=f'<{other.endpoint}/api/models?p=2>; rel="next"')
    other.answer = lambda request: reply(200, [{"id": "me/two"}])
    assert [found.repo_id for found in HubClient(hub.endpoint, TOKEN).search("me")] == ["me/one", "me/two"]
    assert hub.tokens() == [f"Bearer {TOKEN}"]
    assert other.tokens() == [None]


def test_the_next_page_at_the_same_origin_gets_it(servers: tuple[Recorder, Recorder]) -> None:
    hub, _ = servers
    hub.answer = lambda request: (
        reply(200, [{"id": "me/two"}])
        if "p=2" in request
        else reply(200, [{"id": "me/one"}], link=f'<{hub.endpoint}/api/models?p=2>; rel="next"')
    )
    assert len(HubClient(hub.endpoint, TOKEN).search("me")) == 2
    assert hub.tokens() == [f"Bearer {TOKEN}"] * 2


def test_an_upload_that_is_verified_at_another_origin_shows_it_no_token(
    servers: tuple[Recorder, Recorder], tmp_path: Path
) -> None:
    hub, other = servers
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"12345678")

    def answer(request: str) -> Reply:
        if "preupload" in request:
            return reply(200, {"files": [{"path": file.name, "uploadMode": "lfs", "shouldIgnore": False}]})
        if "objects/batch" in request:
            there = {"href": f"{other.endpoint}/there"}
            oid = hashlib.sha256(b"12345678").hexdigest()
            action = {"oid": oid, "size": 8, "actions": {"upload": there, "verify": there}}
            return reply(200, {"transfer": "basic", "objects": [action]})
        return reply(200, {"commitOid": COMMIT, "commitUrl": f"{hub.endpoint}/me/small/commit/{COMMIT}"})

    hub.answer, other.answer = answer, lambda request: reply(200)
    HubClient(hub.endpoint, TOKEN).commit("me/small", {file.name: file}, COMMIT, "a message", Silent())
    assert set(hub.tokens()) == {f"Bearer {TOKEN}"}
    assert [request for request, _ in other.requests] == ["PUT /there", "POST /there"]
    assert other.tokens() == [None, None]


def test_another_librarys_requests_are_left_alone(servers: tuple[Recorder, Recorder]) -> None:
    from huggingface_hub import HfApi

    hub, other = servers
    hub.answer = other.answer = lambda request: reply(200, listing())
    HubClient(hub.endpoint, TOKEN).listing("me/small")
    HfApi(endpoint=other.endpoint, token=TOKEN).model_info("me/small")
    assert other.tokens() == [f"Bearer {TOKEN}"]


@pytest.mark.parametrize("target", ["file:///etc/hostname", "ftp://127.0.0.1/x", "gopher://127.0.0.1:70/", "data:,x"])
def test_a_redirect_to_no_hub_is_refused(servers: tuple[Recorder, Recorder], target: str) -> None:
    hub, _ = servers
    hub.answer = lambda request: reply(302, location=target)
    with pytest.raises(errors.HubUnreachable):
        HubClient(hub.endpoint, TOKEN).listing("me/small")
    hub.answer = lambda request: reply(200, listing())
    found = HubClient(hub.endpoint, TOKEN).listing("me/small")
    hub.answer = lambda request: reply(302, location=target)
    with pytest.raises(errors.HubUnreachable):
        HubClient(hub.endpoint, TOKEN).read(found, "config.json", 0, 8)


INSECURE = (
    "{} is neither https nor on this machine, so the token was not sent: anybody on the way could read it. Use the hub's "
    "https address, or a tunnel that ends on this machine; or go without a token, with HF_TOKEN unset and "
    "HF_HUB_DISABLE_IMPLICIT_TOKEN=1"
)


@pytest.mark.parametrize(
    "endpoint", ["http://hub.example", "http://10.1.2.3:8900", "http://127.0.0.1.example", "http://0.0.0.0"]
)
def test_a_token_does_not_go_where_it_can_be_read(endpoint: str) -> None:
    with pytest.raises(errors.InsecureEndpoint) as caught:
        zoo.pull("me/small", endpoint=endpoint, token=TOKEN)
    assert str(caught.value) == INSECURE.format(endpoint)


def test_without_a_token_such_an_endpoint_is_asked() -> None:
    with pytest.raises(errors.HubUnreachable):  # the tests' own guard stops it on its way out of this machine
        HubClient("http://10.1.2.3:8900", False).listing("me/small")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_on_this_machine_a_token_goes_over_http(servers: tuple[Recorder, Recorder], host: str) -> None:
    hub, _ = servers
    hub.answer = lambda request: reply(200, listing())
    HubClient(hub.endpoint.replace("127.0.0.1", host), TOKEN).listing("me/small")
    assert hub.tokens() == [f"Bearer {TOKEN}"]


@pytest.mark.parametrize("token", ["hf_x y", "hf_\u00e9", "hf_x\nHost: evil", "hf_\x00"])
def test_a_token_that_is_none_is_refused_and_not_shown(servers: tuple[Recorder, Recorder], token: str) -> None:
    hub, _ = servers
    with pytest.raises(errors.InvalidToken) as caught:
        HubClient(hub.endpoint, token).listing("me/small")
    assert str(caught.value) == (
        f"The token for {hub.endpoint} is not valid: it has characters that no token has. It may be mistyped, expired, or "
        "another hub's. Give one of this hub with --token or HF_TOKEN, or store it with: hf auth login"
    )
    assert hub.requests == []
