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
    revision_option,
    size,
    token_option,
    transfer_progress,
)

if TYPE_CHECKING:
    from zoo.checkpoint.manifest import Checkpoint
    from zoo.publishing import Plan
    from zoo.verification import Agreement


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
    """Fetch checkpoints into the store, verified.

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
    fetched = {"fetched_bytes": watcher.total_bytes, "endpoint": watcher.endpoint}
    return {"ref": ref, "commit": checkpoint.commit, "path": str(checkpoint.path), **fetched}


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
    """Check a checkpoint's folder, upload what REPO (org/name) lacks, and commit it in one step.

    The check loads the weights and computes their canary (zoo.json); it is written, and a card too, where there is none.

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
    click.echo(f"{landed.pull_request or repo} at {landed.commit[:12]}: {_what_was_done(plan)}")


def _what_was_done(plan: Plan) -> str:
    """Say what a push sent, what it spared, and what it took away."""
    sent = f"{_files(plan.uploaded)} uploaded" if plan.uploaded else "nothing to upload"
    spared = f", {_files(plan.unchanged)} unchanged" if plan.unchanged else ""
    return sent + spared + (f", removed {', '.join(plan.removed)}" if plan.removed else "")


def _files(sizes: Mapping[str, int]) -> str:
    return f"{len(sizes)} file{'s' if len(sizes) > 1 else ''} ({size(sum(sizes.values()))})"


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
@click.option("--key", "keys", multiple=True, metavar="FILE", help="Public key that must have signed; repeatable.")
@json_option
def verify_command(refs: tuple[str, ...], revision: str | None, keys: tuple[str, ...], as_json: bool) -> None:
    """Check stored checkpoints again: digests, headers, signature, and the canary on this machine. Asks no hub.

    The canary (zoo.json) says which token ids and numbers came out for a few texts when the checkpoint was pushed; they
    are computed anew with this machine's tokenizer, plugin and torch. A signature is checked against --key, or the keys
    that your configuration trusts.

    \b
    Example: zoo verify all-minilm-l6-v2
             zoo verify ./my-bert --key key.pub.pem
    """
    from pathlib import Path

    from zoo.hub.pulling import pull, verify
    from zoo.hub.signatures import verify_checkpoint

    results = []
    for ref in refs:
        checkpoint = pull(ref, revision=revision, local_only=True)
        with transfer_progress("checked") as watcher:
            files = verify(checkpoint, watcher)
        signed = verify_checkpoint(checkpoint, tuple(Path(key).expanduser() for key in keys))
        agreement = _canary_of(checkpoint)
        result: dict[str, Any] = {"ref": ref, "commit": checkpoint.commit, "files": files, "bytes": watcher.total_bytes}
        result["signed_by"] = str(signed.key) if signed else None
        result["canary"] = (
            {"texts": agreement.texts, "dtype": agreement.dtype, "worst": agreement.worst} if agreement else None
        )
        results.append(result)
        if not as_json:
            what = f"{files} files, {size(watcher.total_bytes)}, all as promised" if files else "headers are sound"
            click.echo(f"{checkpoint.repo_id or ref}: {what}")
            if signed:
                click.echo(f"  signature: {signed.files} files signed with {signed.key.name}")
            click.echo(f"  canary: {_canary_text(agreement)}")
    if as_json:
        print_json(results)


def _canary_of(checkpoint: Checkpoint) -> Agreement | None:
    """Compute a checkpoint's canary, or give None where it has none: then no tensor is needed."""
    from zoo.checkpoint.canary import read_canary

    canary = read_canary(checkpoint.path)
    if canary is None:
        return None
    from zoo.loading import load, verify_model

    finest = all("float32" in sample.values for case in canary.cases for sample in case.samples)
    model = load(checkpoint.path, dtype="float32" if finest else None)
    model.checkpoint = checkpoint  # by its name, in messages
    return verify_model(model)


def _canary_text(agreement: Agreement | None) -> str:
    if agreement is None:
        return "none to compare with"
    by = ", ".join(f"{name} {version}" for name, version in agreement.written_by.items())
    return f"{agreement.texts} texts give the same here as with {by} ({agreement.dtype})"


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
