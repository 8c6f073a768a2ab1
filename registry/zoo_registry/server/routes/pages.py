"""Web pages: which repositories there are, and what each holds. Plain HTML, without scripts."""

from html import escape
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route

from zoo_registry.server.cards import body
from zoo_registry.server.commits import read_text
from zoo_registry.server.repositories import KINDS, Repository, Search, listed
from zoo_registry.server.requests import parameter, readable, registry_of
from zoo_registry.server.revisions import MAIN, Commit, resolve
from zoo_registry.server.trees import File, Listing

_SHOWN = 1000
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "table{border-collapse:collapse;width:100%}td{padding:.2rem .6rem .2rem 0;border-top:1px solid #ddd}"
    "td:last-child{text-align:right;white-space:nowrap}pre{white-space:pre-wrap;background:#f6f6f4;padding:1rem}"
    "a{color:#0a5}code{color:#666}"
)
_HEADERS = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'", "Vary": "Authorization"}


def index(request: Request) -> HTMLResponse:
    """All public repositories, newest first."""
    with registry_of(request).database.reading() as connection:
        found = [item for kind in KINDS.values() for item in listed(connection, Search(kind=kind), _SHOWN)]
    rows = "".join(_row(item.web_path, item.repo_id, ", ".join(sorted(_labels(item)))) for item in found)
    return _page("Zoo registry", f"<table>{rows}</table>" if found else "<p>No public repositories yet.</p>")


def repository_page(request: Request) -> HTMLResponse:
    """A repository's card and files, at a revision, in a pull request or on main."""
    registry = registry_of(request)
    revision = parameter(request, "revision") if "revision" in request.path_params else MAIN
    if "number" in request.path_params:
        revision = f"refs/pr/{parameter(request, 'number')}"
    with registry.database.reading() as connection:
        repository = readable(request, connection)
        commit = resolve(connection, repository, revision)
        listing = registry.trees.load(connection, repository.id, commit.tree)
    card = listing.files.get("README.md")
    text = body(read_text(registry.store.path(card.sha256))).strip() if card and not repository.gated else ""
    about = f"<pre>{escape(text)}</pre>" if text else ""
    return _page(repository.repo_id, _origin(commit) + about + _files(repository, commit, listing))


def _origin(commit: Commit) -> str:
    return f"<p>{escape(commit.title)} <code>{commit.oid[:10]}</code>, {commit.date[:10]}</p>"


def _files(repository: Repository, commit: Commit, listing: Listing) -> str:
    rows = (_file_row(repository, commit, file) for file in listing.files.values())
    return f"<table>{''.join(rows)}</table>"


def _file_row(repository: Repository, commit: Commit, file: File) -> str:
    return _row(f"{repository.web_path}/resolve/{commit.oid}/{quote(file.path)}", file.path, f"{file.size:,} bytes")


def _labels(repository: Repository) -> list[str]:
    card = repository.card
    return [card[name] for name in ("pipeline_tag", "library_name") if isinstance(card.get(name), str)]


def _row(address: str, text: str, note: str) -> str:
    return f'<tr><td><a href="{escape(address)}">{escape(text)}</a></td><td>{escape(note)}</td></tr>'


def _page(title: str, content: str) -> HTMLResponse:
    heading = escape(title)
    home = '<p><a href="/">Zoo registry</a></p>' if title != "Zoo registry" else ""
    return HTMLResponse(
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{heading}</title>'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<style>{_STYLE}</style></head><body>{home}<h1>{heading}</h1>{content}</body></html>",
        headers=_HEADERS,
    )


routes = [
    Route("/", index),
    *(
        Route(start + "/{namespace}/{name}" + rest, repository_page)
        for start in ("/datasets", "")
        for rest in ("", "/tree/{revision}", "/commit/{revision}", "/discussions/{number}")
    ),
]
