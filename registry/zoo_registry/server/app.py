"""The registry as an ASGI application."""

import errno
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from zoo_registry.server.errors import DiskFull, RegistryError
from zoo_registry.server.limits import Limits
from zoo_registry.server.registry import open_registry
from zoo_registry.server.routes import commits, downloads, lfs, pages, repositories, revisions, trees

_log = logging.getLogger(__name__)


def create_app(data: Path, token: str | None = None, limits: Limits | None = None) -> Starlette:
    """An application that serves the registry in a folder.

    data: the folder, made if it isn't there.
    token: the token that may write from now on; None leaves those that the registry knows.
    limits: sizes and page lengths other than the usual ones.
    Raises OSError if the folder can't be written.
    """
    registry = open_registry(data, limits)
    if token is not None:
        registry.tokens.replace(token)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        registry.database.close()

    modules = (repositories, revisions, trees, commits, lfs, downloads, pages)
    app = Starlette(
        routes=[route for module in modules for route in module.routes],
        middleware=[Middleware(_EncodedPaths)],
        exception_handlers={
            RegistryError: _refuse,
            HTTPException: _refuse_route,
            ClientDisconnect: _gone,
            OSError: _refuse_full_disk,
            Exception: _fail,
        },
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    app.state.registry = registry
    return app


class _EncodedPaths:
    """Routes see the path as it was sent: `%2F` inside a branch's name must not part it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope = {**scope, "path": scope["raw_path"].decode("ascii")}
        await self._app(scope, receive, send)


def _refuse(_: Request, error: Exception) -> Response:
    assert isinstance(error, RegistryError)
    return error.response()


def _refuse_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = f"This registry does not answer {request.method} {request.url.path}."
    return JSONResponse({"error": message}, status_code=error.status_code, headers=error.headers)


def _gone(_: Request, __: Exception) -> Response:
    return Response(status_code=400)  # nobody is left to read it


def _refuse_full_disk(_: Request, error: Exception) -> Response:
    assert isinstance(error, OSError)
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        raise error
    return DiskFull().response()


def _fail(request: Request, error: Exception) -> Response:
    _log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return JSONResponse({"error": "The registry failed on this request; its log says why."}, status_code=500)
