"""Asking a hub, and being refused or not answered."""

from zoo.errors.base import ZooError


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


class HubUnreachable(ZooError):
    """No answer, or no usable one, from the hub."""

    def __init__(self, endpoint: str, reason: str) -> None:
        self.endpoint, self.reason = endpoint, reason
        super().__init__(
            f"{endpoint} could not be reached or did not answer as a hub does: {reason}. Check the network and the "
            "address (HF_ENDPOINT, --endpoint), then try again; what was fetched so far is kept"
        )
