"""Faults of encoder-decoders: what reads the source, how distances count, and how a text begins."""

from typing import Any

import torch
from decoder_mutants import ungated, untied, without_mean
from mutating import Mutation, backbone, crossing, every, forward, heads, masking, method, patched, put, seeing
from torch import Tensor, nn

from zoo.layers.attention import Attention
from zoo.layers.blocks import PreNormLayer
from zoo.layers.cache import LayerCache
from zoo.layers.feedforward import GatedFeedForward
from zoo.layers.heads import EndClassifier, LanguageModel
from zoo.layers.norms import RMSNorm
from zoo.layers.positions import RelativeBias


def reading_all(self: Any, context: Any, *rest: Any) -> Any:
    return None


def reading_back(self: Any, context: Any, keys: int, *rest: Any) -> Tensor:
    seen = torch.ones(context.mask.shape[-2], keys, dtype=torch.bool).tril()[None, None]
    return seen if context.source_mask is None else seen & context.source_mask


def reading_all_later(self: Any, context: Any, *rest: Any) -> Any:
    later = context.mask is not None and context.mask.shape[-1] > context.mask.shape[-2]
    return None if later else Attention._mask(self, context, *rest)


def reading_itself(self: Any, hidden: Tensor, context: Any, cache: Any = None) -> Tensor:
    return Attention.forward(self, hidden, context._replace(source=hidden, source_mask=None), cache)


def exchanged_when_kept(self: Any, context: Any, cache: Any) -> tuple[Tensor, Tensor]:
    kept = cache is not None and cache.source is not None
    key, value = Attention._source(self, context, cache)
    return (value, key) if kept else (key, value)


def values_as_keys(self: Any, context: Any, cache: Any) -> tuple[Tensor, Tensor]:
    value = Attention._source(self, context, cache)[1]
    return value, value


def remembering(self: Any, context: Any, cache: Any) -> tuple[Tensor, Tensor]:
    if not hasattr(self, "remembered"):
        self.remembered = Attention._source(self, context, None)
    return self.remembered  # type: ignore[no-any-return]


def one_source_for_all(built: Any) -> None:
    first = built.decoder.layers[0].cross_attention
    for layer in built.decoder.layers:
        layer.cross_attention._source = first._source


def one_too_far(original: Any) -> Any:
    """What a cache keeps of the source comes back with each value one token late."""

    def read(self: Any) -> Any:
        kept = self.__dict__.get("kept")
        return None if kept is None else (kept[0], kept[1].roll(1, 2))

    return property(read, lambda self, value: self.__dict__.__setitem__("kept", value))


def biased_once(built: Any) -> None:
    """The bias of distances in the first layer alone."""

    def unbiased(self: Any, hidden: Tensor, context: Any, cache: Any = None) -> Tensor:
        return PreNormLayer.forward(self, hidden, context._replace(bias=None), cache)

    for layer in built.encoder.layers[1:]:
        forward(unbiased)(layer)


def other_direction(self: Any, distance: Tensor) -> Tensor:
    return RelativeBias._bucket(self, -distance)


def forgetting_the_past(self: Any, past: int, time: int) -> Tensor:
    return RelativeBias.forward(self, 0, past + time)[:, :, :time]


def of_exact_distances(self: Any, distance: Tensor) -> Tensor:
    return (-distance).clamp(0, self.weight.shape[0] - 1) if self.causal else RelativeBias._bucket(self, distance)


def both_ways(built: Any) -> None:
    built.decoder.relative_bias.causal = False


def one_way(built: Any) -> None:
    built.encoder.relative_bias.causal = True


def unshifted(self: Any, token_ids: Tensor, attention_mask: Any) -> Tensor:
    return token_ids


def from_index_zero(self: Any, token_ids: Tensor, attention_mask: Any) -> Tensor:
    return type(self).shift(self, token_ids, None)


def causal_encoder(built: Any) -> None:
    built.encoder.causal = True
    every(Attention, put(causal=True))(built.encoder)


def reading(first: bool) -> Any:
    """A classifier that reads the first end token, or the last index."""

    def classify(self: Any, hidden: Tensor, input_ids: Tensor, attention_mask: Any) -> Tensor:
        place = (input_ids == self.end_token_id).long().argmax(-1) if first else torch.full((len(hidden),), -1)
        state = hidden[torch.arange(len(hidden)), place]
        return self.classifier(torch.tanh(self.dense(state)))

    return lambda head, _: forward(classify)(head)


def own_embedding(built: Any) -> None:
    tokens = built.decoder.embeddings.tokens
    built.decoder.embeddings.tokens = nn.Embedding(*tokens.weight.shape)


T5: dict[str, Mutation] = {
    "scores scaled as elsewhere": backbone(every(Attention, lambda a: put(scale=a.head_dim**-0.5)(a))),
    "output scale missing": heads(LanguageModel, lambda head, _: put(scale=1.0)(head)),
    "output untied": heads(LanguageModel, untied),
    "decoder with embeddings of its own": backbone(own_embedding),
    "bias of distances in the first layer alone": backbone(biased_once),
    "distances in the other direction": backbone(every(RelativeBias, method("_bucket", other_direction))),
    "distances without the past": backbone(every(RelativeBias, forward(forgetting_the_past))),
    "distances never share a bucket": backbone(every(RelativeBias, method("_bucket", of_exact_distances))),
    "wrong longest distance": backbone(every(RelativeBias, put(max_distance=128))),
    "decoder's distances both ways": backbone(both_ways),
    "encoder's distances one way": backbone(one_way),
    "source's mask ignored": crossing(method("_mask", reading_all)),
    "source's mask ignored after the first pass": crossing(method("_mask", reading_all_later)),
    "source read only so far": crossing(method("_mask", reading_back)),
    "decoder reads itself as the source": crossing(forward(reading_itself)),
    "source's keys and values exchanged when kept": crossing(method("_source", exchanged_when_kept)),
    "source's keys made from its values": crossing(method("_source", values_as_keys)),
    "source of the text before": crossing(method("_source", remembering)),
    "source of the first layer for all": backbone(one_source_for_all),
    "values of a kept source one token late": patched(LayerCache, "source", one_too_far),
    "text begins without the start token": backbone(method("shift", unshifted)),
    "text begins with its last token": backbone(put(wraps=True)),
    "text begins with another token": backbone(put(start_token_id=5)),
    "text begins at index 0": backbone(method("shift", from_index_zero)),
    "decoder's mask ignored": masking(lambda mask, past: None),
    "causal mask missing": seeing(lambda distance, past: distance == distance),
    "causal mask one too far": seeing(lambda distance, past: distance >= -1),
    "encoder is causal": backbone(causal_encoder),
    "wrong norm eps": backbone(every(RMSNorm, put(eps=1e-6))),
    "norm around the mean": backbone(every(RMSNorm, forward(without_mean))),
    "encoder's last norm left out": backbone(lambda built: put(norm=nn.Identity())(built.encoder)),
    "decoder's layers in reverse": backbone(lambda b: put(order=b.decoder.order[::-1])(b.decoder)),
    "classifier reads the last index": heads(EndClassifier, reading(first=False)),
    "classifier reads the first end": heads(EndClassifier, reading(first=True)),
}
GATED_T5: dict[str, Mutation] = {
    "gate without activation": backbone(every(GatedFeedForward, forward(ungated))),
}
