"""The plugin host: finds plugins by installed metadata, imports one on first use, and sets broken ones aside.

Listing reads metadata alone. Nothing a plugin does on import, short of ending the process for good, can stop the rest:
a failure is kept with its traceback and raised as PluginBroken to whoever asked for that plugin.
"""

from __future__ import annotations

import os
import reprlib
import threading
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import Distribution, EntryPoint, distributions, version
from typing import TYPE_CHECKING, Any

from zoo.configuration import configuration_path, preferred
from zoo.errors import InvalidInput, InvalidPlugin, PluginBroken, PluginConflict, UnknownArchitecture, UnknownTask

if TYPE_CHECKING:
    import pluggy

    from zoo.architecture import Architecture
    from zoo.specs import Kind

KIND_GROUPS: dict[str, Kind] = {
    "zoo.encoder_only": "encoder-only",
    "zoo.decoder_only": "decoder-only",
    "zoo.encoder_decoder": "encoder-decoder",
}
GROUPS = (*KIND_GROUPS, "zoo.tasks", "zoo.commands", "zoo.catalogues", "zoo.sources", "zoo.lifecycle")


@dataclass(frozen=True)
class ArchitectureInfo:
    """What is known of an installed architecture without importing it."""

    name: str
    kind: Kind
    distribution: str
    version: str


@dataclass(frozen=True)
class Plugin:
    """One entry point: a name in a group, the module behind it, and the distribution it came with.

    requirements: what the distribution's metadata asks of Zoo itself.
    """

    group: str
    name: str
    module: str
    distribution: str
    version: str
    requirements: tuple[str, ...] = ()


@dataclass(frozen=True)
class Failure:
    """Why a plugin was set aside."""

    reason: str
    traceback: str


@dataclass(frozen=True)
class Finding:
    """How a plugin fares. reason, traceback: None where it works."""

    plugin: Plugin
    reason: str | None
    traceback: str | None


_lock = threading.RLock()
_failures: dict[Plugin, Failure] = {}
_managers: dict[Plugin, pluggy.PluginManager] = {}  # one each: no plugin's hook can answer for another's


def plugins(group: str | None = None) -> list[Plugin]:
    """Give the installed plugins, of one group or all, by name. Imports none.

    `ZOO_PLUGINS=a,b` restricts them to those distributions; set but empty, it disables all.
    """
    allowed = os.environ.get("ZOO_PLUGINS")
    names = None if allowed is None else {_normal(name) for name in allowed.split(",")}
    found = [p for p in _installed() if names is None or _normal(p.distribution) in names]
    return [plugin for plugin in found if group is None or plugin.group == group]


def list_architectures(kind: Kind | None = None) -> list[ArchitectureInfo]:
    """Give name, kind, distribution and version of every installed architecture, by name, from metadata alone.

    kind: only those of one kind: "encoder-only", "decoder-only" or "encoder-decoder".
    """
    found = [
        ArchitectureInfo(plugin.name, KIND_GROUPS[plugin.group], plugin.distribution, plugin.version)
        for plugin in plugins()
        if plugin.group in KIND_GROUPS and kind in (None, KIND_GROUPS[plugin.group])
    ]
    return sorted(found, key=lambda info: info.name)


def get_architecture(name: str, known_distribution: str | None = None) -> Architecture:
    """Give an architecture by name; imports the one plugin that provides it.

    known_distribution: who is known to provide it, to name in the error if nobody installed does.
    Raises UnknownArchitecture, PluginConflict, PluginBroken.
    """
    candidates = [plugin for plugin in plugins() if plugin.group in KIND_GROUPS and plugin.name == name]
    if not candidates:
        raise UnknownArchitecture(name, [info.name for info in list_architectures()], known_distribution)
    return _architecture(_chosen(candidates))


def _architecture(plugin: Plugin) -> Architecture:
    from zoo.architecture import Architecture

    for given in values(plugin, "zoo_architectures"):
        if not isinstance(given, Architecture):
            raise _set_aside(
                plugin, InvalidPlugin(f"zoo_architectures() gave {_shown(given)}, which is no Architecture")
            )
        if given.name == plugin.name:
            if given.kind != KIND_GROUPS[plugin.group]:
                raise _set_aside(
                    plugin, InvalidPlugin(f"'{plugin.name}' is {given.kind}, but is registered in {plugin.group}")
                )
            return given
    raise _set_aside(
        plugin, InvalidPlugin(f"zoo_architectures() does not give the '{plugin.name}' that the entry point names")
    )


def get_task(name: str) -> Any:
    """Give a plugin's task by name. Raises UnknownTask, PluginConflict, PluginBroken."""
    candidates = [plugin for plugin in plugins("zoo.tasks") if plugin.name == name]
    if not candidates:
        raise UnknownTask(name, sorted({plugin.name for plugin in plugins("zoo.tasks")}))
    return _task(_chosen(candidates))


def _task(plugin: Plugin) -> Any:
    from zoo.tasks.base import Task

    for given in values(plugin, "zoo_tasks"):
        if isinstance(given, Task) and given.name == plugin.name:
            return given
    raise _set_aside(plugin, InvalidPlugin(f"zoo_tasks() does not give a Task named '{plugin.name}'"))


def get_command(name: str, cli: Any) -> None:
    """Let the plugin that brings a command add it to the click group. Raises PluginConflict, PluginBroken."""
    _add_command(_chosen([plugin for plugin in plugins("zoo.commands") if plugin.name == name]), cli)


def _add_command(plugin: Plugin, cli: Any) -> None:
    _hook(plugin, "zoo_commands", cli=cli)
    if plugin.name not in cli.commands:
        raise _set_aside(
            plugin, InvalidPlugin(f"zoo_commands() does not add the '{plugin.name}' that the entry point names")
        )


def each(group: str, hook: str) -> Iterator[Any]:
    """Give what every working plugin of a group returns from a hook, one after the other; broken ones are left out."""
    for plugin in plugins(group):
        try:
            yield from values(plugin, hook)
        except PluginBroken:
            continue


def notify(hook: str, **facts: Any) -> list[Any]:
    """Tell every lifecycle plugin of an event and give their answers. A plugin that fails is set aside, not raised."""
    answers = []
    for plugin in plugins("zoo.lifecycle"):
        try:
            answers += _hook(plugin, hook, **facts)
        except PluginBroken:
            continue
    return answers


def figures(hook: str, **facts: Any) -> dict[str, float]:
    """Tell every lifecycle plugin of an event, and give together the numbers that they answer with, by name.

    A plugin that fails or answers with anything else is set aside, not raised.
    """
    found: dict[str, float] = {}
    for plugin in plugins("zoo.lifecycle"):
        try:
            for answer in _hook(plugin, hook, **facts):
                if not isinstance(answer, Mapping) or not all(isinstance(n, int | float) for n in answer.values()):
                    raise _set_aside(
                        plugin, InvalidPlugin(f"{hook}() gave {_shown(answer)}, which are no numbers by name")
                    )
                found.update(answer)
        except PluginBroken:
            continue
    return found


def hooks_of(tracker: Any) -> pluggy.HookRelay:
    """Give the hooks of an object that implements some of them, to be called by name. Raises InvalidInput."""
    try:
        manager = _manager(tracker)
    except InvalidPlugin as error:
        raise InvalidInput(f"{_shown(tracker)} cannot be a tracker: {error}") from None
    if not manager.get_hookcallers(tracker):
        raise InvalidInput(
            f"{_shown(tracker)} cannot be a tracker: it implements no hook. "
            "It would have a method such as zoo_training_step(self, step, metrics), marked with @zoo.hookimpl"
        )
    return manager.hook


def values(plugin: Plugin, hook: str) -> list[Any]:
    """Give the list that a plugin's hook returns, empty if it does not implement it. Raises PluginBroken."""
    given: list[Any] = []
    for answer in _hook(plugin, hook):
        if not isinstance(answer, Sequence) or isinstance(answer, str | bytes):
            raise _set_aside(plugin, InvalidPlugin(f"{hook}() gave {_shown(answer)}, which is no list"))
        given += answer
    for value in given:
        if hook == "zoo_catalogues" and not isinstance(value, str | os.PathLike):
            raise _set_aside(plugin, InvalidPlugin(f"{hook}() gave {_shown(value)}, which is no folder"))
    return given


def examine() -> list[Finding]:
    """Import every installed plugin, ask it for what it names, and tell of each whether it works and who else claims it."""
    findings = []
    installed = plugins()
    for plugin in installed:
        reason = trace = None
        try:
            _try_out(plugin)
        except PluginBroken:
            reason, trace = _failures[plugin].reason, _failures[plugin].traceback
        space = KIND_GROUPS if plugin.group in KIND_GROUPS else (plugin.group,)
        rivals = [p for p in installed if p.name == plugin.name and p.group in space]
        try:
            _chosen(rivals)
        except PluginConflict as conflict:
            reason = reason or str(conflict)
        findings.append(Finding(plugin, reason, trace))
    return findings


def _try_out(plugin: Plugin) -> None:
    """Ask a plugin for what its entry point names, as its first use would. Raises PluginBroken."""
    import click

    load(plugin)
    if plugin.group in KIND_GROUPS:
        _architecture(plugin)
    elif plugin.group == "zoo.tasks":
        _task(plugin)
    elif plugin.group == "zoo.commands":
        _add_command(plugin, click.Group())
    elif plugin.group == "zoo.catalogues":
        values(plugin, "zoo_catalogues")
    elif plugin.group == "zoo.sources":
        values(plugin, "zoo_sources")


def load(plugin: Plugin) -> Any:
    """Import a plugin's module and check its hooks against the contract. Raises PluginBroken."""
    with _lock:
        if plugin in _failures:
            raise PluginBroken(plugin.name, plugin.distribution, _failures[plugin].reason)
        try:
            if plugin not in _managers:
                _check_requirements(plugin)
            module = EntryPoint(plugin.name, plugin.module, plugin.group).load()
            if plugin not in _managers:
                _managers[plugin] = _manager(module)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a plugin may also call sys.exit(): that must not end the host
            raise _set_aside(plugin, error) from error
        return module


def _hook(plugin: Plugin, hook: str, **arguments: Any) -> list[Any]:
    """Call a hook in one plugin only."""
    load(plugin)
    try:
        answers: list[Any] = getattr(_managers[plugin].hook, hook)(**arguments)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise _set_aside(plugin, error) from error
    return answers


def _set_aside(plugin: Plugin, error: BaseException) -> PluginBroken:
    try:
        reason = str(error) if isinstance(error, InvalidPlugin) else f"{type(error).__name__}: {error}"
    except Exception:  # a plugin's own class of errors may fail at that too
        reason = type(error).__name__
    _failures[plugin] = Failure(reason, "".join(traceback.format_exception(error)))
    return PluginBroken(plugin.name, plugin.distribution, reason)


def _shown(value: Any) -> str:
    """Give a short repr, also of what cannot be shown."""
    shown = reprlib.Repr()
    shown.maxother = shown.maxstring = 60
    return shown.repr(value)


def _chosen(candidates: list[Plugin]) -> Plugin:
    """Give the one candidate, or the one the user prefers. Raises PluginConflict."""
    owners = sorted({plugin.distribution for plugin in candidates})
    if len(owners) == 1:
        return candidates[0]
    wanted = preferred().get(candidates[0].name)
    for plugin in candidates:
        if wanted is not None and _normal(plugin.distribution) == _normal(wanted):
            return plugin
    raise PluginConflict(candidates[0].group, candidates[0].name, owners, configuration_path())


def _manager(module: Any) -> pluggy.PluginManager:
    """Register a plugin's hooks. Raises InvalidPlugin for one that the contract does not have."""
    import pluggy

    from zoo import hookspecs

    manager = pluggy.PluginManager("zoo")
    manager.add_hookspecs(hookspecs)
    manager.register(module)
    for caller in manager.get_hookcallers(module) or []:
        if caller.spec is None:
            raise InvalidPlugin(f"it implements {caller.name}(), which is no hook of Zoo")
    return manager


@cache
def _installed() -> tuple[Plugin, ...]:
    """Read the metadata of every installed distribution once; the first of a name on the path counts, as for imports."""
    found: dict[str, list[Plugin]] = {}
    for distribution in distributions():
        try:
            if provided := _plugins_of(distribution):
                found.setdefault(_normal(provided[0].distribution), provided)
        except Exception:  # metadata that cannot be read: any distribution's, so there is no plugin to set aside
            continue
    every = [plugin for plugins in found.values() for plugin in plugins]
    return tuple(sorted(every, key=lambda plugin: (plugin.group, plugin.name, plugin.distribution)))


def _plugins_of(distribution: Distribution) -> list[Plugin]:
    entries = {(entry.group, entry.name): entry for entry in distribution.entry_points if entry.group in GROUPS}
    if not entries:
        return []  # most are none of ours: their metadata is not read further
    owner = str(distribution.metadata["Name"])
    asked = tuple(text for text in distribution.requires or () if text.lower().startswith("zoo"))
    return [
        Plugin(entry.group, entry.name, entry.value, owner, distribution.version, asked) for entry in entries.values()
    ]


def _check_requirements(plugin: Plugin) -> None:
    """Refuse a plugin whose metadata rules out this version of Zoo. Raises InvalidPlugin."""
    from packaging.requirements import Requirement

    for text in plugin.requirements:
        requirement = Requirement(text)
        if _normal(requirement.name) != "zoo" or (
            requirement.marker and not requirement.marker.evaluate({"extra": ""})
        ):
            continue
        if not requirement.specifier.contains(version("zoo"), prereleases=True):
            raise InvalidPlugin(f"it wants zoo{requirement.specifier}, and zoo {version('zoo')} is installed")


def _normal(name: str) -> str:
    return name.strip().lower().replace("_", "-").replace(".", "-")
