"""Every installed architecture goes through the checks that Zoo offers to authors."""

import pytest

from zoo.host import list_architectures
from zoo.testing.plugin import parametrize


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    parametrize(metafunc, [info.name for info in list_architectures()])
