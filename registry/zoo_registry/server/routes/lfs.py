"""Large objects over HTTP, by Git LFS's batch protocol: ask, send, verify."""

import shutil
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from zoo_registry.server import lfs
from zoo_registry.server.downloads import BlobResponse
from zoo_registry.server.errors import BadRequest, Mismatch, NotFound, RegistryError, TooLarge
from zoo_registry.server.holdings import held_size, hold
from zoo_registry.server.names import sha256_hex, size_bytes
from zoo_registry.server.objects import Received
from zoo_registry.server.receiving import drain, receive
from zoo_registry.server.repositories import Repository, find
from zoo_registry.server.requests import (
    base_url,
    kind_of,
    parameter,
    read_body,
    read_json,
    readable,
    registry_of,
    repo_id_of,
    writable,
)

_MEDIA_TYPE = "application/vnd.git-lfs+json"


async def batch(request: Request) -> JSONResponse:
    """For each object: how to upload or download it; no `actions` where an upload isn't needed."""
    data = await read_json(request)
    operation, wanted = data.get("operation"), _wanted(data)
    if operation not in ("upload", "download"):
        raise BadRequest(f"LFS operation {operation!r} is not one of 'upload' and 'download'.")
    if data.get("hash_algo", "sha256") != "sha256":
        raise BadRequest(f"LFS hash algorithm {data['hash_algo']!r} is not supported; use sha256.")
    multipart = "multipart" in data.get("transfers", [])
    look = partial(readable, content=True) if operation == "download" else writable

    def work() -> list[dict[str, Any]]:
        with registry_of(request).database.reading() as connection:
            repository = look(request, connection)
            held = {oid: held_size(connection, repository.id, oid) for oid, _ in wanted}
        describe = _to_download if operation == "download" else _to_upload
        return [describe(request, repository, oid, size, held[oid], multipart) for oid, size in wanted]

    objects = await run_in_threadpool(work)
    parts = any("chunk_size" in item.get("actions", {}).get("upload", {}).get("header", {}) for item in objects)
    answer = {"transfer": "multipart" if parts else "basic", "objects": objects, "hash_algo": "sha256"}
    return JSONResponse(answer, media_type=_MEDIA_TYPE)


async def verify(request: Request) -> JSONResponse:
    """200 if the repository holds the object with this size."""
    data = await read_json(request)
    oid, size = sha256_hex(data.get("oid")), size_bytes(data.get("size"))

    def work() -> int | None:
        with registry_of(request).database.reading() as connection:
            return held_size(connection, writable(request, connection).id, oid)

    held = await run_in_threadpool(work)
    if held is None:
        raise NotFound(f"Object {oid} was not uploaded to {repo_id_of(request)}.")
    if held != size:
        raise Mismatch(f"Object {oid} has {held} bytes, not {size}.")
    return JSONResponse({})


async def put_object(request: Request) -> Response:
    """A whole object in one request, to an address from `batch`."""
    repository, oid, fields = await _granted(request, "object")
    size = int(fields["size"])
    _check_length(request, size)
    registry = registry_of(request)
    with registry.store.writer() as writer:
        received = await receive(request.stream(), writer, size)
        try:
            lfs.check_received(received, oid, size)
            await run_in_threadpool(_hold, request, repository, received)
        finally:
            received.discard()
    return Response(headers={"ETag": f'"{oid}"'})


async def put_part(request: Request) -> Response:
    """One part of an object; its etag is its sha256."""
    _, _, fields = await _granted(request, "part")
    upload, number = lfs.upload_of(fields), int(fields["part"])
    size = upload.part_size(number)
    _check_length(request, size)
    store = registry_of(request).store
    with store.writer() as writer:
        part = await receive(request.stream(), writer, size)
        await run_in_threadpool(lfs.keep_part, store.parts_folder(upload.id), number, part)
    return Response(headers={"ETag": f'"{part.sha256}"'})


async def complete(request: Request) -> Response:
    """The object from its parts, checked as a whole."""
    repository, oid, fields = await _granted(request, "complete")
    upload = lfs.upload_of(fields)
    etags = lfs.completion_etags(await read_body(request))
    registry = registry_of(request)
    folder = registry.store.parts_folder(upload.id)

    def work() -> None:
        with registry.database.reading() as connection:
            if held_size(connection, repository.id, oid) == upload.size:
                return  # completed before, and the answer was lost
        with registry.store.writer() as writer:
            received = lfs.join_parts(folder, upload, etags, writer)
        try:
            lfs.check_received(received, oid, upload.size)
            _hold(request, repository, received)
        finally:
            received.discard()
            shutil.rmtree(folder, ignore_errors=True)

    await run_in_threadpool(work)
    return JSONResponse({"oid": oid, "size": upload.size})


async def get_object(request: Request) -> Response:
    """An object's bytes, at an address from `batch`."""
    _, oid, _ = await _granted(request, "download")
    return BlobResponse(registry_of(request).store.path(oid), {"ETag": f'"{oid}"'}, "application/octet-stream")


async def _granted(request: Request, purpose: str) -> tuple[Repository, str, dict[str, str]]:
    """The repository, the object and the signed fields of an address. Raises Forbidden, RepoNotFound."""
    oid = sha256_hex(parameter(request, "oid"))
    registry = registry_of(request)

    def look() -> Repository:
        with registry.database.reading() as connection:
            return find(connection, kind_of(request), repo_id_of(request))

    repository = await run_in_threadpool(look)
    return repository, oid, registry.grants.check(purpose, repository.id, oid, request.query_params)


def _hold(request: Request, repository: Repository, received: Received) -> None:
    registry = registry_of(request)
    with registry.database.writing() as connection:
        find(connection, repository.kind, repository.repo_id)  # deleted meanwhile: then nothing is kept
        hold(connection, registry.store, repository.id, received)


def _to_upload(
    request: Request, repository: Repository, oid: str, size: int, held: int | None, multipart: bool
) -> dict[str, Any]:
    if held is not None and held != size:
        return _refused(oid, size, 422, f"Object {oid} has {held} bytes, not {size}.")
    if held is not None:
        return {"oid": oid, "size": size}
    registry, base = registry_of(request), _lfs_base(request, repository)
    actions = lfs.actions(base, registry.grants, registry.limits, repository.id, oid, size, multipart)
    return {"oid": oid, "size": size, "authenticated": True, "actions": actions}


def _to_download(
    request: Request, repository: Repository, oid: str, size: int, held: int | None, _: bool
) -> dict[str, Any]:
    if held is None:
        return _refused(oid, size, 404, f"Object {oid} was not uploaded to {repository.repo_id}.")
    query = registry_of(request).grants.query("download", repository.id, oid, {})
    href = f"{_lfs_base(request, repository)}/objects/{oid}?{query}"
    return {"oid": oid, "size": held, "authenticated": True, "actions": {"download": {"href": href}}}


def _refused(oid: str, size: int, code: int, message: str) -> dict[str, Any]:
    return {"oid": oid, "size": size, "error": {"code": code, "message": message}}


def _lfs_base(request: Request, repository: Repository) -> str:
    return f"{base_url(request)}{repository.web_path}.git/info/lfs"


def _check_length(request: Request, size: int) -> None:
    declared = request.headers.get("content-length")
    if declared is not None and int(declared) != size:
        raise TooLarge(f"The address is for {size} bytes, but the request announces {declared}.")


def _wanted(data: dict[str, Any]) -> list[tuple[str, int]]:
    objects = data.get("objects")
    if not isinstance(objects, list) or not all(isinstance(item, dict) for item in objects):
        raise BadRequest("The request's body needs 'objects', a list of {'oid', 'size'}.")
    return [(sha256_hex(item.get("oid")), size_bytes(item.get("size"))) for item in objects]


def _draining(endpoint: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """The endpoint, reading what a refused client is still sending."""

    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except RegistryError:
            await drain(request)
            raise

    return answer


routes = [
    route
    for start in ("/datasets/{namespace}/{name}.git/info/lfs/objects", "/{namespace}/{name}.git/info/lfs/objects")
    for route in (
        Route(start + "/batch", batch, methods=["POST"]),
        Route(start + "/verify", verify, methods=["POST"]),
        Route(start + "/{oid}", _draining(put_object), methods=["PUT"]),
        Route(start + "/{oid}", get_object),
        Route(start + "/{oid}/part", _draining(put_part), methods=["PUT"]),
        Route(start + "/{oid}/complete", complete, methods=["POST"]),
    )
]
