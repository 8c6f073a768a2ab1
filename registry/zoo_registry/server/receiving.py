"""Bytes from the network to disk: hashed and written in a thread while the next ones arrive."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

from starlette.requests import ClientDisconnect, Request

from zoo_registry.server.errors import BadRequest, TooLarge
from zoo_registry.server.limits import MIB
from zoo_registry.server.objects import Received, Writer

_BLOCK_BYTES = 4 * MIB
_DRAIN_BYTES = 64 * MIB


async def receive(chunks: AsyncIterator[bytes], writer: Writer, size: int) -> Received:
    """Write exactly `size` bytes to `writer` and finish it.

    Raises TooLarge as soon as there are more, BadRequest if there are fewer.
    """
    received, block = 0, bytearray()
    writing: asyncio.Future[None] | None = None
    try:
        async for chunk in chunks:
            received += len(chunk)
            if received > size:
                raise TooLarge(f"{size} bytes were declared, but more are coming.")
            block += chunk
            if len(block) >= _BLOCK_BYTES:
                if writing is not None:
                    await writing
                writing, block = asyncio.ensure_future(asyncio.to_thread(writer.write, block)), bytearray()
    finally:
        if writing is not None:
            await asyncio.shield(writing)
    if received < size:
        raise BadRequest(f"{size} bytes were declared, but only {received} came.")
    await asyncio.to_thread(writer.write, block)
    return await asyncio.to_thread(writer.finish)


async def drain(request: Request) -> None:
    """Read on after a refusal, up to 64 MiB: clients that are still sending would not see the answer otherwise."""
    left = _DRAIN_BYTES
    with suppress(ClientDisconnect, RuntimeError):
        async for chunk in request.stream():
            left -= len(chunk)
            if left < 0:
                return
