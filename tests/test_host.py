"""The host can't be broken: real plugin distributions, most of them hostile, in processes of their own."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import pytest

import zoo

MARK = "import os, pathlib\npathlib.Path(os.environ['ZOO_TEST_MARKS'], __name__).open('a').write('imported\\n')\n"
# What Zoo's own distributions register here, as (group, name).
OWN = sorted({(e.group, e.name) for found in distributions() for e in found.entry_points if e.group.startswith("zoo.")})
KINDS = ("zoo.encoder_only", "zoo.decoder_only", "zoo.encoder_decoder")
ARCHITECTURES = [name for group, name in OWN if group in KINDS]
ENCODERS = [name for group, name in OWN if group == "zoo.encoder_only"]
PARTS = """
from typing import Literal
import click
import zoo
from zoo.architecture import Architecture, Head
from zoo.checkpoint.layout import Layout
from zoo.specs import EncoderSpec

class ToySpec(EncoderSpec):
    model_type: Literal["toy", "other"] = "toy"

def toy(name):
    head = Head("feature-extraction", classes=("Toy",))
    return Architecture(name=name, spec=ToySpec, build=print, layout=Layout(), heads=(head,), paper="none")
"""
HOOK = PARTS + "\n@zoo.hookimpl\ndef zoo_architectures():\n    "
NO_HOOK = "{}() does not {} the '{}' that the entry point names"

# name: (group, source, what the doctor says of it)
HOSTILE: dict[str, tuple[str, str, str]] = {
    "syntax": ("zoo.encoder_only", "def", "SyntaxError: invalid syntax (hostile_syntax.py, line 3)"),
    "exits": ("zoo.encoder_only", "import sys\nsys.exit(3)", "SystemExit: 3"),
    "exits-in-hook": ("zoo.encoder_only", HOOK + "raise SystemExit('enough')", "SystemExit: enough"),
    "needs": ("zoo.encoder_only", "import not_installed", "ModuleNotFoundError: No module named 'not_installed'"),
    "raises": ("zoo.encoder_only", HOOK + "return 1 / 0", "ZeroDivisionError: division by zero"),
    "stops": ("zoo.encoder_only", "class Stop(BaseException): pass\nraise Stop('now')", "Stop: now"),
    "recurses": (
        "zoo.encoder_only", "def f(): f()\nf()", "RecursionError: maximum recursion depth exceeded",
    ),
    "mute": (
        "zoo.encoder_only",
        "class Mute(Exception):\n    def __str__(self): raise ValueError\nraise Mute",
        "Mute",
    ),
    "number": ("zoo.encoder_only", HOOK + "return 5", "zoo_architectures() gave 5, which is no list"),
    "text": ("zoo.encoder_only", HOOK + "return 'text'", "zoo_architectures() gave 'text', which is no list"),
    "numbers": ("zoo.encoder_only", HOOK + "return [5]", "zoo_architectures() gave 5, which is no Architecture"),
    "nothing": ("zoo.encoder_only", "", NO_HOOK.format("zoo_architectures", "give", "nothing")),
    "other": ("zoo.encoder_only", HOOK + "return [toy('x')]", NO_HOOK.format("zoo_architectures", "give", "other")),
    "wrong-kind": (
        "zoo.decoder_only",
        HOOK + "return [toy('wrong-kind')]",
        "'wrong-kind' is encoder-only, but is registered in zoo.decoder_only",
    ),
    "unheard": (
        "zoo.encoder_only",
        PARTS + "@zoo.hookimpl\ndef zoo_unheard(): pass",
        "it implements zoo_unheard(), which is no hook of Zoo",
    ),
    "featureless": (
        "zoo.encoder_only",
        PARTS + "Architecture(name='f', spec=ToySpec, build=print, layout=Layout(), heads=(), paper='')",
        "The architecture 'f' has no head for 'feature-extraction'; every backbone needs one",
    ),
    "folder": (
        "zoo.catalogues",
        PARTS + "@zoo.hookimpl\ndef zoo_catalogues(): return [5]",
        "zoo_catalogues() gave 5, which is no folder",
    ),
    "command": (
        "zoo.commands",
        PARTS + "@zoo.hookimpl\ndef zoo_commands(cli): pass",
        NO_HOOK.format("zoo_commands", "add", "command"),
    ),
    "exiting-command": (
        "zoo.commands",
        PARTS + "@zoo.hookimpl\ndef zoo_commands(cli): raise SystemExit(4)",
        "SystemExit: 4",
    ),
    "task": (
        "zoo.tasks",
        PARTS + "@zoo.hookimpl\ndef zoo_tasks(): return ['task']",
        "zoo_tasks() does not give a Task named 'task'",
    ),
    "source": (
        "zoo.sources",
        PARTS + "@zoo.hookimpl\ndef zoo_sources(): return {1}",
        "zoo_sources() gave {1}, which is no list",
    ),
    "listener": ("zoo.lifecycle", "import antigravity_is_not_here",
                 "ModuleNotFoundError: No module named 'antigravity_is_not_here'"),
}  # fmt: skip


def install(
    site: Path,
    distribution: str,
    entries: Sequence[tuple[str, str, str]],
    modules: Mapping[str, str],
    requires: Sequence[str] = (),
) -> None:
    """Put a distribution on the path: entries are (group, name, module); modules are source texts by name."""
    site.mkdir(exist_ok=True)
    for name, source in modules.items():
        (site / f"{name}.py").write_text(MARK + source, encoding="utf-8")
    info = site / f"{distribution.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    wanted = "".join(f"Requires-Dist: {one}\n" for one in requires)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n{wanted}")
    (info / "entry_points.txt").write_text("".join(f"[{group}]\n{name} = {value}\n" for group, name, value in entries))


class Site:
    """A folder of plugins on the path, and what runs with it."""

    def __init__(self, folder: Path) -> None:
        self.path, self.marks, self.config = folder / "site", folder / "marks", folder / "config.toml"
        self.path.mkdir()
        self.marks.mkdir()

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        env = {name: value for name, value in os.environ.items() if name != "ZOO_PLUGINS"}
        env |= {"PYTHONPATH": str(self.path), "ZOO_TEST_MARKS": str(self.marks), "ZOO_CONFIG": str(self.config)}
        return subprocess.run(
            [sys.executable, *command], capture_output=True, text=True, env=env | environment, timeout=120
        )

    def zoo(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return self.run("-m", "zoo.cli.main", *arguments, **environment)

    def python(self, source: str, **environment: str) -> str:
        done = self.run("-c", source, **environment)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def imported(self) -> list[str]:
        return sorted(path.name for path in self.marks.iterdir())


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def install_hostile(site: Site) -> None:
    for name, (group, source, _) in HOSTILE.items():
        module = f"hostile_{name.replace('-', '_')}"
        install(site.path, f"zoo-{name}", [(group, name, module)], {module: source})
    wrong = HOOK.replace("zoo_architectures()", "zoo_architectures(banana)") + "return []"
    install(
        site.path, "zoo-argument", [("zoo.encoder_only", "argument", "hostile_argument")], {"hostile_argument": wrong}
    )
    future = HOOK + "return [toy('future')]"
    install(
        site.path,
        "zoo-future",
        [("zoo.encoder_only", "future", "hostile_future")],
        {"hostile_future": future},
        ["zoo>=9"],
    )
    install(site.path, "zoo-unnamed", [("zoo.encoder_only", "unnamed", "not a module!")], {})
    install(site.path, "zoo-absent", [("zoo.encoder_only", "absent", "hostile_absent:plugin")], {"hostile_absent": ""})


def test_listing_and_help_import_no_plugin_and_survive_hostile_ones(site: Site) -> None:
    install_hostile(site)
    architectures = site.zoo("arch", "list", "--json")
    names = [info["name"] for info in json.loads(architectures.stdout)]
    groups = ("zoo.encoder_only", "zoo.decoder_only")
    hostile = [name for name, (group, _, _) in HOSTILE.items() if group in groups]
    assert sorted(names) == sorted([*hostile, "argument", "future", "unnamed", "absent", *ARCHITECTURES])
    listed = site.zoo("plugins", "list", "--json")
    assert {entry["name"] for entry in json.loads(listed.stdout)} >= {*HOSTILE, "bert", "serve"}
    shown = site.zoo("--help")
    assert "  exiting-command  (of zoo-exiting-command; see zoo exiting-command --help)\n" in shown.stdout
    for done in (architectures, listed, shown):
        assert (done.returncode, done.stderr) == (0, "")
    assert site.imported() == []


def test_the_doctor_says_of_each_plugin_what_is_wrong_with_it(site: Site) -> None:
    install_hostile(site)
    done = site.zoo("plugins", "doctor", "--json")
    findings = {finding["plugin"]["name"]: finding for finding in json.loads(done.stdout)}
    reasons = {name: finding["reason"] for name, finding in findings.items()}
    for name in {name for _, name in OWN}:  # carbon brings a command and hooks under one name
        assert (findings[name]["ok"], reasons.pop(name), findings[name]["traceback"]) == (True, None, None)
    argument, unnamed = reasons.pop("argument"), reasons.pop("unnamed")
    assert argument.startswith("PluginValidationError: Plugin 'hostile_argument' for hook 'zoo_architectures'\n")
    assert "Argument(s) {'banana'} are declared in the hookimpl but can not be found in the hookspec" in argument
    assert unnamed.startswith("AttributeError: ")
    assert reasons == {name: reason for name, (_, _, reason) in HOSTILE.items()} | {
        "future": f"it wants zoo>=9, and zoo {zoo.__version__} is installed",
        "absent": "AttributeError: module 'hostile_absent' has no attribute 'plugin'",
    }
    assert all(finding["traceback"].strip() for name, finding in findings.items() if not finding["ok"])
    assert done.stderr == ""


def test_the_doctor_prints_reasons_and_tracebacks(site: Site) -> None:
    install(
        site.path,
        "zoo-exits",
        [("zoo.encoder_only", "exits", "hostile_exits")],
        {"hostile_exits": "raise SystemExit(3)"},
    )
    done = site.zoo("plugins", "doctor")
    lines = done.stdout.splitlines()
    own, exits = ("zoo.encoder_only", "bert"), ("zoo.encoder_only", "exits")
    places = {plugin: place for place, plugin in enumerate(sorted([*OWN, exits]))}
    assert len(lines) == len(places)
    assert lines[places[own]] == "zoo.encoder_only bert (zoo-encoder-only 0.1.0): ok"
    assert lines[places[exits]] == "zoo.encoder_only exits (zoo-exits 1.0): set aside: SystemExit: 3"
    assert done.stderr.startswith("Traceback (most recent call last):\n")
    assert done.stderr.endswith("\nSystemExit: 3\n")


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_the_doctor_ends_with_status_1_when_a_plugin_fails(site: Site, options: tuple[str, ...]) -> None:
    install(site.path, "zoo-exits", [("zoo.encoder_only", "exits", "hostile_exits")], {"hostile_exits": "1 / 0"})
    assert site.zoo("plugins", "doctor", *options).returncode == 1


def test_the_doctor_finds_nothing_wrong_with_what_belongs_to_zoo(site: Site) -> None:
    done = site.zoo("plugins", "doctor")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count(": ok\n") == len(done.stdout.splitlines()) == len(OWN)


LOAD = """
import zoo
spec = zoo.make_spec("bert", vocab_size=11, hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
                     intermediate_size=12, max_position_embeddings=7)
zoo.build(spec).save("toy")
model = zoo.load("./toy", device="cpu")
print(model.spec.hidden_size, len(zoo.list_checkpoints("all-minilm-l6-v2")))
try:
    zoo.get_architecture("exits")
except zoo.ZooError as error:
    print(type(error).__name__, error)
try:
    zoo.build(spec, "task")
except zoo.ZooError as error:
    print(type(error).__name__, error)
print(zoo.make_spec("aliased", n_embd=12).to_config({}))
"""
ALIASED = (
    HOOK
    + "return [Aliased]"
    + """
from dataclasses import replace
from pydantic import Field
class AliasedSpec(EncoderSpec):
    model_type: Literal["aliased"] = "aliased"
    hidden_size: int = Field(alias="n_embd")
    @classmethod
    def proportions(cls, given):
        return dict(vocab_size=11, hidden_size=8, num_hidden_layers=2, num_attention_heads=4, intermediate_size=16,
                    max_position_embeddings=7)
Aliased = replace(toy("aliased"), spec=AliasedSpec)
"""
)


def test_loading_goes_on_beside_hostile_plugins(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_hostile(site)
    install(site.path, "zoo-aliased", [("zoo.encoder_only", "aliased", "good_aliased")], {"good_aliased": ALIASED})
    monkeypatch.chdir(tmp_path)
    assert site.python(LOAD).splitlines() == [
        "8 1",
        "PluginBroken The plugin 'exits' of zoo-exits could not be loaded: SystemExit: 3. Everything else works on. "
        "See its traceback with: zoo plugins doctor",
        "UnknownTask The architecture 'bert' has no head for the task 'task'; it would be one of: feature-extraction, "
        "fill-mask, text-classification, token-classification, question-answering",
        "{'vocab_size': 11, 'n_embd': 12, 'num_hidden_layers': 2, 'num_attention_heads': 4, 'intermediate_size': 16, "
        "'max_position_embeddings': 7}",
    ]
    assert site.imported() == ["good_aliased", "hostile_exits", "hostile_folder", "hostile_listener"]


def test_metadata_that_cannot_be_read_hides_no_plugin(site: Site) -> None:
    install(site.path, "zoo-toy", [("zoo.encoder_only", "toy", "good_toy")], {})
    for number, (metadata, entries) in enumerate(
        [
            (b"\xff\xfe", b"[zoo.tasks]\nx = y\n"),
            (b"Name: z", b"[zoo.tasks]\nx\n"),
            (b"Name: z", b"\xff"),
        ]
    ):
        info = site.path / f"a_unreadable{number}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_bytes(metadata)
        (info / "entry_points.txt").write_bytes(entries)
    (site.path / "a_empty-1.0.dist-info").mkdir()
    source = "from zoo import host\nprint([plugin.name for plugin in host.plugins()])"
    names = [name for _, name in sorted([*OWN, ("zoo.encoder_only", "toy")])]
    assert site.python(source) == f"{names}\n"


@pytest.mark.parametrize(
    ("name", "reason"),
    [("command", HOSTILE["command"][2]), ("exiting-command", "SystemExit: 4")],
)
def test_a_broken_command_fails_alone(site: Site, name: str, reason: str) -> None:
    install_hostile(site)
    done = site.zoo(name)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"Error: The plugin '{name}' of zoo-{name} could not be loaded: {reason}. Everything else works on. "
        "See its traceback with: zoo plugins doctor\n"
    )


def test_a_plugins_command_runs(site: Site) -> None:
    source = PARTS + "@zoo.hookimpl\ndef zoo_commands(cli): cli.command('hello')(lambda: click.echo('hello there'))"
    install(site.path, "zoo-hello", [("zoo.commands", "hello", "good_hello")], {"good_hello": source})
    done = site.zoo("hello")
    assert (done.returncode, done.stdout, done.stderr) == (0, "hello there\n", "")


def install_rival(site: Site) -> None:
    source = HOOK + "return [toy('bert')]"
    install(site.path, "zoo-rival", [("zoo.encoder_only", "bert", "rival_bert")], {"rival_bert": source})


SHOW = (
    "import zoo\ntry: print(zoo.get_architecture('bert').paper)\nexcept zoo.ZooError as e: print(type(e).__name__, e)"
)
DEVLIN = "BERT: Pre-training of Deep Bidirectional Transformers (https://arxiv.org/abs/1810.04805)\n"


def test_two_claims_to_one_name_are_an_error_that_names_both(site: Site) -> None:
    install_rival(site)
    conflict = (
        "'bert' (zoo.encoder_only) is claimed by 2 distributions: zoo-encoder-only, zoo-rival. "
        f'Choose one in {site.config}, under [prefer]: bert = "zoo-encoder-only"; or uninstall the other'
    )
    assert site.python(SHOW) == f"PluginConflict {conflict}\n"
    assert site.imported() == []
    doctor = site.zoo("plugins", "doctor", "--json")
    findings = [f for f in json.loads(doctor.stdout) if f["plugin"]["name"] == "bert"]
    assert [(f["plugin"]["distribution"], f["reason"]) for f in findings] == [
        ("zoo-encoder-only", conflict), ("zoo-rival", conflict),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("preferred", "shown"), [("zoo-encoder-only", DEVLIN), ("zoo_rival", "none\n"), ("Zoo.Rival", "none\n")]
)
def test_the_users_preference_decides(site: Site, preferred: str, shown: str) -> None:
    install_rival(site)
    site.config.write_text(f'[prefer]\nbert = "{preferred}"\n')
    assert site.python(SHOW) == shown


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("[prefer\n", "Expected ']' at the end of a table declaration (at line 1, column 8)"),
        ("prefer = 5\n", "[prefer] must give a distribution's name for each name"),
        ("[prefer]\nbert = 5\n", "[prefer] must give a distribution's name for each name"),
    ],
)
def test_a_configuration_that_cannot_be_read_is_named(site: Site, content: str, reason: str) -> None:
    install_rival(site)
    site.config.write_text(content)
    assert site.python(SHOW) == (
        f"InvalidConfiguration The configuration {site.config} cannot be read: {reason}. Correct it or remove it\n"
    )


def test_a_preference_for_a_stranger_decides_nothing(site: Site) -> None:
    install_rival(site)
    site.config.write_text('[prefer]\nbert = "zoo-stranger"\n')
    assert site.python(SHOW).startswith("PluginConflict 'bert' (zoo.encoder_only) is claimed by 2 distributions")


def test_plugins_are_restricted_and_disabled_by_the_environment(site: Site) -> None:
    install_rival(site)
    assert site.python(SHOW, ZOO_PLUGINS="Zoo_Encoder.Only, zoo-registry") == DEVLIN
    assert site.python(SHOW, ZOO_PLUGINS="zoo-rival") == "none\n"
    assert site.python(SHOW, ZOO_PLUGINS="") == (
        "UnknownArchitecture No installed plugin provides the architecture 'bert'; installed: none. "
        "No known plugin provides it; zoo arch list shows what is installed\n"
    )
    done = site.zoo("arch", "list", ZOO_PLUGINS="")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "No architecture is installed. Try: pip install zoo-encoder-only\n"


def test_one_module_may_serve_several_names_and_a_shadowed_distribution_none(site: Site, tmp_path: Path) -> None:
    entries = [("zoo.encoder_only", name, "good_kin") for name in ("kin", "cousin")]
    install(site.path, "zoo-kin", entries, {"good_kin": HOOK + "return [toy('kin'), toy('cousin')]"})
    older = tmp_path / "older"
    install(older, "Zoo_Kin", [("zoo.encoder_only", "gone", "good_gone")], {})
    path = os.pathsep.join([str(site.path), str(older)])
    source = (
        "import zoo\nprint([info.name for info in zoo.list_architectures('encoder-only')])"
        "\nprint([zoo.get_architecture(name).name for name in ('cousin', 'kin')])"
    )
    names = sorted([*ENCODERS, "cousin", "kin"])
    assert site.python(source, PYTHONPATH=path) == f"{names}\n['cousin', 'kin']\n"
    assert (site.marks / "good_kin").read_text() == "imported\n"


def test_a_requirement_for_another_machine_is_none(site: Site) -> None:
    requires = ['zoo>=9; python_version < "3"', 'zoo>=9; extra == "next"', "zoo-registry>=9", "zoo>=0.1,<0.2"]
    source = {"good_toy": HOOK + "return [toy('toy')]"}
    install(site.path, "zoo-toy", [("zoo.encoder_only", "toy", "good_toy")], source, requires)
    assert site.python("import zoo\nprint(zoo.get_architecture('toy').name)") == "toy\n"


def install_slow(site: Site, count: int) -> list[str]:
    """Plugins that take their time, each of which asks for the next while it is being imported."""
    names = [f"slow{number}" for number in range(count)]
    for number, name in enumerate(names):
        ask = f"zoo.get_architecture('slow{number + 1}')\n" if number % 2 == 0 else ""
        body = f"import time\nimport zoo\ntime.sleep(0.02)\n{ask}" + HOOK + f"time.sleep(0.02); return [toy('{name}')]"
        install(site.path, f"zoo-{name}", [("zoo.encoder_only", name, name)], {name: body})
    return names


THREADS = """
import threading
from concurrent.futures import ThreadPoolExecutor
import zoo
names = [info.name for info in zoo.list_architectures() if info.name.startswith("slow")] * 3
start = threading.Barrier(len(names))

def ask(name):
    start.wait()
    return zoo.get_architecture(name).name

with ThreadPoolExecutor(len(names)) as pool:
    print(list(pool.map(ask, names)) == names)
"""


def test_threads_get_what_they_ask_for_and_each_plugin_is_imported_once(site: Site) -> None:
    names = install_slow(site, 8)
    assert site.python(THREADS) == "True\n"
    assert site.imported() == names
    assert {(site.marks / name).read_text() for name in names} == {"imported\n"}


def test_a_spawned_process_finds_the_same_plugins(site: Site) -> None:
    names = install_slow(site, 2)
    (site.path / "spawned.py").write_text("import zoo\ndef look(name): return zoo.get_architecture(name).name\n")
    script = site.path / "script.py"
    script.write_text(
        "import multiprocessing, spawned\n"
        "if __name__ == '__main__':\n"
        "    with multiprocessing.get_context('spawn').Pool(1) as pool:\n"
        "        print(pool.map(spawned.look, ['slow0', 'slow1', 'bert']))\n"
    )
    done = site.run(str(script))
    assert (done.stdout, done.stderr) == (f"{[*names, 'bert']}\n", "")


LISTENERS = """
from types import SimpleNamespace
from zoo import host
for step in (1, 2):
    print(host.notify("zoo_training_step", run=None, step=step, metrics={}))
print(host.notify("zoo_before_push", checkpoint=None))
"""


def test_a_failing_listener_is_set_aside_and_the_others_hear_on(site: Site) -> None:
    step = "import zoo\n@zoo.hookimpl\ndef zoo_training_step(step): "
    for name, body in {"a": step + "return f'a{step}'", "b": step + "1 / 0", "c": step + "return f'c{step}'"}.items():
        install(site.path, f"zoo-{name}", [("zoo.lifecycle", name, f"listener_{name}")], {f"listener_{name}": body})
    refuse: Any = "import zoo\n@zoo.hookimpl\ndef zoo_before_push(checkpoint): return 'no license'"
    install(site.path, "zoo-d", [("zoo.lifecycle", "d", "listener_d")], {"listener_d": refuse})
    assert site.python(LISTENERS) == "['a1', 'c1']\n['a2', 'c2']\n['no license']\n"


FIGURES = """
from zoo import host
for step in (1, 2):
    print(host.figures("zoo_training_step", run=None, step=step, metrics={}))
print([finding.reason for finding in host.examine() if finding.plugin.name == "b"])
"""


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("'warm'", "zoo_training_step() gave 'warm', which are no numbers by name"),
        ("{'heat': 'warm'}", "zoo_training_step() gave {'heat': 'warm'}, which are no numbers by name"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
    ],
)
def test_figures_of_listeners_are_put_together_and_who_gives_others_is_set_aside(
    site: Site, given: str, reason: str
) -> None:
    step = "import zoo\n@zoo.hookimpl\ndef zoo_training_step(step): return "
    for name, body in {"a": "{'a_watts': 2.5 * step}", "b": given, "c": "None", "d": "{'d_grams': step}"}.items():
        install(
            site.path, f"zoo-{name}", [("zoo.lifecycle", name, f"listener_{name}")], {f"listener_{name}": step + body}
        )
    assert site.python(FIGURES) == (
        "{'a_watts': 2.5, 'd_grams': 1}\n{'a_watts': 5.0, 'd_grams': 2}\n" + f"{[reason]}\n"
    )


def test_the_users_interrupt_passes_through_a_plugin(site: Site) -> None:
    source = {"good_toy": HOOK + "raise KeyboardInterrupt"}
    install(site.path, "zoo-toy", [("zoo.encoder_only", "toy", "good_toy")], source)
    done = site.zoo("arch", "show", "toy")
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "\nInterrupted.\n")
