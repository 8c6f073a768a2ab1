"""Addresses of hubs and of what they redirect to: which are one server, which are this machine, which may be followed."""

from __future__ import annotations

import ipaddress
from typing import NamedTuple
from urllib.parse import quote, urljoin, urlsplit

from zoo.errors import UnsafeRedirect

_PORTS = {"http": 80, "https": 443}


class Origin(NamedTuple):
    """A server, as far as tokens are concerned."""

    scheme: str
    host: str
    port: int


def origin_of(url: str) -> Origin:
    """Give the server that an address names. Raises ValueError for an address that is none of http or https."""
    parts = urlsplit(url)
    if parts.scheme not in _PORTS or not parts.hostname:
        raise ValueError(f"'{url}' is no http or https address")
    return Origin(parts.scheme, parts.hostname.lower(), parts.port or _PORTS[parts.scheme])


def target_of(url: str) -> str:
    """Give what follows the server in an address: path and query, with nothing in it that would end a request line."""
    parts = urlsplit(url)
    query = f"?{quote(parts.query, safe=_KEPT)}" if parts.query else ""
    return (quote(parts.path, safe=_KEPT) or "/") + query


_KEPT = "%/:?#[]@!$&'()*+,;=-._~|"


def file_url(endpoint: str, repo_id: str, commit: str, name: str) -> str:
    """Give the address of a file at a commit."""
    return f"{endpoint}/{repo_id}/resolve/{commit}/{quote(name)}"


def is_loopback(host: str) -> bool:
    """Tell whether a host name or address is this machine."""
    address = _address(host)
    return host == "localhost" or host.endswith(".localhost") or (address is not None and address.is_loopback)


def redirected(url: str, location: str) -> str:
    """Give the address that an answer points to.

    Raises UnsafeRedirect for anything but http and https, for a step from https to http, and from another machine's
    server to an address that is private to this network.
    """
    new = urljoin(url, location)
    try:
        old_origin, new_origin = origin_of(url), origin_of(new)
    except ValueError:
        raise UnsafeRedirect(url, new, "only http and https are followed") from None
    if old_origin.scheme == "https" and new_origin.scheme != "https":
        raise UnsafeRedirect(url, new, "that leaves encryption")
    if _is_private(new_origin.host) and not _is_private(old_origin.host):
        raise UnsafeRedirect(url, new, "a public server may not point into a private network")
    return new


def _is_private(host: str) -> bool:
    address = _address(host)
    return is_loopback(host) or (address is not None and not address.is_global)


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
