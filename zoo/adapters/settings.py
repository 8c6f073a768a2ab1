"""PEFT's adapter_config.json: what of it is honoured, what says nothing about the numbers, and all else refused by name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from zoo.errors import InvalidInput
from zoo.lora import divisor

# How what is learnt began. Others than these (pissa, olora, corda, loftq, lora_ga) also changed the base's weights.
_BEGINNINGS = (None, True, False, "gaussian", "orthogonal", "eva")
# Of training alone, for people, or told by the tensors themselves: which modules there are, and whole ones among them.
_WITHOUT_EFFECT = {
    "auto_mapping", "base_model_name_or_path", "ensure_weight_tying", "eva_config", "exclude_modules", "fan_in_fan_out",
    "inference_mode", "layers_pattern", "layers_to_transform", "lora_dropout", "megatron_config", "megatron_core",
    "modules_to_save", "peft_version", "qalora_group_size", "revision", "runtime_config", "target_modules", "task_type",
}  # fmt: skip
Number = TypeVar("Number", int, float)
_NAME = re.compile(r"[A-Za-z0-9_.]+")


class PeftSettings(BaseModel):
    """What of PEFT's settings decides the numbers. rank_pattern, alpha_pattern: for modules, by the end of their name."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    r: int = Field(ge=1)
    lora_alpha: float = Field(gt=0)
    rank_pattern: dict[str, int] = {}
    alpha_pattern: dict[str, float] = {}
    use_dora: bool = False
    use_rslora: bool = False

    def rank_of(self, module: str) -> int:
        """Give the rank beside one of the Hub's modules."""
        return _of(self.rank_pattern, module, self.r)

    def scale_of(self, module: str) -> float:
        """Give the factor of what is learnt beside one of the Hub's modules."""
        return _of(self.alpha_pattern, module, self.lora_alpha) / divisor(self.rank_of(module), self.use_rslora)


def read_settings(config: Mapping[str, Any], where: str) -> PeftSettings:
    """Read an adapter's settings. where: for the message. Raises InvalidInput for what is not implemented."""
    refused = _refused(config)
    if refused:
        named = ", ".join(f"{key} is {str(value)[:60]!r}" for key, value in refused.items())
        raise InvalidInput(
            f"The adapter '{where}' is of a kind that is not implemented: {named}. It would be LoRA or DoRA without; "
            "load it with peft, merge it there, and save what comes out as a whole checkpoint"
        )
    try:
        return PeftSettings.model_validate({key: value for key, value in config.items() if value is not None})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        named = ".".join(map(str, first["loc"]))
        raise InvalidInput(f"The settings of the adapter '{where}' are wrong: {named}: {first['msg']}") from None


def _refused(config: Mapping[str, Any]) -> dict[str, Any]:
    """Give the settings that change the numbers in a way that is not implemented."""
    refused = {} if config.get("peft_type") == "LORA" else {"peft_type": config.get("peft_type")}
    for key, value in config.items():
        if key == "bias":
            honoured = value in (None, "none")
        elif key == "init_lora_weights":
            honoured = any(value is known or value == known for known in _BEGINNINGS)
        elif key in ("rank_pattern", "alpha_pattern"):
            honoured = not isinstance(value, dict) or all(_NAME.fullmatch(pattern) for pattern in value)
        else:
            known = key == "peft_type" or key in _WITHOUT_EFFECT or key in PeftSettings.model_fields
            honoured = known or value in (None, False, [], {}, "")
        if not honoured:
            refused[key] = value
    return refused


def _of(patterns: Mapping[str, Number], module: str, usual: Number) -> Number:
    """Give the entry for a module: the first whose name is the module's own, or the end of it."""
    return next((value for name, value in patterns.items() if module == name or module.endswith(f".{name}")), usual)
