"""A proxy of bytes: it forwards as many from the client as it is told, then drops every connection, without a word."""

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

CHUNK_BYTES = 4096


@dataclass
class Cutter:
    """sent: bytes that came from the client. reached: set once the connections are dropped."""

    endpoint: str
    target: tuple[str, int]
    after: int | None
    sent: int = 0
    reached: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)
    sockets: list[socket.socket] = field(default_factory=list)

    def take(self, count: int) -> int:
        """Count bytes from the client, and give how many of them may pass."""
        with self.lock:
            free = count if self.after is None else max(0, min(count, self.after - self.sent))
            self.sent += count
            return free

    def drop(self) -> None:
        """End all connections as a dead line does: with a reset."""
        with self.lock:
            everything, self.sockets = self.sockets, []
        for one in everything:
            with contextlib.suppress(OSError):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def serve(self, client: socket.socket) -> None:
        """Forward one connection both ways."""
        if self.reached.is_set():
            client.close()
            return
        server = socket.create_connection(self.target)
        with self.lock:
            self.sockets += [client, server]
        threading.Thread(target=self.back, args=(server, client), daemon=True).start()
        with contextlib.suppress(OSError):
            while data := client.recv(CHUNK_BYTES):
                free = self.take(len(data))
                server.sendall(data[:free])
                if free < len(data):
                    self.reached.set()
                    self.drop()
                    return
            server.shutdown(socket.SHUT_WR)

    def back(self, server: socket.socket, client: socket.socket) -> None:
        """Forward the answers."""
        with contextlib.suppress(OSError):
            while data := server.recv(1 << 16):
                client.sendall(data)
            client.shutdown(socket.SHUT_WR)


@contextmanager
def cutting(endpoint: str, after: int | None = None) -> Iterator[Cutter]:
    """Stand before a hub. after: how many bytes from the client pass; None for all."""
    parts = urlsplit(endpoint)
    assert parts.hostname is not None and parts.port is not None
    listener = socket.create_server(("127.0.0.1", 0))
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    cutter = Cutter(address, (parts.hostname, parts.port), after)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                threading.Thread(target=cutter.serve, args=(client,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield cutter
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        cutter.drop()
        thread.join(5)


def push(folder: str, endpoint: str, token: str) -> None:
    """Push a folder to me/small, in a process that is to be killed."""
    import zoo

    zoo.push(folder, "me/small", endpoint=endpoint, token=token)
