"""Settings of a fine-tuning run."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from zoo.errors import InvalidInput


class FinetuneConfig(BaseModel):
    """How to fine-tune: AdamW (Loshchilov & Hutter 2017) with linear warm-up and linear decay to zero."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def __init__(self, **settings: Any) -> None:
        """Raises InvalidInput for a setting that does not exist or is out of range."""
        try:
            super().__init__(**settings)
        except ValidationError as error:
            problems = [f"{'.'.join(map(str, e['loc']))} is {e['input']!r}: {e['msg']}" for e in error.errors()]
            raise InvalidInput(f"These settings cannot train: {'; '.join(problems)}") from None

    epochs: int = Field(3, ge=1, description="Times through the training examples")
    max_steps: int | None = Field(None, ge=1, description="Optimiser steps after which to stop, whatever the epochs")
    batch_size: int = Field(16, ge=1, description="Examples per optimiser step")
    learning_rate: float = Field(5e-5, gt=0, description="Peak learning rate, reached after the warm-up")
    weight_decay: float = Field(0.01, ge=0, description="Decay of matrices; biases and norms are left alone")
    warmup_steps: int = Field(0, ge=0, description="Steps over which the learning rate rises from 0")
    max_gradient_norm: float = Field(1.0, gt=0, description="Norm to which larger gradients are scaled down")
    seed: int = Field(0, ge=0, description="Of the fresh head, the order of examples, and dropout")
    output_dir: Path | None = Field(None, description="Folder to save the result in; None: keep it in memory only")
