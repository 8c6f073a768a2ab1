"""The pytest plugin: `pytest --zoo-arch NAME` runs the checks on an installed architecture."""

from __future__ import annotations

from pathlib import Path

import pytest

CHECKS = Path(__file__).with_name("checks.py")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--zoo-arch`."""
    group = parser.getgroup("zoo")
    group.addoption(
        "--zoo-arch", action="append", default=[], metavar="NAME", help="Check this architecture; repeatable."
    )


def pytest_configure(config: pytest.Config) -> None:
    """With `--zoo-arch`, collect the checks and nothing else."""
    if config.getoption("--zoo-arch"):
        config.args = [str(CHECKS)]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each check for each architecture asked for, and for each of its tasks where the check takes one."""
    names = metafunc.config.getoption("--zoo-arch")
    if names and metafunc.module.__name__.endswith("checks"):
        parametrize(metafunc, names)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out the checks of writing for what only reads: an encoder, or the encoder of two stacks by itself."""
    items[:] = [item for item in items if not _is_about_writing(item) or _writes(item)]


def _is_about_writing(item: pytest.Item) -> bool:
    return isinstance(item, pytest.Function) and {"writer", "zoo_task"} <= set(item.fixturenames)


def _writes(item: pytest.Item) -> bool:
    from zoo.host import get_architecture

    assert isinstance(item, pytest.Function)
    architecture = get_architecture(str(item.callspec.params["zoo_arch"]))
    head = architecture.head(str(item.callspec.params["zoo_task"]))
    return architecture.kind != "encoder-only" and head.backbone is None


def parametrize(metafunc: pytest.Metafunc, names: list[str]) -> None:
    """Give a check its `zoo_arch` and `zoo_task`. For test suites that run the checks among their own."""
    from zoo.host import get_architecture

    if "zoo_task" in metafunc.fixturenames:
        pairs = [(name, task) for name in names for task in get_architecture(name).tasks]
        metafunc.parametrize(("zoo_arch", "zoo_task"), pairs)
    elif "zoo_arch" in metafunc.fixturenames:
        metafunc.parametrize("zoo_arch", names)
