"""Commits over HTTP: what to upload how, and the commit itself."""

from collections.abc import AsyncIterator
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from zoo_registry.server.auth import OWNER
from zoo_registry.server.clock import iso, now_ms
from zoo_registry.server.commits import land, merge_pull, open_pull
from zoo_registry.server.drafts import Draft
from zoo_registry.server.errors import BadRequest, NotFound, TooLarge
from zoo_registry.server.names import file_path, size_bytes
from zoo_registry.server.requests import (
    base_url,
    check_writable,
    flag,
    parameter,
    read_json,
    registry_of,
    writable,
)
from zoo_registry.server.revisions import Commit, resolve
from zoo_registry.server.trees import Listing
from zoo_registry.server.uploads import is_ignored, is_lfs


async def preupload(request: Request) -> JSONResponse:
    """For each file: through LFS or not, whether .gitignore leaves it out, and its present oid if it is there."""
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
    """A new commit on a branch or in a new pull request, from operations in newline-delimited JSON."""
    await check_writable(request)
    registry = registry_of(request)
    revision, as_pull = parameter(request, "revision"), flag(request, "create_pr")

    def work() -> tuple[str, Commit, str | None]:
        with registry.database.writing() as connection:
            repository = writable(request, connection)
            place = (connection, registry.trees, registry.store, repository)
            if as_pull:
                number, opened = open_pull(*place, revision, draft)
                return repository.web_path, opened, number
            return repository.web_path, land(*place, revision, draft), None

    with Draft(registry.store) as draft:
        async for lines in _lines(request, registry.limits.commit_bytes):
            await run_in_threadpool(draft.add_lines, lines)
        path, landed, number = await run_in_threadpool(work)
    page = f"{base_url(request)}{path}"
    answer = {"success": True, "commitOid": landed.oid, "commitUrl": f"{page}/commit/{landed.oid}", "hookOutput": ""}
    return JSONResponse(answer if number is None else {**answer, "pullRequestUrl": f"{page}/discussions/{number}"})


async def merge(request: Request) -> JSONResponse:
    """The pull request's commits on main, if that has not moved on."""
    number, registry = parameter(request, "number"), registry_of(request)

    def work() -> Commit:
        with registry.database.writing() as connection:
            repository = writable(request, connection)
            return merge_pull(connection, registry.trees, registry.store, repository, number)

    merged = await run_in_threadpool(work)
    event = {"id": merged.oid, "type": "status-change", "data": {"status": "merged"}}
    return JSONResponse({"newEvent": {**event, "createdAt": iso(now_ms()), "author": {"name": OWNER}}})


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
    Route(_REPOSITORY + "/discussions/{number}/merge", merge, methods=["POST"]),
    Route(_REPOSITORY + "/xet-write-token/{revision}", xet_token),
    Route(_REPOSITORY + "/xet-read-token/{revision}", xet_token),
]
