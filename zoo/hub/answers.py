"""One answer over HTTP/1.1 (RFC 9112), read straight from its socket into the caller's memory.

`http.client` parses a head as an e-mail's, and hands a body on through a buffered file: with many small files that was
most of the time they took.
"""

from __future__ import annotations

import re
import socket

HEAD_BYTES = 1 << 16
_READ_BYTES = 1 << 16
_DRAINED_BYTES = 1 << 16  # an answer with less left in it is read to its end, so that its connection can be kept
_STATUS_LINE = re.compile(r"HTTP/1\.([01]) (\d{3})(?: .*)?")
_LENGTH = re.compile(r"[0-9]{1,19}")
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;.*)?")


class BadAnswer(ConnectionError):
    """What came is no answer of HTTP/1.1, or ended inside its head or one of its chunks."""


class Answer:
    """A server's answer: its head is read, its body is still to come.

    status: a number of three digits, 200 or more. headers: by name in small letters; what was sent several times is joined
    by commas.
    """

    status: int
    headers: dict[str, str]

    def __init__(self, connection: socket.socket) -> None:
        """Read the head of the next answer. Raises BadAnswer and OSError."""
        self._connection = connection
        self._rest = memoryview(b"")  # received, and not handed on
        self._read_head()
        while self.status < 200:  # "100 Continue" and the like come before the answer
            self._read_head()
        self._is_chunked, self._left = self._framing()

    def readinto(self, view: memoryview) -> int:
        """Put the next bytes of the body where `view` is, and give how many; 0 at the end, or where the server broke off.

        Raises BadAnswer and OSError.
        """
        if self._is_chunked and self._left == 0:
            self._begin_chunk()
        if self._left is not None:
            view = view[: self._left]
        if not view:
            return 0
        count = self._take(view) or self._connection.recv_into(view)
        if self._left is not None:
            self._left -= count
        if not count and self._is_chunked:
            raise BadAnswer("the answer ended inside a chunk")
        return count

    def read(self, count: int) -> bytes:
        """Give the next `count` bytes of the body, fewer where it ends before. Raises BadAnswer and OSError."""
        taken = bytearray()
        buffer = memoryview(bytearray(min(count, _READ_BYTES)))
        while len(taken) < count and (size := self.readinto(buffer[: count - len(taken)])):
            taken += buffer[:size]
        return bytes(taken)

    def finish(self) -> bool:
        """Read what little is left of the body; tell whether the connection can be asked again. Raises as readinto."""
        if self._closes or self._left is None or self._left > _DRAINED_BYTES:
            return False
        self.read(_DRAINED_BYTES)
        return self._is_over if self._is_chunked else self._left == 0

    def _read_head(self) -> None:
        head = bytes(self._rest)
        while (end := head.find(b"\r\n\r\n")) < 0:
            if len(head) > HEAD_BYTES:
                raise BadAnswer(f"the answer's head is longer than {HEAD_BYTES} bytes")
            head += self._receive("its head")
        self._rest = memoryview(head)[end + 4 :]
        first, *lines = head[:end].decode("latin-1").split("\r\n")
        matched = _STATUS_LINE.fullmatch(first)
        if matched is None:
            raise BadAnswer(f"this is no answer of HTTP/1.1: {first[:80]!r}")
        self.status, self.headers = int(matched[2]), {}
        for line in lines:
            name, colon, value = line.partition(":")
            if not colon or not name or name.strip() != name:
                raise BadAnswer(f"this is no header of HTTP/1.1: {line[:80]!r}")
            key, value = name.lower(), value.strip()
            self.headers[key] = f"{self.headers[key]}, {value}" if key in self.headers else value
        wish = self.headers.get("connection", "keep-alive" if matched[1] == "1" else "close")
        self._closes = "keep-alive" not in wish.lower() and ("close" in wish.lower() or matched[1] == "0")

    def _framing(self) -> tuple[bool, int | None]:
        """Tell whether the body comes in chunks, and how many bytes are left: of the chunk, or None for all that come."""
        self._has_chunks = self._is_over = False
        encoding = self.headers.get("transfer-encoding", "identity").lower()
        if encoding == "chunked":
            return True, 0
        if encoding != "identity":
            raise BadAnswer(f"the answer comes in an encoding that was not asked for: {encoding[:80]!r}")
        length = self.headers.get("content-length")
        if self.status in (204, 304):
            return False, 0
        if length is None:
            return False, None
        if not _LENGTH.fullmatch(length):
            raise BadAnswer(f"this is no length: {length[:80]!r}")
        return False, int(length)

    def _begin_chunk(self) -> None:
        """Read the line before a chunk; after the last one, what follows it."""
        if self._is_over:
            return
        if self._has_chunks and (line := self._line()):
            raise BadAnswer(f"this is no end of a chunk: {line[:80]!r}")
        self._has_chunks = True
        line = self._line()
        matched = _CHUNK_LINE.fullmatch(line)
        if matched is None:
            raise BadAnswer(f"this is no size of a chunk: {line[:80]!r}")
        self._left = int(matched[1], 16)
        if self._left == 0:
            self._is_over = True
            while self._line():
                pass  # trailers say nothing that anybody reads here

    def _line(self) -> bytes:
        text = bytes(self._rest)
        while (end := text.find(b"\r\n")) < 0:
            if len(text) > HEAD_BYTES:
                raise BadAnswer("the answer's chunks are not those of HTTP/1.1")
            text += self._receive("a chunk")
        self._rest = memoryview(text)[end + 2 :]
        return text[:end]

    def _take(self, view: memoryview) -> int:
        """Hand on what has been received already."""
        count = min(len(view), len(self._rest))
        view[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    def _receive(self, what: str) -> bytes:
        received = self._connection.recv(_READ_BYTES)
        if not received:
            raise BadAnswer(f"the answer ended inside {what}")
        return received
