"""Writes docs/architectures: a page per architecture of this repository, made from its plugin. `make docs` runs it."""

from __future__ import annotations

import json
import re
import sys
import tomllib
import types
import typing
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from zoo.architecture import Architecture, Head
from zoo.checkpoint.layout import Each, Layout, Row
from zoo.host import KIND_GROUPS, get_architecture
from zoo.hub.catalogue import CatalogueEntry, list_checkpoints
from zoo.specs import GENERATION_KEYS, HOUSEKEEPING_KEYS, TASK_KEYS, Spec
from zoo.tasks import get_task

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "docs" / "architectures"
NOTE = "<!-- Made from the plugins by docs/make_pages.py. Change the plugin, then run: make docs -->"
UNIONS = (typing.Union, types.UnionType)
SIGNS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
SERVED_TASKS = ("summarization", "translation")
WORDS = {int: "integer", float: "number", bool: "`true` or `false`", str: "text", types.NoneType: "`null`"}


def main(folder: Path = FOLDER) -> None:
    """Write every page into a folder, and remove those of architectures that are gone."""
    folder.mkdir(parents=True, exist_ok=True)
    written = pages()
    for name, text in written.items():
        (folder / name).write_text(text, encoding="utf-8")
    for path in folder.glob("*.md"):
        if path.name not in written:
            path.unlink()


def pages() -> dict[str, str]:
    """Give the pages' texts by file name: the index, and one for each architecture."""
    owners = distributions()
    known = {name: get_architecture(name) for name in sorted(owners)}
    entries = list_checkpoints()
    found = {"README.md": index(list(known.values()), entries)}
    for name, architecture in known.items():
        own = [entry for entry in entries if entry.architecture == name and entry.plugin == owners[name]]
        found[f"{name}.md"] = page(architecture, owners[name], own)
    return found


def distributions() -> dict[str, str]:
    """Give the names of this repository's architectures, each with the distribution that brings it."""
    found: dict[str, str] = {}
    for path in sorted((ROOT / "plugins").glob("*/pyproject.toml")):
        project = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
        for group, names in project.get("entry-points", {}).items():
            if group in KIND_GROUPS:
                found |= dict.fromkeys(names, project["name"])
    return found


def index(architectures: Sequence[Architecture], entries: Sequence[CatalogueEntry]) -> str:
    """Give the index: a table per kind, and what holds for every architecture."""
    parts = [
        f"{NOTE}\n\n# Architectures",
        "Every architecture that comes from this repository, with what sets it apart. Architectures of other people are "
        "plugins too: `zoo arch list` shows what is installed, and "
        "[Write an architecture plugin in an hour](../guides/write-an-architecture-plugin.md) how to add one.",
    ]
    for kind in KIND_GROUPS.values():
        rows = [
            (f"[{a.name}]({a.name}.md)", a.summary, str(sum(entry.architecture == a.name for entry in entries)))
            for a in architectures
            if a.kind == kind
        ]
        parts.append(f"## {kind.capitalize()}\n\n" + table(("name", "what sets it apart", "known checkpoints"), rows))
    parts.append(
        "## Keys that every architecture ignores\n\n"
        "A key of `config.json` that an architecture neither reads nor ignores stops the load, because a setting that "
        "nobody reads gives wrong numbers without a word. These keys are ignored everywhere, for the reason given.\n\n"
        f"- Written by the libraries that made the checkpoint; none changes what a forward pass computes: "
        f"{codes(HOUSEKEEPING_KEYS)}.\n"
        f"- Settings for generating text in old configs, taken from `generation_config.json` instead: "
        f"{codes(GENERATION_KEYS)}.\n"
        f"- Read by the head, for the names of its labels: {codes(TASK_KEYS)}."
    )
    return "\n\n".join(parts) + "\n"


def page(architecture: Architecture, distribution: str, entries: Sequence[CatalogueEntry]) -> str:
    """Give an architecture's page."""
    facts = [
        ("kind", architecture.kind),
        ("paper", linked(architecture.paper)),
        ("distribution", f"`{distribution}`"),
        ("`model_type` in `config.json`", f"`{architecture.name}`"),
    ]
    parts = [
        f"{NOTE}\n\n# {architecture.name}",
        architecture.summary,
        table(("", ""), facts),
        checkpoints(architecture, entries),
        tasks(architecture),
        spec(architecture),
        tensors(architecture),
        f"All architectures: [index](README.md). On the command line: `zoo arch show {architecture.name}`.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def checkpoints(architecture: Architecture, entries: Sequence[CatalogueEntry]) -> str:
    """Give the section on checkpoints, with how to get the smallest."""
    if not entries:
        return (
            "## Known checkpoints\n\n"
            "The catalogue has none. Any repository or folder of safetensors whose `config.json` says "
            f'`"model_type": "{architecture.name}"` loads by its own name:\n\n'
            '```python\nimport zoo\n\nmodel = zoo.load("./folder")\n```'
        )
    rows = [
        (
            f"`{entry.name}`",
            f"[{entry.repository}](https://huggingface.co/{entry.repository})",
            entry.task,
            count(entry.parameters),
            entry.license,
            entry.description,
        )
        for entry in sorted(entries, key=lambda entry: (entry.parameters, entry.name))
    ]
    smallest = rows[0][0].strip("`")
    return (
        "## Known checkpoints\n\n"
        + table(("name", "repository", "task", "parameters", "license", "description"), rows)
        + f"\n\nTo get one and to load it:\n\n```\n$ zoo pull {smallest}\n```\n\n"
        + f'```python\nimport zoo\n\nmodel = zoo.load("{smallest}")\n```'
    )


def tasks(architecture: Architecture) -> str:
    """Give the section on heads."""
    rows = [(served(head.task), ", ".join(f"`{name}`" for name in head.classes)) for head in architecture.heads]
    return (
        "## Tasks\n\nA checkpoint says by a class name under `architectures` of its `config.json` which head it has. "
        "Another one is made, with random weights, where it is asked for by `labels=[...]`.\n\n"
        + table(("task", "class names that mean it"), rows)
    )


def served(task: str) -> str:
    """Give a head's task with the others that it serves."""
    others = [name for name in SERVED_TASKS if get_task(name).head == task]
    return f"{task}, {', '.join(others)}" if others else task


def spec(architecture: Architecture) -> str:
    """Give the section on the spec: what may be set, what is pinned, what is ignored."""
    kind = architecture.spec
    fields = [(key, field) for key, field in kind.model_fields.items() if key != "model_type"]
    open_fields = [(key, field) for key, field in fields if pinned(field) is None]
    in_order = [pair for pair in open_fields if pair[1].is_required()]
    in_order += [pair for pair in open_fields if not pair[1].is_required()]
    parts = ["## Spec", "The keys of `config.json` that are read.", field_table(in_order)]
    for model in nested(field.annotation for _, field in in_order):
        parts += [f"### {model.__name__}", "The keys of this object.", field_table(list(model.model_fields.items()))]
    rows = [
        (f"`{field.alias or key}`", str(pinned(field)), sentence(field.description or ""))
        for key, field in fields
        if pinned(field) is not None
    ]
    parts += ["### Pinned", "The keys with one possible value: a config that says otherwise is refused, not misread."]
    parts.append(table(("key", "value", "meaning"), rows))
    return "\n\n".join([*parts, ignored(kind)])


def ignored(kind: type[Spec]) -> str:
    """Give the section on keys that are not read."""
    lines = []
    if kind.ignored_config_keys:
        lines.append(f"- Not read, by name: {codes(kind.ignored_config_keys)}.")
    if kind.repeated_config_keys:
        said = []
        for key, name in sorted(kind.repeated_config_keys.items()):
            field = kind.model_fields.get(name)
            said.append(
                f"`{key}` (what `{field.alias or name}` says)" if field else f"`{key}` (what the rest comes to)"
            )
        lines.append(f"- May only say again what other keys say: {', '.join(said)}.")
    lines.append("- The [keys that every architecture ignores](README.md#keys-that-every-architecture-ignores).")
    return "### Ignored\n\n" + "\n".join(lines)


def field_table(fields: Iterable[tuple[str, FieldInfo]]) -> str:
    """Give a table of fields as a config spells them."""
    rows = []
    for key, field in fields:
        default = "required" if field.is_required() else f"`{json.dumps(field.default, ensure_ascii=False)}`"
        meaning = re.sub(r"\bNone\b", "null", field.description or "")
        rows.append((f"`{field.alias or key}`", readable(field.annotation, field.metadata), default, meaning))
    return table(("key", "type", "default", "meaning"), rows)


def pinned(field: FieldInfo) -> str | None:
    """Give the one thing that a field may say, as JSON, or None where there are several."""
    values = typing.get_args(field.annotation) if typing.get_origin(field.annotation) is Literal else ()
    if len(values) == 1:
        return f"`{json.dumps(values[0])}`"
    is_said = (field.description or "").startswith("Pinned")
    if is_said and typing.get_origin(field.annotation) in UNIONS:
        return readable(field.annotation)
    if is_said or field.annotation is types.NoneType:
        return f"`{json.dumps(field.default)}`"
    return None


def readable(annotation: Any, metadata: Sequence[Any] = ()) -> str:
    """Give a type in words, with its bounds."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        inner = [m for given in arguments[1:] for m in (given.metadata if isinstance(given, FieldInfo) else [given])]
        return readable(arguments[0], [*metadata, *inner])
    if origin in UNIONS:
        members = [readable(member, () if member is types.NoneType else metadata) for member in arguments]
        return " or ".join(members)
    if origin is Literal:
        return alternatives(arguments)
    if origin in (list, tuple):
        return f"list of {readable(arguments[0]).replace('integer', 'integers')}"
    if origin is dict:
        return f"object of {readable(arguments[1])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"[{annotation.__name__}](#{annotation.__name__.lower()})"
    return (WORDS.get(annotation) or str(annotation)) + bounds(metadata)


def alternatives(values: Sequence[Any]) -> str:
    """Give the values to choose from."""
    given = [f"`{json.dumps(value)}`" for value in values]
    return given[0] if len(given) == 1 else f"{', '.join(given[:-1])} or {given[-1]}"


def bounds(metadata: Sequence[Any]) -> str:
    """Give what a number must keep to; the largest size there is goes without saying."""
    given = [(sign, getattr(m, name)) for m in metadata for name, sign in SIGNS.items() if hasattr(m, name)]
    lower = [(value, sign) for sign, value in given if sign in "≥>"]
    upper = [(value, sign) for sign, value in given if sign in "≤<" and value < 2**24]
    tightest = [*([max(lower)] if lower else []), *([min(upper)] if upper else [])]
    return "".join(f"{',' if n else ''} {sign} {value}" for n, (value, sign) in enumerate(tightest))


def nested(annotations: Iterable[Any]) -> list[type[BaseModel]]:
    """Give the models that fields hold, each once."""
    found: dict[type[BaseModel], None] = {}
    for annotation in annotations:
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            found[annotation] = None
        found |= dict.fromkeys(nested(typing.get_args(annotation)))
    return list(found)


def tensors(architecture: Architecture) -> str:
    """Give the section on tensors, folded away."""
    layout = architecture.layout
    parts = ["`{}` stands for a layer's number."]
    if layout.prefix:
        others = [f"`{prefix}`" for prefix in (layout.prefix, *layout.other_prefixes)]
        parts.append(f"Under a head, the backbone's names on the Hub begin with {' or '.join(others)}.")
    said = [" ".join(parts), row_table(layout)]
    if layout.ignored:
        said.append(f"Not needed, and kept as they are: {codes(layout.ignored)}.")
    if layout.old_spellings:
        spelt = ", ".join(f"`{old}` for `{new}`" for old, new in layout.old_spellings)
        said.append(f"Old spellings, read and never written: {spelt}.")
    for head in architecture.heads:
        said += head_tensors(head)
    folded = "\n\n".join(said)
    return (
        "## Tensors\n\n<details>\n<summary>The names of tensors on the Hub beside Zoo's</summary>\n\n"
        f"{folded}\n\n</details>"
    )


def head_tensors(head: Head) -> list[str]:
    """Give a head's own tensors, if it has any."""
    if not head.layout.rows:
        return []
    return [f"For {head.task}:", row_table(head.layout)]


def row_table(layout: Layout) -> str:
    """Give a layout's rows."""
    rows = [(names(row.hub), names(row.zoo), ", ".join(changes(row))) for row in layout.rows]
    if any(change for *_, change in rows):
        return table(("Hub", "Zoo", "change"), rows)
    return table(("Hub", "Zoo"), [row[:2] for row in rows])


def changes(row: Row) -> list[str]:
    """Give the names of what happens to a tensor on the way from the Hub."""
    kinds = [type(transform) for transform in row.transforms if not isinstance(transform, Each)]
    return [re.sub(r"(?<!^)(?=[A-Z])", " ", kind.__name__).lower() for kind in kinds]


def names(given: Sequence[str]) -> str:
    """Give tensor names for a cell, one a line."""
    return "<br>".join(f"`{name}`" for name in given)


def codes(given: Iterable[str]) -> str:
    """Give names as code, in alphabetical order."""
    return ", ".join(f"`{name}`" for name in sorted(given))


def linked(paper: str) -> str:
    """Turn `Title (address)` into a link."""
    found = re.fullmatch(r"(.*) \((https?://\S+)\)", paper)
    return f"[{found[1]}]({found[2]})" if found else paper


def sentence(text: str) -> str:
    """Give what a pinned field's description says, with a capital at its beginning."""
    text = text.removeprefix("Pinned: ")
    return text[:1].upper() + text[1:]


def count(parameters: int) -> str:
    """Give a number of parameters for people."""
    return f"{parameters / 1e9:.1f} B" if parameters >= 1e9 else f"{parameters / 1e6:.1f} M"


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Give a Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
