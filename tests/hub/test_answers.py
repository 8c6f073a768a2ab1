"""Answers as they come over a socket: whole, in pieces, in chunks, broken off, and such as no server should give."""

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

from zoo.hub.answers import HEAD_BYTES, Answer, BadAnswer

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


class Wire:
    """Two ends of a connection: `ours` is read from."""

    def __init__(self) -> None:
        self.ours, self.theirs = socket.socketpair()
        self.ours.settimeout(5)

    def answer(self, *pieces: bytes, closed: bool = True) -> Answer:
        """Give the answer that a server sends, piece by piece."""

        def send() -> None:
            with suppress(OSError):  # where the test has seen enough
                for piece in pieces:
                    self.theirs.sendall(piece)
                if closed:
                    self.theirs.shutdown(socket.SHUT_WR)

        threading.Thread(target=send, daemon=True).start()
        return Answer(self.ours)


@pytest.fixture
def wire() -> Iterator[Wire]:
    wire = Wire()
    yield wire
    wire.ours.close()
    wire.theirs.close()


def test_an_answer_has_status_headers_and_body(wire: Wire) -> None:
    answer = wire.answer(OK + b'ETag: "ab"\r\nX-Linked-Size:7 \r\nContent-Length: 5\r\n\r\nhello')
    assert answer.status == 200
    assert answer.headers == {"etag": '"ab"', "x-linked-size": "7", "content-length": "5"}
    assert answer.read(100) == b"hello"
    assert answer.finish()


def test_an_answer_may_come_byte_by_byte(wire: Wire) -> None:
    whole = OK + b"Content-Length: 5\r\n\r\nhello"
    answer = wire.answer(*(whole[index : index + 1] for index in range(len(whole))))
    assert answer.read(3) == b"hel"
    assert answer.read(100) == b"lo"


def test_what_comes_after_an_answer_is_not_its_body(wire: Wire) -> None:
    answer = wire.answer(OK + b"Content-Length: 2\r\n\r\nokHTTP/1.1 500")
    assert answer.read(100) == b"ok"


def test_a_body_is_put_where_the_caller_wants_it(wire: Wire) -> None:
    answer = wire.answer(OK + b"Content-Length: 6\r\n\r\nabc", b"def")
    space = memoryview(bytearray(4))
    received = b""
    while count := answer.readinto(space):
        assert count <= 4
        received += space[:count]
    assert received == b"abcdef"


def test_a_header_sent_twice_is_joined(wire: Wire) -> None:
    answer = wire.answer(OK + b"Link: <a>\r\nLink: <b>\r\nContent-Length: 0\r\n\r\n")
    assert answer.headers["link"] == "<a>, <b>"


def test_what_comes_before_the_answer_is_skipped(wire: Wire) -> None:
    answer = wire.answer(b"HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n" + OK + b"Content-Length: 1\r\n\r\nx")
    assert (answer.status, answer.headers, answer.read(9)) == (200, {"content-length": "1"}, b"x")


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
def test_an_answer_without_a_body_has_none(wire: Wire, status: bytes) -> None:
    answer = wire.answer(b"HTTP/1.1 " + status + b"\r\nContent-Length: 9\r\n\r\n", closed=False)
    assert answer.read(9) == b""
    assert answer.finish()


def test_a_body_of_unknown_length_ends_with_its_connection(wire: Wire) -> None:
    answer = wire.answer(OK + b"\r\nto the", b" end")
    assert answer.read(100) == b"to the end"
    assert not answer.finish()


@pytest.mark.parametrize("cut", range(1, 40))
def test_chunks_are_put_together_wherever_they_are_cut(wire: Wire, cut: int) -> None:
    whole = CHUNKED + b"3;name=value\r\nabc\r\nA\r\n0123456789\r\n0\r\nTrailer: 1\r\n\r\n"
    answer = wire.answer(whole[:-cut], whole[-cut:], closed=False)
    assert answer.read(100) == b"abc0123456789"
    assert answer.read(100) == b""
    assert answer.finish()


@pytest.mark.parametrize(
    ("lines", "kept"),
    [
        (b"HTTP/1.1 200 OK\r\n", True),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n", False),
        (b"HTTP/1.0 200 OK\r\n", False),
        (b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\n", True),
    ],
)
def test_a_connection_is_kept_as_both_sides_want(wire: Wire, lines: bytes, kept: bool) -> None:
    answer = wire.answer(lines + b"Content-Length: 2\r\n\r\nok", closed=False)
    assert answer.finish() is kept


def test_a_connection_with_much_left_to_read_is_not_kept(wire: Wire) -> None:
    assert not wire.answer(OK + b"Content-Length: 100000000\r\n\r\n").finish()


def test_a_body_that_ends_early_is_shorter(wire: Wire) -> None:
    answer = wire.answer(OK + b"Content-Length: 9\r\n\r\nabc")
    assert answer.read(9) == b"abc"
    assert not answer.finish()


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        (b"", "the answer ended inside its head"),
        (OK + b"Content-Le", "the answer ended inside its head"),
        (b"SSH-2.0-OpenSSH_9.9\r\n\r\n", "this is no answer of HTTP/1.1: 'SSH-2.0-OpenSSH_9.9'"),
        (b"HTTP/2 200\r\n\r\n", "this is no answer of HTTP/1.1: 'HTTP/2 200'"),
        (OK + b"no header\r\n\r\n", "this is no header of HTTP/1.1: 'no header'"),
        (OK + b"A: 1\r\n B: 2\r\n\r\n", "this is no header of HTTP/1.1: ' B: 2'"),
        (OK + b"Content-Length: -1\r\n\r\n", "this is no length: '-1'"),
        (OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", "this is no length: '1, 2'"),
        (
            OK + b"Transfer-Encoding: gzip\r\n\r\n",
            "the answer comes in an encoding that was not asked for: 'gzip'",
        ),
    ],
)
def test_what_is_no_answer_is_refused(wire: Wire, sent: bytes, message: str) -> None:
    with pytest.raises(BadAnswer) as caught:
        wire.answer(sent)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "the answer ended inside a chunk"),
        (b"5\r\nabc", "the answer ended inside a chunk"),
        (b"3\r\nabcd\r\n", "this is no end of a chunk: b'd'"),
        (b"xyz\r\n", "this is no size of a chunk: b'xyz'"),
        (b"0" * (HEAD_BYTES + 1), "the answer's chunks are not those of HTTP/1.1"),
    ],
)
def test_chunks_that_are_none_are_refused(wire: Wire, body: bytes, message: str) -> None:
    answer = wire.answer(CHUNKED + body)
    with pytest.raises(BadAnswer) as caught:
        answer.read(100)
    assert str(caught.value) == message


def test_a_head_without_end_is_refused(wire: Wire) -> None:
    with pytest.raises(BadAnswer, match=f"^the answer's head is longer than {HEAD_BYTES} bytes$"):
        wire.answer(OK + b"X: " + b"x" * (3 * HEAD_BYTES))


def test_a_head_with_much_in_it_is_read(wire: Wire) -> None:
    lines = b"".join(b"X-%d: %d\r\n" % (index, index) for index in range(2000))
    assert len(wire.answer(OK + lines + b"\r\n").headers) == 2000
