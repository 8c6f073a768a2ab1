"""Commands that move and keep checkpoints."""

from __future__ import annotations

import click

from zoo.cli.output import (
    endpoint_option,
    json_option,
    print_json,
    print_table,
    revision_option,
    size,
    token_option,
    transfer_progress,
)


@click.command("pull")
@click.argument("refs", metavar="REF…", nargs=-1, required=True)
@revision_option
@click.option("--refresh", is_flag=True, help="Ask the hub whether a branch has moved on.")
@endpoint_option
@token_option
@json_option
def pull_command(
    refs: tuple[str, ...], revision: str | None, refresh: bool, endpoint: str | None, token: str | None, as_json: bool
) -> None:
    """Fetch checkpoints into the store, verified.

    A checkpoint that is there already makes no request. An interrupted pull goes on where it stopped.

    \b
    Example: zoo pull all-minilm-l6-v2
             zoo pull org/name@v1.0
    """
    from zoo.hub.pulling import pull

    results = []
    for ref in refs:
        with transfer_progress("fetched") as watcher:
            checkpoint = pull(ref, revision=revision, endpoint=endpoint, token=token, refresh=refresh, watcher=watcher)
        fetched = {"fetched_bytes": watcher.total_bytes, "endpoint": watcher.endpoint}
        results.append({"ref": ref, "commit": checkpoint.commit, "path": str(checkpoint.path), **fetched})
        if not as_json:
            how = f"fetched {size(watcher.total_bytes)} from {watcher.endpoint}, verified"
            if watcher.endpoint is None:
                how = "already in the store, no request made" if checkpoint.commit else "a folder, nothing to fetch"
            at = f" at {checkpoint.commit[:12]}" if checkpoint.commit else ""
            click.echo(f"{checkpoint.repo_id or ref}{at}: {how}\n{checkpoint.path}")
    if as_json:
        print_json(results)


@click.command("push")
@click.argument("path", metavar="PATH")
@click.argument("repo", metavar="REPO")
@click.option("--private", is_flag=True, help="Make a new repository private.")
@click.option("--message", "-m", help="Message of the commit.")
@endpoint_option
@token_option
@json_option
def push_command(
    path: str, repo: str, private: bool, message: str | None, endpoint: str | None, token: str | None, as_json: bool
) -> None:
    """Check a checkpoint's folder, upload it to REPO (org/name), and commit it in one step.

    \b
    Example: zoo push ./my-bert me/my-bert
    """
    from pathlib import Path

    from zoo.publishing import push, pushable

    folder = Path(path).expanduser()
    with transfer_progress("pushed") as watcher:
        commit = push(folder, repo, private=private, endpoint=endpoint, token=token, message=message, watcher=watcher)
    left_out = pushable(folder)[1]
    if as_json:
        print_json({"repository": repo, "commit": commit, "left_out": left_out})
        return
    if left_out:
        click.echo(f"left out, as no part of a checkpoint: {', '.join(left_out)}", err=True)
    click.echo(f"{repo} at {commit[:12]}")


@click.command("list")
@click.argument("pattern", required=False, default="*")
@click.option("--catalogue", is_flag=True, help="List what the catalogue knows, not what is in the store.")
@click.option("--task", help="With --catalogue: of this task only.")
@json_option
def list_command(pattern: str, catalogue: bool, task: str | None, as_json: bool) -> None:
    """List the checkpoints in the store, or in the catalogue.

    \b
    Example: zoo list
             zoo list --catalogue '*bert*' --task fill-mask
    """
    if catalogue or task:
        from zoo.hub.catalogue import list_checkpoints

        entries = list_checkpoints(pattern, task)
        if as_json:
            print_json([entry.model_dump() for entry in entries])
            return
        rows = [(e.name, e.repository, e.task, f"{e.parameters / 1e6:.1f} M", e.license) for e in entries]
        print_table(
            ("NAME", "REPOSITORY", "TASK", "PARAMETERS", "LICENSE"), rows, "The catalogue has nothing like that."
        )
        return
    from fnmatch import fnmatchcase

    from zoo.hub.store import list_stored

    stored = [entry for entry in list_stored() if fnmatchcase(entry.repo_id, pattern)]
    if as_json:
        print_json(
            [
                {"repository": s.repo_id, "commit": s.commit, "revisions": s.revisions, "size_bytes": s.size_bytes}
                | {"path": str(s.path), "verified": s.manifest is not None}
                for s in stored
            ]
        )
        return
    rows = [
        (s.repo_id, s.commit[:12], ", ".join(s.revisions), size(s.size_bytes), "yes" if s.manifest else "no")
        for s in stored
    ]
    empty = "The store is empty. Try: zoo list --catalogue, then zoo pull NAME"
    print_table(("REPOSITORY", "COMMIT", "REVISIONS", "SIZE", "VERIFIED"), rows, empty)


@click.command("show")
@click.argument("ref", metavar="REF")
@revision_option
@json_option
def show_command(ref: str, revision: str | None, as_json: bool) -> None:
    """Show what a checkpoint is: from the store if it is there, else from the catalogue.

    \b
    Example: zoo show all-minilm-l6-v2
    """
    from zoo.hub.showing import describe

    facts = describe(ref, revision)
    if as_json:
        print_json(facts)
        return
    files = facts.pop("files", {})
    for key, value in facts.items():
        if value not in (None, "", {}):
            click.echo(f"{key + ':':<14}{value}")
    if files:
        rows = [(name, size(entry["size_bytes"]), entry["digest"][:16]) for name, entry in files.items()]
        click.echo()
        print_table(("FILE", "SIZE", "DIGEST"), rows, "")


@click.command("search")
@click.argument("text")
@click.option("--limit", default=20, show_default=True, help="At most so many.")
@endpoint_option
@token_option
@json_option
def search_command(text: str, limit: int, endpoint: str | None, token: str | None, as_json: bool) -> None:
    """Search a hub for repositories by name.

    \b
    Example: zoo search minilm --limit 5
    """
    from dataclasses import asdict

    from zoo.hub.client import HubClient

    found = HubClient(endpoint, token).search(text, limit)
    if as_json:
        print_json([asdict(one) for one in found])
        return
    print_table(
        ("REPOSITORY", "TASK"), [(one.repo_id, one.task or "") for one in found], f"Nothing like '{text}' was found."
    )


@click.command("verify")
@click.argument("refs", metavar="REF…", nargs=-1, required=True)
@revision_option
@json_option
def verify_command(refs: tuple[str, ...], revision: str | None, as_json: bool) -> None:
    """Check stored checkpoints again: every file's digest and the tensors' headers. Asks no hub.

    \b
    Example: zoo verify all-minilm-l6-v2
    """
    from zoo.hub.pulling import pull, verify

    results = []
    for ref in refs:
        checkpoint = pull(ref, revision=revision, local_only=True)
        with transfer_progress("checked") as watcher:
            files = verify(checkpoint, watcher)
        results.append({"ref": ref, "commit": checkpoint.commit, "files": files, "bytes": watcher.total_bytes})
        if not as_json:
            what = f"{files} files, {size(watcher.total_bytes)}, all as promised" if files else "headers are sound"
            click.echo(f"{checkpoint.repo_id or ref}: {what}")
    if as_json:
        print_json(results)


@click.command("rm")
@click.argument("refs", metavar="REF…", nargs=-1, required=True)
def rm_command(refs: tuple[str, ...]) -> None:
    """Remove checkpoints from the store: all revisions, or the one named as REF@REVISION.

    \b
    Example: zoo rm all-minilm-l6-v2
    """
    from zoo.hub.showing import remove_reference

    for ref in refs:
        click.echo(f"{ref}: removed, {size(remove_reference(ref))} freed")
