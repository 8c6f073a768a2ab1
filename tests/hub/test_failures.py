"""Each way that asking a hub fails has an error of its own, which says the cause and the cure."""

import datetime
import socket
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub.utils import _http

import zoo
from tests.hub.recording import Recorder, recording, reply
from zoo import errors
from zoo.hub.client import HubClient

TOKEN = "hf_" + "s" * 34


@pytest.fixture
def server() -> Iterator[Recorder]:
    with recording() as server:
        yield server


@pytest.fixture
def fresh_session() -> Iterator[None]:
    """The library reads the environment when it makes its client: here it makes one for this test."""
    _http.close_session()
    yield
    _http.close_session()


def message(do: Callable[[], Any], expected: type[errors.ZooError]) -> str:
    """Give the message of the error, which is of exactly this class."""
    with pytest.raises(errors.ZooError) as caught:
        do()
    assert type(caught.value) is expected
    return str(caught.value)


def listed(server: Recorder, token: str | None = None) -> Callable[[], Any]:
    return lambda: HubClient(server.endpoint, token or False).listing("me/small")


def test_not_found(server: Recorder) -> None:
    server.answer = lambda request: reply(404, X_Error_Code="RepoNotFound")
    assert message(listed(server), errors.RepositoryNotFound) == (
        f"There is no repository 'me/small' to be seen at {server.endpoint} without a token. It may be mistyped, private or "
        "gone. Try: zoo search small, or give a token with HF_TOKEN"
    )
    assert message(listed(server, TOKEN), errors.RepositoryNotFound) == (
        f"There is no repository 'me/small' to be seen at {server.endpoint} with the token in use. It may be mistyped, "
        "private or gone. Try: zoo search small"
    )


def test_no_such_revision(server: Recorder) -> None:
    server.answer = lambda request: reply(404, X_Error_Code="RevisionNotFound")
    assert message(lambda: HubClient(server.endpoint, False).listing("me/small", "v9"), errors.RevisionNotFound) == (
        f"The repository 'me/small' at {server.endpoint} has no revision 'v9'. Leave it out for the main branch: "
        "zoo pull me/small"
    )


def test_private(server: Recorder) -> None:
    server.answer = lambda request: reply(401)
    assert message(listed(server), errors.AccessDenied) == (
        f"{server.endpoint} wants a token for: reading 'me/small'. Give one that may do it with --token or HF_TOKEN"
    )
    server.answer = lambda request: reply(403)
    assert message(listed(server, TOKEN), errors.AccessDenied) == (
        f"{server.endpoint} refused the token for: reading 'me/small'. Give one that may do it with --token or HF_TOKEN"
    )


def test_gated(server: Recorder) -> None:
    server.answer = lambda request: reply(403, X_Error_Code="GatedRepo")
    assert message(listed(server, TOKEN), errors.GatedRepository) == (
        f"The repository 'me/small' is gated: ask for access at {server.endpoint}/me/small, then give your token with "
        "HF_TOKEN"
    )


def test_disabled(server: Recorder) -> None:
    server.answer = lambda request: reply(403, X_Error_Message="Access to this resource is disabled.")
    assert message(listed(server), errors.RepositoryDisabled) == (
        f"The repository 'me/small' is disabled at {server.endpoint}; its page there may say why. Look for another: "
        "zoo search small"
    )


def test_a_bad_token(server: Recorder) -> None:
    server.answer = lambda request: reply(401, X_Error_Message="Invalid credentials in Authorization header")
    assert message(listed(server, TOKEN), errors.InvalidToken) == (
        f"The token for {server.endpoint} is not valid: the hub does not know it (reading 'me/small'). It may be mistyped, "
        "expired, or another hub's. Give one of this hub with --token or HF_TOKEN, or store it with: hf auth login"
    )


def test_too_many_requests(server: Recorder) -> None:
    server.answer = lambda request: reply(429, Retry_After="3600")
    assert message(listed(server), errors.RateLimited) == (
        f"{server.endpoint} limits requests. Wait for 3600 seconds and try again; what was fetched so far is kept"
    )
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [301, 307, 308])
def test_renamed(server: Recorder, status: int) -> None:
    entry = {"rfilename": "config.json", "size": 3, "blobId": "0" * 40}
    moved = {"id": "you/large", "sha": "c" * 40, "siblings": [entry]}
    server.answer = lambda request: (
        reply(status, location=request.split()[1].replace("me/small", "you/large"))
        if "me/small" in request
        else reply(200, moved)
    )
    with pytest.warns(errors.RepositoryMoved) as said:
        assert listed(server)().commit == "c" * 40
    assert [str(warning.message) for warning in said] == [
        f"'me/small' is called 'you/large' at {server.endpoint} by now. Use that name, for the old one may go"
    ]


def test_no_connection() -> None:
    with socket.socket() as taken:  # bound, and not listening
        taken.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{taken.getsockname()[1]}"
        assert message(lambda: zoo.pull("me/small", endpoint=endpoint), errors.NoNetwork) == (
            f"There is no connection to {endpoint} (ConnectError: [Errno 111] Connection refused). Check the network and the "
            "address (HF_ENDPOINT, --endpoint), then try again; what was fetched so far is kept, and what is in the store "
            "works without a hub"
        )


def test_no_such_host(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(host: Any, *rest: Any, **named: Any) -> Any:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)  # a test may ask no name server
    assert message(lambda: zoo.pull("me/small", endpoint="https://hub.invalid"), errors.NoNetwork) == (
        "There is no connection to https://hub.invalid (ConnectError: [Errno -2] Name or service not known). Check the "
        "network and the address (HF_ENDPOINT, --endpoint), then try again; what was fetched so far is kept, and what is "
        "in the store works without a hub"
    )


def test_an_answer_that_is_none(server: Recorder) -> None:
    server.answer = lambda request: (200, {}, b"<html>Welcome to the hotel</html>")
    assert message(listed(server), errors.HubUnreachable) == (
        f"{server.endpoint} could not be reached or did not answer as a hub does: reading 'me/small' failed: Expecting value: "
        "line 1 column 1 (char 0). Check the network and the address (HF_ENDPOINT, --endpoint), then try again; what was "
        "fetched so far is kept"
    )


def test_a_proxy_that_does_not_answer(monkeypatch: pytest.MonkeyPatch, fresh_session: None) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        proxy = f"127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:secret@{proxy}")
        assert message(lambda: zoo.pull("me/small", endpoint="https://127.0.0.2"), errors.ProxyUnreachable) == (
            f"https://127.0.0.2 is asked through the proxy {proxy} that HTTPS_PROXY names, and that fails (ConnectError: "
            "[Errno 111] Connection refused). Correct or unset HTTPS_PROXY, or name the hub's host in NO_PROXY"
        )


def test_a_proxy_that_refuses(monkeypatch: pytest.MonkeyPatch, fresh_session: None, server: Recorder) -> None:
    server.answer = lambda request: reply(407)
    monkeypatch.setenv("ALL_PROXY", server.endpoint)
    said = message(lambda: zoo.pull("me/small", endpoint="https://127.0.0.2"), errors.ProxyUnreachable)
    assert said == (
        f"https://127.0.0.2 is asked through the proxy {server.endpoint} that ALL_PROXY names, and that fails (ProxyError: "
        "407 Proxy Authentication Required). Correct or unset ALL_PROXY, or name the hub's host in NO_PROXY"
    )
    assert server.requests[0][0] == "CONNECT 127.0.0.2:443"


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate that this machine signed itself, and its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a hub of our own")])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = tmp_path / "certificate.pem", tmp_path / "key.pem"
    paths[0].write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return paths


def test_a_certificate_that_nobody_vouches_for(certificate: tuple[Path, Path], fresh_session: None) -> None:
    with recording(certificate) as server:
        assert message(listed(server, TOKEN), errors.CertificateRefused) == (
            f"The certificate of {server.endpoint} is not trusted: self-signed certificate. If its operator or your company "
            "signed it, name the file with their certificate in SSL_CERT_FILE. Otherwise somebody may stand in between: "
            "send nothing there"
        )
        assert server.requests == []


def test_the_cure_for_a_certificate_cures(
    certificate: tuple[Path, Path], fresh_session: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    entry = {"rfilename": "config.json", "size": 3, "blobId": "0" * 40}
    with recording(certificate) as server:
        server.answer = lambda request: reply(200, {"id": "me/small", "sha": "c" * 40, "siblings": [entry]})
        assert listed(server, TOKEN)().commit == "c" * 40


def test_offline(server: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert message(lambda: HubClient(server.endpoint, False).search("x"), errors.HubOffline) == (
        f"HF_HUB_OFFLINE=1 rules out asking {server.endpoint}, which is needed for: searching. Unset it, and try again"
    )
    assert server.requests == []
