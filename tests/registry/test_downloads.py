"""Downloads: headers, ranges, resuming, and what is not there."""

import hashlib
import json
import socket
import struct
import threading
from pathlib import Path

import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import RemoteEntryNotFoundError, RevisionNotFoundError

REPO = "me/toy"
MIB = 1024 * 1024
CONTENT = bytes(range(251)) * 40
SHA256 = hashlib.sha256(CONTENT).hexdigest()
ADDRESS = "/me/toy/resolve/main/m.safetensors"


@pytest.fixture
def commit_id(api, no_xet) -> str:
    """A commit with one LFS file and one small one."""
    api.upload_file(repo_id=REPO, path_in_repo="m.safetensors", path_or_fileobj=CONTENT)
    return api.upload_file(repo_id=REPO, path_in_repo="config.json", path_or_fileobj=b"{}").oid


def test_an_lfs_file_has_the_headers_that_clients_read(stranger, commit_id):
    for method in ("HEAD", "GET"):
        answer = stranger.request(method, ADDRESS)
        assert answer.status_code == 200
        assert {
            name: answer.headers.get(name)
            for name in (
                "ETag",
                "X-Linked-Etag",
                "X-Linked-Size",
                "X-Repo-Commit",
                "Accept-Ranges",
                "Content-Length",
                "X-Content-Type-Options",
                "Content-Type",
            )
        } == {
            "ETag": f'"{SHA256}"',
            "X-Linked-Etag": f'"{SHA256}"',
            "X-Linked-Size": "10040",
            "X-Repo-Commit": commit_id,
            "Accept-Ranges": "bytes",
            "Content-Length": "10040",
            "X-Content-Type-Options": "nosniff",
            "Content-Type": "application/octet-stream",
        }
        assert answer.content == (CONTENT if method == "GET" else b"")


def test_a_small_file_has_its_git_blob_id_as_etag(stranger, commit_id):
    answer = stranger.get(f"/me/toy/resolve/{commit_id}/config.json")
    assert answer.headers["ETag"] == f'"{hashlib.sha1(b"blob 2" + bytes(1) + b"{}").hexdigest()}"'
    assert "X-Linked-Etag" not in answer.headers
    assert answer.content == b"{}"


def test_ranges_are_served_exactly(stranger, commit_id):
    for asked, start, end in (("0-0", 0, 1), ("100-200", 100, 201), ("10000-", 10000, 10040), ("-7", 10033, 10040)):
        answer = stranger.get(ADDRESS, headers={"Range": f"bytes={asked}"})
        assert (answer.status_code, answer.content) == (206, CONTENT[start:end])
        assert answer.headers["Content-Range"] == f"bytes {start}-{end - 1}/10040"
        assert answer.headers["ETag"] == f'"{SHA256}"'


def test_a_range_past_the_end_is_not_satisfiable(stranger, commit_id):
    answer = stranger.get(ADDRESS, headers={"Range": "bytes=10040-"})
    assert (answer.status_code, answer.headers["Content-Range"]) == (416, "bytes */10040")


def test_if_range_decides_between_the_rest_and_the_whole(stranger, commit_id):
    same = stranger.get(ADDRESS, headers={"Range": "bytes=10000-", "If-Range": f'"{SHA256}"'})
    assert (same.status_code, same.content) == (206, CONTENT[10000:])
    other = stranger.get(ADDRESS, headers={"Range": "bytes=10000-", "If-Range": '"' + "0" * 64 + '"'})
    assert (other.status_code, other.content) == (200, CONTENT)


def test_what_the_client_has_is_not_sent_again(stranger, commit_id):
    answer = stranger.get(ADDRESS, headers={"If-None-Match": f'"{SHA256}"'})
    assert (answer.status_code, answer.content, answer.headers["X-Repo-Commit"]) == (304, b"", commit_id)


def test_a_missing_file_is_named_with_its_commit(hub, stranger, commit_id):
    answer = stranger.get("/me/toy/resolve/main/none.json")
    assert (answer.status_code, answer.json()) == (404, {"error": "me/toy has no file 'none.json' at main."})
    assert (answer.headers["X-Error-Code"], answer.headers["X-Repo-Commit"]) == ("EntryNotFound", commit_id)
    api = hub.api(False)
    with pytest.raises(RemoteEntryNotFoundError):
        api.hf_hub_download(REPO, "none.json")
    assert (api.file_exists(REPO, "none.json"), api.file_exists(REPO, "config.json")) == (False, True)


def test_a_folder_is_no_file(stranger, api):
    api.upload_file(repo_id=REPO, path_in_repo="dir/a", path_or_fileobj=b"a")
    assert stranger.get("/me/toy/resolve/main/dir").headers["X-Error-Code"] == "EntryNotFound"


def test_paths_never_lead_out_of_the_repository(hub, stranger, commit_id):
    (hub.data / "secret").write_text("secret")
    for path in ("../secret", "%2e%2e/secret", "..%2f..%2fsecret", "%2Fetc%2Fpasswd", "a%00b"):
        request = f"GET /me/toy/resolve/main/{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        assert raw(hub, request).startswith(b"HTTP/1.1 404 ")


def test_an_address_that_is_not_utf8_is_refused(stranger, commit_id):
    answer = stranger.get("/me/toy/resolve/main/%ff")
    assert answer.json() == {"error": "The path in this address is not percent-encoded UTF-8."}


def test_a_missing_revision_is_named(hub, stranger, api):
    answer = stranger.get("/me/toy/resolve/none/a")
    assert (answer.status_code, answer.headers["X-Error-Code"]) == (404, "RevisionNotFound")
    assert answer.json() == {"error": "me/toy has no branch, tag or commit 'none'."}
    with pytest.raises(RevisionNotFoundError):
        hub.api().hf_hub_download(REPO, "a", revision="none")


def test_a_snapshot_holds_every_file(api, commit_id, tmp_path):
    folder = api.snapshot_download(REPO, local_dir=tmp_path / "snapshot")
    assert (tmp_path / "snapshot" / "m.safetensors").read_bytes() == CONTENT
    assert (tmp_path / "snapshot" / "config.json").read_bytes() == b"{}"
    assert api.verify_repo_checksums(REPO, local_dir=folder).mismatches == []


def test_an_interrupted_download_resumes_where_it_stopped(hub, api, no_xet):
    content = hashlib.shake_256(b"weights").digest(12 * MIB)  # the client keeps what came in blocks of 10 MiB
    api.upload_file(repo_id=REPO, path_in_repo="big.bin", path_or_fileobj=content)
    with CuttingProxy(hub.endpoint, after_bytes=11 * MIB) as proxy:
        path = HfApi(endpoint=proxy.endpoint, token=False).hf_hub_download(REPO, "big.bin")
    assert Path(path).read_bytes() == content
    assert proxy.ranges == [f"bytes={10 * MIB}-"]


def test_safetensors_metadata_is_read_by_range(api, no_xet):
    header = json.dumps({"weight": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}).encode()
    content = struct.pack("<Q", len(header)) + header + bytes(24)
    api.upload_file(repo_id=REPO, path_in_repo="model.safetensors", path_or_fileobj=content)
    assert api.get_safetensors_metadata(REPO).parameter_count == {"F32": 6}


def raw(hub, request: str) -> bytes:
    """The answer to a request sent as it stands, which clients would tidy up."""
    host, port = hub.endpoint.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(request.encode("latin-1"))
        return b"".join(iter(lambda: connection.recv(65536), b""))


class CuttingProxy:
    """Passes requests on to a hub, and hangs up once, in the middle of the first GET's answer."""

    def __init__(self, endpoint: str, after_bytes: int) -> None:
        host, port = endpoint.removeprefix("http://").split(":")
        self.target, self.left, self.ranges = (host, int(port)), after_bytes, []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.cut = False

    def __enter__(self) -> "CuttingProxy":
        threading.Thread(target=self.run, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.listener.close()

    def run(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.answer, args=(client,), daemon=True).start()

    def answer(self, client: socket.socket) -> None:
        with client:
            request = b""
            while b"\r\n\r\n" not in request:
                request += client.recv(65536)
            head = request.decode("latin-1").replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n")
            self.ranges += [line[7:] for line in head.split("\r\n") if line.lower().startswith("range: ")]
            with socket.create_connection(self.target) as server:
                server.sendall(head.replace("Connection: keep-alive\r\n", "").encode("latin-1"))
                answer = b"".join(iter(lambda: server.recv(65536), b""))
            if head.startswith("GET") and "/resolve/" in head and not self.cut:
                self.cut = True
                answer = answer[: answer.index(b"\r\n\r\n") + 4 + self.left]
            client.sendall(answer)
