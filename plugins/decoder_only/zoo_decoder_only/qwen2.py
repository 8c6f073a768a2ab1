"""Qwen2 and 2.5 (Yang et al., 2024, https://arxiv.org/abs/2407.10671)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from zoo import hookimpl
from zoo.architecture import Architecture
from zoo.checkpoint.layout import Layout
from zoo_decoder_only import heads
from zoo_decoder_only.llama_like import (
    QUERY_KEY_VALUE_BIAS_ROWS,
    ROTARY_FREQUENCIES,
    ROWS,
    SECOND_NORM,
    WindowedSpec,
    build_decoder,
    family_heads,
)

if TYPE_CHECKING:
    from zoo.layers.stacks import Decoder


class Qwen2Spec(WindowedSpec):
    """The hyperparameters of Qwen2."""

    model_type: Literal["qwen2"] = Field("qwen2", description="The architecture's name, as in the Hub's configs")
    use_mrope: Literal[False] = Field(False, description="Pinned: positions have one dimension, not three")


LAYOUT = Layout(
    *ROWS,
    SECOND_NORM,
    *QUERY_KEY_VALUE_BIAS_ROWS,
    ignored=[ROTARY_FREQUENCIES],
    prefix="model.",
    other_prefixes=["transformer."],  # under the question-answering head
)


def build(spec: Qwen2Spec) -> Decoder:
    """Give the backbone: biases at query, key and value, none at the output."""
    return build_decoder(spec, bias=True, windows=spec.windows)


@hookimpl
def zoo_architectures() -> Sequence[Architecture]:
    """Qwen2 under its one name."""
    return [
        Architecture(
            name="qwen2",
            spec=Qwen2Spec,
            build=build,
            layout=LAYOUT,
            heads=(
                *family_heads("Qwen2"),
                heads.question_answering("Qwen2ForQuestionAnswering", prefix="transformer."),
            ),
            paper="Qwen2 Technical Report (https://arxiv.org/abs/2407.10671)",
            summary="Qwen2 is Llama with biases on query, key and value. A config may limit its upper layers to a "
            "window of the last tokens.",
            toy_sizes={
                "num_hidden_layers": 3,
                "num_attention_heads": 6,
                "num_key_value_heads": 2,
                "rms_norm_eps": 1e-3,
                "rope_theta": 300.0,
                "use_sliding_window": True,
                "sliding_window": 4,
                "max_window_layers": 2,
                "pad_token_id": 0,
            },
        )
    ]
