"""Plans of checkpoints on a hub: from listing, config and headers, whatever the server does with ranges."""

import hashlib
import json
import re
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import zoo
from zoo import errors
from zoo.hub import syncing
from zoo.hub.inspection import FIRST_READ_BYTES
from zoo.loading import assemble, choose_settings

LLAMA_70B = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 128_256, "hidden_size": 8192,
    "num_hidden_layers": 80, "num_attention_heads": 64, "num_key_value_heads": 8, "intermediate_size": 28_672,
    "max_position_embeddings": 8192,
}  # fmt: skip
COMMIT = "a" * 40


@dataclass
class Giant:
    """A hub with one checkpoint far too big to be there: headers are real, tensors are zeros made on the way.

    sent_bytes: of files, as far as the client took them. ranges: whether the server knows them.
    """

    files: dict[str, tuple[bytes, int]]
    endpoint: str = ""
    ranges: bool = True
    sent_bytes: int = 0
    asked: list[str] = field(default_factory=list)

    def listing(self) -> bytes:
        siblings = [
            {"rfilename": name, "size": size, "blobId": None, "lfs": {"size": size, "sha256": digest, "pointerSize": 1}}
            for name, (content, size) in self.files.items()
            for digest in [hashlib.sha256(content).hexdigest()]
        ]
        return json.dumps({"id": "me/giant", "sha": COMMIT, "siblings": siblings}).encode()


def giant_files(shard_bytes: int) -> dict[str, tuple[bytes, int]]:
    """The files of a Llama of 70 billion parameters in bfloat16: what each begins with, and its size."""
    architecture = zoo.get_architecture("llama")
    head = architecture.head("text-generation")
    spec = architecture.spec.from_config(LLAMA_70B)
    model = assemble(architecture, spec, head, choose_settings(head, LLAMA_70B, None))
    shards: list[dict[str, Any]] = [{}]
    used = 0
    for name, parameter in model.named_parameters():
        name = "lm_head.weight" if name.startswith("head.") else _hub_name(name)
        size = 2 * parameter.numel()
        if used + size > shard_bytes:
            shards.append({})
            used = 0
        shards[-1][name] = {"dtype": "BF16", "shape": list(parameter.shape), "data_offsets": [used, used + size]}
        used += size
    files, weight_map = {"config.json": _whole(LLAMA_70B)}, {}
    for number, shard in enumerate(shards, 1):
        name, header = f"model-{number:05}-of-{len(shards):05}.safetensors", json.dumps(shard).encode()
        files[name] = struct.pack("<Q", len(header)) + header, 0
        end = max(tensor["data_offsets"][1] for tensor in shard.values())
        files[name] = files[name][0], len(files[name][0]) + end
        weight_map |= dict.fromkeys(shard, name)
    return files | {"model.safetensors.index.json": _whole({"weight_map": weight_map})}


def _hub_name(name: str) -> str:
    rows = zoo.get_architecture("llama").layout.bind([name.removeprefix("backbone.")])
    return f"model.{rows[0].hub[0].removeprefix('model.')}"


def _whole(value: Any) -> tuple[bytes, int]:
    content = json.dumps(value).encode()
    return content, len(content)


@pytest.fixture
def serve() -> Iterator[Callable[[Giant], Giant]]:
    """Serves a Giant, and gives it back with its address."""
    servers: list[ThreadingHTTPServer] = []

    def start(giant: Giant) -> Giant:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                if "/resolve/" not in self.path:
                    self._answer(200, giant.listing())
                    return
                content, size = giant.files[self.path.rpartition("/")[2]]
                asked = self.headers.get("Range", "")
                giant.asked.append(asked)
                start, end = 0, size
                if giant.ranges and (match := re.fullmatch(r"bytes=(\d+)-(\d+)", asked)):
                    start, end = int(match[1]), int(match[2]) + 1
                self.send_response(206 if (start, end) != (0, size) else 200)
                self.send_header("Content-Range", f"bytes {start}-{end - 1}/{size}")
                self.send_header("Content-Length", str(end - start))
                self.end_headers()
                self._stream(content, start, end)

            def _stream(self, content: bytes, start: int, end: int) -> None:
                try:
                    while start < end:
                        piece = content[start : min(start + 65_536, end)] or bytes(min(65_536, end - start))
                        self.wfile.write(piece)
                        giant.sent_bytes += len(piece)
                        start += len(piece)
                except OSError:  # the client has gone
                    self.close_connection = True

            def _answer(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        servers.append(server)
        giant.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
        return giant

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_141_gigabytes_are_planned_from_their_headers(serve: Any, home: Path) -> None:
    giant = serve(Giant(giant_files(5 * 10**9)))
    plan = zoo.plan("me/giant", endpoint=giant.endpoint, ranks=8)
    assert plan.parameters == 70_553_706_496
    assert plan.dtypes == {"bfloat16": 141_107_412_992}
    assert plan.fetch_bytes == plan.size_bytes == sum(size for _, size in giant.files.values())
    assert plan.cache_bytes_per_token == 2 * 80 * 8 * 128 * 2
    assert plan.share is not None and plan.share.weight_bytes * 8 < 141_200_000_000
    shards = len(giant.files) - 2
    small = sum(giant.files[name][1] for name in ("config.json", "model.safetensors.index.json"))
    assert plan.read_bytes == giant.sent_bytes == small + shards * FIRST_READ_BYTES < 200_000
    assert not (home / "hub").exists()


def test_a_header_longer_than_the_first_read_is_read_on(serve: Any) -> None:
    giant = serve(Giant(giant_files(10**12)))
    plan = zoo.plan("me/giant", endpoint=giant.endpoint)
    header, _ = giant.files["model-00001-of-00001.safetensors"]
    assert plan.parameters == 70_553_706_496
    assert giant.asked[-2:] == [f"bytes=0-{FIRST_READ_BYTES - 1}", f"bytes={FIRST_READ_BYTES}-{len(header) - 1}"]


def test_a_server_that_ignores_ranges_is_not_read_to_the_end(serve: Any) -> None:
    giant = serve(Giant(giant_files(10**12), ranges=False))
    assert zoo.plan("me/giant", endpoint=giant.endpoint).parameters == 70_553_706_496
    assert giant.sent_bytes < 60_000_000  # what fits in the buffers on the way, of twice 141 GB


@pytest.mark.parametrize("claim", [2**63, 26_000_000])
def test_a_header_that_claims_too_much_is_refused_before_it_is_read(serve: Any, claim: int) -> None:
    files = giant_files(10**12)
    name = "model-00001-of-00001.safetensors"
    files[name] = struct.pack("<Q", claim) + b"{" * 10_000, files[name][1]
    giant = serve(Giant(files))
    with pytest.raises(errors.CorruptFile) as raised:
        zoo.plan("me/giant", endpoint=giant.endpoint)
    assert str(raised.value) == (
        f"The file '{name}' is corrupt: its header claims {claim} bytes; at most 25000000 are accepted. It was not loaded; "
        "fetch it again, or tell its author"
    )


def test_another_range_than_asked_for_is_refused(proxy: Any, published: str) -> None:
    def shift(answer: Any) -> Any:
        answer.headers["content-range"] = answer.headers["content-range"].replace("bytes 0-", "bytes 1-")
        return answer

    proxy.tamper_file("model.safetensors", shift)
    with pytest.raises(errors.HubUnreachable, match="bytes 0-4095 were asked for, and the answer is 'bytes 1-4095/"):
        zoo.plan("me/small", endpoint=proxy.endpoint)


# --- beside a real registry -------------------------------------------------------------------------------------------


def test_a_plan_is_the_same_before_and_after_the_pull(proxy: Any, folder: Path, published: str, home: Path) -> None:
    before = zoo.plan("me/small", "bfloat16", endpoint=proxy.endpoint)
    assert (before.commit, before.source, before.task) == (published, proxy.endpoint, "text-classification")
    assert 0 < before.read_bytes < before.fetch_bytes == before.size_bytes
    assert not (home / "hub").exists()
    asked = [headers["Range"] for request, headers in proxy.requests if request.endswith("model.safetensors")]
    (length,) = struct.unpack("<Q", (folder / "model.safetensors").read_bytes()[:8])
    assert asked == [f"bytes=0-{FIRST_READ_BYTES - 1}", f"bytes={FIRST_READ_BYTES}-{8 + length - 1}"]
    checkpoint = zoo.pull("me/small", endpoint=proxy.endpoint)
    proxy.requests.clear()
    after = zoo.plan("me/small", "bfloat16", endpoint=proxy.endpoint)
    assert proxy.requests == []
    assert after == replace(before, source=str(checkpoint.path), fetch_bytes=0, read_bytes=0)
    assert checkpoint.manifest is not None and before.size_bytes == checkpoint.manifest.size_bytes


def test_what_the_store_has_already_is_not_counted_as_to_fetch(hub: Any, folder: Path, published: str) -> None:
    zoo.pull("me/small", endpoint=hub.endpoint)
    (folder / "README.md").write_text("# second\n")
    second = zoo.push(folder, "me/small", endpoint=hub.endpoint, token=hub.token)
    plan = zoo.plan(f"me/small@{second}", endpoint=hub.endpoint)
    assert (plan.commit, plan.fetch_bytes) == (second, len("# second\n"))


def test_a_plan_obeys_the_lock(
    hub: Any, folder: Path, published: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOO_LOCK", str(tmp_path / "zoo.lock"))
    syncing.add(["me/small"], endpoint=hub.endpoint)
    (folder / "README.md").write_text("# second\n")
    zoo.push(folder, "me/small", endpoint=hub.endpoint, token=hub.token)
    assert zoo.plan("me/small").commit == published
    with pytest.raises(errors.LockConflict):
        zoo.plan("me/small@v2", endpoint=hub.endpoint)


def test_a_config_that_is_not_the_listed_one_is_refused(proxy: Any, published: str) -> None:
    def change(answer: Any) -> Any:
        answer.body = answer.body.replace(b"bert", b"bart")
        return answer

    proxy.tamper_file("config.json", change)
    with pytest.raises(errors.DigestMismatch, match=r"^'config\.json' has the digest"):
        zoo.plan("me/small", endpoint=proxy.endpoint)


def test_a_plan_without_a_network_is_one_of_the_store(
    hub: Any, published: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(errors.NotInStore):
        zoo.plan("me/small", endpoint=hub.endpoint)
    monkeypatch.delenv("HF_HUB_OFFLINE")
    zoo.pull("me/small", endpoint=hub.endpoint)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert zoo.plan("me/small").commit == published


def test_a_repository_that_cannot_be_loaded_cannot_be_planned(hub: Any) -> None:
    api = hub.api()
    api.create_repo("me/odd")
    for name, content in {"config.json": b"{}", "pytorch_model.bin": b"pickle"}.items():
        (hub.data.parent / "upload.bin").write_bytes(content)
        with (hub.data.parent / "upload.bin").open("rb") as file:
            api.upload_file(path_or_fileobj=file, path_in_repo=name, repo_id="me/odd")
    with pytest.raises(errors.RefusedContent, match="its weights are pickles only"):
        zoo.plan("me/odd", endpoint=hub.endpoint)
