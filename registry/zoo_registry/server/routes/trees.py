"""What a commit holds, over HTTP: folders, and single paths."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from zoo_registry.server.commits import last_changes
from zoo_registry.server.errors import EntryNotFound
from zoo_registry.server.paging import page, page_limit
from zoo_registry.server.registry import Registry
from zoo_registry.server.repositories import Repository
from zoo_registry.server.requests import flag, parameter, read_form, readable, registry_of
from zoo_registry.server.revisions import Commit, resolve
from zoo_registry.server.trees import Listing


def tree(request: Request) -> JSONResponse:
    """The entries of a folder at a revision; pages after the first name the commit, so that they fit together."""
    registry = registry_of(request)
    revision, recursive, expand = parameter(request, "revision"), flag(request, "recursive"), flag(request, "expand")
    folder = parameter(request, "path").strip("/") if "path" in request.path_params else ""
    limit = page_limit(request, registry.limits.expanded_page if expand else registry.limits.tree_page)
    with registry.database.reading() as connection:
        repository = readable(request, connection)
        commit = resolve(connection, repository, revision)
        listing = registry.trees.load(connection, repository.id, commit.tree)
        if folder not in listing.folders:
            raise EntryNotFound(f"{repository.repo_id} has no folder {folder!r} at {revision}.", commit.oid)
        after = request.query_params.get("cursor", "")
        paths = [path for path in listing.below(folder, recursive=recursive) if path > after]
        entries = _entries(registry, connection, repository, commit, listing, paths[:limit], expand)
    cursor = paths[limit - 1] if len(paths) > limit else None
    return page(request, entries, cursor, path=_path_at(request, commit.oid))


async def paths_info(request: Request) -> JSONResponse:
    """The entries of single paths; unknown ones are left out."""
    form = await read_form(request)
    paths = [path.strip("/") for path in form.get("paths", []) + form.get("paths[]", [])]
    expand = form.get("expand", ["false"])[-1].lower() in ("true", "1")

    def work() -> list[dict[str, Any]]:
        registry = registry_of(request)
        with registry.database.reading() as connection:
            repository = readable(request, connection)
            commit = resolve(connection, repository, parameter(request, "revision"))
            listing = registry.trees.load(connection, repository.id, commit.tree)
            known = [path for path in dict.fromkeys(paths) if listing.entry(path) is not None]
            return _entries(registry, connection, repository, commit, listing, known, expand)

    return JSONResponse(await run_in_threadpool(work))


def _entries(
    registry: Registry,
    connection: Connection,
    repository: Repository,
    commit: Commit,
    listing: Listing,
    paths: Sequence[str],
    expand: bool,
) -> list[dict[str, Any]]:
    entries = [entry for path in paths if (entry := listing.entry(path)) is not None]
    if expand:
        changes = last_changes(connection, registry.trees, repository, commit, paths)
        for entry in entries:
            entry["lastCommit"] = changes[entry["path"]].brief()
    return entries


def _path_at(request: Request, oid: str) -> str:
    """This request's path, with the commit in place of the revision."""
    before, _, after = request.url.path.partition("/tree/")
    return "/".join([f"{before}/tree", oid, *after.split("/")[1:]])


_REPOSITORY = "/api/{kind}/{namespace}/{name}"
routes = [
    Route(_REPOSITORY + "/tree/{revision}", tree),
    Route(_REPOSITORY + "/tree/{revision}/{path:path}", tree),
    Route(_REPOSITORY + "/paths-info/{revision}", paths_info, methods=["POST"]),
]
