"""Asking a hub, and being refused or not answered."""

from zoo.errors.base import ZooError, ZooWarning


class RepositoryNotFound(ZooError):
    """No repository of that name can be seen with these rights."""

    def __init__(self, repo_id: str, endpoint: str, with_token: bool) -> None:
        self.repo_id, self.endpoint, self.with_token = repo_id, endpoint, with_token
        token = "with the token in use" if with_token else "without a token"
        super().__init__(
            f"There is no repository '{repo_id}' to be seen at {endpoint} {token}. It may be mistyped, private or gone. "
            f"Try: zoo search {repo_id.split('/')[-1]}" + ("" if with_token else ", or give a token with HF_TOKEN")
        )


class RevisionNotFound(ZooError):
    """The repository has no such branch, tag or commit."""

    def __init__(self, repo_id: str, revision: str, endpoint: str) -> None:
        self.repo_id, self.revision, self.endpoint = repo_id, revision, endpoint
        super().__init__(
            f"The repository '{repo_id}' at {endpoint} has no revision '{revision}'. "
            f"Leave it out for the main branch: zoo pull {repo_id}"
        )


class GatedRepository(ZooError):
    """The repository's authors grant access on request."""

    def __init__(self, repo_id: str, endpoint: str) -> None:
        self.repo_id, self.endpoint = repo_id, endpoint
        super().__init__(
            f"The repository '{repo_id}' is gated: ask for access at {endpoint}/{repo_id}, then give your token with HF_TOKEN"
        )


class AccessDenied(ZooError):
    """The hub refused the token, or the token may not do this."""

    def __init__(self, endpoint: str, action: str, with_token: bool) -> None:
        self.endpoint, self.action, self.with_token = endpoint, action, with_token
        cause = "refused the token" if with_token else "wants a token"
        super().__init__(f"{endpoint} {cause} for: {action}. Give one that may do it with --token or HF_TOKEN")


class RateLimited(ZooError):
    """The hub asks to wait."""

    def __init__(self, endpoint: str, retry_after_seconds: float | None) -> None:
        self.endpoint, self.retry_after_seconds = endpoint, retry_after_seconds
        wait = f"for {retry_after_seconds:.0f} seconds " if retry_after_seconds is not None else ""
        super().__init__(f"{endpoint} limits requests. Wait {wait}and try again; what was fetched so far is kept")


class InvalidToken(ZooError):
    """The token is none that the hub knows."""

    def __init__(self, endpoint: str, reason: str) -> None:
        self.endpoint, self.reason = endpoint, reason
        super().__init__(
            f"The token for {endpoint} is not valid: {reason}. It may be mistyped, expired, or another hub's. Give one of "
            "this hub with --token or HF_TOKEN, or store it with: hf auth login"
        )


class InsecureEndpoint(ZooError):
    """A token would go over a connection that anybody on the way can read."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        super().__init__(
            f"{endpoint} is neither https nor on this machine, so the token was not sent: anybody on the way could read it. "
            "Use the hub's https address, or a tunnel that ends on this machine; or go without a token, with HF_TOKEN "
            "unset and HF_HUB_DISABLE_IMPLICIT_TOKEN=1"
        )


class RepositoryDisabled(ZooError):
    """The hub's operator has closed the repository."""

    def __init__(self, repo_id: str, endpoint: str) -> None:
        self.repo_id, self.endpoint = repo_id, endpoint
        super().__init__(
            f"The repository '{repo_id}' is disabled at {endpoint}; its page there may say why. "
            f"Look for another: zoo search {repo_id.split('/')[-1]}"
        )


class RepositoryMoved(ZooWarning):
    """The repository has another name by now; the old one still leads there."""

    def __init__(self, repo_id: str, now: str, endpoint: str) -> None:
        self.repo_id, self.now, self.endpoint = repo_id, now, endpoint
        super().__init__(f"'{repo_id}' is called '{now}' at {endpoint} by now. Use that name, for the old one may go")


class HubOffline(ZooError):
    """Asked to stay offline, and what is to be done needs a hub."""

    def __init__(self, endpoint: str, action: str) -> None:
        self.endpoint, self.action = endpoint, action
        super().__init__(
            f"HF_HUB_OFFLINE=1 rules out asking {endpoint}, which is needed for: {action}. Unset it, and try again"
        )


class HubUnreachable(ZooError):
    """No answer, or no usable one, from the hub."""

    def __init__(self, endpoint: str, reason: str, message: str | None = None) -> None:
        """message: the whole sentence, for a cause that is known better."""
        self.endpoint, self.reason = endpoint, reason
        super().__init__(
            message
            or f"{endpoint} could not be reached or did not answer as a hub does: {reason}. Check the network and the "
            "address (HF_ENDPOINT, --endpoint), then try again; what was fetched so far is kept"
        )


class NoNetwork(HubUnreachable):
    """There is no connection to the hub to be had."""

    def __init__(self, endpoint: str, reason: str) -> None:
        message = (
            f"There is no connection to {endpoint} ({reason}). Check the network and the address (HF_ENDPOINT, "
            "--endpoint), then try again; what was fetched so far is kept, and what is in the store works without a hub"
        )
        super().__init__(endpoint, reason, message)


class ProxyUnreachable(HubUnreachable):
    """The proxy that the environment names does not let through."""

    def __init__(self, endpoint: str, variable: str, proxy: str, reason: str) -> None:
        self.variable, self.proxy = variable, proxy.rpartition("@")[2]  # without a password
        message = (
            f"{endpoint} is asked through the proxy {self.proxy} that {variable} names, and that fails ({reason}). Correct "
            f"or unset {variable}, or name the hub's host in NO_PROXY"
        )
        super().__init__(endpoint, reason, message)


class CertificateRefused(HubUnreachable):
    """The hub's certificate is none that this machine trusts."""

    def __init__(self, endpoint: str, reason: str) -> None:
        message = (
            f"The certificate of {endpoint} is not trusted: {reason}. If its operator or your company signed it, name the file "
            "with their certificate in SSL_CERT_FILE. Otherwise somebody may stand in between: send nothing there"
        )
        super().__init__(endpoint, reason, message)
