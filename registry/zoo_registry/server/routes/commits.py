"""Commits over HTTP: what to upload how, and the commit itself."""

from collections.abc import AsyncIterator
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from zoo_registry.server.commits import land
from zoo_registry.server.drafts import Draft
from zoo_registry.server.errors import BadRequest, NotFound, TooLarge
from zoo_registry.server.names import file_path, size_bytes
from zoo_registry.server.requests import (
    base_url,
    check_writable,
    forbid_pull_requests,
    parameter,
    read_json,
    registry_of,
    writable,
)
from zoo_registry.server.revisions import Commit, branch_name, resolve
from zoo_registry.server.trees import Listing
from zoo_registry.server.uploads import is_ignored, is_lfs


async def preupload(request: Request) -> JSONResponse:
    """For each file: through LFS or not, whether .gitignore leaves it out, and its present oid if it is there."""
    forbid_pull_requests(request)
    data = await read_json(request)
    wanted = _wanted(data)
    ignore = data.get("gitIgnore")
    registry = registry_of(request)

    def work() -> Listing:
        with registry.database.reading() as connection:
            repository = writable(request, connection)
            commit = resolve(connection, repository, parameter(request, "revision"))
            return registry.trees.load(connection, repository.id, commit.tree)

    listing = await run_in_threadpool(work)
    answers = []
    for path, size in wanted:
        mode = "lfs" if is_lfs(path, size, registry.limits.lfs_bytes) else "regular"
        answer: dict[str, Any] = {"path": path, "uploadMode": mode}
        answer["shouldIgnore"] = is_ignored(path, ignore if isinstance(ignore, str) else None)
        if path in listing.files:
            answer["oid"] = listing.files[path].etag
        answers.append(answer)
    return JSONResponse({"files": answers})


async def commit(request: Request) -> JSONResponse:
    """A new commit on a branch, from operations in newline-delimited JSON."""
    forbid_pull_requests(request)
    await check_writable(request)
    registry = registry_of(request)
    branch = branch_name(parameter(request, "revision"))

    def work() -> tuple[str, Commit]:
        with registry.database.writing() as connection:
            repository = writable(request, connection)
            return repository.web_path, land(connection, registry.trees, registry.store, repository, branch, draft)

    with Draft(registry.store) as draft:
        async for lines in _lines(request, registry.limits.commit_bytes):
            await run_in_threadpool(draft.add_lines, lines)
        path, landed = await run_in_threadpool(work)
    url = f"{base_url(request)}{path}/commit/{landed.oid}"
    return JSONResponse({"success": True, "commitOid": landed.oid, "commitUrl": url, "hookOutput": ""})


def xet_token(request: Request) -> JSONResponse:
    """404 with the way out: this registry takes LFS uploads only."""
    raise NotFound("This registry does not take Xet transfers. Set HF_HUB_DISABLE_XET=1 and try again.")


async def _lines(request: Request, limit: int) -> AsyncIterator[list[bytearray]]:
    """The body's lines, as many at a time as have arrived."""
    too_large = TooLarge(f"The commit request is longer than {limit} bytes. Split it into several commits.")
    if int(request.headers.get("content-length", 0)) > limit:
        raise too_large
    received, rest = 0, bytearray()
    async for chunk in request.stream():
        received += len(chunk)
        if received > limit:
            raise too_large
        rest += chunk
        if b"\n" in chunk:
            *lines, rest = rest.split(b"\n")
            yield lines
    if rest:
        yield [rest]


def _wanted(data: dict[str, Any]) -> list[tuple[str, int]]:
    files = data.get("files")
    if not isinstance(files, list) or not all(isinstance(file, dict) for file in files):
        raise BadRequest("The request's body needs 'files', a list of objects with 'path' and 'size'.")
    return [(file_path(file.get("path")), size_bytes(file.get("size"))) for file in files]


_REPOSITORY = "/api/{kind}/{namespace}/{name}"
routes = [
    Route(_REPOSITORY + "/preupload/{revision}", preupload, methods=["POST"]),
    Route(_REPOSITORY + "/commit/{revision}", commit, methods=["POST"]),
    Route(_REPOSITORY + "/xet-write-token/{revision}", xet_token),
    Route(_REPOSITORY + "/xet-read-token/{revision}", xet_token),
]
