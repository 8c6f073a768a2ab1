"""What a request brings: its names, its token, its body."""

import json
from typing import Any, cast
from urllib.parse import parse_qs, unquote

from sqlalchemy import Connection
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from zoo_registry.server.auth import OWNER
from zoo_registry.server.errors import (
    BadRequest,
    GatedRepo,
    NotFound,
    RepoNotFound,
    TooLarge,
    Unauthorized,
    Unsupported,
)
from zoo_registry.server.registry import Registry
from zoo_registry.server.repositories import KINDS, Repository, find

_SUPPORTED = frozenset(KINDS.values())
_KNOWN_ELSEWHERE = ("spaces", "kernels", "buckets")


def registry_of(request: Request) -> Registry:
    """The registry that this application serves."""
    return cast(Registry, request.app.state.registry)


def base_url(request: Request) -> str:
    """The address under which the client reached the registry, without a slash at its end."""
    return str(request.base_url).rstrip("/")


def parameter(request: Request, name: str) -> str:
    """A part of the request's path, decoded. Raises BadRequest if it is not UTF-8."""
    try:
        return unquote(request.path_params[name], errors="strict")
    except UnicodeDecodeError:
        raise BadRequest(f"The {name} in this address is not percent-encoded UTF-8.") from None


def flag(request: Request, name: str) -> bool:
    """Whether a query parameter is set to a true value."""
    return request.query_params.get(name, "").lower() in ("1", "true", "yes", "on")


def kind_of(request: Request) -> str:
    """ "models" or "datasets", from the path; "models" where it isn't said. Raises Unsupported or NotFound."""
    outside_api = "datasets" if request.url.path.startswith("/datasets/") else "models"
    kind = str(request.path_params.get("kind", outside_api))
    if kind in _KNOWN_ELSEWHERE:
        raise Unsupported(f"This registry holds models and datasets; {kind} are not supported.")
    if kind not in _SUPPORTED:
        raise NotFound(f"This registry has no page {request.url.path}.")
    return kind


def repo_id_of(request: Request) -> str:
    """`namespace/name`, from the path."""
    return f"{parameter(request, 'namespace')}/{parameter(request, 'name')}"


def user_of(request: Request) -> str | None:
    """The name of the user whose token the request carries; None without a token, or with an unknown one."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        return None
    return registry_of(request).tokens.owner(token.strip())


def require_user(request: Request) -> str:
    """The name of the user. Raises Unauthorized without a valid token."""
    user = user_of(request)
    if user is None:
        if "authorization" in request.headers:
            raise Unauthorized("This registry does not know the token. Use the one that 'zoo serve' was started with.")
        raise Unauthorized("This needs a token: send the header 'Authorization: Bearer TOKEN'.")
    return user


def readable(request: Request, connection: Connection, *, content: bool = False) -> Repository:
    """The repository in the path, if the request may read it.

    content: whether its files' content is asked for, which gating forbids to strangers.
    Raises RepoNotFound, GatedRepo.
    """
    repository = find(connection, kind_of(request), repo_id_of(request))
    if (repository.private or (content and repository.gated)) and user_of(request) is None:
        raise RepoNotFound(repository.repo_id) if repository.private else GatedRepo(repository.repo_id)
    return repository


def writable(request: Request, connection: Connection) -> Repository:
    """The repository in the path, if the request may change it. Raises RepoNotFound, Unauthorized."""
    repository = readable(request, connection)
    require_user(request)
    return repository


def own_namespace(namespace: object) -> object:
    """The namespace asked for, or the user's own where a client leaves it out."""
    return OWNER if namespace is None else namespace


async def check_writable(request: Request) -> Repository:
    """`writable`, off the event loop, for requests whose body is still to be read."""

    def look() -> Repository:
        with registry_of(request).database.reading() as connection:
            return writable(request, connection)

    return await run_in_threadpool(look)


async def read_body(request: Request) -> bytes:
    """The whole body. Raises TooLarge above the limit for JSON bodies."""
    limit = registry_of(request).limits.json_bytes
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise TooLarge(f"The request's body is longer than {limit} bytes.")
    return bytes(body)


async def read_json(request: Request) -> dict[str, Any]:
    """The body as a JSON object; an empty body is an empty object. Raises BadRequest, TooLarge."""
    body = await read_body(request)
    try:
        data = json.loads(body) if body else {}
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict):
        raise BadRequest("The request's body is not a JSON object.")
    return data


async def read_form(request: Request) -> dict[str, list[str]]:
    """The fields of a form or of a JSON object, each with its values. Raises BadRequest, TooLarge."""
    if request.headers.get("content-type", "").startswith("application/json"):
        data = await read_json(request)
        return {
            key: [str(item) for item in (value if isinstance(value, list) else [value])] for key, value in data.items()
        }
    try:
        return parse_qs((await read_body(request)).decode("ascii"), errors="strict", max_num_fields=100_000)
    except ValueError:
        raise BadRequest("The request's body is not a URL-encoded form.") from None
