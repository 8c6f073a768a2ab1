"""Tokens, and where they may go: to the endpoint they are meant for, and only where nobody on the way can read them."""

from __future__ import annotations

import ipaddress
import threading
from collections import defaultdict
from typing import TYPE_CHECKING

from zoo.errors import InsecureEndpoint, InvalidToken
from zoo.hub.connections import Origin, origin_of

if TYPE_CHECKING:
    import httpx2

_lock = threading.Lock()
_origins: dict[str, set[Origin]] = defaultdict(set)  # where each authorization may go


def allow(authorization: str, endpoint: str) -> None:
    """Let a token go to an endpoint. Raises InvalidToken, InsecureEndpoint, HubUnreachable."""
    token = authorization.removeprefix("Bearer ")
    if not token.isascii() or not token.isprintable() or " " in token:
        raise InvalidToken(endpoint, "it has characters that no token has")
    scheme, host, _ = origin = origin_of(endpoint)
    if scheme != "https" and not _is_loopback(host):
        raise InsecureEndpoint(endpoint)
    with _lock:
        _origins[authorization].add(origin)


def guard() -> None:
    """See to it that huggingface_hub's requests for Zoo keep the token from any other origin.

    Its HTTP client drops the token when it is redirected elsewhere. But the next page of a list, or the address that
    checks an upload, is wherever an answer says, and is asked with the token.
    """
    from huggingface_hub.utils._http import get_session

    session = get_session()
    with _lock:
        hooks = session.event_hooks
        if _keep_at_origin not in hooks["request"]:
            session.event_hooks = {**hooks, "request": [*hooks["request"], _keep_at_origin]}


def _keep_at_origin(request: httpx2.Request) -> None:
    if not request.headers.get("user-agent", "").startswith("zoo/"):
        return  # another's request, over the client that the process shares
    authorization = request.headers.get("authorization")
    if authorization is not None and origin_of(str(request.url)) not in _origins[authorization]:
        del request.headers["authorization"]


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
