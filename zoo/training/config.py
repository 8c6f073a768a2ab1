"""Settings of a fine-tuning run, from Python, a TOML file or the command line."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from zoo.errors import InvalidInput
from zoo.lora import LoraConfig


class FinetuneConfig(BaseModel):
    """How to fine-tune: AdamW (Loshchilov & Hutter 2017) with a warm-up and a schedule of the learning rate."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def __init__(self, **settings: Any) -> None:
        """Raises InvalidInput for a setting that does not exist or is out of range."""
        try:
            super().__init__(**settings)
        except ValidationError as error:
            raise InvalidInput(f"These settings cannot train: {_problems(error)}") from None

    @classmethod
    def read(cls, path: str | Path, **settings: Any) -> Self:
        """Give the settings of a TOML file; those given besides go before the file's. Raises InvalidInput."""
        content = read_toml(path, "settings")
        try:
            return cls(**_joined(content, settings))
        except InvalidInput as error:
            raise InvalidInput(f"{error} (in '{Path(path).expanduser()}')") from None

    columns: dict[str, str] = Field({}, description="The data's name for a column of the task's, where it is another")
    held_out_share: float = Field(
        0.0, ge=0, lt=1, description="Share of the examples to evaluate on, drawn by seed, where no others are given"
    )
    truncate: bool = Field(False, description="Cut texts at the model's longest input, which are refused otherwise")
    max_length: int | None = Field(
        None, ge=4, description="Tokens at which texts are cut, split or packed, below the model's longest input"
    )
    epochs: int = Field(3, ge=1, description="Times through the training examples")
    max_steps: int | None = Field(None, ge=1, description="Optimiser steps after which to stop, whatever the epochs")
    batch_size: int = Field(16, ge=1, description="Examples per pass through the model")
    tokens_per_batch: int | None = Field(
        None, ge=1, description="Tokens per pass, padding included, in place of batch_size: short texts go many at once"
    )
    accumulation: int = Field(1, ge=1, description="Passes whose gradients make one optimiser step")
    learning_rate: float = Field(5e-5, gt=0, description="Peak learning rate, reached after the warm-up")
    schedule: Literal["linear", "cosine", "constant"] = Field(
        "linear",
        description="How the learning rate goes on after the warm-up: to zero on a line or half a cosine, or not",
    )
    warmup_steps: int | float = Field(
        0, ge=0, description="Steps over which the learning rate rises from 0; below 1, their share of all steps"
    )
    weight_decay: float = Field(0.01, ge=0, description="Decay of matrices; biases and norms are left alone")
    max_gradient_norm: float = Field(
        1.0, gt=0, description="Norm to which larger gradients are scaled down; inf: they are not"
    )
    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="Share of the probability given to all tokens alike, for tasks that write"
    )
    precision: Literal["fp32", "bf16"] = Field(
        "fp32", description="bf16: matrix products in bfloat16 (autocast), weights and optimiser as they are"
    )
    gradient_checkpointing: bool = Field(
        False, description="Compute each layer again in the backward pass: less memory, about a third more time"
    )
    parallel: Literal["ddp", "fsdp", "tensor"] = Field(
        "ddp",
        description="How several ranks train: ddp, each holds the model and takes its share of a batch; fsdp, each holds "
        "a shard of it; tensor, all work on each example, every one with some of the attention heads",
    )
    compile: bool = Field(
        False,
        description="Compile the layers, which takes up to some minutes at the first step; made for GPUs: on a CPU, "
        "MiniLM's steps took 7 to 10 % longer with it",
    )
    frozen_layers: int | None = Field(
        None, ge=0, description="Lowest layers of each stack that stay as they are, with the embeddings; 0: these alone"
    )
    layer_decay: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Factor of the learning rate from each layer to the one below (Howard & Ruder 2018)",
    )
    lora: LoraConfig | None = Field(None, description="Learn small matrices beside the weights, which stay as they are")
    eval_steps: int | None = Field(
        None, ge=1, description="Steps between evaluations, the best one's weights are kept; left out: one, at the end"
    )
    patience: int | None = Field(
        None, ge=1, description="Evaluations in a row without a lower loss after which training stops; needs eval_steps"
    )
    save_steps: int | None = Field(None, ge=1, description="Steps between checkpoints to resume from, in output_dir")
    save_minutes: float | None = Field(
        None, gt=0, description="Minutes between checkpoints to resume from, in output_dir"
    )
    tensorboard: Path | None = Field(None, description="Folder for TensorBoard's events; left out: none are written")
    seed: int = Field(0, ge=0, description="Of dropout, and of the order and the head where theirs are left out")
    data_seed: int | None = Field(None, ge=0, description="Of the order of examples")
    head_seed: int | None = Field(None, ge=0, description="Of a fresh head's weights")
    output_dir: Path | None = Field(
        None, description="Folder to save the result in; left out: it is kept in memory only"
    )

    @field_validator("warmup_steps")
    @classmethod
    def _whole_from_one_on(cls, value: float) -> float:
        if value >= 1 and value != int(value):
            raise ValueError("it would be a whole number of steps, or a share below 1")
        return value

    @field_validator("patience")
    @classmethod
    def _with_evaluations(cls, value: int | None, info: Any) -> int | None:
        if value is not None and info.data.get("eval_steps") is None:
            raise ValueError("it counts evaluations, so eval_steps would say when they are")
        return value


class DistillConfig(FinetuneConfig):
    """How to distil: the same, and how the three losses are put together (Sanh et al. 2019, section 3)."""

    temperature: float = Field(
        2.0, gt=0, description="What both models' scores are divided by before they are compared, a number without unit"
    )
    soft_weight: float = Field(
        5.0,
        ge=0,
        description="Factor of the divergence from the teacher's probabilities, in nats per token or text, or of the mean "
        "square of the difference where its answers are numbers or vectors",
    )
    task_weight: float = Field(2.0, ge=0, description="Factor of the task's own loss, in nats per token or text")
    cosine_weight: float = Field(
        1.0,
        ge=0,
        description="Factor of one minus the cosine of both models' last hidden states, from 0 to 2 per token",
    )


def read_toml(path: str | Path, what: str) -> dict[str, Any]:
    """Give the content of a TOML file. what: it holds, in the plural. Raises InvalidInput."""
    path = Path(path).expanduser()
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidInput(f"The {what} '{path}' cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidInput(f"The {what} '{path}' are not valid TOML ({error})") from None


def _joined(content: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """Give both, the latter before the former, in tables too."""
    tables = {
        key: {**content[key], **value}
        for key, value in settings.items()
        if isinstance(value, dict) and isinstance(content.get(key), dict)
    }
    return {**content, **settings, **tables}


def _problems(error: ValidationError) -> str:
    return "; ".join(f"{'.'.join(map(str, e['loc']))} is {e['input']!r}: {e['msg']}" for e in error.errors())
