"""Commands that move and keep checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from zoo.cli.output import (
    endpoint_option,
    json_option,
    print_json,
    print_table,
    printable,
    revision_option,
    size,
    token_option,
    transfer_progress,
)

if TYPE_CHECKING:
    from zoo.checkpoint.manifest import Checkpoint
    from zoo.publishing import Plan


@click.command("pull")
@click.argument("refs", metavar="REF…", nargs=-1, required=True)
@revision_option
@click.option("--refresh", is_flag=True, help="Ask the hub whether a branch has moved on.")
@click.option("--include", multiple=True, metavar="PATTERN", help="Also fetch files like this; repeatable.")
@click.option("--exclude", multiple=True, metavar="PATTERN", help="Leave out files like this; repeatable.")
@click.option("--dry-run", is_flag=True, help="Say which files would be fetched; fetch none.")
@endpoint_option
@token_option
@json_option
def pull_command(refs: tuple[str, ...], dry_run: bool, as_json: bool, **options: Any) -> None:
    """Fetch checkpoints and adapters into the store, verified.

    A checkpoint that is there already makes no request. An interrupted pull goes on where it stopped.

    \b
    Example: zoo pull all-minilm-l6-v2
             zoo pull org/name@v1.0
             zoo pull org/name --include "onnx/*" --exclude "*.md" --dry-run
    """
    results = [_plan_pull(ref, as_json, options) if dry_run else _pull(ref, as_json, options) for ref in refs]
    if as_json:
        print_json(results)


def _pull(ref: str, as_json: bool, options: Mapping[str, Any]) -> dict[str, Any]:
    from zoo.hub.pulling import pull

    with transfer_progress("fetched") as watcher:
        checkpoint = pull(ref, watcher=watcher, **options)
    if not as_json:
        how = f"fetched {size(watcher.total_bytes)} from {watcher.endpoint}, verified"
        if watcher.endpoint is None:
            how = "already in the store, no request made" if checkpoint.commit else "a folder, nothing to fetch"
        at = f" at {checkpoint.commit[:12]}" if checkpoint.commit else ""
        click.echo(f"{checkpoint.repo_id or ref}{at}: {how}\n{checkpoint.path}")
        _tell_of_adapter(checkpoint, ref)
    fetched = {"fetched_bytes": watcher.total_bytes, "endpoint": watcher.endpoint}
    return {"ref": ref, "commit": checkpoint.commit, "path": str(checkpoint.path), **fetched}


def _tell_of_adapter(checkpoint: Checkpoint, ref: str) -> None:
    """Say of an adapter what it goes beside."""
    from zoo.checkpoint.adapter_files import ADAPTER_CONFIG, base_reference, is_adapter
    from zoo.checkpoint.reader import read_json

    if is_adapter(checkpoint.path):
        base = base_reference(read_json(checkpoint.path / ADAPTER_CONFIG)) or "BASE"
        click.echo(printable(f"an adapter, to be used beside its base: zoo run {base} --adapter {ref}"), err=True)


def _plan_pull(ref: str, as_json: bool, options: Mapping[str, Any]) -> dict[str, Any]:
    from dataclasses import asdict

    from zoo.hub.pulling import plan_pull

    plan = plan_pull(ref, **options)
    if not as_json:
        if plan is None:
            click.echo(f"{ref}: a folder, nothing to fetch")
            return {"ref": ref}
        for did, sizes in (("would fetch", plan.to_fetch), ("here already", plan.here)):
            for name, size_bytes in sizes.items():
                click.echo(f"{did} {name} ({size(size_bytes)})")
        files = f"{len(plan.to_fetch)} file{'s' if len(plan.to_fetch) > 1 else ''}"
        source = f"{size(sum(plan.to_fetch.values()))} in {files} to fetch from {plan.endpoint}"
        click.echo(f"{plan.repo_id} at {plan.commit[:12]}: {source if plan.to_fetch else 'nothing to fetch'}")
    return {"ref": ref, **(asdict(plan) if plan is not None else {})}


@click.command("push")
@click.argument("path", metavar="PATH")
@click.argument("repo", metavar="REPO")
@click.option("--private", is_flag=True, help="Make a new repository private.")
@click.option("--create-pr", is_flag=True, help="Open a pull request instead of moving the main branch.")
@click.option("--dry-run", is_flag=True, help="Check everything and say what would be sent; change nothing.")
@click.option("--message", "-m", help="Message of the commit.")
@endpoint_option
@token_option
@json_option
def push_command(
    path: str,
    repo: str,
    private: bool,
    create_pr: bool,
    dry_run: bool,
    message: str | None,
    endpoint: str | None,
    token: str | None,
    as_json: bool,
) -> None:
    """Check the folder of a checkpoint or an adapter, upload what REPO (org/name) lacks, and commit it in one step.

    The check loads the weights and computes their canary (zoo.json); it is written, and a card too, where there is none.
    Of an adapter it is whether its base is known, by digest, and whether it fits that.

    \b
    Example: zoo push ./my-bert me/my-bert
             zoo push ./my-bert me/my-bert --dry-run
    """
    from pathlib import Path

    from zoo.hub.client import HubClient
    from zoo.publishing import plan_push, publish

    folder, client = Path(path).expanduser(), HubClient(endpoint, token)
    if dry_run:
        plan, landed = plan_push(folder, repo, client, private), None
    else:
        with transfer_progress("pushed") as watcher:
            plan, landed = publish(folder, repo, client, private, create_pr, message, watcher)
    if as_json:
        made = {"commit": landed.commit, "pull_request": landed.pull_request} if landed else {}
        print_json({"repository": repo, **made, "uploaded": plan.uploaded, "unchanged": plan.unchanged,
                    "removed": plan.removed, "left_out": plan.left_out})  # fmt: skip
        return
    if plan.left_out:
        click.echo(f"left out, as no part of a checkpoint: {', '.join(plan.left_out)}", err=True)
    if landed is None:
        if plan.parent is None:
            click.echo(f"{repo} would be made, {'private' if private else 'public'}")
        for did, sizes in (("would upload", plan.uploaded), ("unchanged", plan.unchanged)):
            for name, size_bytes in sizes.items():
                click.echo(f"{did} {name} ({size(size_bytes)})")
        for name in plan.removed:
            click.echo(f"would remove {name}")
        return
    click.echo(f"{printable(landed.pull_request or repo)} at {landed.commit[:12]}: {_what_was_done(plan)}")


def _what_was_done(plan: Plan) -> str:
    """Say what a push sent, what it spared, and what it took away."""
    sent = f"{_files(plan.uploaded)} uploaded" if plan.uploaded else "nothing to upload"
    spared = f", {_files(plan.unchanged)} unchanged" if plan.unchanged else ""
    return sent + spared + (f", removed {', '.join(plan.removed)}" if plan.removed else "")


def _files(sizes: Mapping[str, int]) -> str:
    return f"{len(sizes)} file{'s' if len(sizes) > 1 else ''} ({size(sum(sizes.values()))})"


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
