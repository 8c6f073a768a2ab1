"""Every refusal a client can meet: its status, its X-Error-Code, and a sentence that says what to do."""

from starlette.responses import JSONResponse


class RegistryError(Exception):
    """A request that can't be served as it is; becomes a JSON answer with `error`.

    status: the HTTP status.
    code: the X-Error-Code by which Hub clients choose their exception, or None.
    headers: further headers of the answer.
    details: further JSON fields beside `error`.
    """

    status = 400
    code: str | None = None

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message
        self.headers: dict[str, str] = {}
        self.details: dict[str, str] = {}

    def response(self) -> JSONResponse:
        """The answer to send: status, JSON body, X-Error-Message and, where there is one, X-Error-Code."""
        headers = {"X-Error-Message": header_text(self.message), **self.headers}
        if self.code is not None:
            headers["X-Error-Code"] = self.code
        return JSONResponse({"error": self.message, **self.details}, status_code=self.status, headers=headers)


class BadRequest(RegistryError):
    """400: the request itself is malformed."""


class Unauthorized(RegistryError):
    """401: this needs a token, or the token given is unknown."""

    status = 401

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.headers = {"WWW-Authenticate": "Bearer"}


class Forbidden(RegistryError):
    """403: an upload address without a valid signature, or a change that nobody may make."""

    status = 403


class GatedRepo(RegistryError):
    """403: the files of a gated repository need a token."""

    status = 403
    code = "GatedRepo"

    def __init__(self, repo_id: str) -> None:
        super().__init__(f"Access to {repo_id} is gated. Send a token that this registry knows.")
        self.repo_id = repo_id


class NotFound(RegistryError):
    """404: no such page or object."""

    status = 404


class RepoNotFound(RegistryError):
    """404: no such repository, or a private one and no valid token."""

    status = 404
    code = "RepoNotFound"

    def __init__(self, repo_id: str) -> None:
        super().__init__(f"Repository {repo_id} does not exist here, or is private and needs a token.")
        self.repo_id = repo_id


class RevisionNotFound(RegistryError):
    """404: the repository has no such branch, tag or commit."""

    status = 404
    code = "RevisionNotFound"

    def __init__(self, repo_id: str, revision: str) -> None:
        super().__init__(f"{repo_id} has no branch, tag or commit {revision!r}.")
        self.repo_id, self.revision = repo_id, revision


class EntryNotFound(RegistryError):
    """404: the commit has no such file or folder; clients may remember that for this commit."""

    status = 404
    code = "EntryNotFound"

    def __init__(self, message: str, commit: str) -> None:
        super().__init__(message)
        self.commit = commit
        self.headers = {"X-Repo-Commit": commit}


class Conflict(RegistryError):
    """409: the name is taken. `url` is where the thing that has it lives; `create_repo(exist_ok=True)` reads it."""

    status = 409

    def __init__(self, message: str, *, url: str | None = None) -> None:
        super().__init__(message)
        if url is not None:
            self.details = {"url": url}


class StaleParent(RegistryError):
    """412: the branch has moved on since the commit was prepared."""

    status = 412

    def __init__(self, repo_id: str, branch: str, head: str, parent: str) -> None:
        super().__init__(
            f"Branch {branch!r} of {repo_id} is at {head}, but the commit is made for parent {parent}. "
            "Fetch the new head, apply the change to it, and commit again."
        )
        self.repo_id, self.branch, self.head, self.parent = repo_id, branch, head, parent


class TooLarge(RegistryError):
    """413: more bytes than allowed or declared."""

    status = 413


class Mismatch(RegistryError):
    """422: the bytes received are not the ones declared."""

    status = 422


class Unsupported(RegistryError):
    """501: the Hub knows this; this registry does not."""

    status = 501


class DiskFull(RegistryError):
    """507: the data folder has no room."""

    status = 507

    def __init__(self) -> None:
        super().__init__("The registry's disk is full. Make room in its data folder, then try again.")


def header_text(text: str) -> str:
    """`text` as one printable ASCII line, for a header value."""
    return "".join(character if " " <= character <= "~" else "?" for character in text)
