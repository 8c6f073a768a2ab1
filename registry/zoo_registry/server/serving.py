"""Running the registry: in the foreground until a signal, or in a thread for as long as a block lasts."""

import asyncio
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

import uvicorn
from starlette.applications import Starlette

_GRACE_SECONDS = 5
_TICK_SECONDS = 0.1
_BACKLOG = 2048


class _Server(uvicorn.Server):
    """A uvicorn server that says when it is ready, and ends on a signal as on any other request to end."""

    def __init__(self, app: Starlette, ready: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                log_level="warning",
                access_log=False,
                lifespan="on",
                ws="none",
                server_header=False,
                timeout_graceful_shutdown=_GRACE_SECONDS,
            )
        )
        self._ready = ready
        self._ending = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        self._ready()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        signals = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self._end) for number in signals}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    async def main_loop(self) -> None:
        """As uvicorn's, but a request to end interrupts the wait for the next tick."""
        tick = 0
        while not await self.on_tick(tick):
            tick += 1
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), timeout=_TICK_SECONDS)

    def end(self) -> None:
        """Stop, from any thread, once requests in progress are answered."""
        self.should_exit = True
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._ending.set)

    def _end(self, number: int, frame: FrameType | None) -> None:
        self.handle_exit(number, frame)


def listen(host: str, port: int) -> socket.socket:
    """A bound socket.

    host: a name or an IPv4 or IPv6 address; port: 0 takes a free one.
    Raises OSError if the address can't be had.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def endpoint_of(listener: socket.socket) -> str:
    """The address of a bound socket, as HF_ENDPOINT wants it."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(app: Starlette, listener: socket.socket, ready: Callable[[], None]) -> None:
    """Answer requests until SIGINT or SIGTERM; requests in progress get five seconds to finish.

    ready: called once, as soon as requests are answered.
    """
    _Server(app, ready).run(sockets=[listener])


@contextmanager
def serving(app: Starlette, host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """Answer requests in a thread while the block runs; gives the endpoint, such as `http://127.0.0.1:41234`."""
    listener = listen(host, port)
    ready = threading.Event()
    server = _Server(app, ready.set)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        if not ready.wait(timeout=10):
            raise RuntimeError("the registry did not start within 10 seconds")
        yield endpoint_of(listener)
    finally:
        server.end()
        thread.join(timeout=2 * _GRACE_SECONDS)
        with suppress(OSError):
            listener.close()
