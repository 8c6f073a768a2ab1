"""Branches, tags and history over HTTP."""

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from zoo_registry.server.commits import squash
from zoo_registry.server.errors import BadRequest
from zoo_registry.server.paging import page, page_limit
from zoo_registry.server.requests import flag, parameter, read_json, readable, registry_of, writable
from zoo_registry.server.revisions import FOLDERS, MAIN, all_refs, branch_name, create_ref, delete_ref, history, resolve


def list_refs(request: Request) -> JSONResponse:
    """All branches and tags, and pull requests if they are asked for; there are never converts."""
    with registry_of(request).database.reading() as connection:
        found = all_refs(connection, readable(request, connection))
    branches, tags, pulls = ([ref.entry() for ref in found if ref.kind == kind] for kind in FOLDERS)
    listed = pulls if flag(request, "include_prs") else []
    return JSONResponse({"branches": branches, "tags": tags, "converts": [], "pullRequests": listed})


def list_commits(request: Request) -> JSONResponse:
    """The history of a revision, newest first."""
    registry = registry_of(request)
    limit = page_limit(request, registry.limits.commit_page)
    with registry.database.reading() as connection:
        repository = readable(request, connection)
        start = request.query_params.get("cursor") or parameter(request, "revision")
        line = history(connection, repository, resolve(connection, repository, start), limit)
    entries = [
        {
            "id": commit.oid,
            "title": commit.title,
            "message": commit.message,
            "date": commit.date,
            "authors": [{"user": commit.author}],
        }
        for commit in line
    ]
    return page(request, entries, line[-1].parent if len(line) == limit else None)


async def create_branch(request: Request) -> JSONResponse:
    """A new branch, at `startingPoint` or at main."""
    name = branch_name(parameter(request, "branch"))
    return await _create(request, "branch", name, str((await read_json(request)).get("startingPoint") or MAIN), "")


async def create_tag(request: Request) -> JSONResponse:
    """A new tag at the revision in the path."""
    data = await read_json(request)
    name = data.get("tag")
    if not isinstance(name, str):
        raise BadRequest("The request's body needs 'tag', a string.")
    return await _create(request, "tag", name, parameter(request, "revision"), str(data.get("message") or ""))


async def _create(request: Request, kind: str, name: str, start: str, message: str) -> JSONResponse:
    def work() -> None:
        with registry_of(request).database.writing() as connection:
            repository = writable(request, connection)
            oid = resolve(connection, repository, start).oid
            create_ref(connection, repository, kind, name, oid, message)

    await run_in_threadpool(work)
    return JSONResponse({})


def delete_branch(request: Request) -> JSONResponse:
    """The branch is gone; its commits stay."""
    return _delete(request, "branch", branch_name(parameter(request, "branch")))


def delete_tag(request: Request) -> JSONResponse:
    """The tag is gone; its commit stays."""
    return _delete(request, "tag", parameter(request, "revision"))


def _delete(request: Request, kind: str, name: str) -> JSONResponse:
    with registry_of(request).database.writing() as connection:
        delete_ref(connection, writable(request, connection), kind, name)
    return JSONResponse({})


async def super_squash(request: Request) -> JSONResponse:
    """The branch with its history replaced by one commit."""
    branch = branch_name(parameter(request, "branch"))
    message = str((await read_json(request)).get("message") or f"Super-squash branch {branch!r}")

    def work() -> str:
        with registry_of(request).database.writing() as connection:
            return squash(connection, writable(request, connection), branch, message).oid

    return JSONResponse({"commitOid": await run_in_threadpool(work)})


_REPOSITORY = "/api/{kind}/{namespace}/{name}"
routes = [
    Route(_REPOSITORY + "/refs", list_refs),
    Route(_REPOSITORY + "/commits/{revision}", list_commits),
    Route(_REPOSITORY + "/branch/{branch}", create_branch, methods=["POST"]),
    Route(_REPOSITORY + "/branch/{branch}", delete_branch, methods=["DELETE"]),
    Route(_REPOSITORY + "/tag/{revision}", create_tag, methods=["POST"]),
    Route(_REPOSITORY + "/tag/{revision}", delete_tag, methods=["DELETE"]),
    Route(_REPOSITORY + "/super-squash/{branch}", super_squash, methods=["POST"]),
]
