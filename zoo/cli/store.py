"""Commands for the store on this machine: what is there, whether it is still right, and how it goes away."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from zoo.cli.output import json_option, print_json, print_table, printable, revision_option, size, transfer_progress

if TYPE_CHECKING:
    from zoo.checkpoint.manifest import Checkpoint
    from zoo.verification import Agreement


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

    from zoo.hub.store import list_stored, size_on_disk

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
    if len(stored) > 1:
        click.echo(f"{size(size_on_disk(stored))} on disk; what several share counts once", err=True)


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


@click.command("verify")
@click.argument("refs", metavar="REF…", nargs=-1)
@revision_option
@click.option("--all", "every", is_flag=True, help="Check every checkpoint in the store that Zoo fetched.")
@click.option("--key", "keys", multiple=True, metavar="FILE", help="Public key that must have signed; repeatable.")
@json_option
@click.pass_context
def verify_command(
    ctx: click.Context, refs: tuple[str, ...], revision: str | None, every: bool, keys: tuple[str, ...], as_json: bool
) -> None:
    """Check stored checkpoints again: digests, headers, signature, and the canary on this machine. Asks no hub.

    The canary (zoo.json) says which token ids and numbers came out for a few texts when the checkpoint was pushed; they
    are computed anew with this machine's tokenizer, plugin and torch. A signature is checked against --key, or the keys
    that your configuration trusts. With --all, one that fails does not keep the others from being checked.

    \b
    Example: zoo verify all-minilm-l6-v2
             zoo verify ./my-bert --key key.pub.pem
             zoo verify --all
    """
    from zoo.errors import ZooError
    from zoo.hub.pulling import pull
    from zoo.hub.store import list_stored

    if bool(refs) is every or (every and revision):
        raise click.UsageError("Name the checkpoints to check, or give --all.")
    if every:
        stored = [one.checkpoint for one in list_stored() if one.manifest is not None]
        checkpoints = [(f"{checkpoint.repo_id}@{checkpoint.commit}", checkpoint) for checkpoint in stored]
    else:
        checkpoints = [(ref, pull(ref, revision=revision, local_only=True)) for ref in refs]
    results, failures = [], 0
    for ref, checkpoint in checkpoints:
        try:
            results.append({"ref": ref, **_verified(checkpoint, keys, quiet=as_json)})
        except ZooError as error:
            if not every:
                raise
            failures += 1
            results.append({"ref": ref, "error": str(error)})
            click.echo(f"{ref}: {printable(str(error))}", err=True)
    if as_json:
        print_json(results)
    if every and not as_json:
        click.echo(f"{len(results)} checkpoints, {failures or 'none'} of them damaged")
    ctx.exit(1 if failures else 0)


def _verified(checkpoint: Checkpoint, keys: tuple[str, ...], quiet: bool) -> dict[str, Any]:
    """Check one checkpoint, and say what was found."""
    from pathlib import Path

    from zoo.hub.pulling import verify
    from zoo.hub.signatures import verify_checkpoint

    with transfer_progress("checked") as watcher:
        files = verify(checkpoint, watcher)
    signed = verify_checkpoint(checkpoint, tuple(Path(key).expanduser() for key in keys))
    agreement = _canary_of(checkpoint)
    if not quiet:
        what = f"{files} files, {size(watcher.total_bytes)}, all as promised" if files else "headers are sound"
        click.echo(f"{checkpoint.repo_id or checkpoint.path}: {what}")
        if signed:
            click.echo(f"  signature: {signed.files} files signed with {signed.key.name}")
        click.echo(f"  canary: {_canary_text(agreement)}")
    return {
        "commit": checkpoint.commit,
        "files": files,
        "bytes": watcher.total_bytes,
        "signed_by": str(signed.key) if signed else None,
        "canary": {"texts": agreement.texts, "dtype": agreement.dtype, "worst": agreement.worst} if agreement else None,
    }


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


@click.command("prune")
@click.option("--dry-run", is_flag=True, help="Say what would be removed; remove nothing.")
@json_option
def prune_command(dry_run: bool, as_json: bool) -> None:
    """Remove from the store what no checkpoint needs.

    That is: content that no snapshot links to, whichever tool made the snapshot; files of pulls that were broken off
    more than a day ago; and what processes left behind that died. A repository that is being pulled is passed over.

    \b
    Example: zoo prune --dry-run
    """
    from zoo.hub.pruning import prune

    pruned = prune(dry_run)
    if as_json:
        left = [
            {"repository": one.repo_id, "path": str(one.path), "what": one.what, "size_bytes": one.size_bytes}
            for one in pruned.leftovers
        ]
        print_json({"freed_bytes": pruned.freed_bytes, "leftovers": left, "busy": pruned.busy, "dry_run": dry_run})
        return
    for one in pruned.leftovers:
        click.echo(f"{one.repo_id}: {one.what} {one.path.name} ({size(one.size_bytes)})")
    for repo_id in pruned.busy:
        click.echo(f"{repo_id}: passed over, another process is at it", err=True)
    click.echo(f"{size(pruned.freed_bytes)} {'would be ' if dry_run else ''}freed")
