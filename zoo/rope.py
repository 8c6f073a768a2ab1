"""Rotary positions in configs: the several spellings that published checkpoints use, and what they come to."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from zoo.specs import Size

if TYPE_CHECKING:
    from zoo.layers.rotary import Rotary


class RopeParameters(BaseModel):
    """`rope_scaling` or `rope_parameters` of a config: how positions turn, and how they are stretched."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    rope_type: Literal["default", "linear", "dynamic", "yarn", "llama3"] | None = Field(
        None, description="How positions are stretched"
    )
    type: Literal["default", "linear", "dynamic", "yarn", "llama3"] | None = Field(
        None, description="The older spelling of rope_type"
    )
    rope_theta: float | None = Field(None, gt=1, description="Base of the frequencies")
    partial_rotary_factor: float | None = Field(None, gt=0, le=1, description="Share of a head's dimensions that turn")
    factor: float | None = Field(None, ge=1, description="How many times longer texts may be than in pretraining")
    original_max_position_embeddings: Size | None = Field(None, description="Longest text of pretraining, in tokens")
    low_freq_factor: float | None = Field(
        None, gt=0, description="llama3: below so many waves a dimension is stretched"
    )
    high_freq_factor: float | None = Field(None, gt=0, description="llama3: above so many waves a dimension is kept")
    attention_factor: float | None = Field(None, gt=0, description="yarn: factor of cosines and sines")
    beta_fast: float | None = Field(None, gt=0, description="yarn: above so many rotations a dimension is kept")
    beta_slow: float | None = Field(None, gt=0, description="yarn: below so many rotations a dimension is stretched")
    mscale: float | None = Field(None, ge=0, description="yarn: weight of the sharpening")
    mscale_all_dim: float | None = Field(None, ge=0, description="yarn: weight that it is divided by")
    truncate: bool = Field(True, description="yarn: whether the ramp's ends are whole dimensions")
    finetuned: bool | None = Field(
        None, description="Read by nothing: whether the checkpoint was trained on long texts"
    )

    @property
    def scaling(self) -> Literal["default", "linear", "dynamic", "yarn", "llama3"]:
        """How positions are stretched, in either spelling."""
        return self.rope_type or self.type or "default"

    @model_validator(mode="after")
    def _what_the_type_needs(self) -> Self:
        needed = {"linear": ["factor"], "dynamic": ["factor"], "yarn": []}
        needed["llama3"] = ["factor", "low_freq_factor", "high_freq_factor"]
        absent = [name for name in needed.get(self.scaling, []) if getattr(self, name) is None]
        if absent:
            raise ValueError(f"the rope type '{self.scaling}' needs {', '.join(absent)}")
        if self.rope_type and self.type and self.rope_type != self.type:
            raise ValueError(f"rope_type '{self.rope_type}' contradicts type '{self.type}'")
        if self.scaling == "llama3" and (self.low_freq_factor or 0) >= (self.high_freq_factor or 0):
            raise ValueError(
                f"low_freq_factor {self.low_freq_factor} is not below high_freq_factor {self.high_freq_factor}"
            )
        return self


def make_rotary(
    parameters: RopeParameters,
    head_dim: int,
    base: float,
    max_position_embeddings: int,
    *,
    partial: float = 1.0,
    upcast: bool = False,
) -> Rotary:
    """Give the rotary positions of heads. base, partial: where the parameters name none. upcast: see Rotary."""
    from zoo.layers.rotary import Rotary

    original = parameters.original_max_position_embeddings or max_position_embeddings
    factor = parameters.factor or max_position_embeddings / original
    stretched_itself = parameters.scaling == "dynamic"  # counts from the length that the config allows
    return Rotary(
        int(head_dim * (parameters.partial_rotary_factor or partial)),
        parameters.rope_theta or base,
        scaling=parameters.scaling,
        factor=factor,
        original_length=max_position_embeddings if stretched_itself else original,
        low_frequency_factor=parameters.low_freq_factor or 1.0,
        high_frequency_factor=parameters.high_freq_factor or 4.0,
        fast_rotations=parameters.beta_fast or 32.0,
        slow_rotations=parameters.beta_slow or 1.0,
        whole_dimensions=parameters.truncate,
        sharpening=_sharpening(parameters, factor) if parameters.scaling == "yarn" else 1.0,
        upcast=upcast,
    )


def _sharpening(parameters: RopeParameters, factor: float) -> float:
    """Give yarn's factor of cosines and sines (Peng et al. 2023, eq. 22), or the config's own."""
    if parameters.attention_factor is not None:
        return parameters.attention_factor

    def grown(weight: float) -> float:
        return 0.1 * weight * math.log(factor) + 1.0 if factor > 1 else 1.0

    if parameters.mscale and parameters.mscale_all_dim:
        return grown(parameters.mscale) / grown(parameters.mscale_all_dim)
    return grown(1.0)


class RotaryFields(BaseModel):
    """The config keys of rotary positions, for specs that have them: mixed in beside DecoderSpec or EncoderSpec."""

    rope_theta: float | None = Field(
        None, gt=1, description="Base of the rotary frequencies; 10000 where none is named"
    )
    rope_scaling: RopeParameters | None = Field(None, description="How positions are stretched; None for not at all")
    rope_parameters: RopeParameters | None = Field(None, description="Both of these, in the newer spelling")
    partial_rotary_factor: float | None = Field(None, gt=0, le=1, description="Share of a head's dimensions that turn")

    @property
    def rope(self) -> RopeParameters:
        """What the keys come to together."""
        found = self.rope_parameters or self.rope_scaling or RopeParameters()
        own = {"rope_theta": self.rope_theta, "partial_rotary_factor": self.partial_rotary_factor}
        return found.model_copy(
            update={key: value for key, value in own.items() if getattr(found, key) is None and value is not None}
        )

    def longest_text(self, max_position_embeddings: int) -> int:
        """How many tokens a text may have. Configs of most types name the length before positions are stretched."""
        rope, factor = self.rope, self.rope.factor or 1.0
        if rope.scaling in ("linear", "dynamic"):
            return int(max_position_embeddings * factor)
        if rope.scaling == "yarn":  # some name it after
            original = rope.original_max_position_embeddings or max_position_embeddings
            return max(max_position_embeddings, int(original * factor))
        return max_position_embeddings

    def check_turning(self, dimensions: int) -> None:
        """Raise ValueError unless so many dimensions of a head can turn."""
        least = 4 if self.rope.scaling == "dynamic" else 2  # a growing base needs a pair that turns slower than another
        if dimensions % 2 or dimensions < least:
            raise ValueError(
                f"{dimensions} dimensions of a head would turn; it would be an even number from {least} on"
            )

    def rotary(self, head_dim: int, max_position_embeddings: int, partial: float = 1.0) -> Rotary:
        """Give the rotary positions of heads. partial: the share of their dimensions that turn where no key says it."""
        return make_rotary(self.rope, head_dim, 10_000.0, max_position_embeddings, partial=partial)

    @model_validator(mode="after")
    def _one_spelling(self) -> Self:
        if self.rope_parameters is not None and self.rope_scaling not in (None, self.rope_parameters):
            raise ValueError("rope_scaling contradicts rope_parameters; it would be one of them")
        for name in ("rope_theta", "partial_rotary_factor"):
            named = {getattr(self, name), getattr(self.rope_parameters, name, None)} - {None}
            if len(named) > 1:
                raise ValueError(f"{name} {getattr(self, name)} contradicts that of rope_parameters")
        return self
