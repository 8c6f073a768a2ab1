"""Commands about architectures and plugins."""

from __future__ import annotations

from typing import Any

import click

from zoo.cli.output import json_option, print_json, print_table


@click.group("arch")
def arch_command() -> None:
    """Look at installed architectures."""


@arch_command.command("list")
@click.option(
    "--kind", type=click.Choice(["encoder-only", "decoder-only", "encoder-decoder"]), help="Of this kind only."
)
@json_option
def arch_list(kind: str | None, as_json: bool) -> None:
    """List installed architectures; imports none of them.

    \b
    Example: zoo arch list --kind encoder-only
    """
    from dataclasses import asdict

    from zoo.host import list_architectures

    found = list_architectures(kind)  # type: ignore[arg-type]  # click checks the choice
    if as_json:
        print_json([asdict(info) for info in found])
        return
    rows = [(info.name, info.kind, info.distribution, info.version) for info in found]
    print_table(
        ("NAME", "KIND", "DISTRIBUTION", "VERSION"),
        rows,
        "No architecture is installed. Try: pip install zoo-encoder-only",
    )


@arch_command.command("show")
@click.argument("name")
@click.option("--json-schema", is_flag=True, help="Print the JSON schema of its spec.")
@json_option
def arch_show(name: str, json_schema: bool, as_json: bool) -> None:
    """Show an architecture: what it is, its heads, and every field of its spec.

    \b
    Example: zoo arch show bert
    """
    from zoo.host import get_architecture, list_architectures

    architecture = get_architecture(name)
    if json_schema:
        print_json(architecture.spec.model_json_schema())
        return
    fields = [
        {
            "name": field.alias or key,
            "default": None if field.is_required() else field.default,
            "required": field.is_required(),
        }
        | {"description": field.description or ""}
        for key, field in architecture.spec.model_fields.items()
    ]
    owner = next(info for info in list_architectures() if info.name == name)
    heads: list[dict[str, Any]] = [{"task": head.task, "classes": head.classes} for head in architecture.heads]
    facts = {"name": name, "kind": architecture.kind, "distribution": f"{owner.distribution} {owner.version}"}
    facts |= {"paper": architecture.paper, "summary": architecture.summary}
    if as_json:
        print_json(facts | {"tasks": architecture.tasks, "heads": heads, "spec": fields})
        return
    for key, value in facts.items():
        if value:
            click.echo(f"{key + ':':<14}{value}")
    click.echo()
    print_table(("HEAD", "CLASSES THAT MEAN IT"), [(head["task"], ", ".join(head["classes"])) for head in heads], "")
    click.echo()
    rows = [(f["name"], "required" if f["required"] else f["default"], f["description"]) for f in fields]
    print_table(("FIELD", "DEFAULT", "MEANING"), rows, "")


@click.group("plugins")
def plugins_command() -> None:
    """Look at installed plugins."""


@plugins_command.command("list")
@json_option
def plugins_list(as_json: bool) -> None:
    """List installed plugins from their metadata; imports none of them.

    \b
    Example: zoo plugins list --json
    """
    from zoo.host import plugins

    found = [
        {"distribution": p.distribution, "version": p.version, "group": p.group, "name": p.name, "module": p.module}
        for p in plugins()
    ]
    if as_json:
        print_json(found)
        return
    print_table(
        ("DISTRIBUTION", "VERSION", "GROUP", "NAME", "MODULE"),
        [tuple(p.values()) for p in found],
        "No plugin is installed.",
    )


@plugins_command.command("doctor")
@json_option
@click.pass_context
def plugins_doctor(ctx: click.Context, as_json: bool) -> None:
    """Import every plugin and show what is wrong with those that fail. Exit status 1 if any does.

    \b
    Example: zoo plugins doctor
    """
    from dataclasses import asdict

    from zoo.host import examine

    findings = examine()
    if as_json:
        print_json([asdict(finding) | {"ok": finding.reason is None} for finding in findings])
    else:
        for finding in findings:
            plugin, state = finding.plugin, "ok" if finding.reason is None else f"set aside: {finding.reason}"
            click.echo(f"{plugin.group} {plugin.name} ({plugin.distribution} {plugin.version}): {state}")
            if finding.traceback:
                click.echo(finding.traceback.rstrip(), err=True)
    if any(finding.reason is not None for finding in findings):
        ctx.exit(1)


@plugins_command.command("check")
@click.argument("name")
@click.pass_context
def plugins_check(ctx: click.Context, name: str) -> None:
    """Run the conformance checks on an installed architecture. Exit status 1 if any fails. Needs pytest.

    \b
    Example: zoo plugins check bert
    """
    from zoo.host import get_architecture

    get_architecture(name)
    try:
        import pytest
    except ModuleNotFoundError:
        raise click.ClickException('The checks need pytest. Try: pip install "zoo[testing]"') from None
    # On their own terms, whatever project's settings the current folder may hold.
    own_terms = [
        "--override-ini",
        "addopts=",
        "-p",
        "no:cacheprovider",
        "-W",
        "ignore::pytest.PytestAssertRewriteWarning",
    ]
    ctx.exit(int(pytest.main(["-q", *own_terms, "--zoo-arch", name])))
