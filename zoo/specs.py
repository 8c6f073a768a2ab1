"""Specs: the hyperparameters of an architecture, as frozen pydantic models that `config.json` validates against.

Every key of a config is read (a field), pinned (a field with one possible value) or ignored by name; any other is an
error. Field names are the Hub's usual ones; an architecture whose configs spell them differently gives an `alias`.
"""

from collections.abc import Collection, Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from zoo.errors import InvalidConfig, UnknownConfigKey

Kind = Literal["encoder-only", "decoder-only", "encoder-decoder"]
# A config comes from a stranger, and a module is made from it before any tensor is compared: these bounds keep that to
# seconds and megabytes. No product of three sizes' worth of weights that an architecture forms, such as
# Size x 3 x Count x Size in float64, passes the 2**63 bytes at which torch overflows. The deepest published model has
# 1,000 layers (Wang et al. 2022, DeepNet); the largest sizes are texts of 10 million tokens.
Size = Annotated[int, Field(ge=1, le=2**24)]
Count = Annotated[int, Field(ge=1, le=1024)]
"""How many layers, heads or groups: what is made one by one."""
Probability = Annotated[float, Field(ge=0, lt=1)]
Epsilon = Annotated[float, Field(gt=0, lt=1)]
TokenId = Annotated[int, Field(ge=0)]
Activation = Literal["gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh", "relu", "silu", "swish", "tanh"]

# Read by the model's task rather than by its arithmetic: see zoo.tasks.base.HeadSettings.
TASK_KEYS = frozenset({"id2label", "label2id", "num_labels", "_num_labels", "problem_type", "finetuning_task"})

# Written by the libraries that made the checkpoint; none changes what a forward pass computes.
HOUSEKEEPING_KEYS = frozenset(
    {"_name_or_path", "_attn_implementation_autoset", "architectures", "transformers_version", "torch_dtype", "dtype"}
    | {"use_cache", "gradient_checkpointing", "return_dict", "output_hidden_states", "output_attentions", "output_past"}
    | {"torchscript", "use_bfloat16", "xla_device", "tf_legacy_loss", "chunk_size_feed_forward", "tokenizer_class"}
    | {"task_specific_params", "prefix", "sep_token_id", "name_or_path", "unsloth_fixed", "unsloth_version"}
)

# Generation defaults that old configs carry. Zoo takes them from generation_config.json alone.
GENERATION_KEYS = frozenset(
    {"max_length", "min_length", "do_sample", "early_stopping", "num_beams", "num_beam_groups", "diversity_penalty"}
    | {"temperature", "top_k", "top_p", "typical_p", "repetition_penalty", "length_penalty", "no_repeat_ngram_size"}
    | {"encoder_no_repeat_ngram_size", "bad_words_ids", "num_return_sequences", "output_scores", "suppress_tokens"}
    | {"return_dict_in_generate", "forced_bos_token_id", "forced_eos_token_id", "remove_invalid_values"}
    | {"exponential_decay_length_penalty", "begin_suppress_tokens"}
)


class Spec(BaseModel):
    """All hyperparameters of one model: it alone determines tensor shapes and arithmetic."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, populate_by_name=True, allow_inf_nan=False, protected_namespaces=()
    )
    kind: ClassVar[Kind]
    ignored_config_keys: ClassVar[frozenset[str]] = frozenset()
    repeated_config_keys: ClassVar[Mapping[str, str]] = {}
    """Keys that say again what a field or property, given by name, comes to; they may not say otherwise."""

    model_type: str = Field(description="The architecture's name, as in the Hub's configs")
    vocab_size: Size = Field(description="Number of token ids")
    initializer_range: float = Field(0.02, gt=0, description="Standard deviation of fresh weights")
    pad_token_id: TokenId | None = Field(None, description="Token id of padding")
    bos_token_id: TokenId | None = Field(None, description="Token id that begins a text")
    eos_token_id: TokenId | list[TokenId] | None = Field(None, description="Token id or ids that end a text")
    tie_word_embeddings: bool = Field(True, description="Whether the output layer shares the token embedding")
    add_cross_attention: Literal[False] = Field(False, description="Pinned: nothing is attended to beside the input")
    cross_attention_hidden_size: None = Field(None, description="Pinned: a source is as wide as what reads it")
    tie_encoder_decoder: Literal[False] = Field(False, description="Pinned: encoder and decoder have their own layers")
    pruned_heads: dict[str, list[int]] = Field({}, max_length=0, description="Pinned: no head is pruned")

    @property
    def longest_input(self) -> int | None:
        """The most tokens that one input may have, None for no limit."""
        return None

    @classmethod
    def proportions(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """Give the sizes that `make_spec` fills in for those a user leaves out: the family's usual proportions.

        given: the sizes the user chose, under any of their names, and model_type.
        """
        return {}

    def initial_deviations(self) -> Mapping[str, float]:
        """Give the standard deviations of fresh weights that are not initializer_range, by patterns of their names.

        Where an architecture's paper or its authors' code begins otherwise: see zoo.layers.initialization.
        """
        return {}

    def for_tensors(self, names: Collection[str]) -> Self:
        """Give the spec that a file with tensors of these names means, where its config alone cannot tell."""
        return self

    @classmethod
    def known_keys(cls) -> dict[str, str]:
        """Give each key that a config may use for a field, with the field's name."""
        keys = {name: name for name in cls.model_fields}
        return keys | {field.alias: name for name, field in cls.model_fields.items() if field.alias}

    @classmethod
    def from_config(cls, config: Mapping[str, Any], ignore: Collection[str] = ()) -> Self:
        """Validate a `config.json`, every key accounted for.

        config: the parsed JSON object; ignore: keys the user accepts unread.
        Raises UnknownConfigKey, InvalidConfig.
        """
        name = str(config.get("model_type", cls.__name__))
        known = cls.known_keys()
        ignored = HOUSEKEEPING_KEYS | GENERATION_KEYS | TASK_KEYS | cls.ignored_config_keys | set(ignore)
        ignored |= cls.repeated_config_keys.keys()
        unknown = [key for key in config if key not in known and key not in ignored]
        if unknown:
            raise UnknownConfigKey(sorted(unknown), name)
        values: dict[str, Any] = {}
        spelt: dict[str, str] = {}
        for key, value in config.items():
            if key in known:
                field = known[key]
                if field in values and values[field] != value:
                    raise InvalidConfig({key: f"contradicts {spelt[field]}: {value!r} and {values[field]!r}"}, name)
                values[field], spelt[field] = value, key
        try:
            spec = cls.model_validate(values)
        except ValidationError as error:
            raise InvalidConfig(_problems(error, spelt), name) from None
        said_again = {key: getattr(spec, field) for key, field in cls.repeated_config_keys.items() if key in config}
        otherwise = {key: value for key, value in said_again.items() if config[key] not in (None, value)}
        if otherwise:
            raise InvalidConfig(
                {k: f"is {config[k]!r}; the other keys make it {v!r}" for k, v in otherwise.items()}, name
            )
        return spec

    def to_config(self, original: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Give the config in the architecture's own spelling.

        original: the config this spec was read from, if any: its untouched keys are kept as they are, and fields it
        left to their defaults stay unwritten.
        """
        config = dict(original or {})
        for name, field in type(self).model_fields.items():
            value = _plain(getattr(self, name))
            keys = [key for key in (name, field.alias) if key in config]
            for key in keys:
                if config[key] != value:
                    config[key] = value
            if not keys and (value != field.get_default() or (original is None and value is not None)):
                config[field.alias or name] = value
        return config


class EncoderSpec(Spec):
    """What encoder-only architectures share."""

    kind: ClassVar[Kind] = "encoder-only"

    hidden_size: Size = Field(description="Width of the hidden states")
    num_hidden_layers: Count = Field(description="Number of layers")
    num_attention_heads: Count = Field(description="Attention heads per layer")
    intermediate_size: Size = Field(description="Width inside the feed-forward layers")
    max_position_embeddings: Size = Field(description="Longest input, in tokens")
    is_decoder: Literal[False] = Field(False, description="Pinned: an encoder is no decoder")
    is_encoder_decoder: Literal[False] = Field(False, description="Pinned: there is no decoder")

    @property
    def longest_input(self) -> int | None:
        """As many as there are positions."""
        return self.max_position_embeddings

    @model_validator(mode="after")
    def _heads_divide_hidden(self) -> Self:
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} is not a multiple of num_attention_heads {self.num_attention_heads}"
            )
        return self


class DecoderSpec(Spec):
    """What decoder-only architectures share."""

    kind: ClassVar[Kind] = "decoder-only"

    hidden_size: Size = Field(description="Width of the hidden states")
    num_hidden_layers: Count = Field(description="Number of layers")
    num_attention_heads: Count = Field(description="Attention heads per layer")
    max_position_embeddings: Size = Field(description="Longest input, in tokens")
    is_decoder: bool = Field(False, description="Read by nothing: this kind is a decoder whatever a config says")
    is_encoder_decoder: Literal[False] = Field(False, description="Pinned: there is no encoder")

    @property
    def longest_input(self) -> int | None:
        """As many as there are positions."""
        return self.max_position_embeddings


class EncoderDecoderSpec(Spec):
    """What encoder-decoder architectures share."""

    kind: ClassVar[Kind] = "encoder-decoder"

    hidden_size: Size = Field(alias="d_model", description="Width of the hidden states")
    decoder_start_token_id: TokenId | None = Field(None, description="Token id that a decoder's input begins with")
    is_decoder: Literal[False] = Field(False, description="Pinned: it is more than a decoder")
    is_encoder_decoder: bool = Field(
        True, description="Whether the decoder is there; the checkpoint's class says so too"
    )


def _plain(value: Any) -> Any:
    """Give a config's form of a field: a nested model as what was set of it."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value.model_dump(exclude_unset=True) if isinstance(value, BaseModel) else value


def usual_heads(hidden_size: Any, head_dim: int = 64) -> int:
    """Give the number of heads for a width: heads of head_dim, or of the next size that divides the width.

    For `Spec.proportions`; a width that is none gives 1, and validation says what is wrong with it.
    """
    if type(hidden_size) is not int or hidden_size < 1:
        return 1
    most = min(max(1, hidden_size // head_dim), 2**10)
    return next(count for count in range(most, 0, -1) if hidden_size % count == 0)


def _problems(error: ValidationError, spelt: Mapping[str, str]) -> dict[str, str]:
    """Turn pydantic's findings into a sentence per key, with the value found. spelt: the config's key for a field."""
    problems: dict[str, str] = {}
    for finding in error.errors(include_url=False):
        key = ".".join(str(part) for part in finding["loc"][:1]) or "settings"
        key = spelt.get(key, key)
        if finding["type"] == "missing":
            problems[key] = "is missing"
        elif finding["type"] == "value_error":
            problems[key] = str(finding["ctx"]["error"])
        else:
            found = repr(finding["input"])
            problem = f"is {found if len(found) <= 60 else found[:57] + '...'}; {finding['msg']}"
            problems[key] = f"{problems[key]}, or {finding['msg']}" if key in problems else problem
    return problems
