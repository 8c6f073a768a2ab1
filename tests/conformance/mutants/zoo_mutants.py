"""BERT with one fault at a time, chosen by $MUTANT: what the conformance kit has to notice."""

import os
import types
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import torch
from torch import Tensor, nn

import zoo
from zoo.architecture import Architecture, Head
from zoo.checkpoint.layout import Layout
from zoo.layers.activations import ACTIVATIONS
from zoo.layers.attention import Attention
from zoo.layers.heads import MaskedLanguageModel, Pooler
from zoo.layers.stacks import Encoder, PostNormLayer
from zoo_encoder_only import bert

Mutation = Callable[[Architecture], Architecture]
MUTATIONS: dict[str, Mutation] = {}


def backbone(change: Callable[[Encoder], Any]) -> Mutation:
    """A mutation of the backbone after it is built."""

    def mutate(original: Architecture) -> Architecture:
        def build(spec: Any) -> nn.Module:
            built = original.build(spec)
            change(built)
            return built

        return replace(original, build=build)

    return mutate


def heads(change: Callable[[nn.Module], Any]) -> Mutation:
    """A mutation of every head after it is built."""

    def mutate(original: Architecture) -> Architecture:
        def changed(head: Head) -> Head:
            def build(spec: Any, backbone: nn.Module, num_labels: int) -> nn.Module:
                assert head.build is not None
                built = head.build(spec, backbone, num_labels)
                for module in built.modules():
                    change(module)
                return built

            return replace(head, build=build) if head.build else head

        return replace(original, heads=tuple(changed(head) for head in original.heads))

    return mutate


def layout(change: Callable[[list[Any]], Any]) -> Mutation:
    """A mutation of the backbone's rows."""

    def mutate(original: Architecture) -> Architecture:
        rows: list[Any] = [(row.hub[0], row.zoo[0]) for row in original.layout.rows]
        change(rows)
        return replace(original, layout=Layout(*rows, ignored=original.layout.ignored, prefix=original.layout.prefix))

    return mutate


def every(kind: type[nn.Module], change: Callable[[Any], Any]) -> Callable[[nn.Module], None]:
    """Apply a change to every module of a kind."""

    def apply(module: nn.Module) -> None:
        for child in module.modules():
            if isinstance(child, kind):
                change(child)

    return apply


def forward(function: Callable[..., Any]) -> Callable[[nn.Module], None]:
    """Replace a module's forward pass."""
    return lambda module: setattr(module, "forward", types.MethodType(function, module))


def exchange(rows: list[Any], one: str, other: str) -> None:
    """Let two rows trade their names here."""
    places = [next(i for i, row in enumerate(rows) if row[1].endswith(name)) for name in (one, other)]
    first, second = (rows[place] for place in places)
    rows[places[0]], rows[places[1]] = (first[0], second[1]), (second[0], first[1])


def pre_norm(self: Any, hidden: Tensor, mask: Tensor | None) -> Tensor:
    hidden = hidden + self.attention(self.attention_norm(hidden), mask)
    return hidden + self.feedforward(self.feedforward_norm(hidden))


def no_residual(self: Any, hidden: Tensor, mask: Tensor | None) -> Tensor:
    hidden = self.attention_norm(self.attention(hidden, mask))
    return self.feedforward_norm(hidden + self.feedforward(hidden))


def unmasked(self: Any, input_ids: Tensor, attention_mask: Any = None, token_type_ids: Any = None) -> Tensor:
    hidden = self.embeddings(input_ids, attention_mask, token_type_ids)
    for layer in self.layers:
        hidden = layer(hidden, None)
    return hidden


def causal(self: Any, input_ids: Tensor, attention_mask: Any = None, token_type_ids: Any = None) -> Tensor:
    hidden = self.embeddings(input_ids, attention_mask, token_type_ids)
    seen = torch.ones(input_ids.shape[1], input_ids.shape[1], dtype=torch.bool).tril()[None, None]
    for layer in self.layers:
        hidden = layer(hidden, seen if attention_mask is None else seen & attention_mask.bool()[:, None, None])
    return hidden


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


def counting_padding(self: Any, input_ids: Tensor, attention_mask: Any, token_type_ids: Any) -> Tensor:
    return type(self).forward(self, input_ids, None, token_type_ids)


def unscaled(self: Any, hidden: Tensor, mask: Tensor | None) -> Tensor:
    query, key, value = (self._heads(part(hidden)) for part in (self.query, self.key, self.value))
    mixed = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=1.0)
    return self.output(mixed.transpose(1, 2).flatten(2))


def pooling_index_zero(self: Any, hidden: Tensor, input_ids: Tensor, attention_mask: Any) -> Tensor:
    return self.activation(self.dense(hidden[:, 0]))


def pooling_the_end(self: Any, hidden: Tensor, input_ids: Tensor, attention_mask: Any) -> Tensor:
    return self.activation(self.dense(hidden[:, -1]))


def untied(head: nn.Module) -> None:
    if isinstance(head, MaskedLanguageModel):
        head.decoder.weight = nn.Parameter(torch.empty_like(head.decoder.weight))


class Careless(bert.BertSpec):
    """A spec that drops what it does not know."""

    @classmethod
    def from_config(cls, config: Mapping[str, Any], ignore: Collection[str] = ()) -> Self:
        return super().from_config({key: value for key, value in config.items() if key in cls.known_keys()}, ignore)


class Forgetful(bert.BertSpec):
    """A spec that does not write one of its fields."""

    def to_config(self, original: Mapping[str, Any] | None = None) -> dict[str, Any]:
        return {key: value for key, value in super().to_config(original).items() if key != "layer_norm_eps"}


MUTATIONS |= {
    "wrong norm eps": backbone(every(nn.LayerNorm, lambda norm: setattr(norm, "eps", 1e-5))),
    "norm before the sublayers": backbone(every(PostNormLayer, forward(pre_norm))),
    "residual left out": backbone(every(PostNormLayer, forward(no_residual))),
    "positions off by one": backbone(lambda built: setattr(built.embeddings, "first_position", 1)),
    "positions count padding": backbone(lambda built: forward(counting_padding)(built.embeddings)),
    "mask ignored": backbone(forward(unmasked)),
    "causal mask in an encoder": backbone(forward(causal)),
    "rows of a batch mixed": backbone(forward(mixing_rows)),
    "last layer skipped": backbone(lambda built: setattr(built, "order", built.order[:-1])),
    "layers in reverse": backbone(lambda built: setattr(built, "order", built.order[::-1])),
    "graph broken": backbone(forward(breaking_the_graph)),
    "always float32": backbone(forward(in_float32)),
    "gradient cut": backbone(forward(detached)),
    "wrong activation": backbone(
        lambda b: [setattr(x.feedforward, "activation", ACTIVATIONS["relu"]) for x in b.layers]
    ),
    "exact gelu for its approximation": backbone(
        lambda b: [setattr(layer.feedforward, "activation", ACTIVATIONS["gelu"]) for layer in b.layers]
    ),
    "scores not scaled": backbone(every(Attention, forward(unscaled))),
    "wrong number of heads": backbone(every(Attention, lambda attention: setattr(attention, "num_attention_heads", 4))),
    "dropout never off": backbone(every(Attention, lambda a: setattr(a, "forward", types.MethodType(_dropping, a)))),
    "embedding norm left out": backbone(lambda built: setattr(built.embeddings, "norm", nn.Identity())),
    "a buffer with memory": backbone(lambda built: built.register_buffer("table", torch.ones(3, device="cpu"))),
    "query transposed": layout(lambda rows: rows.__setitem__(5, (*rows[5], "transpose"))),
    "query and key exchanged": layout(lambda rows: exchange(rows, "query.weight", "key.weight")),
    "value and output exchanged": layout(lambda rows: exchange(rows, "value.weight", "attention.output.weight")),
    "norms exchanged": layout(lambda rows: exchange(rows, "attention_norm.weight", "feedforward_norm.weight")),
    "a row left out": layout(lambda rows: rows.pop()),
    "output untied": heads(untied),
    "pooling at index 0": heads(
        lambda module: forward(pooling_index_zero)(module) if isinstance(module, Pooler) else 0
    ),
    "pooling at the end": heads(lambda module: forward(pooling_the_end)(module) if isinstance(module, Pooler) else 0),
    "pooler without tanh": heads(
        lambda module: setattr(module, "activation", lambda x: x) if isinstance(module, Pooler) else 0
    ),
    "head's norm left out": heads(
        lambda module: setattr(module, "norm", nn.Identity()) if isinstance(module, MaskedLanguageModel) else 0
    ),
    "unknown keys dropped": lambda original: replace(original, spec=Careless),
    "a key not written": lambda original: replace(original, spec=Forgetful),
}


def _dropping(self: Any, hidden: Tensor, mask: Tensor | None) -> Tensor:
    return nn.functional.dropout(Attention.forward(self, hidden, mask), 0.1)


@zoo.hookimpl
def zoo_architectures() -> Sequence[Architecture]:
    """BERT with the fault that $MUTANT names; without one, as it is."""
    (original,) = bert.zoo_architectures()
    name = os.environ.get("MUTANT", "")
    return [MUTATIONS[name](original) if name else original]
