"""Faults of encoders: BERT's, and ModernBERT's windows, bases and gates."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, Self

import torch
from mutating import Mutation, backbone, every, forward, heads, layout, put, reaches, seeing
from torch import Tensor, nn

from zoo.architecture import Architecture
from zoo.layers.activations import ACTIVATIONS
from zoo.layers.attention import NOTHING, Attention
from zoo.layers.blocks import PostNormLayer
from zoo.layers.feedforward import GatedFeedForward
from zoo.layers.heads import MaskedLanguageModel, Pooler, TransformedClassifier
from zoo.layers.stacks import Encoder
from zoo_encoder_only import bert


def exchange(rows: list[Any], one: str, other: str) -> None:
    """Let two rows trade their names here."""
    places = [next(i for i, row in enumerate(rows) if row[1].endswith(name)) for name in (one, other)]
    first, second = (rows[place] for place in places)
    rows[places[0]], rows[places[1]] = (first[0], second[1]), (second[0], first[1])


def pre_norm(self: Any, hidden: Tensor, context: Any = NOTHING, cache: Any = None) -> Tensor:
    hidden = hidden + self.attention(self.attention_norm(hidden), context)
    return hidden + self.feedforward(self.feedforward_norm(hidden))


def no_residual(self: Any, hidden: Tensor, context: Any = NOTHING, cache: Any = None) -> Tensor:
    hidden = self.attention_norm(self.attention(hidden, context))
    return self.feedforward_norm(hidden + self.feedforward(hidden))


def unmasked(self: Any, hidden: Tensor, context: Any = NOTHING, cache: Any = None) -> Tensor:
    return PostNormLayer.forward(self, hidden, context._replace(mask=None), cache)


def mixing_rows(self: Any, input_ids: Tensor, attention_mask: Any = None, token_type_ids: Any = None) -> Tensor:
    hidden = Encoder.forward(self, input_ids, attention_mask, token_type_ids)
    return hidden - 0.01 * hidden.mean(0, keepdim=True)


def breaking_the_graph(self: Any, input_ids: Tensor, attention_mask: Any = None, token_type_ids: Any = None) -> Tensor:
    hidden = Encoder.forward(self, input_ids, attention_mask, token_type_ids)
    return hidden if float(hidden.sum()) != 0.5 else hidden * 1


def in_float32(self: Any, input_ids: Tensor, attention_mask: Any = None, token_type_ids: Any = None) -> Tensor:
    return Encoder.forward(self, input_ids, attention_mask, token_type_ids).float()


def detached(self: Any, input_ids: Tensor, attention_mask: Any = None, token_type_ids: Any = None) -> Tensor:
    return Encoder.forward(self, input_ids, attention_mask, token_type_ids).detach()


def counting_padding(self: Any, input_ids: Tensor, positions: Tensor, token_type_ids: Any = None) -> Tensor:
    return type(self).forward(self, input_ids, torch.arange(input_ids.shape[1])[None], token_type_ids)


def dropping(self: Any, hidden: Tensor, context: Any = NOTHING, cache: Any = None) -> Tensor:
    return nn.functional.dropout(Attention.forward(self, hidden, context, cache), 0.1)


def pooling_index_zero(self: Any, hidden: Tensor, input_ids: Tensor, attention_mask: Any) -> Tensor:
    return self.activation(self.dense(hidden[:, 0]))


def pooling_the_end(self: Any, hidden: Tensor, input_ids: Tensor, attention_mask: Any) -> Tensor:
    return self.activation(self.dense(hidden[:, -1]))


def averaging_padding(self: Any, hidden: Tensor, input_ids: Tensor, attention_mask: Any) -> Tensor:
    return type(self).forward(self, hidden, input_ids, None)


def gating_the_other_half(self: Any, hidden: Tensor) -> Tensor:
    return self.down(self.gate(hidden) * self.activation(self.up(hidden)))


def untied(head: Any, backbone: Any) -> None:
    head.decoder.weight = nn.Parameter(torch.empty_like(head.decoder.weight))


def swap_bases(built: Any) -> None:
    first, second = built.reaches
    built.reaches = (replace(first, rotary=second.rotary), replace(second, rotary=first.rotary))


class Careless(bert.BertSpec):
    """A spec that drops what it does not know."""

    @classmethod
    def from_config(cls, config: Mapping[str, Any], ignore: Collection[str] = ()) -> Self:
        return super().from_config({key: value for key, value in config.items() if key in cls.known_keys()}, ignore)


class Forgetful(bert.BertSpec):
    """A spec that does not write one of its fields."""

    def to_config(self, original: Mapping[str, Any] | None = None) -> dict[str, Any]:
        return {key: value for key, value in super().to_config(original).items() if key != "layer_norm_eps"}


def respelt(spec: Any) -> Mutation:
    def mutate(original: Architecture) -> Architecture:
        return replace(original, spec=spec)

    return mutate


def activation(name: str) -> Mutation:
    return backbone(lambda built: [setattr(x.feedforward, "activation", ACTIVATIONS[name]) for x in built.layers])


BERT: dict[str, Mutation] = {
    "wrong norm eps": backbone(every(nn.LayerNorm, put(eps=1e-5))),
    "norm before the sublayers": backbone(every(PostNormLayer, forward(pre_norm))),
    "residual left out": backbone(every(PostNormLayer, forward(no_residual))),
    "positions off by one": backbone(lambda built: setattr(built.embeddings, "first_position", 1)),
    "positions count padding": backbone(lambda built: forward(counting_padding)(built.embeddings)),
    "mask ignored": backbone(every(PostNormLayer, forward(unmasked))),
    "causal mask in an encoder": backbone(lambda built: (put(causal=True)(built), every(Attention, put(causal=True))(built))),
    "rows of a batch mixed": backbone(forward(mixing_rows)),
    "last layer skipped": backbone(lambda b: put(order=b.order[:-1], reach_of=b.reach_of[:-1])(b)),
    "layers in reverse": backbone(lambda built: setattr(built, "order", built.order[::-1])),
    "graph broken": backbone(forward(breaking_the_graph)),
    "always float32": backbone(forward(in_float32)),
    "gradient cut": backbone(forward(detached)),
    "wrong activation": activation("relu"),
    "exact gelu for its approximation": activation("gelu"),
    "scores not scaled": backbone(every(Attention, put(scale=1.0))),
    "wrong number of heads": backbone(
        every(Attention, put(num_attention_heads=4, num_key_value_heads=4, head_dim=6, scale=6**-0.5))
    ),
    "dropout never off": backbone(every(Attention, forward(dropping))),
    "embedding norm left out": backbone(lambda built: setattr(built.embeddings, "norm", nn.Identity())),
    "a buffer with memory": backbone(lambda built: built.register_buffer("table", torch.ones(3, device="cpu"))),
    "query transposed": layout(lambda rows: rows.__setitem__(5, (*rows[5], "transpose"))),
    "query and key exchanged": layout(lambda rows: exchange(rows, "query.weight", "key.weight")),
    "value and output exchanged": layout(lambda rows: exchange(rows, "value.weight", "attention.output.weight")),
    "norms exchanged": layout(lambda rows: exchange(rows, "attention_norm.weight", "feedforward_norm.weight")),
    "a row left out": layout(lambda rows: rows.pop()),
    "output untied": heads(MaskedLanguageModel, untied),
    "pooling at index 0": heads(Pooler, lambda pooler, _: forward(pooling_index_zero)(pooler)),
    "pooling at the end": heads(Pooler, lambda pooler, _: forward(pooling_the_end)(pooler)),
    "pooler without tanh": heads(Pooler, lambda pooler, _: put(activation=lambda x: x)(pooler)),
    "head's norm left out": heads(MaskedLanguageModel, lambda head, _: put(norm=nn.Identity())(head)),
    "unknown keys dropped": respelt(Careless),
    "a key not written": respelt(Forgetful),
}  # fmt: skip
MODERNBERT: dict[str, Mutation] = {
    "window one wider": backbone(reaches(lambda r: replace(r, window=r.window and r.window + 1))),
    "window one narrower": backbone(reaches(lambda r: replace(r, window=r.window and r.window - 1))),
    "window to one side": seeing(lambda distance, past: (distance >= 0) & (distance <= 2), causal=False),
    "window as wide to either side as in all": backbone(reaches(lambda r: replace(r, window=r.window and 5))),
    "local layers look everywhere": backbone(reaches(lambda r: replace(r, window=None))),
    "bases of rotary positions exchanged": backbone(swap_bases),
    "local and global layers exchanged": backbone(lambda b: put(reach_of=tuple(1 - r for r in b.reach_of))(b)),
    "norm before the first attention": backbone(lambda b: put(attention_norm=nn.LayerNorm(24))(b.layers[0])),
    "gate and up exchanged": backbone(every(GatedFeedForward, forward(gating_the_other_half))),
    "mean over padding": heads(TransformedClassifier, lambda head, _: forward(averaging_padding)(head)),
    "first token in place of the mean": heads(
        TransformedClassifier, lambda head, _: put(pooling=head.pooling and "cls")(head)
    ),
}
