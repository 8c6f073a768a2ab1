"""Files over HTTP: a path of a repository at a revision."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from zoo_registry.server.downloads import file_response
from zoo_registry.server.errors import EntryNotFound
from zoo_registry.server.requests import parameter, readable, registry_of
from zoo_registry.server.revisions import resolve


def resolve_file(request: Request) -> Response:
    """The bytes of one file; HEAD gives the headers alone."""
    registry = registry_of(request)
    revision, path = parameter(request, "revision"), parameter(request, "path")
    with registry.database.reading() as connection:
        repository = readable(request, connection, content=True)
        commit = resolve(connection, repository, revision)
        file = registry.trees.load(connection, repository.id, commit.tree).files.get(path)
    if file is None:
        raise EntryNotFound(f"{repository.repo_id} has no file {path!r} at {revision}.", commit.oid)
    return file_response(request, registry.store.path(file.sha256), file, commit.oid)


routes = [
    Route(start + "/{namespace}/{name}/resolve/{revision}/{path:path}", resolve_file) for start in ("/datasets", "")
]
