"""The hyperparameters of ModernBERT, in the spellings of its first configs and of later ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from zoo.rope import RopeParameters
from zoo.specs import Activation, EncoderSpec, Epsilon, Probability, Size, usual_heads

LayerType = Literal["full_attention", "sliding_attention"]


class ModernBertSpec(EncoderSpec):
    """The hyperparameters of a ModernBERT encoder."""

    ignored_config_keys: ClassVar[frozenset[str]] = frozenset(
        # Which kernels run, and how; the numbers are the same.
        {"reference_compile", "deterministic_flash_attn", "repad_logits_with_grad"}
        # Of pretraining: where fresh weights were cut off, and labels that count for nothing.
        | {"initializer_cutoff_factor", "sparse_pred_ignore_index"}
        | {"cls_token_id"}  # the tokenizer's matter
        | {"position_embedding_type"}  # the first configs say "absolute"; positions were always rotary
    )
    repeated_config_keys: ClassVar[Mapping[str, str]] = {
        "layer_norm_eps": "norm_eps",
        "causal_mask": "is_decoder",
        "is_causal": "is_decoder",
    }

    model_type: Literal["modernbert"] = Field("modernbert", description="The architecture's name in the Hub's configs")
    hidden_activation: Activation = Field("gelu", description="Activation of the feed-forward's gate")
    norm_eps: Epsilon = Field(1e-5, description="Added to the variance in layer norms")
    norm_bias: bool = Field(False, description="Whether layer norms have biases")
    attention_bias: bool = Field(False, description="Whether attention's projections have biases")
    mlp_bias: bool = Field(False, description="Whether the feed-forward's projections have biases")
    embedding_dropout: Probability = Field(0.0, description="Dropout of embeddings")
    attention_dropout: Probability = Field(0.0, description="Dropout of attention weights and of attention's output")
    mlp_dropout: Probability = Field(0.0, description="Dropout inside the feed-forward layers")
    layer_types: list[LayerType] | None = Field(None, description="Each layer's reach; None: as the next key says")
    global_attn_every_n_layers: Size | None = Field(None, description="One in so many looks everywhere; None: three")
    local_attention: Size = Field(128, description="Width of a local layer's window, in tokens")
    rope_parameters: dict[LayerType, RopeParameters] = Field({}, description="Rotary positions by type of layer")
    global_rope_theta: float | None = Field(None, gt=1, description="Base of rotary positions; None: 160000")
    local_rope_theta: float | None = Field(None, gt=1, description="The same in local layers; None: 10000")
    rope_scaling: None = Field(None, description="Pinned: stretched positions are told by type of layer")
    decoder_bias: bool = Field(True, description="Whether the fill-mask head's output layer has a bias")
    classifier_pooling: Literal["cls", "mean"] = Field("cls", description="What a classifier of texts reads")
    classifier_dropout: Probability = Field(0.0, description="Dropout before a classifier")
    classifier_bias: bool = Field(False, description="Whether the dense layer of every head has a bias")
    classifier_activation: Activation = Field("gelu", description="Activation of every head's dense layer")
    sparse_prediction: Literal[False] = Field(False, description="Pinned: the fill-mask head scores every token")

    @property
    def reaches(self) -> tuple[LayerType, ...]:
        """Each layer's type."""
        every = self.global_attn_every_n_layers or 3
        counted = (number % every == 0 for number in range(self.num_hidden_layers))
        return tuple(self.layer_types or ("full_attention" if whole else "sliding_attention" for whole in counted))

    def rope(self, kind: LayerType) -> RopeParameters:
        """How positions turn in layers of a type."""
        found = self.rope_parameters.get(kind, RopeParameters())
        named = self.global_rope_theta if kind == "full_attention" else self.local_rope_theta
        if named and named != (found.rope_theta or named):
            raise ValueError(f"rope_parameters contradicts the base {named} of {kind}")
        usual = 160_000.0 if kind == "full_attention" else 10_000.0
        return found.model_copy(update={"rope_theta": found.rope_theta or named or usual})

    @classmethod
    def proportions(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """As the base size: heads of 64, gates and what they scale one and a half times the width."""
        width = given.get("hidden_size", 768)
        return {
            "vocab_size": 50368,
            "hidden_size": width,
            "num_hidden_layers": 22,
            "num_attention_heads": usual_heads(width),
            "intermediate_size": max(1, width * 3 // 2) if type(width) is int else 1,
            "max_position_embeddings": 8192,
        }

    @model_validator(mode="after")
    def _layers_fit(self) -> ModernBertSpec:
        if len(self.reaches) != self.num_hidden_layers:
            raise ValueError(
                f"layer_types names {len(self.reaches)} layers, num_hidden_layers {self.num_hidden_layers}"
            )
        if self.global_attn_every_n_layers and self.reaches != self.model_copy(update={"layer_types": None}).reaches:
            raise ValueError(f"layer_types contradicts global_attn_every_n_layers {self.global_attn_every_n_layers}")
        width = self.hidden_size // self.num_attention_heads
        least = 4 if any(self.rope(kind).scaling == "dynamic" for kind in self.reaches) else 2
        if width % 2 or width < least:
            raise ValueError(f"heads are {width} wide; all of it turns in pairs, so it would be even, from {least} on")
        if any(self.rope(kind).partial_rotary_factor not in (None, 1.0) for kind in self.reaches):
            raise ValueError("partial_rotary_factor would be 1: heads turn as a whole")
        return self
