"""Commands for what a project uses: the lock and what it holds. And for what a checkpoint would take, before it is used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from zoo.cli.models import dtype_option, ignore_option, task_option
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
    from zoo.hub.syncing import Change
    from zoo.planning import Plan, RankShare

# Not HF_ENDPOINT: what is locked has an address of its own.
other_endpoint_option = click.option("--endpoint", help="Address of the hub, in place of the one in the lock.")


@click.group("lock")
def lock_command() -> None:
    """Hold what a project uses at commits and digests, in zoo.lock.

    The lock is the zoo.lock in this folder or the nearest above it; ZOO_LOCK names another; set but empty, there
    is none. What it holds is what `zoo pull`, `zoo run`, zoo.load and all others give.

    \b
    Example: zoo lock add all-minilm-l6-v2
             zoo sync --frozen
    """


@lock_command.command("add")
@click.argument("refs", metavar="REF…", nargs=-1, required=True)
@endpoint_option
@token_option
@json_option
def add_command(refs: tuple[str, ...], endpoint: str | None, token: str | None, as_json: bool) -> None:
    """Take references into the lock, at the commits that they mean on this machine now.

    What is not here yet is fetched. What is in the lock already stays at its commit.

    \b
    Example: zoo lock add all-minilm-l6-v2 org/name@v1.0
    """
    from zoo.hub.syncing import add

    with transfer_progress("fetched") as watcher:
        changes = add(refs, endpoint=endpoint, token=token, watcher=watcher)
    _print_changes(changes, as_json)


@lock_command.command("update")
@click.argument("refs", metavar="[REF…]", nargs=-1)
@other_endpoint_option
@token_option
@json_option
def update_command(refs: tuple[str, ...], endpoint: str | None, token: str | None, as_json: bool) -> None:
    """Move references, or all, to the commits that their hubs give now, and to the plugins installed here.

    \b
    Example: zoo lock update all-minilm-l6-v2
    """
    from zoo.hub.syncing import update

    with transfer_progress("fetched") as watcher:
        changes = update(refs, endpoint=endpoint, token=token, watcher=watcher)
    _print_changes(changes, as_json)


@lock_command.command("remove")
@click.argument("refs", metavar="REF…", nargs=-1, required=True)
@json_option
def remove_command(refs: tuple[str, ...], as_json: bool) -> None:
    """Take references out of the lock. What is stored stays; `zoo rm` removes that.

    \b
    Example: zoo lock remove all-minilm-l6-v2
    """
    from zoo.hub.syncing import remove

    _print_changes(remove(refs), as_json)


@lock_command.command("list")
@json_option
def list_command(as_json: bool) -> None:
    """List what the lock holds.

    \b
    Example: zoo lock list
    """
    from zoo.hub.syncing import open_lock

    path, lock = open_lock()
    held = sorted(lock.checkpoints.items())
    if as_json:
        print_json([{"reference": ref, **locked.model_dump(exclude_none=True)} for ref, locked in held])
        return
    rows = [
        (ref, locked.commit[:12], size(locked.size_bytes), _joined(locked.plugin, locked.plugin_version))
        for ref, locked in held
    ]
    print_table(("REFERENCE", "COMMIT", "SIZE", "PLUGIN"), rows, f"{path} holds nothing. Try: zoo lock add REF")


@click.command("sync")
@click.argument("refs", metavar="[REF…]", nargs=-1)
@click.option("--frozen", is_flag=True, help="Fail unless all is exactly as locked: commits, every byte, plugins.")
@other_endpoint_option
@token_option
@json_option
def sync_command(refs: tuple[str, ...], frozen: bool, endpoint: str | None, token: str | None, as_json: bool) -> None:
    """Fetch what the project's lock holds: all of it, or some references.

    It is asked for at HF_ENDPOINT where that is set, then at the hub that the lock names, which gets your token only if
    it is your hub too. Every file must have the locked digest, wherever it comes from.

    \b
    Example: zoo sync
             zoo sync --frozen
    """
    from zoo.hub.syncing import sync

    with transfer_progress("verified" if frozen else "fetched") as watcher:
        synced = sync(refs, frozen=frozen, endpoint=endpoint, token=token, watcher=watcher)
    if as_json:
        facts = [(one.reference, one.checkpoint.commit, str(one.checkpoint.path), one.remark) for one in synced]
        print_json([dict(zip(("reference", "commit", "path", "remark"), fact, strict=True)) for fact in facts])
        return
    for one in synced:
        click.echo(f"{one.reference} at {str(one.checkpoint.commit)[:12]}: as locked")
        if one.remark:
            click.echo(f"  but {one.remark}", err=True)


def _print_changes(changes: Sequence[Change], as_json: bool) -> None:
    if as_json:
        print_json([asdict(change) for change in changes])
        return
    for change in changes:
        before, after = (commit and commit[:12] for commit in (change.before, change.after))
        what = f"{before} -> {after}" if before and after else f"locked at {after}" if after else "no longer locked"
        click.echo(f"{change.reference}: {f'stays at {after}' if before == after else what}")


def _joined(*words: str | None) -> str:
    return " ".join(word for word in words if word)


@click.command("plan")
@click.argument("ref", metavar="REF")
@dtype_option
@task_option
@click.option("--label", "labels", multiple=True, help="Plan a new head with this label; repeatable.")
@click.option(
    "--quantize",
    type=click.Choice(["int8", "int4"]),
    help="Plan linear layers in so many bits, and say what that costs.",
)
@click.option("--ranks", type=click.IntRange(min=1), help="Also show one rank's share of a model split over so many.")
@revision_option
@endpoint_option
@token_option
@ignore_option
@json_option
def plan_command(ref: str, labels: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Show what a checkpoint is and would take, without fetching it: its headers alone are read.

    Memory on a CPU: tensors stay mapped from their files, as page cache that the system takes back when it needs the room;
    what is cast, put together or new is the process's own, and at the peak the largest of these may be there twice. On a
    GPU: every tensor is copied. Activations come on top.

    \b
    Example: zoo plan gpt2
             zoo plan org/name --dtype bfloat16 --ranks 4
             zoo plan org/name --quantize int8
    """
    from zoo.planning import plan

    planned = plan(ref, labels=labels or None, **options)
    if as_json:
        sums = {"weight_bytes": planned.weight_bytes, "cache_bytes_per_token": planned.cache_bytes_per_token}
        print_json(asdict(planned) | sums)
        return
    for key, value in _facts(planned).items():
        click.echo(f"{key + ':':<15}{value}")
    rows = [
        (f"{part.name} × {part.layers}" if part.layers else part.name, f"{part.parameters:,}", size(part.size_bytes))
        for part in planned.modules
    ]
    click.echo()
    print_table(("MODULE", "PARAMETERS", "SIZE"), rows, "")


def _facts(planned: Plan) -> dict[str, str]:
    """Give the lines of a plan for people; those that say nothing are left out."""
    memory, dtypes = planned.memory, ", ".join(planned.dtypes)
    at = f"{planned.repo_id} at {planned.commit[:12]}" if planned.commit else planned.reference
    facts = {
        "checkpoint": f"{at}, {size(planned.size_bytes)} in {len(planned.files)} files",
        "to fetch": size(planned.fetch_bytes),
        "read": f"{size(planned.read_bytes)} from {planned.source}" if planned.read_bytes else planned.source,
        "architecture": f"{planned.architecture} ({planned.kind}), by {planned.distribution} {planned.version}",
        "task": planned.task,
        "parameters": f"{planned.parameters:,}",
        "weights": f"{size(planned.weight_bytes)} in {dtypes}",
        "accuracy": _accuracy(planned),
        "on a CPU": f"{size(memory.mapped_bytes)} mapped, {size(memory.own_bytes)} own, {size(memory.peak_bytes)} at the peak",
        "on a GPU": f"{size(memory.gpu_bytes)}, and at the peak {size(memory.host_peak_bytes)} on the host",
        "cast": _listed(planned.cast),
        "kept unused": _listed(planned.kept),
        "fresh": _listed(planned.fresh),
        "cache": _cache(planned),
    }
    if planned.share is not None:
        facts |= _share(planned.share)
    return {key: value for key, value in facts.items() if value}


def _accuracy(planned: Plan) -> str:
    """Say what quantised weights cost."""
    if planned.accuracy is None:
        return ""
    change = 100 * (planned.accuracy.perplexity_ratio - 1)
    return f"perplexity {change:+.2f} % when measured ({planned.accuracy.source}); of this checkpoint it is not known"


def _cache(planned: Plan) -> str:
    """Say what a token takes while text is written."""
    if not planned.cache_bytes_per_token:
        return ""
    parts = [f"{size(planned.cache_bytes_per_token)} a token"]
    parts += [
        f"of that {size(layers.bytes_per_token)} for at most {layers.most_tokens:,} tokens"
        f" ({layers.layers} layers that look back {layers.window:,})"
        for layers in planned.cache
        if layers.window is not None
    ]
    if planned.source_cache_bytes_per_token:
        parts.append(f"and {size(planned.source_cache_bytes_per_token)} a token of the source")
    return ", ".join(parts)


def _share(share: RankShare) -> dict[str, str]:
    """Say what one rank holds."""
    cache = f", cache {size(share.cache_bytes_per_token)} a token" if share.cache_bytes_per_token else ""
    return {
        f"of {share.ranks} ranks": f"weights {size(share.weight_bytes)} each{cache}",
        "split": ", ".join(share.split) or "nothing",
        "on every rank": ", ".join((*share.whole, "norms, biases")),
    }


def _listed(names: Sequence[str]) -> str:
    """Give a number and the first few names."""
    shown = ", ".join(names[:2]) + (", …" if len(names) > 2 else "")
    return f"{len(names)} ({shown})" if names else ""
