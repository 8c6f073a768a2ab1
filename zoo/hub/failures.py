"""What goes wrong when a hub is asked, told apart: each cause has an error of its own, with its own next step."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from ssl import SSLCertVerificationError
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import proxy_bypass

from zoo.errors import (
    AccessDenied,
    CertificateRefused,
    GatedRepository,
    HubOffline,
    HubUnreachable,
    InvalidToken,
    NoNetwork,
    ProxyUnreachable,
    RateLimited,
    RepositoryDisabled,
    RepositoryNotFound,
    RevisionNotFound,
)
from zoo.hub.retries import retry_after

if TYPE_CHECKING:
    from huggingface_hub.errors import HfHubHTTPError


@contextmanager
def translated(endpoint: str, repo_id: str, revision: str | None, action: str, *, with_token: bool) -> Iterator[None]:
    """Turn the client library's errors into ours. action: what was being done, for messages."""
    import httpx2
    from huggingface_hub import errors

    try:
        yield
    except errors.OfflineModeIsEnabled as error:
        raise HubOffline(endpoint, action) from error
    except errors.GatedRepoError as error:
        raise GatedRepository(repo_id, endpoint) from error
    except errors.DisabledRepoError as error:
        raise RepositoryDisabled(repo_id, endpoint) from error
    except errors.RevisionNotFoundError as error:
        raise RevisionNotFound(repo_id, str(revision), endpoint) from error
    except errors.RepositoryNotFoundError as error:
        raise RepositoryNotFound(repo_id, endpoint, with_token) from error
    except errors.HfHubHTTPError as error:
        raise _refusal(error, endpoint, action, with_token) from error
    except httpx2.TransportError as error:
        raise network_failure(endpoint, error) from error
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise HubUnreachable(endpoint, f"{type(error).__name__}: {error}") from error
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        # What the library raises when an upload fails, or when an answer is not what a hub would give.
        raise HubUnreachable(endpoint, f"{action} failed: {error}") from error


def _refusal(
    error: HfHubHTTPError, endpoint: str, action: str, with_token: bool
) -> AccessDenied | InvalidToken | RateLimited | HubUnreachable:
    """Give the error for a status that says no."""
    status = error.response.status_code
    if status == 401 and with_token:
        return InvalidToken(endpoint, f"the hub does not know it ({action})")
    if status in (401, 403):
        return AccessDenied(endpoint, action, with_token)
    if status == 429:
        return RateLimited(endpoint, retry_after(error.response.headers))
    reason = error.server_message or str(error).splitlines()[0]
    return HubUnreachable(endpoint, f"status {status} while {action} ({reason})")


def network_failure(endpoint: str, error: BaseException) -> HubUnreachable:
    """Give the error for a connection that could not be made, or broke off: certificate, proxy, network, or the hub."""
    import httpx2

    causes = list(_causes(error))
    reason = f"{type(error).__name__}: {error}"
    if certificate := next((cause for cause in causes if isinstance(cause, SSLCertVerificationError)), None):
        return CertificateRefused(endpoint, certificate.verify_message)
    is_refused = any(
        isinstance(cause, httpx2.ConnectError | httpx2.ConnectTimeout | socket.gaierror | ConnectionRefusedError)
        for cause in causes
    )
    proxy = proxy_variable(endpoint)
    if proxy is not None and (is_refused or isinstance(error, httpx2.ProxyError)):
        return ProxyUnreachable(endpoint, proxy, os.environ[proxy], reason)
    return NoNetwork(endpoint, reason) if is_refused else HubUnreachable(endpoint, reason)


def proxy_variable(endpoint: str) -> str | None:
    """Give the environment variable whose proxy an endpoint is asked through, or None."""
    parts = urlsplit(endpoint)
    if not parts.hostname or proxy_bypass(parts.netloc.rpartition("@")[2]):
        return None
    names = (f"{parts.scheme}_proxy", "all_proxy")
    return next((spelt for name in names for spelt in (name, name.upper()) if os.environ.get(spelt)), None)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Give an error, what it was raised for, and so on."""
    following: BaseException | None = error
    while following is not None:
        yield following
        following = following.__cause__ or following.__context__
