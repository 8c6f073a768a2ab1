"""Functions that torch.compile makes faster, and that run as they are where it cannot."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch

from zoo.errors import ZooWarning


class Compiled:
    """A function that is compiled at its first call, and anew for inputs of another form."""

    def __init__(self, function: Callable[..., Any], doing: str, cause: str, **options: Any) -> None:
        """doing: what a model does by it, such as "decodes". cause: what asked for it. options: torch.compile's."""
        self._function, self._doing, self._cause, self._options = function, doing, cause, options
        self._compiled: Callable[..., Any] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """A copy compiles anew."""
        return {**self.__dict__, "_compiled": None}

    def __call__(self, *inputs: Any) -> Any:
        """Call the function. Where it cannot be compiled, that is said once, and it runs as it is from then on."""
        if self._compiled is None:
            self._compiled = torch.compile(self._function, **self._options)
        if self._compiled is self._function:
            return self._function(*inputs)
        from torch._dynamo.exc import TorchDynamoException

        try:
            return self._compiled(*inputs)
        except TorchDynamoException as failure:
            heading, *rest = str(failure).strip().splitlines()
            reason = rest[0] if heading.endswith(":") and rest else heading
            warnings.warn(
                f"The model {self._doing} without being compiled: {reason}. A C++ compiler such as g++, on a GPU also "
                f"triton, would be installed; or leave out {self._cause}",
                ZooWarning,
                stacklevel=2,
            )
            self._compiled = self._function
            return self._function(*inputs)
