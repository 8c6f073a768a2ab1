"""What an import or a command drags in, and the one order in which modules import each other."""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): ast.parse(path.read_text("utf-8"))
    for path in (ROOT / "zoo").rglob("*.py")
}
RUN = """
import json, sys
sys.argv = ["zoo", *sys.argv[1:]]
from zoo.cli.main import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print(json.dumps(sorted(sys.modules)), file=sys.stderr)
"""


def modules_after(source: str, *arguments: str) -> set[str]:
    """The modules that a process has imported when the source has run."""
    command = [sys.executable, "-c", source, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return set(json.loads(done.stderr.splitlines()[-1]))


def test_importing_zoo_imports_neither_torch_nor_pydantic_nor_the_hubs_client() -> None:
    modules = modules_after("import json, sys, zoo\nprint(json.dumps(sorted(sys.modules)), file=sys.stderr)")
    assert {name for name in modules if name.split(".")[0].startswith("zoo") and "editable" not in name} == {"zoo"}
    assert modules & {"torch", "pydantic", "huggingface_hub", "pluggy", "click", "numpy", "transformers"} == set()


@pytest.mark.parametrize(
    "arguments",
    [("--help",), ("list",), ("list", "--catalogue"), ("arch", "list"), ("plugins", "list"), ("pull", "--help")],
)
def test_a_command_that_needs_no_tensor_imports_neither_torch_nor_an_architecture(arguments: tuple[str, ...]) -> None:
    modules = modules_after(RUN, *arguments)
    assert "zoo.cli.main" in modules
    assert modules & {"torch", "zoo_encoder_only", "transformers", "numpy", "zoo_registry.server"} == set()


def test_a_public_name_is_there_on_first_use_and_an_unknown_one_is_not() -> None:
    import zoo

    assert [name for name in zoo.__all__ if getattr(getattr(zoo, name), "__name__", name) != name] == []
    assert sorted(zoo.__all__) == zoo.__all__
    assert dir(zoo) == sorted([*zoo.__all__, "__version__"])
    with pytest.raises(AttributeError, match=r"^module 'zoo' has no attribute 'lode'$"):
        zoo.lode  # noqa: B018


def imported_names(tree: ast.AST) -> Iterator[str]:
    """The full names of what is imported anywhere in a module: `a.b` and, for `from a import b`, `a.b` too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are written out in full"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("folder", ["zoo", "plugins", "registry"])
def test_no_module_imports_transformers(folder: str) -> None:
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    found = {
        str(path.relative_to(ROOT)): name
        for path in files
        for name in imported_names(ast.parse(path.read_text("utf-8")))
        if name.split(".")[0] == "transformers"
    }
    assert found == {}


def statements_on_import(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements that run when a module is imported, those in blocks and classes included."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            yield from statements_on_import(node.orelse)
            continue
        yield node
        for field in ("body", "orelse", "finalbody"):
            yield from statements_on_import(getattr(node, field, []))
        for handler in getattr(node, "handlers", []):
            yield from statements_on_import(handler.body)


def imports_of(module: str) -> set[str]:
    """The modules of zoo that a module of zoo imports when it is imported itself."""
    found = set()
    for statement in statements_on_import(SOURCES[module].body):
        for name in imported_names(ast.Module([statement], [])) if _is_import(statement) else ():
            if name.split(".")[0] == "zoo" and name != "zoo.__version__":
                found.add(name if name in SOURCES else name.rpartition(".")[0])
    return found


def _is_import(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Import | ast.ImportFrom)


def floors() -> dict[str, int]:
    """The block of docs/architecture.md: a number and a module or package, relative to zoo, a line."""
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    blocks = re.findall(r"^```floors\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 1
    lines = [line.split() for line in blocks[0].splitlines()]
    assert len({module for _, module in lines}) == len(lines)
    return {f"zoo.{module.replace('/', '.')}": int(number) for number, module in lines}


def floor_of(module: str) -> int:
    """A module's floor: its own line, or that of the package it is in."""
    parts = module.split(".")
    for length in range(len(parts), 1, -1):
        if (found := FLOORS.get(".".join(parts[:length]))) is not None:
            return found
    raise AssertionError(f"docs/architecture.md has no floor for {module}")


FLOORS = floors()


def test_every_module_has_a_floor_and_every_floor_a_module() -> None:
    assert {module for module in SOURCES if module != "zoo" and floor_of(module) < 1} == set()
    assert {module for module in FLOORS if module not in SOURCES} == set()


def test_a_module_imports_only_from_its_own_floor_or_from_lower_ones() -> None:
    edges = [(module, target) for module in SOURCES for target in imports_of(module)]
    assert ("zoo.loading", "zoo.checkpoint.fitting") in edges
    upwards = [
        f"{module} ({floor_of(module)}) imports {target} ({floor_of(target)})"
        for module, target in edges
        if floor_of(target) > floor_of(module)
    ]
    assert upwards == []


def test_no_module_imports_itself_in_a_circle() -> None:
    state: dict[str, str] = {}

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert state.get(module) != "open", " -> ".join([*path[path.index(module) :], module])
        if module not in state:
            state[module] = "open"
            for target in sorted(imports_of(module)):
                visit(target, (*path, module))
            state[module] = "done"

    for module in sorted(SOURCES):
        visit(module, ())
    assert set(state) == set(SOURCES)


def test_the_package_itself_imports_nothing_of_zoo() -> None:
    assert imports_of("zoo") == set()
