"""A small checkpoint, and a proxy before the registry that misbehaves on demand."""

import http.client
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

import zoo

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "small", "model", "goes", "to", "its", "hub"]


@dataclass
class Answer:
    """What a server answers. cut_after: bytes of the body after which the connection is dropped."""

    status: int
    headers: dict[str, str]
    body: bytes
    cut_after: int | None = None


@dataclass
class Proxy:
    """Stands before a registry. `tamper(request line, answer)` may change any answer; requests are kept."""

    endpoint: str = ""
    tamper: Callable[[str, Answer], Answer] = lambda request, answer: answer
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def tamper_listing(self, change: Callable[[dict[str, Any]], None]) -> None:
        """Change the JSON of every listing."""

        def tamper(request: str, answer: Answer) -> Answer:
            if "/api/models/" in request and answer.status == 200:
                content = json.loads(answer.body)
                change(content)
                answer.body = json.dumps(content).encode()
            return answer

        self.tamper = tamper

    def tamper_file(self, name: str, change: Callable[[Answer], Answer]) -> None:
        """Change every answer with a file's content."""
        self.tamper = lambda request, answer: (
            change(answer) if request.startswith("GET") and request.endswith(f"/{name}") else answer
        )


@pytest.fixture
def proxy(hub: Any) -> Iterator[Proxy]:
    """A proxy before the registry of this test, over real HTTP."""
    proxy = Proxy()
    target = urlsplit(hub.endpoint).netloc

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def forward(self) -> None:
            proxy.requests.append((f"{self.command} {self.path}", dict(self.headers)))
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            connection = http.client.HTTPConnection(target)
            headers = {key: value for key, value in self.headers.items() if key.lower() != "host"}
            connection.request(self.command, self.path, body, {**headers, "Host": target})
            response = connection.getresponse()
            answer = Answer(response.status, dict(response.getheaders()), response.read())
            connection.close()
            answer = proxy.tamper(f"{self.command} {self.path}", answer)
            self.send_response(answer.status)
            for key, value in answer.headers.items():
                if key.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                    self.send_header(key, value)
            if self.command != "HEAD":
                self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body[: answer.cut_after])
            if answer.cut_after is not None:
                self.close_connection = True

        do_GET = do_HEAD = do_POST = do_PUT = forward  # noqa: N815

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    proxy.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    yield proxy
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small checkpoint: a BERT with a text classifier, and a tokenizer of twelve words."""
    spec = zoo.make_spec(
        "bert",
        vocab_size=len(WORDS),
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=40,
        max_position_embeddings=19,
    )
    folder = tmp_path / "checkpoint"
    zoo.build(spec, "text-classification", labels=["low", "middle", "high"], seed=7).save(folder)
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"pad_token": "[PAD]", "mask_token": "[MASK]"}))
    return folder


@pytest.fixture
def published(hub: Any, folder: Path) -> str:
    """The small checkpoint, pushed as me/small. Gives the commit."""
    return zoo.push(folder, "me/small", endpoint=hub.endpoint, token=hub.token)


def contents(store: Path) -> list[str]:
    """Give every file in the store but locks, by name."""
    return sorted(
        str(path.relative_to(store)) for path in store.rglob("*") if path.is_file() and ".locks" not in path.parts
    )


@pytest.fixture
def left_in_store(home: Path) -> Callable[[], list[str]]:
    """Gives the files in the store when called."""
    return lambda: contents(home / "hub")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project's folder, and work inside a folder of it."""
    project = tmp_path / "project"
    (project / "source").mkdir(parents=True)
    monkeypatch.chdir(project / "source")
    monkeypatch.delenv("ZOO_LOCK", raising=False)
    return project
