"""Repositories over HTTP: who am I, create, list, describe, change, rename, delete."""

from functools import partial
from typing import Any

from sqlalchemy import Connection
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from zoo_registry.server import repositories
from zoo_registry.server.cards import card_tags
from zoo_registry.server.clock import iso
from zoo_registry.server.commits import start
from zoo_registry.server.errors import BadRequest, Conflict, Unsupported
from zoo_registry.server.holdings import release
from zoo_registry.server.paging import page, page_limit
from zoo_registry.server.registry import Registry
from zoo_registry.server.repositories import KINDS, Repository, Search
from zoo_registry.server.requests import (
    base_url,
    flag,
    kind_of,
    own_namespace,
    parameter,
    read_json,
    readable,
    registry_of,
    require_user,
    user_of,
    writable,
)
from zoo_registry.server.revisions import MAIN, resolve
from zoo_registry.server.uploads import git_attributes

_SORTS = {"lastModified": "updated_ms", "createdAt": "created_ms"}
_UNSUPPORTED_FILTERS = ("apps", "inference", "inference_provider", "num_parameters", "benchmark")


def whoami(request: Request) -> JSONResponse:
    """The user whose token this is."""
    name = require_user(request)
    access = {"displayName": name, "role": "write"}
    auth = {"type": "access_token", "accessToken": access}
    return JSONResponse({"type": "user", "id": name, "name": name, "fullname": name, "orgs": [], "auth": auth})


async def validate_yaml(request: Request) -> JSONResponse:
    """No complaints: this registry takes any card."""
    await read_json(request)
    return JSONResponse({"errors": [], "warnings": []})


async def create(request: Request) -> JSONResponse:
    """A new repository with a first commit; 409 with its `url` if it exists."""
    await run_in_threadpool(require_user, request)
    data = await read_json(request)
    kind, repo_id = _target(data)
    url = base_url(request) + repositories.web_path(kind, repo_id)
    private = _private(data) or False
    registry = registry_of(request)

    def work() -> None:
        with registry.database.writing() as connection:
            repository = repositories.create(connection, kind, repo_id, private=private)
            start(connection, registry.trees, registry.store, repository, git_attributes())

    try:
        await run_in_threadpool(work)
    except Conflict as conflict:
        raise Conflict(conflict.message, url=url) from None
    return JSONResponse({"url": url, "name": repo_id})


async def delete(request: Request) -> JSONResponse:
    """The repository and every object that only it held are gone."""
    await run_in_threadpool(require_user, request)
    kind, repo_id = _target(await read_json(request))
    registry = registry_of(request)

    def work() -> None:
        with registry.database.writing() as connection:
            digests = repositories.remove(connection, repositories.find(connection, kind, repo_id))
        with registry.database.writing() as connection:  # only now that the rows are gone for good
            release(connection, registry.store, digests)

    await run_in_threadpool(work)
    return JSONResponse({})


async def move(request: Request) -> JSONResponse:
    """The repository under another name."""
    await run_in_threadpool(require_user, request)
    data = await read_json(request)
    kind = _kind(data)
    old, new = (_text(data, field) for field in ("fromRepo", "toRepo"))

    def work() -> None:
        with registry_of(request).database.writing() as connection:
            repositories.rename(connection, repositories.find(connection, kind, old), new)

    await run_in_threadpool(work)
    return JSONResponse({"url": base_url(request) + repositories.web_path(kind, new)})


async def update_settings(request: Request) -> JSONResponse:
    """Visibility and gating, as asked."""
    data = await read_json(request)
    values: dict[str, Any] = {}
    private = _private(data)
    if private is not None:
        values["private"] = private
    if "gated" in data:
        if data["gated"] not in ("auto", "manual", False):
            raise BadRequest(f"Setting gated={data['gated']!r} is not one of 'auto', 'manual' and false.")
        values["gated"] = data["gated"] or None

    def work() -> None:
        with registry_of(request).database.writing() as connection:
            repository = writable(request, connection)
            if values:
                repositories.change(connection, repository, **values)

    await run_in_threadpool(work)
    return JSONResponse({"private": values.get("private"), "gated": values.get("gated") or False})


def describe(request: Request) -> JSONResponse:
    """A repository at a revision: commit, files, card, tags."""
    registry = registry_of(request)
    with registry.database.reading() as connection:
        repository = readable(request, connection)
        revision = parameter(request, "revision") if "revision" in request.path_params else MAIN
        return JSONResponse(_description(registry, connection, repository, revision, blobs=flag(request, "blobs")))


def list_all(request: Request) -> JSONResponse:
    """Repositories that fit the query, newest first."""
    registry, query = registry_of(request), request.query_params
    unsupported = [name for name in _UNSUPPORTED_FILTERS if name in query]
    if unsupported:
        raise Unsupported(f"Filtering by {', '.join(unsupported)} is not supported here.")
    search = Search(
        kind=kind_of(request),
        text=query.get("search"),
        author=query.get("author"),
        gated=flag(request, "gated") if "gated" in query else None,
        labels=tuple(query.getlist("filter") + query.getlist("pipeline_tag")),
        with_private=user_of(request) is not None,
        sort=_SORTS.get(query.get("sort", ""), "updated_ms"),
        after=_cursor(query.get("cursor")),
    )
    limit = page_limit(request, registry.limits.repository_page)
    with registry.database.reading() as connection:
        found = repositories.listed(connection, search, limit + 1)
        shown = found[:limit]
        full = flag(request, "full") or "expand" in query
        entries = [
            _description(registry, connection, repository, MAIN) if full else _summary(repository)
            for repository in shown
        ]
    last = f"{getattr(shown[-1], search.sort)}-{shown[-1].id}" if len(found) > limit else None
    return page(request, entries, last)


def auth_check(request: Request, *, write: bool) -> JSONResponse:
    """200 if the repository's files may be read, or with `write`, changed."""
    with registry_of(request).database.reading() as connection:
        readable(request, connection, content=True)
        if write:
            writable(request, connection)
    return JSONResponse({})


def _description(
    registry: Registry, connection: Connection, repository: Repository, revision: str, *, blobs: bool = False
) -> dict[str, Any]:
    commit = resolve(connection, repository, revision)
    files = registry.trees.load(connection, repository.id, commit.tree).files.values()
    siblings = [file.sibling(blobs=blobs) for file in files]
    return {**_summary(repository), "sha": commit.oid, "siblings": siblings, "usedStorage": sum(f.size for f in files)}


def _summary(repository: Repository) -> dict[str, Any]:
    card = repository.card
    fields = {name: card[name] for name in ("pipeline_tag", "library_name") if isinstance(card.get(name), str)}
    return {
        "id": repository.repo_id,
        "modelId" if repository.kind == "models" else "datasetId": repository.repo_id,
        "author": repository.namespace,
        "lastModified": iso(repository.updated_ms),
        "createdAt": iso(repository.created_ms),
        "private": repository.private,
        "gated": repository.gated or False,
        "disabled": False,
        "tags": card_tags(card),
        "cardData": card,
        **fields,
    }


def _target(data: dict[str, Any]) -> tuple[str, str]:
    """Kind and repository id from a body {name, organization, type}."""
    return _kind(data), f"{own_namespace(data.get('organization'))}/{_text(data, 'name')}"


def _kind(data: dict[str, Any]) -> str:
    kind = data.get("type") or "model"
    if kind not in KINDS:
        raise Unsupported(f"Repositories of type {kind!r} are not supported; supported are {', '.join(KINDS)}.")
    return KINDS[kind]


def _text(data: dict[str, Any], field: str) -> str:
    if not isinstance(data.get(field), str):
        raise BadRequest(f"The request's body needs {field!r}, a string.")
    return str(data[field])


def _private(data: dict[str, Any]) -> bool | None:
    """From `visibility` or the older `private`; None if the body says neither."""
    visibility = data.get("visibility")
    if visibility is None:
        return bool(data["private"]) if data.get("private") is not None else None
    if visibility not in ("public", "private"):
        raise BadRequest(f"Visibility {visibility!r} is not one of 'public' and 'private'.")
    return bool(visibility == "private")


def _cursor(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    time_ms, _, row = text.partition("-")
    if not (time_ms.isascii() and time_ms.isdigit() and row.isascii() and row.isdigit()):
        raise BadRequest(f"Query parameter cursor={text!r} was not made by this registry.")
    return int(time_ms), int(row)


_REPOSITORY = "/api/{kind}/{namespace}/{name}"
routes = [
    Route("/api/whoami-v2", whoami),
    Route("/api/validate-yaml", validate_yaml, methods=["POST"]),
    Route("/api/repos/create", create, methods=["POST"]),
    Route("/api/repos/delete", delete, methods=["DELETE"]),
    Route("/api/repos/move", move, methods=["POST"]),
    Route("/api/{kind}", list_all),
    Route(_REPOSITORY, describe),
    Route(_REPOSITORY + "/revision/{revision}", describe),
    Route(_REPOSITORY + "/settings", update_settings, methods=["PUT"]),
    Route(_REPOSITORY + "/auth-check", partial(auth_check, write=False)),
    Route(_REPOSITORY + "/auth-check/write", partial(auth_check, write=True)),
]
