"""Answers in pages: the next page's address travels in the Link header."""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse

from zoo_registry.server.errors import BadRequest
from zoo_registry.server.requests import base_url


def page_limit(request: Request, largest: int) -> int:
    """How many entries to answer with: the query's `limit`, and `largest` at most. Raises BadRequest."""
    text = request.query_params.get("limit", str(largest))
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise BadRequest(f"Query parameter limit={text!r} is not a positive number.")
    return min(int(text), largest)


def page(request: Request, entries: list[Any], cursor: str | None, path: str | None = None) -> JSONResponse:
    """One page of entries.

    cursor: where the next page begins, or None if this is the last one.
    path: the next page's path, percent-encoded, where it differs from this one's.
    """
    headers = {}
    if cursor is not None:
        url = request.url.include_query_params(cursor=cursor)
        headers["Link"] = f'<{base_url(request)}{path or request.url.path}?{url.query}>; rel="next"'
    return JSONResponse(entries, headers=headers)
